"""Tasks of multiple choice.

base.py  what they have in common; text.py: prompts and answers; rows.py: their data
The others are one data set each.
"""

from star_jax.tasks.multiple_choice.base import MultipleChoice

__all__ = ["MultipleChoice"]
