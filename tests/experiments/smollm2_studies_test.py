"""The studies with SmolLM2: every arm is a valid run, and the arms differ in what they compare."""

import pytest

from experiments.arithmetic_smollm2 import study as arithmetic
from experiments.coin_flip_smollm2 import study as coin_flip
from experiments.commonsense_qa_smollm2 import study as commonsense_qa
from experiments.gsm8k_smollm2 import study as gsm8k
from experiments.last_letters_smollm2 import study as last_letters
from experiments.word_problems_smollm2 import study as word_problems
from star_jax.config.schema import Settings
from studies import settings_of

MODEL = ("--config.model.source=SmolLM2.gguf",)
DATA = ("--config.task.data=FOLDER",)
STUDIES = {
    "arithmetic": (arithmetic.STUDY, MODEL),
    "commonsense_qa": (commonsense_qa.STUDY, MODEL + DATA),
    "gsm8k": (gsm8k.STUDY, MODEL + DATA),
    "coin_flip": (coin_flip.STUDY, MODEL),
    "last_letters": (last_letters.STUDY, MODEL),
    "word_problems": (word_problems.STUDY, MODEL + DATA),
}
ARMS = [(name, arm) for name, (study, _) in STUDIES.items() for arm in study.arms]


def made(name: str, arm: str) -> Settings:
    study, flags = STUDIES[name]
    return settings_of(study, arm, *flags)


@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_every_arm_is_a_valid_run(name: str, arm: str):
    settings = made(name, arm)
    if settings.rounds.count > 1:  # what is trained in several rounds makes the same updates
        assert settings.train == made(name, "star").train


@pytest.mark.parametrize("name", STUDIES)
def test_no_two_arms_are_the_same_run(name: str):
    settings = [made(name, arm) for arm in STUDIES[name][0].arms]
    assert len({str(one) for one in settings}) == len(settings)
