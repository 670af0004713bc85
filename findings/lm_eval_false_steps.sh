#!/bin/sh
# lm-eval's few-shot prompts: two of the worked examples have a step whose arithmetic is false.
#
# The prompt of bbh_cot_fewshot_multistep_arithmetic_two, which shows how to calculate with care, has
# "A * B = -41 * -3 = (-61) * (-3) = 123": the product of -41 and -3 is 123, that of -61 and -3 is 183.
# One of mmlu_flan_cot_fewshot's chemistry has "-3.89 + (-3.89) - (-2) = 5.78": it is -5.78. Both go on
# with the right value. That surprises in examples that every model under test is shown as models of
# reasoning.
#
# Who takes such examples as few-shot rationales of a run, or as rationales that are known to be right,
# meets it: star_jax calls the first of these steps wrong. Correct it in the worked examples.
#
# Downloads one wheel (9 MB) without its dependencies to a temporary folder and reads two files in it.
# Ends with 0 while the texts are as described, else with 1; with 2 where it could not be run.
set -u
python=${PYTHON:-python3}
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$folder" \
    lm_eval==0.4.13 || exit 2
"$python" - "$folder" <<'END'
import pathlib
import re
import sys
import zipfile

[wheel] = pathlib.Path(sys.argv[1]).glob("lm_eval-*.whl")
print(wheel.name)
# file in lm_eval/tasks; a step as it is written there, its left side and its right side
steps = [
    ("bbh/cot_fewshot/multistep_arithmetic_two.yaml", "-41 * -3 = (-61) * (-3) = 123", -61 * -3, 123),
    (
        "mmlu/flan_cot_fewshot/mmlu_high_school_chemistry.yaml",
        "-3.89 + (-3.89) - (-2) = 5.78",
        -3.89 + (-3.89) - (-2),
        5.78,
    ),
]
same = True
with zipfile.ZipFile(wheel) as files:
    for name, step, left, right in steps:
        text = files.read(f"lm_eval/tasks/{name}").decode()
        text = re.sub(r"\\\n\s*\\?", "", text)  # a string of YAML goes on in the next line
        there = step in text
        print(f"{name}: {step!r} is {'there' if there else 'gone'}; {left:g} is not {right:g}")
        same = same and there and abs(left - right) > 1
print("as described" if same else "changed: both steps were expected to be there")
sys.exit(0 if same else 1)
END
