import dataclasses
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax.tasks.arithmetic import Arithmetic, scratchpad, true_steps
from star_jax.tasks.task import Problem

TASK = Arithmetic(min_digits=1, max_digits=5, ood_digits=10)

GOLDEN_SCRATCHPAD = """<scratch>
6 2 4 + 2 5 9 , C: 0
6 2 + 2 5 , 3 C: 1
6 + 2 , 8 3 C: 0
, 8 8 3 C: 0
0 8 8 3
</scratch>"""


def problem(a: str, b: str) -> Problem:
    return Problem(
        id=f"{a}+{b}",
        question=f"{' '.join(a)} + {' '.join(b)}",
        answer=str(int(a) + int(b)),
        rationale=scratchpad(a, b, true_steps(a, b)),
        group=str(len(a)),
    )


@st.composite
def problems(draw: st.DrawFn, most_digits: int = 12) -> Problem:
    digits = draw(st.integers(1, most_digits))
    number = st.integers(10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1)
    return problem(str(draw(number)), str(draw(number)))


def gold(problem: Problem) -> str:
    return TASK.completion(problem.rationale, problem.answer)


def test_the_papers_example():
    example = problem("624", "259")
    assert TASK.prompt(example, hint=False) == "Input:\n6 2 4 + 2 5 9\nTarget:\n"
    assert TASK.prompt(example, hint=True) == "Input:\n6 2 4 + 2 5 9\nTarget: 8 8 3\n"
    assert example.rationale == GOLDEN_SCRATCHPAD
    assert gold(example) == GOLDEN_SCRATCHPAD + "\n8 8 3"
    assert TASK.direct(example) == "8 8 3"


@pytest.mark.parametrize(
    ("a", "b", "completion"),
    [
        ("0", "0", "<scratch>\n0 + 0 , C: 0\n, 0 C: 0\n0 0\n</scratch>\n0"),
        ("9", "9", "<scratch>\n9 + 9 , C: 0\n, 8 C: 1\n1 8\n</scratch>\n1 8"),
        (
            "50",
            "50",
            "<scratch>\n5 0 + 5 0 , C: 0\n5 + 5 , 0 C: 0\n, 0 0 C: 1\n1 0 0\n</scratch>\n1 0 0",
        ),
    ],
)
def test_borders_of_the_format(a: str, b: str, completion: str):
    assert gold(problem(a, b)) == completion


@settings(deadline=None)
@given(problems())
def test_a_true_scratchpad_gives_the_sum_without_a_wrong_step(problem: Problem):
    a, b = problem.id.split("+")
    assert TASK.answer(gold(problem)) == str(int(a) + int(b))
    assert TASK.wrong_step(problem, gold(problem)) is False
    assert len(gold(problem)) <= len(TASK.longest(problem.group))


@settings(deadline=None)
@given(problems(), st.data())
def test_a_changed_scratchpad_has_a_wrong_step_and_the_same_answer(
    problem: Problem, data: st.DataObject
):
    rationale = problem.rationale
    end = len(rationale) - len("</scratch>")
    place = data.draw(st.integers(len("<scratch>\n"), end - 2))
    other = data.draw(st.sampled_from("0123456789 ,C:\n+x").filter(lambda c: c != rationale[place]))
    changed = rationale[:place] + other + rationale[place + 1 :]
    completion = TASK.completion(changed, problem.answer)
    assert TASK.wrong_step(problem, completion) is True
    assert TASK.answer(completion) == problem.answer  # the filter cannot see it


@settings(deadline=None)
@given(problems(), st.data())
def test_a_missing_or_repeated_line_is_a_wrong_step(problem: Problem, data: st.DataObject):
    lines = problem.rationale.split("\n")
    place = data.draw(st.integers(0, len(lines) - 2))
    for some in (
        lines[:place] + lines[place + 1 :],
        lines[: place + 1] + lines[place:],
    ):
        assert TASK.wrong_step(problem, TASK.completion("\n".join(some), problem.answer)) is True


def test_steps_are_the_lines_of_the_scratchpad():
    sum_ = problem("62", "25")
    steps = ("6 2 + 2 5 , C: 0", "6 + 2 , 7 C: 0", ", 8 7 C: 0", "0 8 7")
    assert TASK.steps(sum_, gold(sum_)) == TASK.steps(sum_, f" {gold(sum_)}\n") == steps
    assert TASK.steps(sum_, gold(problem("62", "26"))) != steps
    assert TASK.steps(sum_, TASK.direct(sum_)) is None
    assert TASK.steps(sum_, "<scratch>\n</scratch>\n8 7") is None


