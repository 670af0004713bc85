"""OpenBookQA (Mihaylov et al., 2018): four choices; a fact of school science leads to one of them.

The fact itself is not shown. The worked examples are those of `science`.
"""

from collections.abc import Sequence
from typing import ClassVar

from star_jax.tasks.multiple_choice import science
from star_jax.tasks.multiple_choice.base import MultipleChoice
from star_jax.tasks.task import Problem


class OpenBookQA(MultipleChoice):
    """OpenBookQA as a task."""

    name: ClassVar[str] = "openbookqa"

    def worked(self) -> Sequence[Problem]:
        """Six questions that are not from the data."""
        return science.WORKED
