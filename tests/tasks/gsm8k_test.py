import dataclasses
import json
import pathlib
import re
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import texts
from star_jax.grading.grade import grade
from star_jax.tasks import number_text
from star_jax.tasks.gsm8k import GSM8K
from star_jax.tasks.rows import DataError
from star_jax.tasks.task import Problem

TASK = GSM8K("not there")  # for what needs no data
PROBLEM = Problem("train-1", "Ken had 3 boxes of 12 eggs. How many?", "36", "", "1")
OFFICIAL = re.compile(r"#### (\-?[0-9\.\,]+)")  # the data set's own rule


def official(text: str) -> str | None:
    match = OFFICIAL.search(text)
    return match[1].replace(",", "") if match else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """GSM8K; where it is not, made-up rows like it."""
    if texts.GSM8K.exists():
        return texts.GSM8K.parent
    made = tmp_path_factory.mktemp("gsm8k")
    pairs = zip(texts.questions(600), texts.solutions(600), strict=True)
    lines = [json.dumps({"question": q, "answer": a}) + "\n" for q, a in pairs]
    (made / "train.jsonl").write_text("".join(lines[:500]))
    (made / "test.jsonl").write_text("".join(lines[500:]))
    return made


@pytest.fixture(scope="module")
def task(folder: pathlib.Path) -> GSM8K:
    return GSM8K(str(folder))


def solutions(folder: pathlib.Path, split: str) -> list[str]:
    lines = (folder / f"{split}.jsonl").read_text().splitlines()
    return [json.loads(line)["answer"] for line in lines]


def gold(problem: Problem) -> str:
    return TASK.completion(problem.rationale, problem.answer)


def everything(task: GSM8K) -> list[Problem]:
    return task.train(0, 1, 0) + task.evaluation(0, 0, 0) + task.few_shot(0, 6) + task.test(0)


def write(folder: pathlib.Path, *pairs: tuple[object, object]) -> GSM8K:
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in pairs]
    (folder / "train.jsonl").write_text("\n".join(lines))
    return GSM8K(str(folder), bad=1.0)


def test_the_format():
    assert TASK.prompt(PROBLEM, hint=False) == "Q: Ken had 3 boxes of 12 eggs. How many?\nA:"
    assert TASK.prompt(PROBLEM, hint=True) == "Q: Ken had 3 boxes of 12 eggs. How many? (36)\nA:"
    assert TASK.message(PROBLEM, hint=False) == "Ken had 3 boxes of 12 eggs. How many?"
    assert TASK.message(PROBLEM, hint=True) == "Ken had 3 boxes of 12 eggs. How many? (36)"
    assert TASK.completion("3*12 = 36.\nSo 36.", "36") == " 3*12 = 36.\nSo 36.\n#### 36"
    assert TASK.completion("", "36") == " #### 36"
    assert TASK.direct(PROBLEM) == " 36"


def test_the_hint_is_the_answer_and_never_the_solution(task: GSM8K):
    for problem in everything(task):
        hinted = task.prompt(problem, hint=True)
        assert hinted == f"Q: {problem.question} ({problem.answer})\nA:"
        assert "<<" not in hinted and "####" not in hinted
        stored = dataclasses.replace(problem, rationale="", id="", group="")
        assert task.prompt(stored, hint=True) == hinted


