"""STaR on the paper's arithmetic: sums of 1 to 5 digits, and 6 to 10 out of distribution.

command   python -m star_jax.main --config=configs/arithmetic.py --workdir=runs/arithmetic
hardware  a CPU with 2 cores
time      (to be measured) minutes in all
expected  (to be measured) % of the held-out sums of 1-5 digits, from (to be measured) % at the base

The base model is pretrained here, from scratch, on scratchpads whose digits are right only where
a hint gives the answer. So it knows the format and can follow a hint, but it cannot add.
"""

from ml_collections import ConfigDict

from star_jax import settings


def get_config() -> ConfigDict:
    """The defaults, which are made for this experiment."""
    return settings.defaults()
