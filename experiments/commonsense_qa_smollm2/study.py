"""The paper's Table 1 with SmolLM2-135M-Instruct, on a subset of CommonsenseQA for 2 cores.

    python -m experiments.commonsense_qa_smollm2.study --config.task.data=FOLDER
        --config.model.source="$(make -s smollm2)" [--arms=A,B] [--seeds=1]
        [--config.NAME=VALUE ...]

192 questions of the training set a round, 3 rounds, 64 to choose the round by, 192 of the
validation set, which the paper reports on.
"""

import pathlib
import sys

from experiments import arms
from experiments.arms import Study
from experiments.gsm8k_smollm2.study import PAPER

HERE = pathlib.Path(__file__).resolve().parent
STUDY = Study(
    HERE.parents[1] / "configs" / "commonsense_qa.py",
    PAPER,
    "CommonsenseQA, development set (%)",
    (
        *("--config.rounds.problems=192", "--config.rounds.count=3"),
        *("--config.evaluate.problems=64", "--config.evaluate.test_problems=192"),
        "--config.train.first_steps=8",
    ),
    variant="smollm2",
)

if __name__ == "__main__":
    sys.exit(arms.main(STUDY, HERE.name))
