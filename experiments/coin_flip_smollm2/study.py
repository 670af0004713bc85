"""Coin flips with SmolLM2-135M-Instruct: does STaR teach a language model to track a state?

python -m experiments.coin_flip_smollm2.study --config.model.source="$(make -s smollm2)"
    [--arms=A,B] [--seeds=3] [--config.NAME=VALUE ...]
"""

import dataclasses
import pathlib
import sys

from experiments import arms
from experiments.arms import Study
from experiments.last_letters_smollm2.study import ARMS

HERE = pathlib.Path(__file__).resolve().parent
DIRECT = ARMS["direct"]
GREEDY = (
    *("--config.sampler.samples=1", "--config.sampler.temperature=0"),
    "--config.rounds.data=round",
)
STUDY = Study(
    HERE.parents[1] / "configs" / "symbolic.py",
    ARMS | {"direct": dataclasses.replace(DIRECT, settings=(*DIRECT.settings, *GREEDY))},
    "Coin flips of two people, held-out (%)",
    variant="coin_flip",
)

if __name__ == "__main__":
    sys.exit(arms.main(STUDY, HERE.name))
