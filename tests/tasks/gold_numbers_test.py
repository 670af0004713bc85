"""Which answer fields give a number, and which are left out because a part would pass for it."""

import json
import pathlib

import pytest

from star_jax.tasks import number_text
from star_jax.tasks.gold_numbers import gold

GSM8K = pathlib.Path(__file__).parents[3] / "shared/data/gsm8k"

GIVEN = [
    # a number and nothing else
    ("31", "31"),
    (" 2,750.80 ", "2750.8"),
    ("-$6", "-6"),
    ("45 %", "45"),
    # with words, units and signs around it
    ("about 9 pears", "9"),
    ("Answer: 31", "31"),
    ("16cm", "16"),
    ("61 km/h", "61"),
    ("24 m²", "24"),
    ("24 m2", "24"),
    ("CO2 falls to 5", "5"),
    ("(9)", "9"),
    ("**9**", "9"),
    ("$9$", "9"),
    ("9 (nine)", "9"),
    # a solution
    ("2 + 7 = 9", "9"),
    ("2 + 7 = 9 pears.", "9"),
    ("4 - 9 = -5", "-5"),
    ("x + 7 = 9\nx = 2", "2"),
    ("2x = 8\nx = 4", "4"),
    ("2 + 7 = 9\n#### 9", "9"),
    ("#### 9 pears", "9"),
    ("From 5 to 6.\n#### 9", "9"),
    (r"\boxed{9}", "9"),
    (r"So 2 and 7 are $\boxed{9}$.", "9"),
    ("It is 9.", "9"),
    ("Of 4 bags 3 are full. So 9 pears are left!", "9"),
    ("Ann has 2 and Ben 7, which makes 9 pears.", "9"),
    ("Ann has 2 and Ben has 7 and so there are 9.", "9"),
    ("共有 2 + 7 个。所以是 9 个。", "9"),
]
GUESSES = [
    # numbers of several parts
    *("5 3/8", "7/8", "7/8 cup", "1 or 7/8", "5²", "2^10", "3 x 4", "3 + 4", "9 = 3 + 6", "6e5", "6e-05"),
    *("12 34", "12, 13", "12; 13", "12, 13 and 14", "3:1", "the ratio 3:1", "3 out of 4"),
    # ranges
    *("8-9", "8 - 9", "8–9 pears", "8 to 9", "8 or 9", "between 8 and 9", "between 8 and 9 pears."),
    *("x = 8-9", "x = 8 or 9", "It takes him 8 to 9 days."),
    # dates, times, durations, measures
    *("1987-11-23", "23.11.1987", "11/23/1987", "November 23, 1987", "23 November 1987"),
    *("the 23rd of November 1987", "She was born on 23 November 1987.", "7:45", "7:45 pm", "at 7:45."),
    *("4 hours 20 minutes", "The way takes 4 hours 20 minutes.", "6 feet 2 inches", "6'2\""),
    *("4 dollars and 20 cents", "4 pears, 20 plums."),
    # names
    *("1.2.3", "v2.4", "127.0.0.1", "A4", "#9", "No.9", "a1b2", "ISBN 978-3-16-148410-0"),
    *("+44 20 7946 0958", "(020) 7946-0958", "7946-0958", "Call 7946-0958."),
    # none, or more than one
    *("", "seven", "9+", "<9", "one 7, two 8"),
    *("x = 8, y = 9", "x=8 or x=9", "p = 8\nq = 9", "log(8)", "8 ± 1", "8 r 1", "8i", "0.(8)"),
    # after a marker it is the same
    *("#### 1987-11-23", "so 9\n#### 8 to 9", "#### 5 or 3/8"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "number"), GIVEN)
def test_given(field: str, number: str):
    assert gold(field, "####") == number


@pytest.mark.parametrize("field", GUESSES)
def test_a_part_never_passes_for_the_whole(field: str):
    """None, unless `numbers` takes the whole field for one number."""
    assert gold(field, "####") == number_text.canonical(field)


def test_a_marker_of_one_s_own():
    assert gold("5 - 6\n=> 9", "=>") == "9" and gold("It is 5 -> 6 or 7.", "->") is None


@pytest.mark.skipif(not GSM8K.exists(), reason="GSM8K is not here")
def test_every_solution_of_gsm8k():
    lines = [line for file in GSM8K.glob("*.jsonl") for line in file.read_text().splitlines()]
    for line in lines:
        solution = json.loads(line)["answer"]
        assert gold(solution, "####") == number_text.canonical(solution.rpartition("#### ")[2])
    assert len(lines) == 8792
