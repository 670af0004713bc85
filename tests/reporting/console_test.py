import io

import pytest
import rich.console

from star_jax.reporting import console


def terminal(is_terminal: bool = False) -> rich.console.Console:
    return rich.console.Console(file=io.StringIO(), width=80, force_terminal=is_terminal)


def shown(where: rich.console.Console) -> str:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue()


def a_round(number: int, **fields) -> dict:
    base = {
        "round": number,
        "accuracy": 1.0,
        "accuracy_interval": [0.9924, 1.0],
        "accuracy_by_class": {str(digits): 1.0 for digits in range(1, 6)},
        "out_of_distribution": {str(digits): 0.5 for digits in range(6, 11)},
    }
    return base | fields


WORKED = {
    "tried": 10000,
    "correct": 7654,
    "rationalized": 2345,
    "kept": 9998,
    "train_steps": 7912,
    "wrong_step_share": {"generated": 0.02, "rationalized": 0.71},
    "seconds": {
        "generate": 12.0,
        "rationalize": 3.0,
        "train": 1040.0,
        "evaluate": 5.0,
        "total": 1067.0,
    },
}


def test_a_round_is_shown_with_all_its_numbers():
    where = terminal()
    console.print_round(where, a_round(3, **WORKED), "digits")
    text = shown(where)
    rows = [line.split() for line in text.splitlines() if line.strip().startswith("3 ")]
    assert rows == [
        "3 10000 7654 2345 9998 2 / 71 7912 12 3 1040 5 7 1067".split(),
        ["3", "100.0", "99–100", *["100"] * 5, *["50"] * 5],
    ]
    assert "round 3: 100.0 % right" in text
    assert "digits" in text


def test_all_rounds_fit_80_columns_a_row_each():
    where = terminal()
    console.print_rounds(
        where, [a_round(0), *(a_round(n, **WORKED) for n in range(1, 17))], "digits"
    )
    lines = shown(where).splitlines()
    assert max(map(len, lines)) <= 80
    numbers = [line.split()[0] for line in lines if line.strip()[:1].isdigit()]
    assert numbers == [str(n) for n in range(17)] * 2
    assert "…" not in shown(where)


def test_the_base_model_has_dashes_and_no_table_of_work():
    where = terminal()
    console.print_round(where, a_round(0), "digits")
    assert "base model" in shown(where)
    assert "tried" not in shown(where)


def test_a_round_of_data_without_answers_says_so():
    where = terminal()
    unknown = {"accuracy": None, "accuracy_interval": None, "accuracy_by_class": {}}
    console.print_round(where, a_round(1, out_of_distribution={}, **unknown))
    assert "round 1: the data has no answers" in shown(where)


@pytest.mark.parametrize(("collapsed", "warns"), [(None, False), (0.2, False), (0.8, True)])
def test_diversity_is_shown_and_its_collapse_warned_of(collapsed: float | None, warns: bool):
    where = terminal()
    measures = {
        "samples": 8,
        "distinct_answers": 1.5,
        "distinct_rationales": 2.25,
        "answer_entropy": 0.5,
        "pass_rate": [1] * 9,
        "collapsed": collapsed,
        "never_solved": 3,
    }
    console.print_diversity(where, 2, measures)
    said = " ".join(shown(where).split())
    assert "of 8 samples a question 2.2 are different texts with 1.5 different answers" in said
    assert ("for 80 % of the questions not always solved" in said) == warns


def test_without_answers_no_question_is_called_unsolved():
    where = terminal()
    measures = {"samples": 8, "distinct_answers": 1.5, "distinct_rationales": 2.25}
    console.print_diversity(where, 2, measures | {"collapsed": 0.8, "never_solved": None})
    said = " ".join(shown(where).split())
    assert "1.5 different answers round 2: for 80 % of the questions, all samples" in said
    assert "solved" not in said


def test_a_round_without_work_has_dashes():
    where = terminal()
    console.print_rounds(where, [a_round(0, seconds={"pretrain": 115.0, "evaluate": 5.0})])
    row = next(line for line in shown(where).splitlines() if line.strip().startswith("0 "))
    assert row.split() == "0 – – – – – – – – – 5 115 120".split()


