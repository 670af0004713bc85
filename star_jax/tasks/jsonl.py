r"""Questions and answers of your own, from a file of JSON lines.

Settings name the fields of a row that hold the question and the answer. They also name the rule by
which an answer is found in a text, which is a model's completion or the answer field:

    rule      finds                                  end of a completion
    marker    the text after the last "####"         ... 48 + 24 = 72.\n#### 72
    number    the last number                        ... 48 + 24 = 72.\n#### 72
    letter    the last letter in parentheses         ... Therefore, the answer is (b).
    regex     the first group of the last match      ...\n72

An answer field in which the rule finds nothing is an answer itself. With the rule "number" it must
be one number, or end in one as a solution does (see `gold_numbers`). Answers are compared in a
canonical form: numbers as in `number_text`, letters in lower case, other text with single spaces.
"""

import functools
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from star_jax.tasks import gold_numbers, leaks, number_text, values
from star_jax.tasks.answer_rule import AnswerRule, Ending, finds_as, first_line
from star_jax.tasks.dataset import DataSet
from star_jax.tasks.multiple_choice.text import CUE
from star_jax.tasks.rows import Flaw, Row
from star_jax.tasks.task import Problem

_RULES = ("marker", "number", "letter", "regex")
_LETTER = re.compile(r"\(([A-Za-z])\)")
_SAID_LETTER = re.compile(
    rf"{_LETTER.pattern}|\b(?i:answer)(?: is)?:? ([A-Za-z])(?=[.,:;)]|$)", re.MULTILINE
)


