import json
import pathlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from star_jax.tasks import number_text
from star_jax.tasks.jsonl import Jsonl
from star_jax.tasks.rows import DataError
from star_jax.tasks.task import Problem
from texts import questions, solutions

MARKER = Jsonl("-")
NUMBER = Jsonl("-", rule="number")
LETTER = Jsonl("-", rule="letter")
REGEX = Jsonl("-", rule="regex", pattern=r"(?:answer is )?([^.\s]+)\.?\s*$")
NAN, INF = float("nan"), float("inf")
TASKS = {task.rule: task for task in (MARKER, NUMBER, LETTER, REGEX)}
GSM8K = [{"question": q, "answer": a} for q, a in zip(questions(300), solutions(300), strict=True)]


def write(path: pathlib.Path, rows: list[Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def only(folder: pathlib.Path, row: dict[str, Any], **settings: Any) -> Problem:
    """The problem that a row becomes."""
    data = write(folder / "qa.jsonl", [row])
    (problem,) = Jsonl(data, dev=0.0, **settings).train(seed=0, round=1, count=0)
    return problem


def problem(answer: str) -> Problem:
    return Problem("train:1", "What?", answer, "", "all")


@pytest.mark.parametrize(
    ("rule", "field", "rationale", "answer", "completion"),
    [
        ("marker", "3 + 4 = 7\n#### 7", "3 + 4 = 7", "7", " 3 + 4 = 7\n#### 7"),
        ("marker", "#### $1,234.50", "", "1234.5", " #### 1234.5"),
        ("marker", "#### 1\nand so on", "", "1", " #### 1"),
        ("marker", "#### 1\n#### 2\nand so on", "#### 1", "2", None),  # which of the two?
        ("marker", "#### 1 #### 2", "#### 1", "2", None),
        ("marker", "It is 1.\nQ: And?\nA: 2.\n#### 2", "", "2", None),
        ("marker", "Paris", "", "Paris", " #### Paris"),
        ("marker", " The  Hague\n", "", "The Hague", " #### The Hague"),
        ("marker", "a\n\n \nb\n\n#### c", "a\nb", "c", " a\nb\n#### c"),
        ("marker", "####\n7", "####", "#### 7", None),  # nothing on the marker's line
        ("marker", 7, "", "7", " #### 7"),
        ("marker", 7.50, "", "7.5", " #### 7.5"),
        ("marker", True, "", "true", " #### true"),
        ("marker", 0.00003, "", "0.00003", " #### 0.00003"),
        ("marker", 4e18, "", "4000000000000000000", " #### 4000000000000000000"),
        ("number", "about 7 apples", "", "7", " #### 7"),
        ("number", "3 + 4 = 7\n#### 7", "3 + 4 = 7", "7", " 3 + 4 = 7\n#### 7"),
        ("number", -12, "", "-12", " #### -12"),
        ("number", "seven", "", None, None),
        ("number", "5-6 apples", "", None, None),
        ("number", "2019-07-30", "", None, None),
        ("number", 0.00003, "", "0.00003", " #### 0.00003"),
        ("letter", "B", "", "b", " Therefore, the answer is (b)."),
        ("letter", "(b)", "", "b", " Therefore, the answer is (b)."),
        ("letter", "c.", "", "c", " Therefore, the answer is (c)."),
        ("letter", "It is (A), not (b).", "", "b", " Therefore, the answer is (b)."),
        ("letter", "Paris", "", None, None),
        ("regex", "The answer is 1,000.", "", "1000", " 1000"),
        ("regex", "Paris", "", "Paris", " Paris"),
    ],
)
def test_the_answer_field(
    tmp_path: pathlib.Path,
    rule: str,
    field: object,
    rationale: str,
    answer: str | None,
    completion: str | None,
):
    row = {"question": "What?", "answer": field}
    if completion is None:
        with pytest.raises(DataError, match="bad answer"):
            only(tmp_path, row, rule=rule, pattern=TASKS[rule].pattern)
        return
    found = only(tmp_path, row, rule=rule, pattern=TASKS[rule].pattern)
    assert (found.rationale, found.answer) == (rationale, answer)
    assert TASKS[rule].completion(rationale, found.answer) == completion


# the rule; the whole completion; its answer
FOUND = [
    ("marker", " So it is 7.\n#### 7", "7"),
    ("marker", "#### 7\n", "7"),
    ("marker", "####7", "7"),
    ("marker", " #### 7.00 \r\nmore", "7"),
    ("marker", "#### 7 apples", "7 apples"),
    ("marker", "#### 1/2", "1/2"),
    ("marker", "#### 3\n#### 4", "4"),
    ("marker", "#### 3 #### 4", "4"),
    ("marker", "##### 4", "4"),
    ("marker", "#### 3\n####", None),
    ("marker", "####\n7", None),
    ("marker", "### 7", None),
    ("marker", "7", None),
    ("marker", "", None),
    ("marker", "#### the   Hague.", "the Hague."),
    ("number", " So it is 7.", "7"),
    ("number", " 3 + 4 = 7 apples", "7"),
    ("number", "7 or 1/2", "7"),
    ("number", "seven", None),
    ("number", "", None),
    ("letter", " Therefore, the answer is (b).", "b"),
    ("letter", "(B)", "b"),
    ("letter", "(a) or (b)", "b"),
    ("letter", "(b) (because of it)", "b"),
    ("letter", "b", None),
    ("letter", "(bc)", None),
    ("letter", "(1)", None),
    ("letter", "(ß)", None),
    ("regex", "The answer is 7.", "7"),
    ("regex", "The answer is 7.\n8", "8"),
    ("regex", "...", None),
    ("regex", "", None),
]


@pytest.mark.parametrize(("rule", "completion", "answer"), FOUND)
def test_answer_extraction(rule: str, completion: str, answer: str | None):
    assert TASKS[rule].answer(completion) == answer


def test_the_last_match_of_a_regex_counts_and_a_group_left_out_is_no_answer():
    task = Jsonl("-", rule="regex", pattern=r"<(\w+)>|<>")
    assert task.answer("<a> <b>") == "b"
    assert task.answer("<a> <>") is None


@pytest.mark.parametrize(
    ("rule", "completion", "answer"),
    [
        ("marker", " 7", "7"),
        ("marker", " the\n Hague ", "the Hague"),
        ("marker", " \n", None),
        ("number", " 1,000.", "1000"),
        ("number", " 7 apples", None),
        ("letter", " (b)", "b"),
        ("letter", " b", "b"),
        ("letter", " boat", None),
        ("regex", " 7", "7"),
    ],
)
def test_direct_answers(rule: str, completion: str, answer: str | None):
    assert TASKS[rule].direct_answer(completion) == answer
    if answer is not None:
        assert TASKS[rule].direct_answer(TASKS[rule].direct(problem(answer))) == answer


@pytest.mark.parametrize(
    ("rule", "gold", "completion", "answer"),
    [
        ("marker", "7", " 3 + 4 = 7 apples in all", "7"),
        ("marker", "7", " 3 + 4 = 8", "8"),
        ("marker", "7", " seven", None),
        ("marker", "The Hague", " So it must be the  Hague.", "The Hague"),
        ("marker", "The Hague", " It is the Hague.\nWhy? Look at a map.", None),
        ("marker", "The Hague", " It is the Hague.\n#### Delft", "Delft"),
        ("marker", "yes", "#### Yes!", "yes"),
        ("marker", "no", " It must be a piano.", None),
        ("marker", "A+", " She got an a+.", "A+"),
        ("marker", "yes", "", None),
        ("marker", "!", " It is so!", None),
        ("marker", "!", "#### !", "!"),
        ("regex", "Rome", " It is rome.", "Rome"),
        ("number", "7", " 3 + 4 is 7, I say.", "7"),
        ("letter", "b", " It is (b).", "b"),
        ("letter", "b", " The answer is B.", "b"),
        ("letter", "b", " Answer: b", "b"),
        ("letter", "b", " (b) is wrong. The answer is a.", "a"),
        ("letter", "b", " The answer is boat.", None),
        ("letter", "b", " The answer is a boat.", None),
        ("letter", "b", " Answer: B\nAnd why?", "b"),
        ("letter", "b", "", None),
    ],
)
def test_the_flexible_rule(rule: str, gold: str, completion: str, answer: str | None):
    assert TASKS[rule].flexible(problem(gold), completion) == answer


@given(st.text(), st.integers(-(10**9), 10**9), st.sampled_from("abcdefgh"))
def test_what_a_completion_says_is_what_is_read(rationale: str, number: int, letter: str):
    for task, answer in ((MARKER, str(number)), (NUMBER, str(number)), (LETTER, letter)):
        assert task.answer(task.completion(rationale, answer)) == answer
        assert task.answer(task.completion("", answer)) == answer
        assert task.direct_answer(task.direct(problem(answer))) == answer


@given(st.text(min_size=1))
def test_text_is_canonical_once_and_for_all(text: str):
    canonical = MARKER.canonical(text)
    assert (canonical is None) == (not text.strip())
    assert canonical is None or MARKER.canonical(canonical) == canonical


def test_prompts_and_hints():
    task = Jsonl("-", hint="\nHint: the answer is {answer}.")
    assert MARKER.prompt(problem("7"), hint=False) == "Q: What?\nA:"
    assert MARKER.prompt(problem("7"), hint=True) == "Q: What? (7)\nA:"
    assert MARKER.message(problem("7"), hint=True) == "What? (7)"
    assert task.prompt(problem("7"), hint=True) == "Q: What?\nHint: the answer is 7.\nA:"
    assert task.prompt(problem("{answer}"), hint=False) == "Q: What?\nA:"
    assert task.message(problem("{x}"), hint=True) == "What?\nHint: the answer is {x}."


@pytest.mark.parametrize(
    ("hint", "completion", "kinds"),
    [
        (" ({answer})", " 3 + 4 = 7\n#### 7", []),
        (" ({answer})", " The answer is 7. 3 + 4 = 7\n#### 7", ["answer first"]),
        (" ({answer})", " We see (7).\n#### 7", []),
        (" [hint: {answer}]", " As [Hint: 7] has it, 3 + 4 = 7\n#### 7", ["mark"]),
        (" [hint: {answer}]", " The hint says 7.\n#### 7", ["given"]),
    ],
)
def test_leaks(hint: str, completion: str, kinds: list[str]):
    assert Jsonl("-", hint=hint).leaks(problem("7"), completion) == kinds


def test_a_letter_that_is_a_word_is_no_leak():
    boat = " The answer is a boat if it floats. It does. Therefore, the answer is (a)."
    assert LETTER.leaks(problem("a"), boat) == []
    assert LETTER.leaks(problem("a"), " The answer is (a). It floats.") == ["answer first"]


@pytest.mark.parametrize(
    ("row", "question", "answer", "read"),
    [
        ({"q": " A? ", "a": "7"}, "q", "a", ("A?", "7")),
        ({"q": "A?", "a": "7", "c": "B."}, "{c}\n{q}", "{a}", ("B.\nA?", "7")),
        ({"q": {"stem": "A?"}, "a": {"n": {"v": 7}}}, "q.stem", "a.n.v", ("A?", "7")),
        ({"q": {"stem": "A?"}, "a": "7"}, "<{q.stem}> {{x}}", "a", ("<A?> {x}", "7")),
        ({"q": "{a} {0.__class__}", "a": "7"}, "{q}", "a", ("{a} {0.__class__}", "7")),
        ({"the question": "A?", "a-1": "7"}, "the question", "{a-1}", ("A?", "7")),
        ({"q.stem": "A?", "a": {"b.c": "7"}}, "q.stem", "a.b.c", ("A?", "7")),
        ({"q": 12, "a": 0}, "{q} + 0?", "a", ("12 + 0?", "0")),
        ({"q": 1e-7, "a": 2e21}, "{q} + {q}?", "a", ("0.0000001 + 0.0000001?", "2" + "0" * 21)),
        ({"q": "A?", "c": "", "a": "7"}, "{c}\n{q}", "a", ("A?", "7")),
    ],
)
def test_templates(
    tmp_path: pathlib.Path, row: dict[str, Any], question: str, answer: str, read: tuple[str, str]
):
    found = only(tmp_path, row, question_field=question, answer_field=answer)
    assert (found.question, found.answer) == read


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "markers"}, "rule = 'markers': must be one of marker, number, letter, regex"),
        ({"pattern": " "}, "pattern = ' ': must be a marker"),
        ({"rule": "regex"}, "pattern = '####': must have the answer in a group: (...)"),
        ({"rule": "regex", "pattern": "("}, "pattern = '(': not a regular expression: missing )"),
        ({"question_field": ""}, "question_field = '': must be a field's name"),
        ({"question_field": "{}"}, "question_field = '{}': must be a field's name"),
        ({"question_field": "a {0[0]}"}, "question_field = 'a {0[0]}': must be"),
        ({"question_field": "{a!r}"}, "question_field = '{a!r}': must be"),
        ({"question_field": "{a:>99}"}, "question_field = '{a:>99}': must be"),
        ({"question_field": "{a:{b}}"}, "question_field = '{a:{b}}': must be"),
        ({"question_field": "{a"}, "question_field = '{a': expected '}'"),
        ({"answer_field": "a}"}, "answer_field = 'a}': Single '}'"),
        ({"answer_field": "{{a}}"}, "answer_field = '{{a}}': must be"),
        ({"hint": " (CORRECT)"}, "hint = ' (CORRECT)': must have {answer} in it"),
        ({"hint": "answer"}, "hint = 'answer': must have {answer} in it"),
        ({"hint": "{answer} {question}"}, "must have {answer} in it, and no other field"),
        ({"hint": "{answer.__class__}"}, "must have {answer} in it, and no other field"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        Jsonl("-", **settings)


@pytest.mark.parametrize(
    ("question", "answer"), [("question", "solution"), ("problem", "{problem} {gold}")]
)
def test_a_wrong_field_name_is_refused_with_those_there_are(
    tmp_path: pathlib.Path, question: str, answer: str
):
    data = write(tmp_path / "qa.jsonl", [{"problem": "A?", "solution": "7"}])
    with pytest.raises(DataError, match=r"qa\.jsonl line 1: no .* are .*problem.*solution"):
        Jsonl(data, question_field=question, answer_field=answer).train(0, 1, 0)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"question": "", "answer": "7"}, "no question"),
        ({"question": None, "answer": "7"}, "no question"),
        ({"answer": "7"}, "no question"),
        ({"question": {"stem": "A?"}, "answer": "7"}, "no question"),
        ({"question": "A?", "answer": ""}, "no answer"),
        ({"question": "A?", "answer": ["7", "8"]}, "no answer"),
        ({"question": "A?", "answer": {"text": "7"}}, "no answer"),
        ({"question": "A?"}, "no answer"),
        ({"question": "A?", "answer": NAN}, "no answer"),
        ({"question": "A?", "answer": -INF}, "no answer"),
        ({"question": INF, "answer": "7"}, "no question"),
        ({"question": "A?", "answer": "####\n7"}, "bad answer"),
        ({"question": "Right  0?", "answer": "7"}, "duplicate"),
    ],
)
def test_bad_rows_are_left_out_and_told_of(tmp_path: pathlib.Path, row: dict[str, Any], kind: str):
    good = [{"question": f"Right {i}?", "answer": "7"} for i in range(9)]
    data = write(tmp_path / "qa.jsonl", [*good, row])
    task = Jsonl(data, dev=0.0, bad=0.1)
    assert len(task.train(0, 1, 0)) == 9
    assert [(flaw.line, flaw.kind) for flaw in task.flaws["train"]] == [(10, kind)]
    with pytest.raises(DataError, match=f"(?s){kind}.*10|10.*{kind}"):
        Jsonl(data, bad=0.05).train(0, 1, 0)


