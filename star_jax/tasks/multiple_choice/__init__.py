"""Multiple-choice tasks.

base.py     the base class
text.py     prompts and answers
rows.py     rows of the data sets
science.py  ARC and OpenBookQA; the other files are one data set each
"""

from star_jax.tasks.multiple_choice.base import MultipleChoice

__all__ = ["MultipleChoice"]
