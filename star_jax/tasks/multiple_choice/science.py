"""Science questions: ARC (Clark et al., 2018) and OpenBookQA (Mihaylov et al., 2018).

Neither data set has rationales. Both tasks show the same six worked examples, whose questions are
from neither.
"""

from collections.abc import Sequence
from typing import ClassVar

from star_jax.tasks.multiple_choice import text
from star_jax.tasks.multiple_choice.base import MultipleChoice
from star_jax.tasks.multiple_choice.text import LETTERS
from star_jax.tasks.task import Problem


def worked(
    id: str, group: str, question: str, texts: tuple[str, ...], letter: str, reasons: str
) -> Problem:
    """Returns a worked example; `reasons` is its rationale up to the conclusion."""
    rationale = text.conclude(reasons, texts[LETTERS.index(letter)])
    return Problem(id, question, letter, rationale, group, texts)


WORKED = (
    worked(
        "worked 1",
        "why",
        "A metal spoon feels colder than a wooden spoon in the same drawer. Why?",
        (
            "The metal spoon has a lower temperature.",
            "Wood makes heat of its own.",
            "Metal carries heat away from the hand faster.",
            "The metal spoon is heavier.",
        ),
        "c",
        "Things that lie in one drawer for long have the same temperature, and wood makes no heat. "
        "What a hand feels is how fast it loses heat. Metal conducts heat better than wood.",
    ),
    worked(
        "worked 2",
        "what",
        "What do the roots of a bean plant take in?",
        ("water", "sunlight", "sugar", "seeds"),
        "a",
        "Roots grow in the soil, where there is no light. Sugar is made in the leaves, and seeds "
        "are made by flowers. The soil holds rain, which roots take up.",
    ),
    worked(
        "worked 3",
        "which",
        "Which change is a chemical change?",
        ("ice melting", "paper being cut", "sugar dissolving in tea", "an iron nail rusting"),
        "d",
        "A chemical change makes a new substance. Melted ice is still water, cut paper is still "
        "paper, and dissolved sugar is still sugar. Rust is a new substance of iron and oxygen.",
    ),
    worked(
        "worked 4",
        "what",
        "A forest has many mice and a few owls that eat them. Most of the mice die of a disease. "
        "What happens to the owls next?",
        (
            "Their number grows.",
            "Their number falls.",
            "They begin to eat grass.",
            "They catch more mice than before.",
        ),
        "b",
        "The owls live on the mice. With few mice left there is less to eat, owls cannot live on "
        "plants, and fewer of them survive.",
    ),
    worked(
        "worked 5",
        "how",
        "How long does the Earth take to go once around the Sun?",
        ("one day", "one week", "one month", "one year"),
        "d",
        "A day is one turn of the Earth about itself, and about a month is one trip of the Moon "
        "around the Earth. The seasons come back after one trip around the Sun.",
    ),
    worked(
        "worked 6",
        "where",
        "Where would a book be pulled with the least force?",
        ("on the Moon", "at sea level", "in a cave", "on the top of a mountain"),
        "a",
        "The pull is gravity, which is weaker where the body below has less mass. A cave, the sea "
        "and a mountain are all on the Earth. The Moon has far less mass than the Earth.",
    ),
)
"""Six worked examples at the level of a middle school."""


class Ai2Arc(MultipleChoice):
    """ARC, the AI2 Reasoning Challenge, as a task: science questions of school exams.

    A question has three to five choices, labelled by letters or by numbers. `data` names one of
    its two sets ("tfds:ai2_arc/ARC-Challenge").
    """

    name: ClassVar[str] = "ai2_arc"

    def worked(self) -> Sequence[Problem]:
        """Returns six questions that are not from the data."""
        return WORKED


class OpenBookQA(MultipleChoice):
    """OpenBookQA as a task: four choices; a fact of school science leads to one of them.

    The prompt does not contain the fact.
    """

    name: ClassVar[str] = "openbookqa"

    def worked(self) -> Sequence[Problem]:
        """Returns six questions that are not from the data."""
        return WORKED