# the whole completion; by the exact rule, by the lenient rule
CASES = [
    (" 3*12 = <<3*12=36>>36\n#### 36", "36", "36"),
    ("#### 36", "36", "36"),
    ("#### 36\n", "36", "36"),
    ("#### 36.", "36", "36"),
    ("#### 36.00", "36", "36"),
    ("#### 36.50", "36.5", "36.5"),
    ("#### .5", "0.5", "0.5"),
    ("#### 036", "36", "36"),
    ("#### -36", "-36", "-36"),
    ("#### −36", "-36", "-36"),
    ("#### -0", "0", "0"),
    ("#### 1,234", "1234", "1234"),
    ("#### 1,234,567.", "1234567", "1234567"),
    ("#### $36", "36", "36"),
    ("#### -$36", "-36", "-36"),
    ("#### $1,234.50", "1234.5", "1234.5"),
    ("#### 36%", "36", "36"),
    ("#### 36 eggs", "36", "36"),
    ("#### 36 eggs in 3 boxes", "36", "3"),
    ("#### 36\nHe has 5 more.", "36", "5"),
    ("#### 36\n#### 40", "36", "40"),
    ("##### 36", "36", "36"),
    ("It is #### 36", "36", "36"),
    # the marker is a part of the rule
    ("36", None, "36"),
    ("####36", None, "36"),
    ("####  36", None, "36"),
    ("####\n36", None, "36"),
    ("####\t36", None, "36"),
    ("### 36", None, "36"),
    ("# # # # 36", None, "36"),
    ("The answer is 36.", None, "36"),
    ("#### The answer is 36", None, "36"),
    ("#### x = 36", None, "36"),
    ("#### (36)", None, "36"),
    ("#### **36**", None, "36"),
    ("#### +36", None, "36"),
    ("#### = 36", None, "36"),
    ("#### about 36", None, "36"),
    ("#### none\n#### 36", None, "36"),
    # no part of a number is one
    ("#### 1/2", None, None),
    ("#### 3/4 of 36", None, "36"),
    ("#### 36/1", None, None),
    ("#### 12,34", None, None),
    ("#### 1,2,3", None, None),
    ("#### 3.6.1", None, None),
    ("#### 36x2", None, None),
    ("#### 36²", None, None),
    ("#### 3^2", None, None),
    ("#### 36e2", None, None),
    ("#### 3:36", None, None),
    ("#### 3 6", "3", "6"),
    ("#### 3-6", "3", "6"),
    ("#### 30+6", "30", "6"),
    ("#### 30 + 6 = 36", "30", "36"),
    # none at all
    ("", None, None),
    (" ", None, None),
    ("#### ", None, None),
    ("#### .", None, None),
    ("#### ,", None, None),
    ("#### -", None, None),
    ("#### $", None, None),
    ("#### thirty-six", None, None),
    ("I do not know.", None, None),
    ("#### A36", None, None),
    ("#### " + "9" * 5000, "9" * 5000, "9" * 5000),
]


@pytest.mark.parametrize(("completion", "exact", "flexible"), CASES, ids=range(len(CASES)))
def test_rules(completion: str, exact: str | None, flexible: str | None):
    assert TASK.answer(completion) == exact
    assert TASK.flexible(PROBLEM, completion) == flexible
    for problem in (PROBLEM, dataclasses.replace(PROBLEM, answer="3")):
        verdict = grade(TASK, problem, completion, truncated=False)
        assert verdict.correct == (exact == problem.answer)


@given(st.text("#### 0123456789.,-$/x\n", max_size=30).map("#### ".__add__) | st.text())
@example("#### 5..")
@example("#### -5,")
@example("#### 1.,5")
def test_the_exact_rule_is_the_official_one_or_stricter(completion: str):
    found, theirs = TASK.answer(completion), official(completion)
    # signs of money, minus signs of another kind and groups like 12 000 are ours alone
    grouped = re.search("[0-9] [0-9]{3}", completion)
    if found is not None and completion.isascii() and "$" not in completion and not grouped:
        assert theirs is not None and float(theirs.rstrip(".")) == float(found)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_exact_rule_agrees_with_the_official_one_on_every_solution(
    folder: pathlib.Path, split: str
):
    every = solutions(folder, split)
    assert len(every) in ((7473, 1319) if texts.GSM8K.exists() else (500, 100))
    for solution in every:
        theirs = official(solution)
        assert theirs is not None
        assert TASK.answer(solution) == str(int(theirs)) == TASK.flexible(PROBLEM, solution)


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (" 36", "36"),
        ("$36.00\n", "36"),
        (" 1,234.", "1234"),
        (" 36 eggs", None),
        (" #### 36", None),
        (" 30+6", None),
        (" 36\n37", None),
        ("", None),
    ],
)
def test_direct_answers(completion: str, answer: str | None):
    assert TASK.direct_answer(completion) == answer


