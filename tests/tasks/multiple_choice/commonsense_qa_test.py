"""CommonsenseQA: its rows, its splits, and the ten rationales."""

import json
import pathlib

import pytest

import choice_data
from star_jax.tasks import splits
from star_jax.tasks.multiple_choice import text
from star_jax.tasks.multiple_choice.commonsense_qa import RATIONALES, CommonsenseQA
from star_jax.tasks.rows import DataError


@pytest.fixture(name="folder")
def _folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return choice_data.folder(tmp_path)


@pytest.fixture(name="task")
def _task(folder: pathlib.Path) -> CommonsenseQA:
    return CommonsenseQA(str(folder))


def lines(folder: pathlib.Path, split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def test_every_row_is_used_once(task: CommonsenseQA, folder: pathlib.Path):
    train, dev, shown = task.train(0, 1, 0), task.evaluation(0, 0, 0), task.few_shot(0, 10)
    ids = [problem.id for problem in train + dev + shown]
    assert sorted(ids) == sorted(row["id"] for row in lines(folder, "train"))
    assert task.flaws == {"train": [], "validation": []}
    assert 0.05 * len(ids) < len(dev) < 0.15 * len(ids)


def test_results_are_reported_on_the_validation_split(task: CommonsenseQA, folder: pathlib.Path):
    found = task.test(0)
    assert sorted(p.id for p in found) == sorted(row["id"] for row in lines(folder, "validation"))
    assert task.test(20) == found[:20]
    trained = {splits.key(p) for p in task.train(0, 1, 0) + task.evaluation(0, 0, 0)}
    assert trained.isdisjoint(splits.key(problem) for problem in found)


def test_gold_letters_are_those_of_the_data(task: CommonsenseQA, folder: pathlib.Path):
    letters = {row["id"]: row["answerKey"].lower() for row in lines(folder, "validation")}
    for problem in task.test(0):
        assert problem.answer == letters[problem.id]
        assert task.direct_answer(task.direct(problem)) == problem.answer
        assert task.flexible(problem, task.direct(problem)) == problem.answer
        concluded = text.conclude("So.", text.text_of(problem))
        completion = task.completion(concluded, problem.answer)
        assert task.answer(completion) == task.flexible(problem, completion) == problem.answer


def test_ten_rationales_are_shown_in_one_order(task: CommonsenseQA):
    shown = task.few_shot(0, 10)
    assert [problem.id for problem in shown] == list(RATIONALES)
    assert shown == task.few_shot(7, 10) == task.few_shot(0, 50)
    assert shown[:3] == task.few_shot(0, 3)
    assert task.few_shot(0, 0) == []


def test_the_rationales_are_right_and_leak_nothing(task: CommonsenseQA):
    for problem in task.few_shot(0, 10):
        completion = task.completion(problem.rationale, problem.answer)
        assert task.answer(completion) == problem.answer
        assert completion.endswith(
            f". Therefore, the answer is {text.text_of(problem)} ({problem.answer})."
        )
        assert task.leaks(problem, completion) == []
        assert task.wrong_step(problem, completion) is False
        assert 1 <= RATIONALES[problem.id].count(". ") + 1 <= 3
        assert 15 <= len(RATIONALES[problem.id].split()) <= 60


def test_the_rationales_show_every_letter_twice(task: CommonsenseQA):
    letters = [problem.answer for problem in task.few_shot(0, 10)]
    assert sorted(letters) == list("aabbccddee")
    assert all(one != next for one, next in zip(letters, letters[1:], strict=False))


def test_other_data_has_no_worked_examples(tmp_path: pathlib.Path):
    task = CommonsenseQA(str(choice_data.write(tmp_path, "train", choice_data.rows(0, 60))))
    assert len(task.train(0, 1, 0)) + len(task.evaluation(0, 0, 0)) == 60
    assert task.few_shot(0, 0) == []
    with pytest.raises(DataError, match=r"set config\.few_shot\.examples=0"):
        task.few_shot(0, 1)


def test_choices_twice():
    """What the docs say of the published rows: how many have twins, in how many gold is one."""
    if not choice_data.COMMONSENSE_QA.exists():
        pytest.skip("CommonsenseQA is not here")
    for split, rows, gold in (("train", 122, 42), ("validation", 24, 6)):
        problems = CommonsenseQA(str(choice_data.COMMONSENSE_QA)).load(
            str(choice_data.COMMONSENSE_QA), split
        )
        words = {p.id: [choice.lower() for choice in p.choices] for p in problems}
        twins = [p for p in problems if len(set(words[p.id])) < len(p.choices)]
        right = [p for p in twins if words[p.id].count(text.text_of(p).lower()) > 1]
        assert (len(twins), len(right)) == (rows, gold)
        for problem in right:
            said = text.completion(text.conclude("", text.text_of(problem)), problem.answer)
            assert text.answer(said) == text.flexible(problem, said) == problem.answer
            assert text.flexible(problem, f" {text.text_of(problem)}") is None
            assert text.contradicts(problem, said) is False