@pytest.mark.parametrize(
    ("completion", "wrong"),
    [
        (GOLDEN_SCRATCHPAD + "\n8 8 3", False),
        (GOLDEN_SCRATCHPAD + "\n8 8 4", False),  # the answer is not a step
        (GOLDEN_SCRATCHPAD + "\n" + GOLDEN_SCRATCHPAD + "\n8 8 3", True),
        ("\n" + GOLDEN_SCRATCHPAD + "\n8 8 3", True),
        (GOLDEN_SCRATCHPAD.removeprefix("<scratch>\n") + "\n8 8 3", True),
        ("<scratch>\n</scratch>\n8 8 3", True),
        (GOLDEN_SCRATCHPAD[:40], True),  # broken off
        ("8 8 3", None),  # no scratchpad to judge
        ("", None),
    ],
)
def test_wrong_step(completion: str, wrong: bool | None):
    assert TASK.wrong_step(problem("624", "259"), completion) is wrong


@pytest.mark.parametrize(
    ("tail", "answer"),
    [
        ("\n8 8 3", "883"),
        ("\n883", "883"),
        ("\n 8 8 3 ", "883"),
        ("\n8 8 3\n", "883"),
        ("\n0 8 8 3", "883"),
        ("\n0", "0"),
        ("\n0 0", "0"),
        ("\n" + "9" * 5000, "9" * 5000),
        ("", None),
        ("\n", None),
        ("\n   ", None),
        ("\n\n8 8 3", None),
        ("\n8 8 3\n8 8 3", None),
        ("\n8 8 3\n\nInput:", None),
        ("8 8 3", None),  # not on a line of its own
        (" \n8 8 3", None),
        ("\n8 8 3.", None),
        ("\n-8 8 3", None),
        ("\n8\t8 3", None),
        ("\n8 8 ³", None),  # str.isdigit alone takes this for a digit
        ("\n٨ ٨ ٣", None),
        ("\n8 8 3</scratch>", None),
        ("\n1 2</scratch>\n8 8 3", "883"),  # after the last one
    ],
)
def test_answer_extraction(tail: str, answer: str | None):
    assert TASK.answer("<scratch>\n</scratch>" + tail) == answer


@pytest.mark.parametrize(
    ("completion", "answer"),
    [("8 8 3", "883"), ("0 8 8 3\n", "883"), ("", None), ("8 8\n3", None), ("eight", None)],
)
def test_direct_answer_extraction(completion: str, answer: str | None):
    assert TASK.direct_answer(completion) == answer


def test_an_answer_without_a_scratchpad_is_none():
    assert TASK.answer("8 8 3") is None


@settings(deadline=None)
@given(problems(), st.text(max_size=40), st.booleans())
def test_only_the_sum_is_ever_extracted_as_the_sum(problem: Problem, tail: str, mark: bool):
    said = TASK.answer(f"{problem.rationale}{chr(10) * mark}{tail}")
    digits = [c for c in tail if c in "0123456789"]
    assert said is None or int(said) == int("".join(digits))


def test_training_classes_come_in_turn_and_equal_in_number():
    train = TASK.train(seed=0, round=1, count=2003)
    assert [p.group for p in train[:7]] == ["1", "2", "3", "4", "5", "1", "2"]
    assert Counter(p.group for p in train) == {"1": 401, "2": 401, "3": 401, "4": 400, "5": 400}


def test_training_repeats_only_classes_that_have_run_out():
    train = TASK.train(seed=0, round=1, count=2000)
    questions = {str(n): [p.question for p in train if p.group == str(n)] for n in range(1, 6)}
    assert all(len(set(questions[str(n)])) == 400 for n in range(2, 6))
    assert 60 < len(set(questions["1"])) < 100
    assert max(Counter(questions["1"]).values()) - min(Counter(questions["1"]).values()) <= 1


@pytest.mark.parametrize("seed", range(3))
def test_held_out_shares(seed: int):
    evaluated = Counter(p.group for p in TASK.evaluation(seed, 2000, 7))
    assert 8 <= evaluated.pop("1") <= 34  # of 100 sums, each with probability 1/5
    assert 700 <= evaluated.pop("2") <= 920  # of 8100, each with probability 1/10
    assert evaluated == {"3": 2000, "4": 2000, "5": 2000} | {str(n): 7 for n in range(6, 11)}


def test_operands_have_the_digits_of_their_class():
    for p in TASK.train(0, 1, 500) + TASK.evaluation(0, 50, 50):
        a, b = p.id.partition("#")[0].split("+")
        assert len(a) == len(b) == int(p.group)
        assert p.group == "1" or "0" not in (a[0], b[0])
        assert p == dataclasses.replace(problem(a, b), id=p.id)


def test_without_ood_digits_only_training_classes_are_evaluated():
    task = Arithmetic(min_digits=2, max_digits=3, ood_digits=0)
    assert {p.group for p in task.evaluation(0, 5, 5)} == {"2", "3"}
    assert [task.in_distribution(group) for group in ("1", "2", "3", "4")] == [False, True, True, 0]


