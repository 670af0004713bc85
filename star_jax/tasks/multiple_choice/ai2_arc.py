"""ARC, the AI2 Reasoning Challenge (Clark et al., 2018): science questions of school exams.

Three to five choices, labelled by letters or by numbers. It has no rationales: the worked examples
are those of `science`.
"""

from collections.abc import Sequence
from typing import ClassVar

from star_jax.tasks.multiple_choice import science
from star_jax.tasks.multiple_choice.base import MultipleChoice
from star_jax.tasks.task import Problem


class Ai2Arc(MultipleChoice):
    """ARC as a task; `data` chooses between its two sets ("tfds:ai2_arc/ARC-Challenge")."""

    name: ClassVar[str] = "ai2_arc"

    def worked(self) -> Sequence[Problem]:
        """Six questions that are not from the data."""
        return science.WORKED
