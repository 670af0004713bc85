"""What two graders say of one text (experiments/peers/rules.py), by rules of this file's own."""

import pytest

from experiments.peers import rules
from experiments.peers.rules import Both, Reading
from star_jax.grading import grade
from star_jax.tasks.gsm8k import GSM8K
from star_jax.tasks.task import Problem

TASK = GSM8K("not there")
STEP = " Mia packs 4 crates of 18 jars.\nThat is 4*18=<<4*18=72>>72 jars.\n"

# What the model wrote last, the gold answer as GSM8K has it, the difference to GSM8K's own rule.
ANSWERS = [
    ("#### 72", "72", ""),
    ("#### 72\n", "72", ""),
    ("#### 72 jars", "72", ""),
    ("#### 72, or so", "72", ""),
    ("#### 72%", "72", ""),
    ("#### 72cm", "72", ""),
    ("#### 73", "72", ""),
    ("#### 7", "72", ""),
    ("#### 720", "72", ""),
    ("#### -72", "72", ""),
    ("#### -72", "-72", ""),
    ("#### 0", "0", ""),
    ("#### 1,234", "1234", ""),
    ("#### 1234", "1,234", ""),
    ("#### 1,234,567", "1,234,567", ""),
    ("#### 0.25", "0.25", ""),
    ("#### 1,234.75", "1234.75", ""),
    ("#### seventy-two", "72", ""),
    ("#### ", "72", ""),
    ("####72", "72", ""),
    ("### 72", "72", ""),
    ("The answer is 72.", "72", ""),
    ("#### (72)", "72", ""),
    ("#### 72\n#### 80", "72", ""),
    ("#### 80\n#### 72", "72", ""),
    ("#### 72\nQ: How many in 5 crates?\nA: 5*18=90\n#### 90", "72", ""),
    ("Q: How many in 5 crates?\nA: 90\n#### 90", "72", rules.AFTER_THE_END),
    ("#### none\n#### 72", "72", rules.LATER_MARKER),
    ("#### \n#### 72", "72", rules.LATER_MARKER),
    ("#### 1/2", "1", rules.NOT_ONE_NUMBER),
    ("#### 72/5", "72", rules.NOT_ONE_NUMBER),
    ("#### 12 000", "12", rules.NOT_ONE_NUMBER),
    ("#### 12 000", "12,000", rules.NOT_ONE_NUMBER),
    ("#### 12,34", "1234", rules.NOT_ONE_NUMBER),
    ("#### 10:30", "10", rules.NOT_ONE_NUMBER),
    ("#### 72*2", "72", rules.NOT_ONE_NUMBER),
    ("#### 7e2", "7", rules.NOT_ONE_NUMBER),
    ("#### 72½", "72", rules.NOT_ONE_NUMBER),
    ("#### 72.", "72", rules.AS_STRINGS),
    ("#### 72.00", "72", rules.AS_STRINGS),
    ("#### 072", "72", rules.AS_STRINGS),
    ("#### $72", "72", rules.OURS_ALONE),
    ("#### -$72", "-72", rules.OURS_ALONE),
    ("#### \u221272", "-72", rules.OURS_ALONE),
]


def both(text: str, gold: str, truncated: bool = False) -> Both:
    """By our exact rule and by GSM8K's own."""
    problem = Problem("test-1", "How many jars?", TASK.answer(f"#### {gold}") or "", "", "2")
    verdict = grade.grade(TASK, problem, text, truncated=truncated)
    ours = Reading(verdict.predicted, verdict.correct)
    theirs = rules.official(text, f"18 * 4 is that.\n#### {gold}")
    return Both(text, verdict.completion, verdict.truncated, ours, theirs, rules.MARKER)


@pytest.mark.parametrize(("answer", "gold", "name"), ANSWERS)
def test_the_official_label_is_ours_or_the_difference_has_a_name(answer: str, gold: str, name: str):
    found = both(STEP + answer, gold)
    assert rules.difference(found) == name
    if name in rules.STRICTER | {""}:
        assert found.theirs.right >= found.ours.right or name == rules.NOT_ONE_NUMBER
    else:
        assert name in rules.LOOSER
        assert found.ours.right and not found.theirs.right


def test_ours_is_right_alone_where_theirs_is_stricter_and_for_a_number_in_groups():
    scored = [(answer, name, both(STEP + answer, gold)) for answer, gold, name in ANSWERS]
    alone = {answer for answer, _, found in scored if found.ours.right and not found.theirs.right}
    stricter = {answer for answer, name, _ in scored if name in rules.LOOSER}
    assert alone == {*stricter, "#### 12 000"}


@pytest.mark.parametrize(
    ("text", "truncated", "name"),
    [
        (STEP + "#### 72", False, ""),
        (STEP + "#### 72", True, rules.CUT_OFF),
        (STEP + "#### 7", True, ""),
        (STEP + "#### 72\n\tQ", True, ""),
        (STEP, True, ""),
    ],
)
def test_a_text_that_was_cut_off_may_be_right_by_theirs_alone(text, truncated, name):
    assert rules.difference(both(text, "72", truncated)) == name


# The text, its end to us, what each rule takes for the last number, the name.
LAST = [
    ("It is 5 of 9.", 13, "9", "9.", ""),
    ("It is $9.00", 11, "9", "$9.00", ""),
    ("It is 9 ...", 11, "9", "...", rules.OURS_ALONE),
    ("It is 9\n", 8, None, "[invalid]", ""),
    ("It is 7 3/4", 11, None, "4", rules.NOT_ONE_NUMBER),
    ("#### 9\nThat is 8 and 1.", 6, "9", "1.", rules.AFTER_THE_END),
    ("It is 5 of 9", 12, "5", "9", rules.UNEXPLAINED),
    ("#### 5 9", 8, "5", "9", rules.UNEXPLAINED),
]


@pytest.mark.parametrize(("text", "end", "ours", "theirs", "name"), LAST)
def test_differences_of_rules_for_the_last_number(text, end, ours, theirs, name):
    found = Both(text, text[:end], False, Reading(ours, False), Reading(theirs, False))
    assert rules.difference(found) == name


def test_labels_that_part_over_one_number_are_told():
    found = Both("9.0", "9.0", False, Reading("9", True), Reading("9.0", False))
    assert rules.difference(found) == rules.AS_STRINGS
    assert found.same_number and not found.same_label


@pytest.mark.parametrize(
    ("number", "value"),
    [("1,200", 1200), ("-$3.50", -3.5), ("7.", 7), ("007", 7), (None, None), ("", None)]
    + [(number, None) for number in ("[invalid]", "...", "$", ",", "1.2.3", "-")],
)
def test_values(number: str | None, value: float | None):
    assert rules.value(number) == value


def test_the_table_counts_by_pair_and_name():
    texts = [both(STEP + answer, "72") for answer in ("#### 72", "#### 7", "#### $72", "none")]
    *_, row = rules.table({"exact, own": texts})
    assert row == "| exact, own | 4 | 3 | 3 | 3, 2 | 2, 1 | 1 read by ours alone |"
    *_, row = rules.table({"exact, own": texts[:1]})
    assert row.endswith("| none |")
