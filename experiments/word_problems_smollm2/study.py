"""School word problems with SmolLM2-135M-Instruct: what a check of the steps buys.

    python -m experiments.word_problems_smollm2.study --config.task.data=FOLDER
        --config.model.source="$(make -s smollm2)" [--arms=A,B] [--seeds=3]
        [--config.NAME=VALUE ...]

FOLDER has train.jsonl and test.jsonl with "question" and "answer". Every arm but the first two
writes some 3,000 rationales a round: STaR two for every training question at most, the others eight
for a quarter of the questions. Few-shot prompts are there in round 1 only. The test set is used
once, by the round that the development questions choose.
"""

import pathlib
import sys

from experiments import arms
from experiments.arms import Arm, Study
from experiments.gsm8k_smollm2.study import CHECKED

HERE = pathlib.Path(__file__).resolve().parent
_SAMPLED = (
    *("--config.rounds.problems=394", "--config.sampler.samples=8"),
    *("--config.sampler.temperature=0.7", "--config.rationalize.enabled=false"),
    "--config.rationalize.rehearsal=0",
)

STUDY = Study(
    HERE.parents[1] / "configs" / "jsonl.py",
    {
        "base": Arm("few-shot", "#8A8A8A", ("--config.rounds.count=0",)),
        "direct": Arm("direct answers", "#56B4E9", ("--config.method=direct",)),
        "star": Arm("STaR", "#0072B2"),
        "star_checked": Arm("STaR, steps checked", "#000000", CHECKED),
        "rest_em": Arm("ReST-EM", "#D55E00", _SAMPLED),
        "rest_em_checked": Arm("ReST-EM, steps checked", "#CC79A7", (*_SAMPLED, *CHECKED)),
        "label_free": Arm("label-free", "#7A5A00", (*_SAMPLED, "--config.labels.source=majority")),
    },
    "School word problems, development set (%)",
    (
        *("--config.task.rule=marker", f"--config.task.few_shot_file={HERE / 'few_shot.jsonl'}"),
        *("--config.few_shot.examples=6", "--config.few_shot.rounds=1"),
        *("--config.rounds.count=3", "--config.rationalize.rehearsal=0.5"),
        *("--config.sampler.max_new_tokens=80", "--config.train.learning_rate=5e-5"),
        *("--config.train.batch_size=2", "--config.train.micro_batch=2"),
        *("--config.train.first_steps=32", "--config.train.growth=1.5", "--config.train.b2=0.98"),
    ),
)

if __name__ == "__main__":
    sys.exit(arms.main(STUDY, HERE.name))
