import json

import matplotlib.figure
import matplotlib.image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax.reporting import report


def a_round(number: int, accuracy: float, **fields) -> dict:
    return {
        "round": number,
        "accuracy": accuracy,
        "accuracy_by_class": {"1": accuracy, "2": accuracy / 2},
        "out_of_distribution": {"6": 0.0},
        **fields,
    }


@pytest.fixture
def drawn(monkeypatch) -> list[matplotlib.figure.Figure]:
    """The figures that are saved, in place of saving them."""
    figures: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(report, "save", lambda figure, path: figures.append(figure))
    return figures


def texts(figure: matplotlib.figure.Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [([0.1], 0), ([0.1, 0.5, 0.4], 1), ([0.1, 0.5, 0.5], 1), ([0.2, 0.1], 0)],
)
def test_result_names_base_last_and_earliest_best(accuracies, best):
    rounds = [a_round(number, accuracy) for number, accuracy in enumerate(accuracies)]
    assert report.result(rounds) == {
        "base_accuracy": accuracies[0],
        "accuracy": accuracies[-1],
        "best_round": best,
        "rounds": rounds,
    }


@pytest.mark.parametrize("numbers", [[], [1], [0, 2], [0, 0]])
def test_result_refuses_missing_rounds(numbers):
    with pytest.raises(ValueError, match="0, 1, 2"):
        report.result([a_round(number, 0.5) for number in numbers])


def test_deterministic_drops_what_is_measured_at_any_depth_and_nothing_else():
    measured = {"seconds": {"train": 1.5}, "compilations": 3, "host_share": 0.1}
    rounds = [a_round(0, 0.1, kept=7, **measured)]
    outcome = report.result(rounds) | {"pretrain": {"loss": 1.0, "seconds": 4.0}}
    expected = report.result([a_round(0, 0.1, kept=7)]) | {"pretrain": {"loss": 1.0}}
    assert report.deterministic(outcome) == expected
    assert rounds[0]["seconds"] == {"train": 1.5}, "the argument was changed"


def test_metrics_come_back_as_they_were_appended(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert report.read_metrics(path) == []
    records = [{"step": 1, "loss": 0.5}, {"step": 2, "note": "é\n"}]
    for record in records:
        report.append_metrics(path, record)
    assert report.read_metrics(path) == records


def test_a_write_torn_at_any_byte_costs_only_its_own_record(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first, second = (json.dumps({"step": n, "loss": 1.5}) + "\n" for n in (1, 2))
    for end in range(len(second)):
        path.write_text(first + second[:end])
        report.truncate_metrics(path, lambda record: True)
        # All but the newline is the whole record.
        assert path.read_text() == (first + second if end == len(second) - 1 else first)
        report.append_metrics(path, {"step": 9})
        assert report.read_metrics(path)[-1] == {"step": 9}


def test_truncating_drops_the_records_that_are_to_be_redone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    report.truncate_metrics(path, lambda record: True)
    assert not path.exists()
    for step in range(5):
        report.append_metrics(path, {"step": step})
    report.truncate_metrics(path, lambda record: record["step"] < 3)
    assert [record["step"] for record in report.read_metrics(path)] == [0, 1, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("bad", ['{"step": ', "17", "\ufffd"])
def test_a_bad_line_before_the_last_is_an_error_that_names_it(tmp_path, bad):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{bad}\n{{"step": 3}}\n')
    with pytest.raises(ValueError, match="metrics.jsonl line 2: "):
        report.truncate_metrics(path, lambda record: True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_and_nothing_is_written(tmp_path, value):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(ValueError, match="not finite.*loss"):
        report.append_metrics(path, {"step": 1, "loss": value})
    assert not path.exists()


def test_plot_writes_a_png_and_nothing_else(tmp_path):
    shares = {"generated": 0.1, "rationalized": None}
    rounds = [a_round(0, 0.1), a_round(1, 0.5, wrong_step_share=shares)]
    report.plot(report.result(rounds), tmp_path / "accuracy.png", "digits")
    assert matplotlib.image.imread(tmp_path / "accuracy.png").shape[1] > 800
    assert [file.name for file in tmp_path.iterdir()] == ["accuracy.png"]


def test_plot_names_every_line_and_draws_what_the_rounds_say(drawn):
    shares = {"generated": 0.25, "rationalized": 0.75}
    rounds = [a_round(0, 0.1), a_round(1, 0.5, wrong_step_share=shares)]
    report.plot(report.result(rounds), "unused", "digits")
    names = {"1 digit", "2 digits", "6 digits (unseen)", "overall 50.0 %"}
    assert set(texts(drawn[0])) == names | {"generated", "rationalized"}
    accuracy, wrong_steps = drawn[0].axes
    curves = [tuple(line.get_ydata()) for line in accuracy.lines]  # pyright: ignore[reportArgumentType]
    assert curves == [(10.0, 50.0), (5.0, 25.0), (0.0, 0.0), (10.0, 50.0)]
    assert [tuple(line.get_ydata()) for line in wrong_steps.lines] == [(25.0,), (75.0,)]  # pyright: ignore[reportArgumentType]


def test_plot_without_known_steps_or_unseen_groups_has_no_empty_panel(drawn):
    rounds = [a_round(0, 0.1, wrong_step_share={"generated": None, "rationalized": None})]
    del rounds[0]["out_of_distribution"]
    report.plot(report.result(rounds), "unused")
    assert len(drawn[0].axes) == 1
    assert set(texts(drawn[0])) == {"1", "2", "overall 10.0 %"}


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=14).map(sorted))
def test_labels_never_touch_and_stay_in_the_panel(wanted):
    heights = report.spread(wanted, 6.5, 0.0, 100.0)
    assert all(b - a >= 6.5 - 1e-9 for a, b in zip(heights, heights[1:], strict=False))
    assert -1e-9 <= heights[0]
    assert heights[-1] <= 100 + 1e-9


@pytest.mark.parametrize(
    ("wanted", "heights"),
    [
        ([20, 50, 80], [20, 50, 80]),
        ([50, 50], [45, 55]),
        ([0, 0], [0, 10]),
        ([100, 100, 100], [80, 90, 100]),
        ([], []),
    ],
)
def test_labels_move_no_more_than_they_must(wanted, heights):
    assert report.spread(wanted, 10, 0, 100) == heights


def test_colors_of_ordered_groups_differ():
    assert len(set(report.ordered_colors(10))) == 10
    assert len(report.ordered_colors(1)) == 1
    assert report.ordered_colors(0) == []
