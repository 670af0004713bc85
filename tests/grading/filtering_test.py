import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax.config import schema
from star_jax.data.sample import Sample
from star_jax.grading import filtering
from star_jax.grading.filtering import FilterRule
from star_jax.tasks import Problem
from star_jax.tasks.arithmetic import Arithmetic
from star_jax.tasks.gsm8k import GSM8K
from tests.support.samples import sample

TASK = Arithmetic()
PROBLEM = TASK.train(seed=0, round=1, count=3)[2]
GOLD = TASK.completion(PROBLEM.rationale, PROBLEM.answer)
GUESSED = f"<scratch>\n</scratch>\n{TASK.direct(PROBLEM)}"


@pytest.mark.parametrize(
    ("completion", "truncated", "reason", "wrong_step"),
    [
        (GOLD, False, "kept", False),
        (GUESSED, False, "kept", True),  # right for the wrong reason: the filter cannot tell
        (GOLD + " 0", False, "wrong answer", False),
        (PROBLEM.rationale, False, "no answer", False),
        ("", False, "no answer", None),
        (GOLD, True, "truncated", False),
        (GOLD[:-2], True, "truncated", False),
        (GOLD[:30], True, "truncated", True),
    ],
)
@pytest.mark.parametrize("hint", [False, True])
def test_grade(completion: str, truncated: bool, reason: str, wrong_step: bool | None, hint: bool):
    graded = filtering.make_sample(
        TASK, PROBLEM, 3, hint, completion, truncated=truncated, tokens=11
    )
    kept = reason == "kept"
    assert (graded.reason, graded.kept, graded.correct) == (reason, kept, kept)
    assert (graded.wrong_step, graded.truncated, graded.tokens) == (wrong_step, truncated, 11)
    assert (graded.id, graded.group, graded.round) == (PROBLEM.id, PROBLEM.group, 3)
    assert (graded.question, graded.answer) == (PROBLEM.question, PROBLEM.answer)
    assert (graded.hint, graded.prompt) == (hint, TASK.prompt(PROBLEM, hint))
    assert (graded.completion, graded.predicted) == (completion, TASK.answer(completion))


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("hint", [False, True])
def test_what_follows_the_answer_is_not_part_of_the_sample(truncated: bool, hint: bool):
    """Wherever the budget ends what goes on, the completion has come to its end before."""
    more = "\nInput:\n1 + 1\nTarget:\n<scratch>\n1 + 1 , C: 0\n, 3 C: 0\n0 3\n</scratch>\n3"
    graded = filtering.make_sample(
        TASK, PROBLEM, 1, hint, GOLD + more, truncated=truncated, tokens=99
    )
    assert (graded.completion, graded.kept, graded.truncated) == (GOLD, True, False)
    assert (graded.wrong_step, graded.tokens) == (False, 99)


@pytest.mark.parametrize(
    ("completion", "truncated", "reason"),
    [
        (TASK.direct(PROBLEM), False, "kept"),
        (TASK.direct(PROBLEM), True, "truncated"),
        (TASK.direct(PROBLEM) + "\nInput:\n1 + 1", False, "kept"),
        (TASK.direct(PROBLEM) + "\nInput:\n1 + 1", True, "kept"),
        (TASK.direct(PROBLEM) + " 0", False, "wrong answer"),
        (GOLD, False, "no answer"),  # asked for the answer alone
    ],
)
def test_grade_of_a_direct_answer(completion: str, truncated: bool, reason: str):
    graded = filtering.make_sample(
        TASK, PROBLEM, 1, False, completion, truncated=truncated, tokens=3, direct=True
    )
    assert (graded.reason, graded.kept) == (reason, reason == "kept")


RIGHT, WRONG = {"correct": True}, {"correct": False}
# what a right answer turns into where it ran into the budget
CUT_OFF = {"correct": False, "truncated": True, "reason": "truncated"}