@dataclass(frozen=True)
class Jsonl(DataSet):
    r"""A task of rows with a question and an answer.

    For a rule of your own, derive a class from it and replace `find` and `canonical`.

    Attributes:
        data, dev, bad: the same as in `DataSet`.
        question_field, answer_field: name of a field, or a template: "{context}\n{question}". A
            name with a dot, "question.stem", is a field in a field.
        rule: "marker", "number", "letter" or "regex".
        pattern: the marker; for "regex" the expression, which has a group.
        hint: template of the text after the question in rationalization; its field is {answer}.
        few_shot_file: file of worked examples. Its rows are like those of `data`, with a field
            "rationale" or with the rationale before the marker in their answer field. "" for none.
    """

    question_field: str = "question"
    answer_field: str = "answer"
    rule: str = "marker"
    pattern: str = "####"
    hint: str = " ({answer})"
    few_shot_file: str = ""
    name: ClassVar[str] = "jsonl"
    no_examples: ClassVar[str] = (
        "write some rows with question, rationale and answer, and give "
        "config.task.few_shot_file=FILE; config.few_shot.examples=0 does without"
    )

    def __post_init__(self) -> None:
        if self.rule not in _RULES:
            raise ValueError(f"rule = {self.rule!r}: must be one of {', '.join(_RULES)}")
        if self.rule == "regex":
            _check_regex(self.pattern)
        elif not self.pattern.strip():
            raise ValueError(f"pattern = {self.pattern!r}: must be a marker, such as '####'")
        _fields("question_field", self.question_field)
        if self.answer_field:
            _fields("answer_field", self.answer_field)
        if "{" not in self.hint or _fields("hint", self.hint) != ["answer"]:
            raise ValueError(
                f"hint = {self.hint!r}: must have {{answer}} in it, and no other field"
            )

    def fields(self) -> Sequence[str]:
        """Returns the fields that the templates name."""
        question = _fields("question_field", self.question_field)
        return [
            *question,
            *(_fields("answer_field", self.answer_field) if self.answer_field else ()),
        ]

    def worked(self) -> Sequence[Problem]:
        """The rows of `few_shot_file`."""
        return self._worked

    def prompt(self, problem: Problem, hint: bool) -> str:
        """The question and the hint between "Q: " and a line "A:"."""
        return f"Q: {self.message(problem, hint)}\nA:"

    def message(self, problem: Problem, hint: bool) -> str:
        """The question, with the hint after it."""
        return problem.question + (self.hint.format(answer=problem.answer) if hint else "")

    def completion(self, rationale: str, answer: str) -> str:
        """The rationale, then the answer as the rule finds it."""
        if self.rule == "letter":
            return f" {f'{rationale} '.lstrip()}{CUE} ({answer})."
        last = answer if self.rule == "regex" else f"{self.pattern} {answer}"
        return f" {rationale}\n{last}" if rationale else f" {last}"

    def direct(self, problem: Problem) -> str:
        """The answer alone; a letter in parentheses."""
        return f" ({problem.answer})" if self.rule == "letter" else f" {problem.answer}"

    def answer(self, completion: str) -> str | None:
        """The canonical form of the text that the rule finds; None if it finds none."""
        text = self.find(completion)
        return None if text is None else self.canonical(text)

    def ending(self) -> Ending:
        """Returns the ending after the answer's line, or before the next question.

        With "regex", and in a class that finds answers otherwise, only the next question ends it.
        """
        if self.rule == "regex" or not finds_as(Jsonl, self, but=("canonical",)):
            return super().ending()
        marker = CUE if self.rule == "letter" else self.pattern
        letters = string.ascii_letters if self.rule == "letter" else ""
        return Ending(marker, letters, self.rule == "number", self.openings)

    def byte_rule(self) -> AnswerRule | None:
        """Returns `answer` for a device; None for "regex", and if a derived class finds answers."""
        ending = self.ending()
        rules = {
            "marker": AnswerRule("line", self.pattern, ending=ending),
            "number": AnswerRule("last number", ending=ending),
            "letter": AnswerRule("last letter", letters=string.ascii_letters, ending=ending),
        }
        return rules.get(self.rule) if finds_as(Jsonl, self) else None

    def find(self, text: str) -> str | None:
        """Returns the part of a text that is the answer by the rule; None if there is none."""
        if self.rule == "number":
            return number_text.last(text)
        if self.rule == "marker":
            _, marker, tail = text.rpartition(self.pattern)
            return first_line(tail) if marker else None
        expression = _LETTER if self.rule == "letter" else re.compile(self.pattern)
        *_, match = (None, *expression.finditer(text))
        return match[1] if match else None

    def canonical(self, text: str) -> str | None:
        """Returns the canonical form of a text that is an answer and nothing else, or None."""
        words = " ".join(text.split())
        if self.rule == "letter":
            letter = re.fullmatch(r"\(?([A-Za-z])\)?[.:]?", words)
            return letter[1].lower() if letter else None
        number = number_text.canonical(text)
        return number if number or self.rule == "number" else words or None

    def direct_answer(self, completion: str) -> str | None:
        """The canonical form of the whole completion."""
        return self.canonical(completion)

    def flexible(self, problem: Problem, completion: str) -> str | None:
        """The last number, the last letter in parentheses or after "answer", or the last words.

        The form of the gold answer decides which. Words are compared without regard to letter case
        and to punctuation after them. If the last line does not end in them, the rule decides.
        """
        if self.rule == "letter":
            letters = _SAID_LETTER.findall(completion)
            return "".join(letters[-1]).lower() if letters else None
        if number_text.canonical(problem.answer):
            return number_text.last(completion)
        end = " ".join((completion.strip().splitlines() or [""])[-1].split()).rstrip(" .!*")
        gold = problem.answer.rstrip(" .!*")
        ends = re.search(rf"(?<!\w){re.escape(gold)}$", end, re.IGNORECASE)
        return problem.answer if gold and ends else self.answer(completion)

    def leaks(self, problem: Problem, completion: str) -> list[str]:
        """Returns the kinds of leak that `leaks.leaks` finds; a hint with words is a mark."""
        words = re.search("[A-Za-z]", self.hint.format(answer=""))
        marks = [self.hint.format(answer=problem.answer).strip()] if words else []
        one = f"({problem.answer})" if self.rule == "letter" else problem.answer
        return leaks.leaks(completion, marks=marks, answers=[one])

    @functools.cached_property
    def _worked(self) -> list[Problem]:
        file = self.few_shot_file
        return self.load(file, "train", "few_shot") if file else []

    def problem(self, split: str, row: Row) -> Problem | Flaw:
        """Returns the problem in a row, or the row's flaw."""
        question = _text(self.question_field, row.values)
        if not question:
            return Flaw(row.line, "no question", f"nothing in {self.question_field!r}")
        if not self.answer_field and split != "few_shot":
            return Problem(f"{split}:{row.line}", question, "", "", group="all")
        field = _text(self.answer_field or "answer", row.values)
        if not field:
            return Flaw(row.line, "no answer", f"nothing in {self.answer_field!r}")
        answer = self._gold(field)
        if answer is None:
            what = "one number, or text that ends in one," if self.rule == "number" else self.rule
            return Flaw(row.line, "bad answer", f"no {what} in {field[-60:]!r}")
        rationale = _unbroken(_text("rationale", row.values) or self._rationale(field))
        if split == "few_shot" and not rationale:
            return Flaw(row.line, "no rationale", "nothing in 'rationale' or before the answer")
        gold = self.completion(rationale, answer)
        if self.answer(gold) != answer:
            where = f"where it is written as {gold[-60:]!r}"
            return Flaw(row.line, "bad answer", f"the rule misses {answer!r} {where}")
        if (end := self.ending().cut(gold)) != gold:
            what = f"more than one answer: it goes on after {end[-60:]!r}"
            return Flaw(row.line, "bad answer", what)
        return Problem(f"{split}:{row.line}", question, answer, rationale, group="all")

    def _gold(self, field: str) -> str | None:
        """Returns the canonical answer in an answer field; None if there is none."""
        if self.rule == "number" and finds_as(Jsonl, self):
            return gold_numbers.gold(field, self.pattern)
        return self.answer(field) or self.canonical(field)

    def _rationale(self, field: str) -> str:
        """Returns the text before the marker in an answer field."""
        head, marker, _ = field.rpartition(self.pattern)
        return head if marker and self.rule in ("marker", "number") else ""