def test_a_regex_that_misses_its_own_completions_is_refused(tmp_path: pathlib.Path):
    data = write(tmp_path / "qa.jsonl", [{"question": "A?", "answer": "The answer is 7."}])
    with pytest.raises(DataError, match=r"the rule misses '7' where it is written as ' 7'"):
        Jsonl(data, rule="regex", pattern=r"answer is (\w+)").train(0, 1, 0)


@pytest.fixture(scope="module")
def gsm8k(tmp_path_factory: pytest.TempPathFactory) -> Jsonl:
    folder = tmp_path_factory.mktemp("gsm8k")
    write(folder / "train.jsonl", GSM8K[:250])
    write(folder / "test.jsonl", GSM8K[245:])  # the first five are worked examples too
    return Jsonl(str(folder), few_shot_file=write(folder / "shots.jsonl", GSM8K[240:250]))


def test_gsm8k_is_read_as_it_is(gsm8k: Jsonl):
    read = {p.question: p for p in gsm8k.train(0, 1, 0) + gsm8k.evaluation(0, 0, 0)}
    assert len(read) == 240
    for row in GSM8K[:240]:
        found = read[row["question"]]
        rationale, _, answer = row["answer"].rpartition("\n#### ")
        assert found.answer == number_text.canonical(answer)
        assert found.rationale == rationale
        assert gsm8k.answer(" " + row["answer"]) == found.answer
        assert gsm8k.completion(rationale, answer) == " " + row["answer"]
        assert gsm8k.leaks(found, " " + row["answer"]) == []