@pytest.mark.parametrize(
    ("first", "second", "kept_from"),
    [
        (RIGHT, None, "first"),
        (WRONG, None, None),
        (CUT_OFF, None, None),
        (WRONG, RIGHT, "second"),
        (WRONG, WRONG, None),
        (WRONG, CUT_OFF, None),
        (CUT_OFF, RIGHT, "second"),
        (RIGHT, RIGHT, "first"),
        (RIGHT, WRONG, "first"),
    ],
)
def test_filter_of_algorithm_1(
    first: dict[str, Any], second: dict[str, Any] | None, kept_from: str | None
):
    samples = [sample("x", **first)]
    hinted = [] if second is None else [sample("x", hint=True, **second)]
    kept = filtering.filter_samples(samples, hinted)
    assert [s.hint for s in kept] == {"first": [False], "second": [True], None: []}[kept_from]


def test_what_is_kept_from_the_hint_is_stored_without_it():
    hinted = sample("x", correct=True, hint=True, completion="the better rationale")
    (kept,) = filtering.filter_samples([sample("x", correct=False)], [hinted])
    assert kept == dataclasses.replace(hinted, prompt="prompt x")
    assert kept.hint  # where it came from is not forgotten


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12))
def test_every_right_problem_is_kept_once(outcomes: list[tuple[bool, bool]]):
    samples = [sample(str(i), correct=first) for i, (first, _) in enumerate(outcomes)]
    hinted = [
        sample(id_, correct=outcomes[int(id_)][1], hint=True) for id_ in filtering.failed(samples)
    ]
    kept = filtering.filter_samples(samples, hinted)
    assert sorted(int(s.id) for s in kept) == [i for i, pair in enumerate(outcomes) if any(pair)]
    assert [s.hint for s in kept] == sorted(s.hint for s in kept)


def test_failures_are_what_was_not_right():
    samples = [sample("a", **RIGHT), sample("b", **WRONG), sample("c", **CUT_OFF)]
    assert filtering.failed(samples) == ["b", "c"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["x", "x"], [], "two samples of one round have the id 'x'"),
        (["x"], ["x", "x"], "two samples of one round have the id 'x'"),
        (["x"], ["y"], "rationalized sample 'y' has no sample without the hint"),
    ],
)
def test_a_ledger_that_does_not_add_up_is_refused(
    first: list[str], second: list[str], message: str
):
    with pytest.raises(ValueError, match=message):
        filtering.filter_samples(
            [sample(id, correct=False) for id in first],
            [sample(id, correct=True, hint=True) for id in second],
        )


# --- several samples a question


class Steps(Arithmetic):
    """Arithmetic whose steps are the words of the completion before '='."""

    def steps(self, problem: object, completion: str) -> tuple[str, ...] | None:
        del problem
        head, mark, _ = completion.partition("=")
        return tuple(head.split()) if mark else None


def drawn(
    answers: list[str | None], *, gold: str = "7", id: str = "q", **fields: Any
) -> list[Sample]:
    """Samples of one question with these answers, all with different texts."""
    return [
        sample(
            id,
            correct=answer == gold,
            predicted=answer,
            answer=gold,
            completion=f"text {index}",
            reason="kept" if answer == gold else "wrong answer" if answer else "no answer",
            sample=index,
            **fields,
        )
        for index, answer in enumerate(answers)
    ]


def texts(completions: list[str]) -> list[Sample]:
    """Right samples of one question with these texts."""
    return [
        sample("q", correct=True, completion=text, sample=index)
        for index, text in enumerate(completions)
    ]


def judged(samples: list[Sample], labels: dict[str, Any] | None = None, **fields: Any) -> list[str]:
    """The reasons after the samples are judged together; by their vote, with `labels`."""
    voting = schema.Labels() if labels is None else schema.Labels("majority", **labels)
    found = filtering.judge(Steps(), samples, FilterRule(schema.Filter(**fields), voting))
    assert [(s.id, s.sample) for s in found] == [(s.id, s.sample) for s in samples]
    assert all(s.kept == (s.reason == "kept") for s in found)
    return [s.reason for s in found]


