"""The base class of tasks that make their questions up, and so know every step of the answer.

The tasks are those of Wei et al. (2022), on which a chain of thought is the step from guessing to
solving. Questions of one length are trained on, longer ones are out of distribution.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from star_jax.tasks import leaks, number_text, splits
from star_jax.tasks.answer_rule import OPENINGS, AnswerRule, Ending, finds_as, first_line
from star_jax.tasks.task import Problem

CUE = "The answer is"
_TRAIN, _EVALUATION, _FEW_SHOT = range(3)  # independent streams of random numbers
_DEV = 0.1  # share of the questions that is held out
_TRIES = 100  # draws for every question that is asked for


@dataclass(frozen=True)
class Symbolic:
    """A task of questions that are drawn at random.

    A hash of a question says whether it is held out, the same under every seed. A problem's class
    is the number of its parts, such as the words of a name.

    Attributes:
        length: parts of a question that is trained on.
        ood_length: parts of the longest question of the evaluation; 0 for no longer one.
    """

    length: int = 2
    ood_length: int = 4
    name: ClassVar[str]
    unit: ClassVar[str]
    separator: ClassVar[str] = "\n\n"
    markup: ClassVar[tuple[str, ...]] = ()

    def draw(self, rng: np.random.Generator, group: str) -> str:
        """Returns a question of class `group`, drawn at random."""
        raise NotImplementedError

    def solve(self, question: str) -> tuple[str, str]:
        """Returns the true rationale and the answer of a question."""
        raise NotImplementedError

    def found_steps(self, completion: str) -> list[str]:
        """Returns the steps in a completion, in order and in canonical form; [] without any."""
        raise NotImplementedError

    def beyond(self) -> list[str]:
        """Returns the classes out of distribution."""
        return [str(length) for length in range(self.length + 1, self.ood_length + 1)]

    def train(self, seed: int, round: int, count: int) -> list[Problem]:
        """Returns `count` different questions of `length` parts that are not held out."""
        return self._draw((_TRAIN, seed, round), str(self.length), count, held_out=False)

    def evaluation(self, seed: int, count: int, ood_count: int) -> list[Problem]:
        """Returns held-out questions: `count` of `length` parts, `ood_count` of other classes."""
        counts = {str(self.length): count} | dict.fromkeys(self.beyond(), ood_count)
        return [
            problem
            for number, (group, most) in enumerate(counts.items())
            for problem in self._draw((_EVALUATION, seed, number), group, most, held_out=True)
        ]

    def test(self, count: int) -> list[Problem]:
        """Returns []: the held-out questions are like the rest, so there is no test set."""
        del count
        return []

    def in_distribution(self, group: str) -> bool:
        """Returns whether questions of this class are trained on."""
        return group == str(self.length)

    def few_shot(self, seed: int, count: int) -> list[Problem]:
        """Returns `count` worked questions of `length` parts."""
        return self._draw((_FEW_SHOT, seed), str(self.length), count, held_out=False)

    def prompt(self, problem: Problem, hint: bool) -> str:
        """The question, with `hint` the answer in parentheses after it, and a line "A:"."""
        return f"Q: {self.message(problem, hint)}\nA:"

    def message(self, problem: Problem, hint: bool) -> str:
        """The question, with the hint after it."""
        return problem.question + (f" ({problem.answer})" if hint else "")

    def completion(self, rationale: str, answer: str) -> str:
        """The rationale, then "The answer is" and the answer."""
        return f" {rationale} {CUE} {answer}" if rationale else f" {CUE} {answer}"

    def direct(self, problem: Problem) -> str:
        """The answer alone."""
        return f" {problem.answer}"

    def answer(self, completion: str) -> str | None:
        """The words after the last "The answer is" on its line, as they are; None without any."""
        _, cue, tail = completion.rpartition(CUE)
        return self.direct_answer(first_line(tail)) if cue else None

    def ending(self) -> Ending:
        """Returns the ending after the line that has the answer."""
        return Ending(CUE, openings=OPENINGS)

    def byte_rule(self) -> AnswerRule | None:
        """Returns the rule of `answer` for a device; None for a class that finds answers itself."""
        return AnswerRule("line", CUE, ending=self.ending()) if finds_as(Symbolic, self) else None

    def direct_answer(self, completion: str) -> str | None:
        """The words of the whole completion; a number in canonical form."""
        return number_text.canonical(completion) or " ".join(completion.split()) or None

    def flexible(self, problem: Problem, completion: str) -> str | None:
        """The last word of the completion, in lower case."""
        del problem
        words = re.findall(r"[A-Za-z]+", completion)
        return words[-1].lower() if words else None

    def leaks(self, problem: Problem, completion: str) -> list[str]:
        """Returns the kinds of leak that `leaks.leaks` finds."""
        marks = [f"({problem.answer})"]
        return leaks.leaks(completion, marks=marks, answers=[problem.answer])

    def wrong_step(self, problem: Problem, completion: str) -> bool | None:
        """Returns whether the steps differ from the true ones; None without a step."""
        found, (rationale, _) = self.found_steps(completion), self.solve(problem.question)
        return found != self.found_steps(rationale) if found else None

    def steps(self, problem: Problem, completion: str) -> tuple[str, ...] | None:
        """Returns the steps of the rationale; None without one."""
        del problem
        return tuple(self.found_steps(completion)) or None

    def longest(self, group: str, direct: bool = False) -> str:
        """Returns "": how long a name is depends on the tokenizer."""
        del group, direct
        return ""

    def corpus(self, seed: int, count: int, hinted: float, easy: float) -> list[tuple[str, str]]:
        """Returns []: there is no corpus, so the model must be pretrained."""
        del seed, count, hinted, easy
        return []

    def _draw(
        self, stream: tuple[int, ...], group: str, count: int, *, held_out: bool
    ) -> list[Problem]:
        """Returns `count` different problems of a class.

        Raises:
            ValueError: there are too few of them.
        """
        rng, drawn = np.random.default_rng(stream), dict[str, Problem]()
        for _ in range(_TRIES * count):
            if len(drawn) == count:
                break
            question = self.draw(rng, group)
            rationale, answer = self.solve(question)
            problem = Problem(question, question, answer, rationale, group)
            if splits.held_out(problem, 0, _DEV) == held_out:
                drawn[question] = problem
        if len(drawn) < count:
            raise ValueError(
                f"{self.name}: {count} different questions of {group} {self.unit} were asked for, "
                f"and {len(drawn)} were found; ask for fewer, or set a larger config.task.length"
            )
        return list(drawn.values())