def test_splits(gsm8k: Jsonl):
    for seed in (0, 1):
        train = [p.id for p in gsm8k.train(seed, 1, 0)]
        held_out = [p.id for p in gsm8k.evaluation(seed, 0, 9)]
        assert 5 <= len(held_out) <= 50
        assert sorted(train + held_out) == sorted(f"train:{line}" for line in range(1, 241))
        assert gsm8k.evaluation(seed, 4, 9) == gsm8k.evaluation(seed, 0, 0)[:4]
    assert gsm8k.evaluation(0, 0, 0) != gsm8k.evaluation(1, 0, 0)
    tested = gsm8k.test(0)
    assert sorted(p.id for p in tested) == sorted(f"test:{line}" for line in range(6, 56))
    assert gsm8k.test(7) == tested[:7]


def test_a_round_has_the_same_problems_in_another_order(gsm8k: Jsonl):
    first, second = gsm8k.train(0, 1, 50), gsm8k.train(0, 2, 50)
    assert len(first) == 50
    assert first != second and sorted(p.id for p in first) == sorted(p.id for p in second)
    assert gsm8k.train(0, 1, 50) == first != gsm8k.train(1, 1, 50)


def test_worked_examples_are_the_file_s_first(gsm8k: Jsonl):
    examples = gsm8k.few_shot(seed=0, count=6)
    assert [p.question for p in examples] == [row["question"] for row in GSM8K[240:246]]
    assert all(gsm8k.completion(p.rationale, p.answer) for p in examples)
    assert gsm8k.few_shot(1, 6) == examples
    assert len(gsm8k.few_shot(0, 99)) == 10
    assert gsm8k.few_shot(0, 0) == []