@pytest.mark.parametrize(
    ("completion", "wrong"),
    [
        ("<<48/2=24>>24", False),
        ("<<48/2=25>>25", True),
        ("<<48/2=24>>24\n<<24+24=49>>49", True),
        ("48/2 = 24", False),
        ("48/2 = 25", True),
        ("48/2 = <<48/2=24>>24", False),
        ("48/2 = <<48/2=24>>25", True),
        ("48/2 = <<48/2=25>>24", True),
        ("<<48/2=24>>24 and 24 + 24 = 49", True),
        ("<<eggs=36>> and 3 boxes x 12 = 36", False),
        ("", None),
        ("<<>>", None),
        ("<<36>>", None),
        ("<<36=36>>", False),
        ("<<3*12>>36", None),
        ("<<eggs=36>>", None),
        ("<<eggs=36>> <<3*12=36>>", False),
        ("<<eggs=36>> <<3*12=35>>", True),
        ("<<3*12=36=30+6>>", False),
        ("<<3*12=36=30+7>>", True),
        ("<<36=3*12>>", False),
        ("<<1,000*2=2,000>>", False),
        ("<<50%*20=10>>", False),
        ("<<20*.5=10.00>>", False),
        ("<<1/3=0.33>>", False),
        ("<<2/3=0.67>>", False),
        ("<<2/3=.7>>", False),
        ("<<2/3=0.66>>", True),
        ("<<0.33=1/3>>", False),
        ("<<1/8=0.13>>", False),
        ("<<1/8=0.12>>", False),
        ("<<2/3=1>>", True),  # a whole result is exact
        ("<<2=2.4>>", True),
        ("<<0.1+0.2=0.3>>", False),
        ("<<0.1+0.2=0.4>>", True),
        ("<<3/0=0>>", True),
        ("<<5-8=-3>>", False),
        ("<<5-8=3>>", True),
        ("<<(2+3)*4=20>>", False),
        ("<<2+3*4=20>>", True),
        ("<<48/2=24", False),
        ("<48/2=25>", True),
    ],
)
def test_wrong_steps(completion: str, wrong: bool | None):
    assert TASK.wrong_step(PROBLEM, completion) is wrong


@given(st.text("<>()0123456789+-*/=.,% x", max_size=60))
def test_no_completion_breaks_the_check_of_steps(completion: str):
    assert TASK.wrong_step(PROBLEM, completion) in (True, False, None)
    assert TASK.steps(PROBLEM, completion) != ()


def test_steps_are_annotations_or_plain_equations():
    steps = {
        "He had 3*12 = << 3 * 12 = 36 >>36, then 36-6 = <<36-6=30>>30.": ("3*12=36", "36-6=30"),
        "He had <<3*12=36>>36, then 36 - 6 = 30.": ("3*12=36",),  # as RFT counts them
        "He had 3 boxes x 12 = 36 eggs, then 36 − 6 = 30.": ("3*12=36", "36-6=30"),
        "He had 12 x 3 = 36 eggs.": ("12*3=36",),
        "He had some.": None,  # the text says whether two such rationales are equal
    }
    for rationale, found in steps.items():
        assert TASK.steps(PROBLEM, TASK.completion(rationale, "30")) == found


def test_gold_text_is_right_without_a_wrong_step_or_a_leak(task: GSM8K):
    every = everything(task)
    steps = Counter(task.wrong_step(problem, gold(problem)) for problem in every)
    wrong = 23 if texts.GSM8K.exists() else 0  # slips of the data: see equations/finding_test.py
    assert steps[True] == wrong and steps[None] <= 0.01 * len(every)
    for problem in every:
        assert task.answer(gold(problem)) == problem.answer == number_text.canonical(problem.answer)
        assert task.direct_answer(task.direct(problem)) == problem.answer
        assert task.separator not in gold(problem)
        assert str(len(problem.rationale.split("\n"))) == problem.group or problem.group == "9+"
    leaks = [task.leaks(problem, gold(problem)) for problem in every]
    assert all(kinds in ([], ["from nowhere"]) for kinds in leaks)
    assert sum(map(bool, leaks)) <= 0.003 * len(every)  # slips of the data, and cents for dollars
    assert not any(task.flaws.values())


def test_changed_steps_are_wrong(task: GSM8K):
    for problem in task.train(0, 1, 50):
        changed = re.sub(r"=(\d+)>>", lambda match: f"={match[1]}1>>", gold(problem), count=1)
        if changed != gold(problem):
            assert task.wrong_step(problem, changed) is True


def test_a_leak_is_found():
    assert TASK.leaks(PROBLEM, " The answer is 36.\n#### 36") == ["answer first"]
    assert TASK.leaks(PROBLEM, " 3*12 = 36, as given.\n#### 36") == ["given"]
    assert TASK.leaks(PROBLEM, " There are 3 boxes of 12.\n#### 36") == ["from nowhere"]
    assert TASK.leaks(PROBLEM, " There are 3 boxes of 12, which is 36.\n#### 36") == []


