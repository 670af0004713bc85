import dataclasses
from typing import ClassVar

import pytest

from star_jax import tasks
from star_jax.schema import Task as Chosen
from star_jax.tasks import choices
from star_jax.tasks.answer_rule import AnswerRule, finds_as
from star_jax.tasks.arithmetic import Arithmetic
from star_jax.tasks.commonsense_qa import CommonsenseQA
from star_jax.tasks.data_set import DataSet
from star_jax.tasks.gsm8k import GSM8K
from star_jax.tasks.jsonl import Jsonl


class Other:
    """Replaces a part of another task."""

    def answer(self, completion: str) -> str | None:
        return completion


class Renamed(Jsonl):
    name: ClassVar[str] = "renamed"

    def flexible(self, problem: tasks.Problem, completion: str) -> str | None:
        return None


class Finds(Jsonl):
    def find(self, text: str) -> str | None:
        return text[-1:]


class Lists(Renamed):
    def canonical(self, text: str) -> str | None:
        return text.lower()


class Sure(Finds):
    def byte_rule(self) -> AnswerRule | None:
        return AnswerRule("last letter", letters="ab")


@dataclasses.dataclass(frozen=True)
class Settled(Jsonl):
    rule: str = "number"


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        (Arithmetic(), AnswerRule("digits", "</scratch>\n")),
        (GSM8K("-"), AnswerRule("number first", "#### ", first=True)),
        (CommonsenseQA("-"), choices.RULE),
        (Jsonl("-", pattern="so:"), AnswerRule("line", "so:")),
        (Settled("-"), AnswerRule("last number")),
        (Jsonl("-", rule="regex", pattern="(a)"), None),
        (DataSet("-"), None),
        # derived classes
        (Renamed("-"), AnswerRule("line", "####")),
        (Sure("-"), AnswerRule("last letter", letters="ab")),
        (Finds("-"), None),
        (Lists("-"), None),
        (type("Mixed", (Other, Jsonl), {})("-"), None),
        (type("Mixed", (Other, GSM8K), {})("-"), None),
        (type("Mixed", (Other, CommonsenseQA), {})("-"), None),
        (type("Mixed", (Other, Arithmetic), {})(), None),
    ],
)
def test_a_rule_holds_where_nothing_of_it_is_replaced(task: tasks.Task, rule: AnswerRule | None):
    assert task.byte_rule() == rule


def test_every_task_has_a_rule():
    for name in tasks.TASKS:
        assert tasks.make(Chosen(name=name, data="-")).byte_rule() is not None


def test_what_is_replaced_further_up_does_not_matter():
    assert finds_as(Lists, Lists("-"))
    assert not finds_as(Jsonl, Lists("-"))
