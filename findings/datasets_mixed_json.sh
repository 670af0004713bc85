#!/usr/bin/env bash
# Package datasets 5.2.0 changes texts of a JSON column that has values of several types.
#
# A column of JSON lines that is text in some rows and a number in others gets the feature Json():
# every value is stored as a JSON text, and decoded as it is read. A text that its reader takes for
# JSON is stored as it stands, so that it is decoded as well: the text "7" comes back as the number 7,
# "007" too, "7.10" as 7.1, "true" as True, "[1]" as a list, "NaN" as None. No warning is given, and
# the file is valid JSON lines throughout.
#
# Why it surprises: json.loads gives these texts back as texts, and so does datasets where a column is
# text alone: one number more in the file changes what the other rows say.
# What users meet: gold answers that are other than their file says (a code "007", the answer "true"),
# and rows without an answer (the text "NaN").
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0
export HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import json, pathlib, sys

import datasets

datasets.disable_progress_bars()
texts = ["7", "007", "7.10", "true", "[1]", "NaN", "Paris"]


def read(name, answers):
    folder = pathlib.Path(sys.argv[1], name)
    folder.mkdir()
    lines = [json.dumps({"question": f"{i}?", "answer": answer}) for i, answer in enumerate(answers)]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    loaded = datasets.load_dataset(str(folder), split="train")
    return loaded.features["answer"], list(loaded["answer"])


alone, mixed = read("alone", texts), read("mixed", [*texts, 5])
print("datasets", datasets.__version__)
print("written              ", texts)
print("texts alone          ", alone)
print("and one number, 5    ", mixed)
changed = alone[1] != texts or mixed[1] != [7, 7, 7.1, True, [1], None, "Paris", 5]
sys.exit("the behaviour has changed" if changed else 0)
PYTHON
