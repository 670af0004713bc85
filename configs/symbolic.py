"""STaR on questions that are made up: last letters of names, and coin flips (Wei et al., 2022).

command   python -m star_jax.main --config=configs/symbolic.py:last_letters
          --workdir=runs/last_letters --config.model.source="$(make -s smollm2)"
          --config=configs/symbolic.py:coin_flip is the other task
hardware  a CPU with 2 cores
time      about 25 minutes, on one core 40
expected  see experiments/last_letters_smollm2

SmolLM2-135M can be given names and letters, but not spell. With the hint it copies the letters into
the last sentence and guesses the ones before: only a look at the steps tells which rationales are
worth training on. It then learns first to follow the hint, with which it learns to spell.
"""

from ml_collections import ConfigDict

from star_jax.config import validation

VARIANTS = ("last_letters", "coin_flip")


def get_config(variant: str = "last_letters") -> ConfigDict:
    """The experiment; `variant` is what follows the colon, one of `VARIANTS`.

    Raises:
        ValueError: there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"configs/symbolic.py:{variant}: the variants are {', '.join(VARIANTS)}")
    config = validation.defaults()
    config.task.name = variant
    config.model.source = "HuggingFaceTB/SmolLM2-135M-Instruct"
    config.few_shot.update(examples=4, rounds=1)
    config.filter.update(wrong_steps=True, unchecked=True)
    config.rounds.update(count=6, problems=512, keep_weights="best")
    config.evaluate.update(problems=150, ood_problems=40)
    config.sampler.max_new_tokens = 96
    config.train.update(
        batch_size=2, length=512, micro_batch=2, learning_rate=1e-4, warmup_steps=5, b2=0.98
    )
    config.train.update(first_steps=20, growth=1.25, save_every=100)
    config.rationalize.rehearsal = 1.0  # what it learns first is to follow the hint
    if variant == "coin_flip":
        # One pattern of flips is all that it writes without chance, and it then learns no other.
        config.sampler.update(samples=4, temperature=0.8)
        config.few_shot.examples = 8
        config.rounds.update(problems=192, data="all")  # a round alone may lack a pattern
        config.train.update(first_steps=16, growth=1.4)  # "tails" means "no": learned last
    return config