def test_worked_examples_may_have_a_field_for_the_rationale(tmp_path: pathlib.Path):
    row = {"question": "3 + 4?", "rationale": "3 + 4\n\nis 7.", "answer": "7"}
    shots = write(tmp_path / "shots.jsonl", [row])
    (example,) = Jsonl("-", few_shot_file=shots).few_shot(0, 1)
    assert MARKER.completion(example.rationale, example.answer) == " 3 + 4\nis 7.\n#### 7"


def test_without_worked_examples_there_is_none_to_show(tmp_path: pathlib.Path):
    assert MARKER.few_shot(seed=0, count=0) == []
    with pytest.raises(DataError, match="give config.task.few_shot_file=FILE"):
        MARKER.few_shot(seed=0, count=2)
    shots = write(tmp_path / "shots.jsonl", [{"question": "3 + 4?", "answer": "#### 7"}])
    with pytest.raises(DataError, match=r"shots\.jsonl.*(?s:.*)no rationale"):
        Jsonl("-", few_shot_file=shots).few_shot(0, 1)


@pytest.mark.parametrize(
    ("dev", "message"),
    [(0.0, "no row is held out to choose the round by"), (1.0, "no row is left")],
)
def test_an_empty_split_is_refused(tmp_path: pathlib.Path, dev: float, message: str):
    task = Jsonl(write(tmp_path / "qa.jsonl", GSM8K[:5]), dev=dev)
    with pytest.raises(DataError, match=f"qa.jsonl: {message}"):
        assert task.train(0, 1, 0) and task.evaluation(0, 0, 0)