def test_by_default_nothing_is_judged_anew():
    samples = [*drawn(["7", "7", None, "8"]), *texts(["a", "a"])]
    assert filtering.judge(TASK, samples, FilterRule()) == samples


@pytest.mark.parametrize(
    ("dedupe", "completions", "kept"),
    [
        ("none", ["a", "a", " a"], [0, 1, 2]),
        ("text", ["a", "a ", "b", "\na", "b"], [0, 2]),
        ("text", ["1 + 2 = 3", "1 + 2 = 3!"], [0, 1]),
        ("steps", ["1 + 2 = 3", "1 + 2 = 3!", "2 + 1 = 3"], [0, 2]),  # the order of steps counts
        ("steps", ["no steps", "no steps", "other words"], [0, 2]),  # then it is the text
        ("steps", ["= 3", "= three"], [0]),  # an empty list of steps is a list
    ],
)
def test_of_equal_rationales_the_first_is_kept(
    dedupe: str, completions: list[str], kept: list[int]
):
    reasons = judged(texts(completions), dedupe=dedupe)
    assert [i for i, reason in enumerate(reasons) if reason == "kept"] == kept
    assert set(reasons) <= {"kept", "duplicate"}


def test_a_wrong_sample_hides_no_right_one_of_the_same_text():
    first, second = texts(["a", "a"])
    wrong = dataclasses.replace(first, kept=False, correct=False, reason="wrong answer")
    assert judged([wrong, second], dedupe="text") == ["wrong answer", "kept"]


def test_the_cap_keeps_the_first_right_ones_and_counts_no_duplicates():
    assert judged(texts(["a", "b", "c"]), cap=2) == ["kept", "kept", "over the cap"]
    reasons = judged(texts(["a", "a", "b", "c"]), cap=2, dedupe="text")
    assert reasons == ["kept", "duplicate", "kept", "over the cap"]
    assert judged(drawn(["8", "7", None, "7"]), cap=1) == [
        "wrong answer",
        "kept",
        "no answer",
        "over the cap",
    ]


def test_the_order_of_the_samples_in_a_shard_does_not_matter():
    samples = texts(["a", "b", "c"])
    assert judged(samples[::-1], cap=1) == ["over the cap", "over the cap", "kept"]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("pq"), st.sampled_from(["a", "b", "c "]), st.booleans()),
        max_size=12,
    ),
    st.integers(0, 3),
    st.sampled_from(["none", "text"]),
)
def test_dedupe_and_cap_against_a_plain_reference(
    drawn_: list[tuple[str, str, bool]], cap: int, dedupe: str
):
    samples = [
        sample(id, correct=right, completion=text, sample=i)
        for i, (id, text, right) in enumerate(drawn_)
    ]
    expected: list[Sample] = []
    for one in samples:
        same = [s for s in expected if s.id == one.id]
        repeated = dedupe == "text" and one.completion.strip() in {
            s.completion.strip() for s in same
        }
        if one.correct and not repeated and not (cap and len(same) >= cap):
            expected.append(one)
    found = filtering.judge(TASK, samples, FilterRule(schema.Filter(cap=cap, dedupe=dedupe)))  # pyright: ignore[reportArgumentType]
    assert [s for s in found if s.kept] == expected


@pytest.mark.parametrize(
    ("answers", "threshold", "reasons"),
    [
        (["7", "7", "8"], 0.0, ["kept", "kept", "outvoted"]),
        (["8", "8", "7"], 0.0, ["kept", "kept", "outvoted"]),  # the majority is believed
        (["7", "8", None], 0.0, ["tied vote", "tied vote", "no answer"]),
        ([None, None, None], 0.0, ["no answer"] * 3),
        (["7", "7", None, None], 0.5, ["kept", "kept", "no answer", "no answer"]),
        (["7", "7", None, None], 0.6, ["weak vote", "weak vote", "no answer", "no answer"]),
        (["7", None, None], 0.0, ["kept", "no answer", "no answer"]),
    ],
)  # fmt: skip
def test_the_majority_is_the_label(answers: list[str | None], threshold: float, reasons: list[str]):
    assert judged(drawn(answers), labels={"threshold": threshold}) == reasons


