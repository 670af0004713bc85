"""What the tasks of multiple choice have in common: everything but where their rows come from."""

from collections.abc import Sequence

from star_jax import leaks
from star_jax.tasks import choice_rows, choices
from star_jax.tasks.answer_rule import AnswerRule, Ending, finds_as
from star_jax.tasks.data_set import DataSet
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
        return choice_rows.convert(row)

    def prompt(self, problem: Problem, hint: bool) -> str:
        """The question and its choices, up to "A:"; with `hint`, the right one is marked."""
        return choices.prompt(problem, hint)

    def message(self, problem: Problem, hint: bool) -> str:
        """The prompt without "Q:" and "A:"."""
        return choices.message(problem, hint)

    def completion(self, rationale: str, answer: str) -> str:
        """A rationale that ends in the answer's words, and the letter."""
        return choices.completion(rationale, answer)

    def direct(self, problem: Problem) -> str:
        """The answer's words and letter."""
        return choices.direct(problem)

    def wrong_step(self, problem: Problem, completion: str) -> bool | None:
        """Whether it concludes with the words of another choice; see `choices.contradicts`."""
        return choices.contradicts(problem, completion)

    def answer(self, completion: str) -> str | None:
        """The letter that ends "Therefore, the answer is ... (b)."; see `choices.answer`."""
        return choices.answer(completion)

    def ending(self) -> Ending:
        """After the line that concludes with a letter, or before the next question."""
        if not finds_as(MultipleChoice, self):
            return super().ending()
        return Ending(choices.CUE, choices.LETTERS, openings=self.openings)

    def byte_rule(self) -> AnswerRule | None:
        """The same for a device."""
        if not finds_as(MultipleChoice, self):
            return None
        letters, ending = choices.LETTERS, self.ending()
        return AnswerRule("letter at the end", choices.CUE, letters=letters, ending=ending)

    def direct_answer(self, completion: str) -> str | None:
        """The letter that ends a completion of one line."""
        return choices.direct_answer(completion)

    def flexible(self, problem: Problem, completion: str) -> str | None:
        """The choice settled on, by letter or by words; see `choices.flexible`."""
        return choices.flexible(problem, completion)

    def leaks(self, problem: Problem, completion: str) -> list[str]:
        """See `leaks.leaks`: the mark is "(CORRECT)".

        And "other words": it concludes with another choice's, so only its letter is the hint's.
        """
        answers = (choices.text_of(problem), f"({problem.answer})")
        found = leaks.leaks(completion, marks=(choices.MARK,), answers=answers)
        return [*found, "other words"] if choices.contradicts(problem, completion) else found
