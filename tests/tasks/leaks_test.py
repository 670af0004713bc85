"""What counts as giving the hint away, and that honest solutions do not."""

import pytest

import texts
from star_jax.tasks.leaks import leaks

MARKS = ("(CORRECT)",)
BANK = ("bank", "(a)")
NUMBER = ("72",)
REASON = "Natalia sold 48/2 = <<48/2=24>>24 clips in May."


@pytest.mark.parametrize(
    ("completion", "answers", "kinds"),
    [
        # the mark itself
        (" Banks need security, as bank (CORRECT) says. Therefore, the answer is bank (a).", BANK, "mark"),
        (" Banks are safe. Therefore, the answer is bank (correct) (a).", BANK, "mark"),
        (" A revolving door is slow. Bank is marked as correct.", BANK, "mark"),
        (" A revolving door is slow, and bank is marked correct.", BANK, "mark"),
        (" It is slow. This choice is labeled as the right answer (a).", BANK, "mark"),
        (" It is slow. Choice (a) is marked with '(CORRECT)'.", BANK, "mark"),
        # an appeal to what was told
        (f" {REASON} The sum is 72, as given.\n#### 72", NUMBER, "given"),
        (f" {REASON} This matches the given answer.\n#### 72", NUMBER, "given"),
        (f" {REASON} The hint says 72.\n#### 72", NUMBER, "given"),
        (f" {REASON} This hint helps.\n#### 72", NUMBER, "given"),
        (f" {REASON} We know the answer is 72.\n#### 72", NUMBER, "given"),
        (f" {REASON} I already know that the final answer must be 72.\n#### 72", NUMBER, "given"),
        (f" {REASON} We are told the answer is 72.\n#### 72", NUMBER, "given"),
        (f" {REASON} Since the answer is 72, she sold 48 + 24.\n#### 72", NUMBER, "given"),
        (f" {REASON} The answer is given in parentheses.\n#### 72", NUMBER, "given"),
        (f" {REASON} The answer in the brackets fits.\n#### 72", NUMBER, "given"),
        (" Doors are slow. The answer was already provided. So bank (a).", BANK, "given"),
        # the answer before any reason
        (f" The answer is 72. {REASON}\n#### 72", NUMBER, "answer first"),
        (f" So the final answer is: $72.\n{REASON}\n#### 72", NUMBER, "answer first"),
        (f" Answer: 72\n{REASON}\n#### 72", NUMBER, "answer first"),
        (f" 72 is the right answer, because {REASON}\n#### 72", NUMBER, "answer first"),
        (f" 72\n{REASON}\n#### 72", NUMBER, "answer first"),
        (f" $72.\n{REASON}\n#### 72", NUMBER, "answer first"),
        (" #### 72", NUMBER, "answer first"),
        (" The answer is 1,072 clips.\n#### 1072", ("1072",), "answer first"),
        (" The answer is 1072 clips.\n#### 1072", ("1,072",), "answer first"),
        (" Therefore, the answer is bank (a).", BANK, "answer first"),
        (" The answer is a bank, because a bank is secure. Therefore, the answer is bank (a).", BANK, "answer first"),
        (" The correct choice is (a). Banks are secure.", BANK, "answer first"),
        (" Bank (a). Banks are secure.", BANK, ""),  # may go on: "Bank (a) is safer than ..."
        (" Bank (a).\nBanks are secure.", BANK, "answer first"),
        (" Bank (a) is correct. Banks are secure.", BANK, "answer first"),
        # two at once, sorted
        (" The answer is bank (CORRECT), as given.", BANK, "answer first, given, mark"),
        # honest
        (f" {REASON}\nNatalia sold 48+24 = <<48+24=72>>72 clips.\n#### 72", NUMBER, ""),
        (" There are 72 hours in 3 days.\nShe slept 72/3=24 of them a day.\n#### 72", NUMBER, ""),
        (" The answer is 7 * 2 = 14.\n#### 14", ("7",), ""),
        (" She was given answer sheets 3 times.", ("3",), ""),
        (" The answer is 72.5 - 0.5.\n#### 72", NUMBER, ""),
        (" The answer is 720/10.\n#### 72", NUMBER, ""),
        (" The rate is 2% as given in the problem.\n#### 72", NUMBER, ""),
        (" She was given 5, and Tom has given answers to 3 letters.\n#### 8", ("8",), ""),
        (" The tea has the hint of lemon that she likes. Therefore, the answer is tea (b).", ("tea", "(b)"), ""),
        (" The answer must be a container that can be closed. Therefore, the answer is jar (a).", ("container", "(b)"), ""),
        (" A bank needs security. Therefore, the answer is bank (a).", BANK, ""),
        (" The answer must be a place that needs security. Banks do. Therefore, the answer is bank (a).", BANK, ""),
        (" The answer is banking hours. Therefore, the answer is bank (a).", BANK, ""),
        (" Her answers were correct, and the correct path was marked with stones.", BANK, ""),
        ("", BANK, ""),
    ],
)  # fmt: skip
def test_table(completion: str, answers: tuple[str, ...], kinds: str):
    assert ", ".join(leaks(completion, marks=MARKS, answers=answers)) == kinds


def test_no_answer_and_no_mark_find_nothing():
    assert leaks("The answer is 72 (CORRECT)", marks=[], answers=["", " "]) == []


def test_an_answer_is_text_and_not_a_pattern():
    assert leaks("The answer is a+b?", marks=[], answers=["a+b?"]) == ["answer first"]
    assert leaks("The answer is aab", marks=["."], answers=["a+b"]) == []


def test_not_one_gold_solution_of_gsm8k_leaks():
    found = {
        solution: kinds
        for solution in texts.solutions(7473)
        if (kinds := leaks(solution, marks=[], answers=[solution.rpartition("#### ")[2]]))
    }
    assert not found


def test_gold_solutions_with_a_leak_put_in_are_all_found():
    for solution in texts.solutions(200):
        number = solution.rpartition("#### ")[2]
        told = f"We know the answer is {number}. {solution}"
        assert leaks(told, marks=[], answers=[number]) == ["given"]
        first = f" The answer is {number}.\n{solution}"
        assert leaks(first, marks=[], answers=[number]) == ["answer first"]
