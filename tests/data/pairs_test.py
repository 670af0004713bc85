import dataclasses
import itertools
import json
import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samples import sample
from star_jax.data import pairs
from star_jax.data.pairs import Pair
from star_jax.data.sample import Sample
from star_jax.tasks.arithmetic import Arithmetic

TASK = Arithmetic()
PROBLEMS = TASK.train(seed=0, round=1, count=40)


def said(question: str, text: str, right: bool, **fields) -> Sample:
    fields = {"completion": text, "answer": "1", "question": question} | fields
    return dataclasses.replace(sample(question, correct=right), **fields)


def texts(found: list[Pair]) -> set[tuple[str, str, str]]:
    every = [(pair.problem.question, pair.chosen, pair.rejected) for pair in found]
    assert len(set(every)) == len(every)
    return set(every)


def test_pairs_are_right_times_wrong_of_the_same_question():
    samples = [
        said("a", "a right", True),
        said("b", "b right", True, round=2),
        said("a", "a wrong", False, round=2),
        said("a", "a cut off", False, truncated=True),
        said("b", "b wrong", False),
        said("c", "c right", True),
        said("d", "d wrong", False),
        said("b", "b also wrong", False, answer="2"),  # is another question
        said("b", "b with other choices", False, choices=["x"]),
    ]
    found = pairs.make_pairs(samples, 8, seed=0)
    assert texts(found) == {
        ("a", "a right", "a wrong"),
        ("a", "a right", "a cut off"),
        ("b", "b right", "b wrong"),
    }
    assert [pair.problem.question for pair in found] == ["a", "a", "b"]


def test_equal_texts_count_once_and_what_was_right_is_never_rejected():
    samples = [
        *[said("a", "same", True, round=n) for n in (1, 2)],
        *[said("a", "wrong", False, round=n) for n in (1, 2)],
        said("a", "same", False, truncated=True),
    ]
    assert texts(pairs.make_pairs(samples, 8, seed=0)) == {("a", "same", "wrong")}


def test_only_kept_rationalizations_are_chosen_and_none_is_rejected():
    samples = [
        said("a", "alone", False),
        said("a", "hinted", True, hint=True),
        said("a", "leaks", True, hint=True, kept=False),
        said("a", "hinted and wrong", False, hint=True),
    ]
    assert texts(pairs.make_pairs(samples, 8, seed=0)) == {("a", "hinted", "alone")}


def test_where_the_samples_vote_their_label_decides_and_the_answer_is_not_read():
    samples = [
        said("a", "outvoted", True, predicted="1", label="2"),
        said("a", "won", False, predicted="2", label="2"),
        said("a", "cut off", False, predicted="2", label="2", truncated=True),
        said("a", "of another round", False, predicted="3", label="3", round=2),
        said("a", "hinted", True, hint=True),
        said("b", "of a tie", True),
        said("b", "also", False),
    ]
    found = {
        (chosen, rejected)
        for _, chosen, rejected in texts(pairs.make_pairs(samples, 8, 0, voted=True))
    }
    wrong = {"outvoted", "cut off"}
    assert found == {(right, other) for right in ("won", "of another round") for other in wrong}


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 40), st.integers(0, 3))
def test_at_most_so_many_a_question_that_use_its_texts_evenly(right, wrong, most, seed):
    samples = [said("a", f"right {n}", True) for n in range(right)]
    samples += [said("a", f"wrong {n}", False) for n in range(wrong)]
    found = pairs.make_pairs(samples, most, seed)
    assert len(texts(found)) == min(most, right * wrong)
    for names, count in (
        ([pair.chosen for pair in found], right),
        ([pair.rejected for pair in found], wrong),
    ):
        uses = [names.count(name) for name in set(names)]
        assert len(uses) == min(count, len(found)) and max(uses) - min(uses) <= 1
    assert pairs.make_pairs(samples, most, seed) == found


def test_the_pairs_of_a_question_depend_on_its_samples_and_the_seed_alone():
    samples = [said("a", f"{n}", n < 5) for n in range(10)]
    found = pairs.make_pairs(samples, 6, seed=1)
    assert pairs.make_pairs([said("b", "x", True), *samples], 6, seed=1) == found
    drawn = {frozenset(texts(pairs.make_pairs(samples, 6, seed))) for seed in range(8)}
    assert len(drawn) > 4


def test_a_question_is_held_out_with_all_its_pairs():
    every = [Pair(problem, right, wrong) for problem in PROBLEMS for right, wrong in ("ab", "ac")]
    trained, held_out = pairs.split(every, 0.3, seed=0)
    assert sorted(map(repr, trained + held_out)) == sorted(map(repr, every))
    questions = [{pair.problem.question for pair in some} for some in (trained, held_out)]
    assert questions[0].isdisjoint(questions[1]) and 3 < len(questions[1]) < 25
    assert pairs.split(every[::2], 0.3, seed=0) == (trained[::2], held_out[::2])
    assert pairs.split(every, 0.3, seed=1)[1] != held_out
    assert pairs.split(every, 0.0, seed=0) == (every, [])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_file_opens_as_a_data_set_of_trls_explicit_prompts(tmp_path: pathlib.Path):
    datasets = pytest.importorskip("datasets")
    written = [
        Pair(PROBLEMS[0], "right\u2028é\n", 'a "wrong"\tone'),
        Pair(PROBLEMS[1], "right", ""),
    ]
    pairs.write_pairs(tmp_path / "pairs.jsonl", written, TASK, chat=False)
    opened = datasets.load_dataset(
        "json", data_files=str(tmp_path / "pairs.jsonl"), cache_dir=str(tmp_path / "cache")
    )["train"]
    assert opened.column_names == ["prompt", "chosen", "rejected"]
    assert list(opened) == [
        {
            "prompt": TASK.prompt(pair.problem, False),
            "chosen": pair.chosen,
            "rejected": pair.rejected,
        }
        for pair in written
    ]


def test_a_chat_is_written_as_messages(tmp_path: pathlib.Path):
    pairs.write_pairs(tmp_path / "pairs.jsonl", [Pair(PROBLEMS[0], " yes", "no")], TASK, chat=True)
    [line] = map(json.loads, (tmp_path / "pairs.jsonl").read_text().splitlines())
    asked = TASK.message(PROBLEMS[0], False)
    assert list(itertools.chain(*line.values())) == [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": "yes"},
        {"role": "assistant", "content": "no"},
    ]
    assert list(line) == ["prompt", "chosen", "rejected"]