def test_a_truncated_sample_has_no_vote():
    samples = drawn(["7", "8", "8"])
    cut = [dataclasses.replace(s, truncated=True) for s in samples[1:]]
    assert judged([samples[0], *cut], labels={}) == ["kept", "truncated", "truncated"]


def test_the_label_is_recorded_and_the_gold_answer_stays():
    rule = FilterRule(labels=schema.Labels(source="majority"))
    found = filtering.judge(TASK, drawn(["8", "8", "7"]), rule)
    assert [(s.label, s.answer, s.correct) for s in found] == [
        ("8", "7", False),
        ("8", "7", False),
        ("8", "7", True),
    ]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["1", "2", "3", None]), min_size=1, max_size=9))
def test_the_vote_against_counting_by_hand(answers: list[str | None]):
    found = filtering.vote(drawn(answers))
    counts = {a: answers.count(a) for a in answers if a is not None}
    most = max(counts.values(), default=0)
    winners = [a for a, n in counts.items() if n == most]
    assert found.label == (winners[0] if len(winners) == 1 else None)
    assert found.share == most / len(answers)


@pytest.mark.parametrize("wrong_step", [True, False, None])
def test_only_a_step_known_to_be_wrong_is_dropped(wrong_step: bool | None):
    text = {True: GUESSED, False: GOLD}.get(bool(wrong_step), GOLD)
    for drop in (False, True):
        made = filtering.make_sample(
            TASK,
            PROBLEM,
            1,
            False,
            text,
            truncated=False,
            tokens=1,
            filter=schema.Filter(wrong_steps=drop),
        )
        assert made.reason == ("wrong step" if drop and wrong_step else "kept")
        assert made.correct


@pytest.mark.parametrize("unchecked", [True, False])
@pytest.mark.parametrize(
    ("rationale", "reason"),
    [
        ("There are 14 books.\n#### 14", "no checked step"),
        ("There are 42 / 3 = 14 books.\n#### 14", "kept"),
        ("There are 42 / 3 = 15 books.\n#### 14", "kept"),
    ],
)
def test_an_answer_from_nowhere_is_dropped_on_demand(rationale: str, reason: str, unchecked: bool):
    problem = Problem("1", "42 pounds are in books of 3 pounds.", "14", "", "1")
    made = filtering.make_sample(
        GSM8K(data=""),
        problem,
        1,
        True,
        rationale,
        truncated=False,
        tokens=1,
        filter=schema.Filter(unchecked=unchecked),
    )
    assert made.reason == (reason if unchecked else "kept")
    assert made.correct


def test_what_has_a_right_sample_is_not_rationalized():
    samples = [*drawn(["8", "7", "8"], id="a"), *drawn(["8", None, "9"], id="b")]
    assert filtering.failed(samples) == ["b"]
    hinted = [
        *drawn(["7", "7"], id="b", hint=True, prompt="hinted"),
        *drawn(["7"], id="a", hint=True),
    ]
    kept = filtering.filter_samples(samples, hinted)
    assert [(s.id, s.sample, s.hint) for s in kept] == [
        ("a", 1, False),
        ("b", 0, True),
        ("b", 1, True),
    ]
    assert kept[1].prompt == "prompt b"


def test_the_union_of_rounds_has_each_rationale_once():
    first, second = texts(["a", "b"]), texts(["b ", "c"])
    other = [sample("other", correct=True, completion="a")]
    found = filtering.union(TASK, [first, [*second, *other]], "none")
    assert [(s.id, s.completion) for s in found] == [
        ("q", "a"),
        ("q", "b"),
        ("q", "c"),
        ("other", "a"),
    ]
    by_steps = filtering.union(Steps(), [texts(["1 + 2 = 3"]), texts(["1 + 2 = three"])], "steps")
    assert [s.completion for s in by_steps] == ["1 + 2 = 3"]
