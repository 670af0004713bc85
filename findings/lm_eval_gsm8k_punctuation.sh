#!/bin/sh
# lm-eval's task gsm8k, filter flexible-extract: punctuation alone is read as the answer.
#
# The filter takes the last match of (-?[$0-9.,]{2,})|(-?[0-9]+). Its first branch wants no digit: two
# signs in a row out of "$", "." and "," are a match. So a right answer that is followed by "i.e.,",
# by an ellipsis or by the end of a formula ("}$.", "}$$") is labelled wrong, although the number is
# there, is the only one and is equal to the gold answer. That surprises in a filter that is called
# flexible, and chat models end their answers like this.
#
# Who compares an accuracy by star_jax's flexible rule with flexible-extract meets it: star_jax reads
# the number in all of these texts. `strict-match` is not concerned.
#
# Makes a temporary environment, installs the package, labels texts of its own with the package's own
# task file, filter and metric. Ends with 0 while the behaviour is as described, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check lm_eval==0.4.13
cat > "$folder/label.py" <<'END'
import importlib.metadata
import pathlib
import sys

import lm_eval.api.metrics as metrics
import yaml
from lm_eval.filters.extraction import RegexFilter

print("lm_eval", importlib.metadata.version("lm_eval"))
own = pathlib.Path(metrics.__file__).parents[1] / "tasks/gsm8k/gsm8k.yaml"
task = yaml.safe_load(own.read_text())
[steps] = [one["filter"] for one in task["filter_list"] if one["name"] == "flexible-extract"]
regex = RegexFilter(steps[0]["regex_pattern"], steps[0]["group_select"])
ignore = task["metric_list"][0]["regexes_to_ignore"]


def label(text):
    [[read]] = regex.apply([[text]], [{}])
    same = metrics.exact_match_hf_evaluate([read], ["#### 72"], ignore, ignore_case=True)
    return read, bool(same["exact_match"])


texts = {  # the gold answer is 72
    "The answer is 72.": ("72.", True),
    "The answer is $72.": ("$72.", True),
    "The answer is $\\boxed{72}$.": ("$.", False),
    "$$\\boxed{72}$$": ("$$", False),
    "She sold 72 clips, i.e., six dozen.": (".,", False),
    "So it is 72 ...": ("...", False),
}
found = {text: label(text) for text in texts}
for text, (read, right) in found.items():
    print(f"{text!r}: read {read!r}, labelled {'right' if right else 'wrong'}")
sys.exit(found != texts)
END
"$folder/venv/bin/python" "$folder/label.py"