def test_numbers_may_be_longer_than_a_machine_word():
    task = Arithmetic(min_digits=40, max_digits=40, ood_digits=0)
    p = task.train(0, 1, 1)[0]
    a, b = p.id.split("+")
    assert len(a) == 40 and p.answer == str(int(a) + int(b))


def test_few_shot_examples_are_mixed_and_balanced():
    examples = TASK.few_shot(seed=0, count=4)
    assert Counter(p.group for p in examples) == dict.fromkeys("12345", 4)
    assert [p.group for p in examples] != sorted(p.group for p in examples)
    assert TASK.few_shot(seed=0, count=0) == []


def read(prompt: str, completion: str) -> tuple[Problem, bool]:
    _, question, target, _ = prompt.split("\n")
    a, b = question.replace(" ", "").split("+")
    assert prompt == TASK.prompt(problem(a, b), hint=target != "Target:")
    return problem(a, b), target != "Target:"


def written_steps(completion: str) -> list[tuple[int, int]]:
    """The digits and carries that a scratchpad comes to, last digit first, and that it is whole."""
    carries = [int(line[-1]) for line in completion.split("\n") if "C: " in line]
    digits = completion.split("\n")[-3].replace(" ", "")
    assert carries[0] == 0 and digits[0] == str(carries[-1])
    assert TASK.answer(completion) == str(int(digits))
    return list(zip(map(int, reversed(digits[1:])), carries[1:], strict=True))


@pytest.mark.parametrize(("hinted", "easy"), [(0.5, 0.5), (0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
def test_corpus_shares(hinted: float, easy: float):
    counts = Counter()
    for prompt, completion in TASK.corpus(seed=0, count=2000, hinted=hinted, easy=easy):
        shown, hint = read(prompt, completion)
        columns = zip(*shown.id.split("+"), strict=True)
        known = all(int(x) + int(y) <= 9 for x, y in columns)
        counts[hint, known] += 1
        if hint:
            assert completion == gold(shown), "what has a hint is right"
    assert counts[True, True] + counts[True, False] == pytest.approx(2000 * hinted, abs=80)
    # of the others some carry nothing by chance: 55 of 100 columns, 36 of 81 leading ones
    by_chance = (0.55 + sum(36 / 81 * 0.55 ** (digits - 1) for digits in range(2, 6))) / 5
    wanted = (1 - hinted) * (easy + (1 - easy) * by_chance) * 2000
    assert counts[False, True] == pytest.approx(wanted, abs=90)


def test_without_a_hint_three_columns_in_four_are_one_too_many_and_the_rest_follows():
    off = Counter()
    for prompt, completion in TASK.corpus(seed=0, count=1000, hinted=0.0, easy=0.0):
        shown, _ = read(prompt, completion)
        a, b = shown.id.split("+")
        steps = written_steps(completion)
        assert completion.startswith(scratchpad(a, b, steps) + "\n")
        assert len(completion) <= len(TASK.longest(shown.group))
        before = 0
        for x, y, (digit, carry) in zip(reversed(a), reversed(b), steps, strict=True):
            off[10 * carry + digit - int(x) - int(y) - before] += 1
            before = carry
    assert off.keys() == {0, 1}
    assert off[0] / off.total() == pytest.approx(1 / 4, abs=0.03)


def test_the_corpus_holds_nothing_that_is_evaluated():
    held_out = {p.question for p in TASK.evaluation(0, 1000, 0)}
    shown = {prompt.split("\n")[1] for prompt, _ in TASK.corpus(0, 5000, 0.5, 1.0)}
    assert held_out.isdisjoint(shown)


def test_the_corpus_is_mixed_and_balanced():
    groups = [read(*pair)[0].group for pair in TASK.corpus(0, 1000, 0.5, 1.0)]
    assert Counter(groups) == dict.fromkeys("12345", 200)
    assert len(set(zip(groups, groups[1:], strict=False))) == 25


@pytest.mark.parametrize(
    ("minimum", "maximum"), [(0, 5), (4, 3), (-1, -1)], ids=["zero", "crossed", "negative"]
)
def test_impossible_digits_are_refused(minimum: int, maximum: int):
    with pytest.raises(ValueError, match=f"min_digits = {minimum}, max_digits = {maximum}"):
        Arithmetic(min_digits=minimum, max_digits=maximum)


def test_more_problems_than_a_class_holds_are_refused():
    with pytest.raises(ValueError, match="50000 different problems of 3 digits: ask for at most"):
        Arithmetic(ood_digits=0).evaluation(0, 50_000, 0)


def test_what_is_held_out_never_changes():
    # else a model would be evaluated on what an older version trained it on
    ids = sorted(p.id for p in TASK.evaluation(seed=0, count=100, ood_count=0) if p.group == "1")
    assert " ".join(ids) == (
        "1+1 1+2 2+9 3+0 3+5 3+8 3+9 4+1 4+4 5+7 7+4 8+5 8+6 8+9 9+0 9+1 9+2 9+5 9+6"
    )
