"""What holds for every task in the table."""

import dataclasses
from typing import Any

import pytest

import choice_data
from star_jax import tasks
from star_jax.config import schema
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.tasks import Problem, Task
from star_jax.tasks.arithmetic import Arithmetic
from star_jax.tasks.multiple_choice.commonsense_qa import RATIONALES

EVERY = pytest.mark.parametrize("task", schema.TASKS, indirect=True)
MATH_QA = {
    "Problem": "{0} books cost $ {0} . what does one cost ?",
    "options": "a ) {0} , b ) 1 , c ) 10 , d ) 0 , e ) none of these",
    "correct": "b",
}


@pytest.fixture(scope="module")
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The task of that name, on 300 rows made up for it; a generated one as it is."""
    name, folder = request.param, tmp_path_factory.mktemp("data")
    rows: list[Any] = choice_data.rows(0, 300)
    if name == "commonsense_qa":
        rows = [choice_data.row(i, id) for i, id in enumerate(RATIONALES, 300)] + rows
    if name in ("gsm8k", "jsonl"):
        text = "Ken had {0} eggs and bought 2."
        answer = "That is {0}+2 = <<{0}+2={1}>>{1} eggs.\n#### {1}"
        rows = [{"question": text.format(i), "answer": answer.format(i, i + 2)} for i in range(300)]
    if name == "math_qa":
        rows = [{key: value.format(i) for key, value in MATH_QA.items()} for i in range(300)]
    choice_data.write(folder, "train", rows)
    shown = str(choice_data.write(folder, "shown", rows[:9]) / "shown.jsonl")
    return tasks.make(schema.Task(name=name, data=str(folder), dev=0.3, few_shot_file=shown))


def test_a_problem_cannot_be_changed():
    problem = Problem("1+1", "1 + 1", "2", "", "1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(problem, "answer", "3")  # noqa: B010  (a plain assignment fails the type check)


def test_make_passes_the_settings_on():
    chosen = schema.Task(min_digits=2, max_digits=3, ood_digits=0)
    assert tasks.make(chosen) == Arithmetic(min_digits=2, max_digits=3, ood_digits=0)


def test_the_table_has_the_names_that_settings_allow():
    assert tuple(tasks.TASKS) == schema.TASKS
    for name, kind in tasks.TASKS.items():
        assert kind.name == name
        assert tasks.make(schema.Task(name=name, data="somewhere")).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("arithmetics", "no task is called 'arithmetics'; did you mean 'arithmetic'"),
        ("zzz", "no task is called 'zzz'. The tasks are: arithmetic"),
    ],
)
def test_make_refuses_an_unknown_name(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        tasks.make(schema.Task(name=name))


@EVERY
def test_its_name_is_its_key(task: Task):
    assert isinstance(task, tasks.TASKS[task.name])


@EVERY
@pytest.mark.parametrize("seed", [0, 7])
def test_training_and_few_shot_problems_are_never_evaluated(task: Task, seed: int):
    held_out = {problem.question for problem in task.evaluation(seed, 200, 20)}
    seen = [p for round in (1, 2, 3) for p in task.train(seed, round, 3000)]
    seen += task.few_shot(seed, 10)
    assert held_out.isdisjoint(problem.question for problem in seen)


@EVERY
def test_problems_are_a_function_of_their_arguments(task: Task):
    assert task.train(0, 1, 50) == task.train(0, 1, 50)
    assert task.train(0, 1, 50) != task.train(0, 2, 50)
    assert task.train(0, 1, 50) != task.train(1, 1, 50)
    assert task.evaluation(0, 5, 5) == task.evaluation(0, 5, 5)
    assert task.evaluation(0, 5, 5) != task.evaluation(1, 5, 5)
    assert task.few_shot(0, 2) == task.few_shot(0, 2)
    assert task.corpus(0, 9, 0.5, 0.5) == task.corpus(0, 9, 0.5, 0.5)


@EVERY
def test_ids_are_unique_in_a_list(task: Task):
    for problems in (task.train(0, 1, 3000), task.evaluation(0, 200, 20)):
        assert len({problem.id for problem in problems}) == len(problems)


@EVERY
def test_gold_text_is_graded_right(task: Task):
    for problem in task.train(0, 1, 60) + task.evaluation(0, 5, 5) + task.few_shot(0, 2):
        gold = task.completion(problem.rationale, problem.answer)
        assert task.answer(gold) == problem.answer
        assert task.direct_answer(task.direct(problem)) == problem.answer
        assert not task.wrong_step(problem, gold)
        for encode in (str.encode, ByteTokenizer(task.markup).encode):
            for direct, text in ((False, gold), (True, task.direct(problem))):
                longest = task.longest(problem.group, direct)
                assert not longest or len(encode(text)) <= len(encode(longest))


@EVERY
def test_markup_is_what_the_texts_are_full_of(task: Task):
    tokenizer = ByteTokenizer(task.markup)
    text = task.longest(task.train(0, 1, 1)[0].group)
    prompt = task.prompt(task.train(0, 1, 1)[0], hint=True)
    for string in task.markup:
        assert string in prompt + text
    assert tokenizer.decode(tokenizer.encode(text)) == text


@EVERY
def test_a_stored_problem_gives_the_same_prompt(task: Task):
    for problem in task.train(0, 1, 20):
        stored = dataclasses.replace(problem, rationale="")
        for hint in (False, True):
            assert task.prompt(stored, hint) == task.prompt(problem, hint)


@EVERY
def test_only_training_groups_are_in_distribution(task: Task):
    trained = {problem.group for problem in task.train(0, 1, 100)}
    for problem in task.evaluation(0, 3, 3):
        assert task.in_distribution(problem.group) == (problem.group in trained)
