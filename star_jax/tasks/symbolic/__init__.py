"""Tasks whose questions are made up and whose steps are known: last letters and coin flips.

base.py     the base class
names.py    the names in the questions; the other files are one task each
"""

from star_jax.tasks.symbolic.base import Symbolic

__all__ = ["Symbolic"]
