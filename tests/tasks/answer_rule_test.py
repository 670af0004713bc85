import dataclasses
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from star_jax import tasks
from star_jax.config.schema import Task as Chosen
from star_jax.tasks.answer_rule import OPENINGS, AnswerRule, Ending, finds_as
from star_jax.tasks.arithmetic import Arithmetic
from star_jax.tasks.dataset import DataSet
from star_jax.tasks.gsm8k import GSM8K
from star_jax.tasks.jsonl import Jsonl
from star_jax.tasks.multiple_choice import text as text_lib
from star_jax.tasks.multiple_choice.commonsense_qa import CommonsenseQA


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


CUE = text_lib.CUE
CONCLUDES = Ending(CUE, "abcde", openings=OPENINGS)


def after(marker: str, number: bool = False) -> Ending:
    return Ending(marker, "", number, OPENINGS)


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        (
            Arithmetic(),
            AnswerRule("digits", "</scratch>\n", ending=Ending("</scratch>\n", number=True)),
        ),
        (GSM8K("-"), AnswerRule("number first", "#### ", first=True, ending=after("#### ", True))),
        (
            CommonsenseQA("-"),
            AnswerRule("letter at the end", CUE, letters="abcde", ending=CONCLUDES),
        ),
        (Jsonl("-", pattern="so:"), AnswerRule("line", "so:", ending=after("so:"))),
        (Settled("-"), AnswerRule("last number", ending=after("####", True))),
        (Jsonl("-", rule="regex", pattern="(a)"), None),
        (DataSet("-"), None),
        # derived classes
        (Renamed("-"), AnswerRule("line", "####", ending=after("####"))),
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


# the task; what was written; the completion in it
ENDS = [
    # the line of the answer is the last one
    (GSM8K("-"), " 4 + 3 = 7\n#### 7\nQ: And 5 + 1?\nA: 6\n#### 6", " 4 + 3 = 7\n#### 7"),
    (GSM8K("-"), "#### 7\n#### 6", "#### 7"),
    (GSM8K("-"), "#### 7 \r\nmore", "#### 7"),
    (GSM8K("-"), "#### 7\u2028more", "#### 7"),
    (GSM8K("-"), "#### \n#### 7\n8", "#### \n#### 7"),
    (GSM8K("-"), "#### Step 1\n3 + 4\n#### 7\n8", "#### Step 1\n3 + 4\n#### 7"),
    (GSM8K("-"), "#### $７\n8", "#### $７"),
    (GSM8K("-"), "7.\nQuestion: And?\n#### 8", "7."),
    (
        Jsonl("-", rule="number"),
        "#### Step 1\n3 + 4\n#### Step 2\n7",
        "#### Step 1\n3 + 4\n#### Step 2\n7",
    ),
    (Jsonl("-", rule="number"), "It is 7.\nUser: And?\n8", "It is 7."),
    (Jsonl("-"), "4 + 3\n#### 7\n\n#### 6", "4 + 3\n#### 7"),
    (Jsonl("-"), "####\n7\n8", "####\n7\n8"),
    (Jsonl("-"), "#### 3 #### 4\n5", "#### 3 #### 4"),
    (Jsonl("-", pattern="so"), "so 7\nso 6", "so 7"),
    (Jsonl("-", rule="number"), "#### 7\nAnd 6.", "#### 7"),
    (Lists("-"), "#### Red, Blue\n#### Green", "#### Red, Blue"),
    (CommonsenseQA("-"), f" Ink. {CUE} pen (b).\nSo it is (a).", f" Ink. {CUE} pen (b)."),
    (CommonsenseQA("-"), f" {CUE} hard.\n{CUE} pen (b).\n", f" {CUE} hard.\n{CUE} pen (b)."),
    (CommonsenseQA("-"), f"{CUE} (a)? No.\n{CUE} pen (b) \n", f"{CUE} (a)? No.\n{CUE} pen (b)"),
    (CommonsenseQA("-"), f" {CUE} pen (f).\n{CUE} pen (b).\n1", f" {CUE} pen (f).\n{CUE} pen (b)."),
    (Jsonl("-", rule="letter"), f"{CUE} (B).\n(c)", f"{CUE} (B)."),
    (Arithmetic(), "<scratch>\n</scratch>\n8 3\nInput:\n1 + 1", "<scratch>\n</scratch>\n8 3"),
    # or what comes before a question of the model's own
    (Jsonl("-", rule="number"), " It is 7.\nQ: And 5 + 1?\nA: 6.", " It is 7."),
    (Jsonl("-", rule="letter"), " It is (a).\nQ: And?\nA: (b).", " It is (a)."),
    (Jsonl("-", rule="regex", pattern="(.)"), " 7\n \nQ: And?", " 7"),
    (Finds("-"), "#### 7\nmore\nQ: And?", "#### 7\nmore"),
    (CommonsenseQA("-"), " No idea.\nQ: And?", " No idea."),
    (GSM8K("-"), "\nQ: And?\nIt is 7.\nQ: No?", "\nQ: And?\nIt is 7."),
    # or nothing
    (GSM8K("-"), " It is 7.\nFAQ: no.\n Q: no", " It is 7.\nFAQ: no.\n Q: no"),
    (GSM8K("-"), " #### 7", " #### 7"),
    (GSM8K("-"), "#### 7 ", "#### 7 "),
    (GSM8K("-"), "", ""),
    (Arithmetic(), "8 3\n4", "8 3\n4"),
]


@pytest.mark.parametrize(("task", "text", "completion"), ENDS, ids=range(len(ENDS)))
def test_a_completion_ends_with_its_answer(task: tasks.Task, text: str, completion: str):
    found = task.ending().cut(text)
    assert found == completion
    assert task.ending().cut(found) == found


@given(st.text("#Q: 7\n\r(b)\u2028") | st.text())
def test_a_completion_is_the_head_of_what_was_written(text: str):
    for task in (GSM8K("-"), Jsonl("-"), CommonsenseQA("-"), Arithmetic()):
        found = task.ending().cut(text)
        assert text.startswith(found)
        assert task.ending().cut(found) == found