def _check_regex(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"pattern = {pattern!r}: not a regular expression: {error}") from error
    if not groups:
        raise ValueError(f"pattern = {pattern!r}: must have the answer in a group: (...)")


def _fields(setting: str, template: str) -> list[str]:
    """Returns the names of the fields in a template; one without braces is a name itself.

    Raises:
        ValueError: it is empty, or has more than plain {field}s.
    """
    try:
        parts = [part[1:] for part in string.Formatter().parse(_template(template))]
    except ValueError as error:
        raise ValueError(f"{setting} = {template!r}: {error}") from error
    names = [name for name, _, _ in parts if name is not None]
    plain = all(not spec and not conversion for _, spec, conversion in parts)
    if not names or not plain or not all(re.fullmatch(r"[^\[\]]+", name) for name in names):
        raise ValueError(
            f"{setting} = {template!r}: must be a field's name, or text with {{field}}s"
        )
    return names


def _template(text: str) -> str:
    return text if "{" in text or "}" in text else f"{{{text}}}"


def _text(template: str, row: Mapping[str, Any]) -> str:
    """Fills in a template with the fields' values; "" if one has no text (see `values.text`)."""
    text = ""
    for literal, name, _, _ in string.Formatter().parse(_template(template)):
        text += literal
        if name is not None:
            value = _value(row, name)
            if value != "" and not values.text(value):
                return ""
            text += values.text(value)
    return text.strip()


def _value(values: Any, name: str) -> Any:
    """Returns the value of a field, or of a field in a field; None if there is none."""
    if not isinstance(values, Mapping):
        return None
    outer, _, inner = name.partition(".")
    return values[name] if name in values else _value(values.get(outer), inner)


def _unbroken(text: str) -> str:
    """Removes blank lines, which would end a completion."""
    return re.sub(r"\n\s*\n", "\n", text.strip())
