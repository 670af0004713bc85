"""The paper's Table 2 with SmolLM2-135M-Instruct, on a subset of GSM8K for 2 cores.

    python -m experiments.gsm8k_smollm2.study --config.task.data=FOLDER
        --config.model.source="$(make -s smollm2)" [--arms=A,B] [--seeds=1]
        [--config.NAME=VALUE ...]

128 questions of the training set a round, 3 rounds, 64 to choose the round by, 128 of the test set.
The last two arms look at the steps, and the last one draws eight samples of 32 questions.
"""

import pathlib
import sys

from experiments import arms
from experiments.arms import Arm, Study

HERE = pathlib.Path(__file__).resolve().parent
CHECKED = ("--config.filter.wrong_steps=true", "--config.filter.unchecked=true")

PAPER = {
    "few_shot_direct": Arm(
        "few-shot, direct", "#8A8A8A", ("--config.method=direct", "--config.rounds.count=0")
    ),
    "few_shot": Arm("few-shot with rationales", "#444444", ("--config.rounds.count=0",)),
    # As many updates as STaR makes in its third round.
    "direct": Arm(
        "direct fine-tuning",
        "#56B4E9",
        ("--config.method=direct", "--config.rounds.count=1", "--config.train.first_steps=18"),
    ),
    "no_rationalization": Arm(
        "STaR without rationalization", "#D55E00", ("--config.rationalize.enabled=false",)
    ),
    "star": Arm("STaR", "#0072B2"),
}
STUDY = Study(
    HERE.parents[1] / "configs" / "gsm8k.py",
    PAPER
    | {
        "checked": Arm("STaR, steps checked", "#000000", CHECKED),
        "samples_checked": Arm(
            "8 samples, steps checked",
            "#CC79A7",
            (
                *("--config.sampler.samples=8", "--config.rounds.problems=32"),
                *("--config.sampler.temperature=0.7", *CHECKED),
            ),
        ),
    },
    "GSM8K, development set (%)",
    (
        *("--config.rounds.problems=128", "--config.rounds.count=3"),
        *("--config.evaluate.problems=64", "--config.evaluate.test_problems=128"),
        "--config.train.first_steps=8",
    ),
    variant="smollm2",
)

if __name__ == "__main__":
    sys.exit(arms.main(STUDY, HERE.name))
