"""CommonsenseQA (Talmor et al., 2019): five choices, one of which common sense prefers.

Its test set has no labels, so results are reported on its validation split, as STaR's are. The
development split is part of the training split.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from star_jax.tasks.multiple_choice import text
from star_jax.tasks.multiple_choice.base import MultipleChoice
from star_jax.tasks.task import Problem

RATIONALES = {
    "9b8cd9811a98920365c738d2084eefa5": (
        "The longest wall of ancient times is the Great Wall of China. Of the choices, only China "
        "is a country at all."
    ),
    "bb88d739e151e829aca4661519169299": (
        "An atheist does not believe in any god, and secular thought does without faith. What it "
        "opposes is faith of every kind, so ideas that are religious, and not just those of monks "
        "or of one church."
    ),
    "4e2b4bbef140ddb7c8df9c6ece9d38e1": (
        "Television and radio both have sound, and both can entertain. What television adds is a "
        "picture to look at, so it is visual."
    ),
    "60bc0c9d8e2bd752ae0a498f4fb9881d": (
        "Something brand new has to be bought. Libraries and bedrooms contain book shelves but do "
        "not sell them. A book shelf is a piece of furniture, and stores for furniture sell it."
    ),
    "e034b198a4da90094d38df8693d303fa": (
        "Jim needs a way to get rich without working with his body or meeting people. Hunting for "
        "treasure is physical labor, and real estate is sold by dealing with people. Stocks can "
        "be traded alone at a desk by someone who has studied the market."
    ),
    "88214dd825029399bcb8411a71ccaf4e": (
        "Confessing a murder leads to prison, so nobody does it to go free. People who did "
        "something terrible may feel so guilty that they have to tell, which is their conscience."
    ),
    "1a571643a09f5fac40cc4e2a50e2eb82": (
        "Smiling, laughing and being happy are part of having fun and do not stop it. Football is "
        "a rough sport, and a player with an injury is in pain and has to leave the game."
    ),
    "dcde23ce60ec0db2348cb355e35afd49": (
        "Going to space takes a vehicle that can leave the Earth. A car drives on roads, and a "
        "building does not move. A space shuttle is launched by rockets and carries a crew."
    ),
    "f85b6ec6ad784b0664935f21877003cd": (
        "A visitor from abroad does not belong to a school or an office in the city, so he cannot "
        "use the computers there. Without his own he goes to a public place that rents computers, "
        "which an internet cafe does."
    ),
    "89664d34bf345c587855e5a2e25caf3b": (
        "Different stores ask different prices for the same product. Someone who visits many of "
        "them before buying is comparing the offers to find the best one."
    ),
}
"""The reasons for the right choice of ten questions of the training split, by the row's id."""


class CommonsenseQA(MultipleChoice):
    """CommonsenseQA as a task."""

    name: ClassVar[str] = "commonsense_qa"
    test_split: ClassVar[str] = "validation"
    no_examples: ClassVar[str] = (
        "they are rows of its published training split; take that, or set "
        "config.few_shot.examples=0"
    )

    def worked(self) -> Sequence[Problem]:
        """Returns the questions of `RATIONALES` that are in the data, in that order."""
        return self._worked

    @functools.cached_property
    def _worked(self) -> list[Problem]:
        by_id = {problem.id: problem for problem in self.all_of_train}
        return [
            replace(by_id[id], rationale=text.conclude(reasons, text.text_of(by_id[id])))
            for id, reasons in RATIONALES.items()
            if id in by_id
        ]