def test_data_without_answers_has_questions_alone(tmp_path: pathlib.Path):
    rows = [{"question": f"What is {n}?"} for n in range(40)]
    shown = [{"question": "What is 1 + 1?", "rationale": "1 + 1 = 2", "answer": "2"}]
    few_shot = write(tmp_path / "shown.jsonl", shown)
    data = write(tmp_path / "qa.jsonl", rows)
    task = Jsonl(data, answer_field="", few_shot_file=few_shot)
    problems = [*task.train(0, 1, 0), *task.evaluation(0, 0, 0)]
    assert sorted(p.question for p in problems) == sorted(row["question"] for row in rows)
    assert {p.answer for p in problems} == {""}
    assert [p.answer for p in task.few_shot(0, 1)] == ["2"]
    assert task.flexible(problems[0], " It is 4.\n#### 5") == "5"
    assert task.leaks(problems[0], " It is 4.\n#### 5") == []


def test_equations_are_checked_and_are_the_steps(gsm8k: Jsonl):
    for text, wrong, steps in (
        ("3 + 4 = 7\n#### 7", False, ("3+4=7",)),
        ("3 + 4 = 8\n#### 7", True, ("3+4=8",)),
        ("<<3+4=7>>7 and 3 + 4 = 8\n#### 7", True, ("3+4=7",)),
        ("x + 4 = 7\n#### 7", None, ("+4=7",)),
        ("It is seven.\n#### 7", None, None),
    ):
        assert gsm8k.wrong_step(problem("7"), text) is wrong
        assert gsm8k.steps(problem("7"), text) == steps


def test_what_it_cannot_know(gsm8k: Jsonl):
    assert gsm8k.in_distribution("all") and gsm8k.longest("all") == ""
    assert gsm8k.corpus(0, 5, 0.5, 0.5) == []
    assert {p.group for p in gsm8k.train(0, 1, 0)} == {"all"}
    assert Jsonl("not read yet").flaws == {}
