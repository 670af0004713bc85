"""The base class of multiple-choice tasks: their fields, texts, rules and checks for leaks."""

from collections.abc import Sequence

from star_jax.tasks import leaks
from star_jax.tasks.answer_rule import AnswerRule, Ending, finds_as
from star_jax.tasks.dataset import DataSet
from star_jax.tasks.multiple_choice import rows, text
from star_jax.tasks.rows import Flaw, Row
from star_jax.tasks.task import Problem


class MultipleChoice(DataSet):
    """A multiple-choice data set as a task; module `text` has its texts and rules."""

    def fields(self) -> Sequence[str]:
        """Returns the one field that all layouts have."""
        return ("answerKey",)

    def problem(self, split: str, row: Row) -> Problem | Flaw:
        """Returns the problem in a row, or the row's flaw."""
        del split
        return rows.convert(row)

    def prompt(self, problem: Problem, hint: bool) -> str:
        """The question and its choices, up to "A:"; with `hint`, the right one is marked."""
        return text.prompt(problem, hint)

    def message(self, problem: Problem, hint: bool) -> str:
        """The prompt without "Q:" and "A:"."""
        return text.message(problem, hint)

    def completion(self, rationale: str, answer: str) -> str:
        """A rationale that ends in the answer's words, and the letter."""
        return text.completion(rationale, answer)

    def direct(self, problem: Problem) -> str:
        """The answer's words and letter."""
        return text.direct(problem)

    def wrong_step(self, problem: Problem, completion: str) -> bool | None:
        """Returns whether the words of another choice conclude it; see `text.contradicts`."""
        return text.contradicts(problem, completion)

    def steps(self, problem: Problem, completion: str) -> tuple[str, ...] | None:
        """Returns None: reasons have no steps that can be compared."""
        del problem, completion
        return None

    def answer(self, completion: str) -> str | None:
        """The letter that ends "Therefore, the answer is ... (b)."; see `text.answer`."""
        return text.answer(completion)

    def ending(self) -> Ending:
        """Returns the ending after the line that concludes, or before the next question."""
        if not finds_as(MultipleChoice, self):
            return super().ending()
        return Ending(text.CUE, text.LETTERS, openings=self.openings)

    def byte_rule(self) -> AnswerRule | None:
        """Returns the rule of `answer` for a device; None for a class that finds answers itself."""
        if not finds_as(MultipleChoice, self):
            return None
        letters, ending = text.LETTERS, self.ending()
        return AnswerRule("letter at the end", text.CUE, letters=letters, ending=ending)

    def direct_answer(self, completion: str) -> str | None:
        """The letter that ends a completion of one line."""
        return text.direct_answer(completion)

    def flexible(self, problem: Problem, completion: str) -> str | None:
        """The choice that the completion settles on, by letter or by words; see `text.flexible`."""
        return text.flexible(problem, completion)

    def leaks(self, problem: Problem, completion: str) -> list[str]:
        """Returns the kinds of `leaks.leaks` with the mark "(CORRECT)", and "other words".

        "other words": another choice's words conclude it, so only its letter is the hint's.
        """
        answers = (text.text_of(problem), f"({problem.answer})")
        kinds = leaks.leaks(completion, marks=(text.MARK,), answers=answers)
        return [*kinds, "other words"] if text.contradicts(problem, completion) else kinds
