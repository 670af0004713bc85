"""What the tasks of multiple choice have in common: everything but where their rows come from."""

from collections.abc import Sequence

from star_jax.tasks import leaks
from star_jax.tasks.answer_rule import AnswerRule, Ending, finds_as
from star_jax.tasks.dataset import DataSet
from star_jax.tasks.multiple_choice import rows, text
from star_jax.tasks.rows import Flaw, Row
from star_jax.tasks.task import Problem


class MultipleChoice(DataSet):
    """A data set of multiple choice as a task; `choices` has its text and its rules."""

    def fields(self) -> Sequence[str]:
        """The one that all layouts have."""
        return ("answerKey",)

    def problem(self, split: str, row: Row) -> Problem | Flaw:
        """The problem in a row, or what is wrong with it."""
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
        """Whether it concludes with the words of another choice; see `choices.contradicts`."""
        return text.contradicts(problem, completion)

    def answer(self, completion: str) -> str | None:
        """The letter that ends "Therefore, the answer is ... (b)."; see `choices.answer`."""
        return text.answer(completion)

    def ending(self) -> Ending:
        """After the line that concludes with a letter, or before the next question."""
        if not finds_as(MultipleChoice, self):
            return super().ending()
        return Ending(text.CUE, text.LETTERS, openings=self.openings)

    def byte_rule(self) -> AnswerRule | None:
        """The same for a device."""
        if not finds_as(MultipleChoice, self):
            return None
        letters, ending = text.LETTERS, self.ending()
        return AnswerRule("letter at the end", text.CUE, letters=letters, ending=ending)

    def direct_answer(self, completion: str) -> str | None:
        """The letter that ends a completion of one line."""
        return text.direct_answer(completion)

    def flexible(self, problem: Problem, completion: str) -> str | None:
        """The choice settled on, by letter or by words; see `choices.flexible`."""
        return text.flexible(problem, completion)

    def leaks(self, problem: Problem, completion: str) -> list[str]:
        """See `leaks.leaks`: the mark is "(CORRECT)".

        And "other words": it concludes with another choice's, so only its letter is the hint's.
        """
        answers = (text.text_of(problem), f"({problem.answer})")
        found = leaks.leaks(completion, marks=(text.MARK,), answers=answers)
        return [*found, "other words"] if text.contradicts(problem, completion) else found