@pytest.mark.parametrize(
    ("shares", "cell"),
    [
        ({}, "–"),
        ({"generated": None, "rationalized": None}, "–"),
        ({"generated": 0.5, "rationalized": None}, "50 / –"),
        ({"generated": 0.0, "rationalized": 1.0}, "0 / 100"),
    ],
)
def test_wrong_steps_tell_unknown_from_none(shares, cell):
    where = terminal()
    console.print_rounds(where, [a_round(1, wrong_step_share=shares, train_steps=40)])
    row = next(line for line in shown(where).splitlines() if line.strip().startswith("1 "))
    assert row.split("40")[0].split() == ["1", "–", "–", "–", "–", *cell.split()]


def test_progress_is_lines_where_there_is_no_terminal():
    where = terminal()
    with console.progress(where, "round 1 train", 4, done=1, every=0.0) as advance:
        advance(loss=0.123456)
        advance(2, loss=0.5)
    first, middle, last = shown(where).splitlines()
    assert first == "round 1 train: 1 of 4"
    assert middle.startswith("round 1 train: 2 of 4, ")
    assert "s left, loss 0.123" in middle
    assert last.startswith("round 1 train: 4 of 4, ")
    assert last.endswith("loss 0.5")


def test_progress_is_quiet_between_two_lines():
    where = terminal()
    with console.progress(where, "generate", 1000) as advance:
        for _ in range(1000):
            advance()
    assert len(shown(where).splitlines()) == 2


def test_progress_of_nothing_left_to_do_says_so():
    where = terminal()
    with console.progress(where, "generate", 5, done=5):
        pass
    assert "generate: 5 of 5" in shown(where)


def test_progress_on_a_terminal_is_a_bar_that_leaves():
    where = terminal(is_terminal=True)
    with console.progress(where, "generate", 10, done=2) as advance:
        advance(8, kept="3 of 8")
    assert "10/10" in shown(where)
    assert "kept 3 of 8" in shown(where)
    assert shown(where).endswith("\x1b[2K"), "the bar must be wiped at the end"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_failure_inside_a_phase_comes_through_and_is_not_shown_as_done(is_terminal):
    where = terminal(is_terminal)
    with pytest.raises(RuntimeError, match="boom"), console.progress(where, "x", 2) as advance:
        advance()
        raise RuntimeError("boom")
    assert "2 of 2" not in shown(where)
    assert "2/2" not in shown(where)


@pytest.mark.parametrize(
    ("count", "seconds", "text"),
    [(0, 1.0, ""), (3, 0.0, ""), (100, 2.0, "50/s"), (3, 2.0, "1.5/s"), (1, 4.0, "4.0 s each")],
)
def test_rates_read_well(count, seconds, text):
    assert console._rate(count, seconds) == text


def test_closing_names_the_files_that_are_there(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    (tmp_path / "checkpoints").mkdir()
    where = terminal()
    console.closing(where, tmp_path)
    paths = [line.split()[0] for line in shown(where).splitlines()[1:]]
    assert paths == [str(tmp_path / "result.json"), str(tmp_path / "checkpoints")]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_progress_shows_counts_whole_and_measurements_short(is_terminal: bool):
    where = terminal(is_terminal)
    with console.progress(where, "round 3 samples", 2500) as advance:
        advance(2500, right=2175, loss=0.0386123)
    assert "right 2,175, loss 0.0386" in shown(where).replace("\n", "")


def test_an_evaluation_is_shown_with_the_best_of_k_if_it_was_ranked(capsys):
    at = {"1": {"accuracy": 0.25, "interval": [0.1, 0.4]}}
    best = {"1": {"accuracy": 0.75, "interval": [0.6, 0.9]}}
    result = {
        **{"task": "gsm8k", "split": "test", "questions": 8, "samples": 2},
        **{"accuracy": 0.5, "accuracy_interval": [0.3, 0.7], "maj_at": at, "pass_at": at},
        **{"exact_accuracy": 0.5, "flexible_accuracy": 0.5},
    }
    console.print_evaluation(result, "there/evaluation.json")
    assert "best of" not in capsys.readouterr().out
    console.print_evaluation(result | {"best_of": best}, "there/evaluation.json")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["best", "of", "1", "75.0", "60.0–90.0"] in rows
