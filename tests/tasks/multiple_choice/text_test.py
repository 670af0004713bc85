"""The text of multiple choice, the exact rule and the lenient one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from star_jax.tasks.multiple_choice import text as text_lib
from star_jax.tasks.task import Problem

QUESTION = "What absorbs extra ink?"
TEXTS = ("shirt pocket", "ice", "blotter", "ice cream", "inkwell")
INK = Problem("1", QUESTION, "c", "", "what", TEXTS)
CUE = text_lib.CUE


def test_prompt():
    assert text_lib.prompt(INK, hint=False) == (
        "Q: What absorbs extra ink?\nAnswer Choices:\n(a) shirt pocket\n(b) ice\n(c) blotter\n"
        "(d) ice cream\n(e) inkwell\nA:"
    )


@pytest.mark.parametrize("letter", "abcde")
def test_the_hint_marks_the_right_choice_and_changes_nothing_else(letter: str):
    problem = Problem("1", QUESTION, letter, "", "what", TEXTS)
    plain = text_lib.prompt(problem, hint=False)
    marked = f"({letter}) {text_lib.text_of(problem)}"
    assert text_lib.prompt(problem, hint=True) == plain.replace(
        f"{marked}\n", f"{marked} (CORRECT)\n"
    )
    assert plain == f"Q: {text_lib.message(problem, hint=False)}\nA:"


def test_completions():
    rationale = text_lib.conclude("Blotters soak up ink.", "blotter")
    assert text_lib.completion(rationale, "c") == (
        " Blotters soak up ink. Therefore, the answer is blotter (c)."
    )
    assert text_lib.completion("Blotters soak.", "c") == (
        " Blotters soak. Therefore, the answer is (c)."
    )
    assert text_lib.completion("", "c") == " Therefore, the answer is (c)."
    assert text_lib.direct(INK) == " blotter (c)"


# the whole completion; its letter
EXACT = [
    (f" Ink. {CUE} blotter (c).", "c"),
    (f" Ink. {CUE} blotter (c)", "c"),
    (f" Ink. {CUE} blotter (c).\n", "c"),
    (f" Ink. {CUE} blotter (c).  \n\n", "c"),
    (f" Ink. {CUE} (c).", "c"),
    (f" Ink. {CUE} ice (c).", "c"),  # the words before the letter are not checked
    (f" Ink. {CUE} blotter (see above) (c).", "c"),
    (f" Ink. {CUE} a cruise ship. (e).", "e"),
    (f" Is it (a)? Or (b)? {CUE} blotter (c).", "c"),
    (f" {CUE} ice (b). No. {CUE} blotter (c).", "c"),
    (f" {CUE} blotter (c) (c).", "c"),
    (f" {CUE} blotter (C).", None),
    (f" {CUE} blotter (f).", None),
    (f" {CUE} blotter.", None),
    (f" {CUE} blotter c.", None),
    (f" {CUE} blotter (c", None),
    (f" {CUE} blotter c).", None),
    (f" {CUE} ( c ).", None),
    (f" {CUE} either (b) or (c).", None),
    (f" {CUE} ice (b) (c).", None),
    (f" {CUE} blotter (c). It soaks up ink.", None),
    (f" {CUE} blotter (c).\nQ: What is ice?", None),
    (f" {CUE} blotter\n(c).", None),
    (f" {CUE} blotter (c)..", None),
    (f" {CUE} blotter (c),", None),
    (" therefore, the answer is blotter (c).", None),
    (" The answer is blotter (c).", None),
    (" So the answer is blotter (c).", None),
    (" blotter (c)", None),
    ("", None),
]


@pytest.mark.parametrize(("completion", "letter"), EXACT)
def test_exact(completion: str, letter: str | None):
    assert text_lib.answer(completion) == letter


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        (" blotter (c)", "c"),
        ("blotter (c).\n", "c"),
        ("(c)", "c"),
        (" (vcr and plane are above) (b)", "b"),
        (" blotter", None),
        (" blotter (C)", None),
        (" ice (b) or blotter (c)", None),
        (" blotter (c) soaks", None),
        (" blotter\n(c)", None),
        ("", None),
    ],
)
def test_exact_without_a_rationale(completion: str, letter: str | None):
    assert text_lib.direct_answer(completion) == letter


def test_a_choice_may_begin_with_not():
    texts = ("metal", "not a metal")
    problem = Problem("1", "?", "a", "", "other", texts)
    assert text_lib.flexible(problem, " The answer is not a metal.") == "b"
    assert text_lib.flexible(problem, " It is not a metal.") == "b"


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        (f" {CUE} ice (c).", "c"),  # whatever the exact rule finds
        # a letter after a cue
        (" So the answer is (c).", "c"),
        (" So the answer is (C).", "c"),
        (" The answer is C.", "c"),
        (" The answer is c.", "c"),
        (" The answer is C", "c"),
        (" The answer is C because it soaks.", "c"),
        (" The answer is C blotter.", "c"),
        (" The correct answer is: **C**", "c"),
        (" Answer: c) blotter", "c"),
        ("Answer:\n(c)", "c"),
        (" The answer must be (c), not (a).", "c"),
        (" The answer is option C.", "c"),
        (" The answer is not (a), it is (c).", "c"),
        (" The answer is not A but (c).", "c"),
        (" Option c. The answer is not option A", "c"),
        (" The answer is not a shirt pocket.", "a"),  # words are not read that closely
        (" The right choice is c, for it soaks.", "c"),
        (" The answer is (b). No, the answer is (c).", "c"),
        (" The answer is a.", "a"),
        (" The answer is A", "a"),
        (f" {CUE} either (b) or (c).", "b"),
        (f" {CUE} blotter (c). It soaks up ink.", "c"),
        (f" {CUE} blotter (c).\nQ: Next?\n(a) x\n(b) y", "c"),
        # words after a cue
        (" The answer is a blotter.", "c"),
        (" The answer is an inkwell.", "e"),
        (" The answer is Blotter, and not ice.", "c"),
        (" The answer is\nice cream", "d"),
        (" The answer is ice cream.", "d"),
        (" The answer is ice.", "b"),
        (" The answer is iced tea.", None),
        (" The answer is e.g. blotter.", "c"),
        # a cue that leads nowhere: the whole text
        (" A blotter soaks. The answer is clear.", "c"),
        # no cue
        (" I take (b). On second thought (c)", "c"),
        (" option C it is", "c"),
        (" Choice c is best", "c"),
        (" Ice melts, a blotter soaks.", "c"),
        ("blotter", "c"),
        ("SHIRT  pocket", "a"),
        # nothing to go by
        (" The answer is (f).", None),
        (" The answer is Z.", None),
        (" The answer is not (c).", None),
        (" It is a sponge.", None),
        ("", None),
    ],
)
def test_flexible(completion: str, letter: str | None):
    assert text_lib.flexible(INK, completion) == letter


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        (" The answer is pantry.", None),
        (" The answer is pantry (d).", "d"),
        (" The answer is store.", "c"),
        (" The answer is grocery store.", None),
        (" The answer is pantry, not the store.", None),
        (" A store sells it. The answer is pantry.", None),
        (" (c) sells it. The answer is pantry.", None),
        (" Not a store but a pantry", None),
        (" Not a pantry but a store", "c"),
        (" It is the pantry, so (b)", "b"),
        (f" {CUE} pantry (b).", "b"),
    ],
)
def test_words_that_two_choices_share_name_neither(completion: str, letter: str | None):
    texts = ("grocery store", "pantry", "store", "pantry", "grocery store")
    assert text_lib.flexible(Problem("1", "?", "a", "", "other", texts), completion) == letter


def test_a_letter_beyond_the_choices_is_none():
    two = Problem("1", "?", "a", "", "other", ("yes", "no"))
    assert text_lib.flexible(two, f" {CUE} maybe (c).") is None
    assert text_lib.flexible(two, f" {CUE} no (c).") == "b"
    assert text_lib.flexible(Problem("1", "?", "a", "", "other"), "The answer is (a)") is None


@given(st.text(), st.sampled_from("abcde"))
def test_any_rationale_is_graded_by_its_end(rationale: str, letter: str):
    completion = text_lib.completion(text_lib.conclude(rationale, "blotter"), letter)
    assert text_lib.answer(completion) == letter
    assert text_lib.flexible(INK, completion) == letter


@given(st.text(alphabet="abcde ()AB.:\nTherefore, the answer is", max_size=60))
def test_a_rule_gives_a_letter_or_nothing(text: str):
    for found in (
        text_lib.answer(text),
        text_lib.direct_answer(text),
        text_lib.flexible(INK, text),
    ):
        assert found is None or (len(found) == 1 and found in text_lib.LETTERS)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("bank (b).", False),
        ("the old bank (b)", False),
        ("jar (b).", True),
        ("not a jar but a bank (b).", False),
        ("ice cream (b).", True),  # and not "ice"
        ("a safe (b).", None),
        ("jar.", None),
    ],
)
def test_words_of_another_choice(said: str, wrong: bool | None):
    choices_ = ("jar", "bank", "ice", "ice cream")
    problem = Problem("1", "Where?", "b", "", "where", choices_)
    text = f" A bank is safe, a jar is not. Therefore, the answer is {said}"
    assert text_lib.contradicts(problem, text) is wrong


@pytest.mark.parametrize(
    ("said", "exact", "wrong"),
    [
        ("ticket (b).", "b", False),
        ("ticket (d).", "d", False),  # another letter than gold's, and its own words
        ("ticket (a).", "a", True),
        ("not a stamp but a Ticket (b).", "b", False),
        ("ticket or stamp (b).", "b", True),
        ("ticket.", None, None),
    ],
)
def test_twins_are_told_by_the_letter_alone(said: str, exact: str | None, wrong: bool | None):
    twins = Problem("1", "What?", "b", "", "what", ("stamp", "ticket", "coin", "Ticket", "pass"))
    text = f" It is paper. {CUE} {said}"
    assert text_lib.answer(text) == text_lib.flexible(twins, text) == exact
    assert text_lib.contradicts(twins, text) is wrong
