"""The paper's arithmetic with SmolLM2-135M-Instruct, which has never seen a scratchpad.

    python -m experiments.arithmetic_smollm2.study --config.model.source="$(make -s smollm2)"
        [--arms=A,B] [--seeds=3] [--config.NAME=VALUE ...]

As in the paper, the few-shot prompt is there in round 1 only.
"""

import pathlib
import sys

from experiments import arms
from experiments.arms import Study
from experiments.last_letters_smollm2.study import ARMS

HERE = pathlib.Path(__file__).resolve().parent
STUDY = Study(
    HERE.parents[1] / "configs" / "arithmetic.py",
    ARMS,
    "Sums of 1-3 digits, held-out (%)",
    variant="smollm2",
)

if __name__ == "__main__":
    sys.exit(arms.main(STUDY, HERE.name))
