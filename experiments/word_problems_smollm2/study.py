"""School word problems with SmolLM2-135M-Instruct: what a check of the steps buys.

    python -m experiments.word_problems_smollm2.study --config.task.data=FOLDER
        --config.model.source="$(make -s smollm2)" [--arms=A,B] [--seeds=3]
        [--config.NAME=VALUE ...]

FOLDER has train.jsonl and test.jsonl with "question" and "answer". Every arm writes some 500
rationales a round and makes as many updates. The test set is used once, by the round that the
development questions choose.
"""

import pathlib
import sys

from experiments import arms
from experiments.arms import Arm, Study

HERE = pathlib.Path(__file__).resolve().parent
_SAMPLED = (
    *("--config.rounds.problems=64", "--config.sampler.samples=8"),
    *("--config.sampler.temperature=0.7", "--config.rationalize.enabled=false"),
)
_CHECKED = "--config.filter.wrong_steps=true"

STUDY = Study(
    HERE.parents[1] / "configs" / "jsonl.py",
    {
        "base": Arm("few-shot", "#8A8A8A", ("--config.rounds.count=0",)),
        "direct": Arm(
            "direct answers", "#56B4E9", ("--config.method=direct", "--config.rounds.count=1")
        ),
        "star": Arm("STaR", "#0072B2"),
        "star_checked": Arm("STaR, steps checked", "#000000", (_CHECKED,)),
        "rest_em": Arm("ReST-EM", "#D55E00", _SAMPLED),
        "rest_em_checked": Arm("ReST-EM, steps checked", "#CC79A7", (*_SAMPLED, _CHECKED)),
        "label_free": Arm("label-free", "#7A5A00", (*_SAMPLED, "--config.labels.source=majority")),
    },
    "School word problems, development set (%)",
    (
        *("--config.task.rule=marker", f"--config.task.few_shot_file={HERE / 'few_shot.jsonl'}"),
        *("--config.few_shot.examples=6", "--config.rounds.problems=256"),
        *("--config.evaluate.problems=128", "--config.evaluate.test_problems=0"),
        *("--config.sampler.max_new_tokens=96", "--config.train.learning_rate=5e-5"),
        *("--config.train.micro_batch=4", "--config.train.first_steps=20"),
    ),
)

if __name__ == "__main__":
    sys.exit(arms.main(STUDY, HERE.name))