def test_every_row_is_asked_once(task: GSM8K, folder: pathlib.Path):
    parts = [task.train(0, 1, 0), task.evaluation(0, 0, 0), task.few_shot(0, 6)]
    questions = [problem.question for part in parts for problem in part]
    assert len(questions) == len(set(questions)) == len(solutions(folder, "train"))
    assert len(task.few_shot(0, 99)) == 6
    assert len(task.test(0)) == len(solutions(folder, "test"))
    assert len({problem.id for problem in everything(task)}) == len(everything(task))
    held_out = len(parts[1]) / len(questions)
    assert 0.05 < held_out < 0.15


def test_rounds_order_the_same_problems_anew(task: GSM8K):
    first, second = task.train(0, 1, 40), task.train(0, 2, 40)
    assert first != second and sorted(first, key=str) == sorted(second, key=str)
    assert first == task.train(0, 1, 40) == GSM8K(task.data).train(0, 1, 40)
    assert {p.id for p in first} != {p.id for p in task.train(1, 1, 40)}
    assert len(task.evaluation(0, 7, 0)) == 7
    assert set(task.evaluation(0, 7, 0)) <= set(task.evaluation(0, 0, 0))
    assert task.test(9) == task.test(0)[:9]


def test_worked_examples_are_of_several_lengths(task: GSM8K):
    shown = task.few_shot(0, 6)
    assert task.few_shot(5, 2) == shown[:2]
    assert task.few_shot(0, 0) == []
    if texts.GSM8K.exists():
        assert [problem.group for problem in shown] == ["2", "3", "3", "4", "4", "5"]
        assert len({problem.answer for problem in shown}) == 6
        assert all("<<" in line for problem in shown for line in problem.rationale.split("\n"))


def test_other_data_shows_its_first_rows(tmp_path: pathlib.Path):
    task = write(tmp_path, *((f"{n}+1?", f"It is {n + 1}.\n#### {n + 1}") for n in range(99)))
    assert [problem.id for problem in task.few_shot(0, 6)] == [f"train-{n}" for n in range(1, 7)]
    assert len(task.train(0, 1, 0)) + len(task.evaluation(0, 0, 0)) == 93
    assert task.test(0) == []


def test_bad_rows_are_left_out_and_told(tmp_path: pathlib.Path):
    task = write(
        tmp_path,
        ("1+1?", "#### 2"),
        ("", "#### 2"),
        (3, "#### 2"),
        ("1+2?", "It is 3."),
        ("1+3?", None),
        ("1+4?", "It is 5.\n#### five"),
        ("1+1?", "It is 2.\n#### 2"),
        ("1+6?", "It is 8.\n#### 8\nNo, it is 7.\n#### 7"),
        (" 1+5?\n", " It is 6. \n\n I see. \n#### $6.00\n"),
    )
    problems = task.few_shot(0, 6)
    assert [flaw.kind for flaw in task.flaws["train"]] == [
        *("no question", "no question", "no answer", "no answer", "bad answer", "duplicate"),
        "bad answer",
    ]
    assert [flaw.line for flaw in task.flaws["train"]] == [2, 3, 4, 5, 6, 7, 8]
    assert "#### five" in task.flaws["train"][4].detail
    assert problems[1] == Problem("train-9", "1+5?", "6", "It is 6.\nI see.", "2")


def test_too_many_bad_rows_and_too_few_good_ones_are_refused(tmp_path: pathlib.Path):
    write(tmp_path, ("1+1?", "#### 2"), ("1+2?", "It is 3."))
    with pytest.raises(DataError, match=r"train.jsonl: 1 of 2 rows cannot be used \(1 no answer\)"):
        GSM8K(str(tmp_path)).train(0, 1, 0)
    task = GSM8K(str(tmp_path), bad=0.5)
    with pytest.raises(DataError, match="no row is left to train on"):
        task.train(0, 1, 0)
    with pytest.raises(DataError, match="no row is held out"):
        task.evaluation(0, 0, 0)


def test_nothing_is_read_before_it_is_asked_for():
    task = GSM8K("not/there")
    assert task.in_distribution("3") and task.longest("3") == "" and not task.corpus(0, 9, 0.5, 0.5)
    with pytest.raises(DataError, match="no file not/there/train.jsonl"):
        task.train(0, 1, 0)
