"""The paper's Table 2 with SmolLM2-135M-Instruct, on a subset of GSM8K for 2 cores.

    python -m experiments.gsm8k_smollm2.study --config.task.data=FOLDER
        --config.model.source="$(make -s smollm2)" [--seeds=1] [--config.NAME=VALUE ...]

128 questions of the training set a round, 3 rounds, 64 to choose the round by, 128 of the test set.
"""

import pathlib
import sys

from experiments import language

HERE = pathlib.Path(__file__).resolve().parent
SUBSET = (
    *("--config.rounds.problems=128", "--config.rounds.count=3"),
    *("--config.evaluate.problems=64", "--config.evaluate.test_problems=128"),
    "--config.train.first_steps=8",
)

if __name__ == "__main__":
    sys.exit(language.main("configs/gsm8k.py:smollm2", HERE, SUBSET))
