import matplotlib.figure
import matplotlib.image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from star_jax.reporting import plot
from star_jax.reporting.result import result
from tests.reporting.result_test import a_round


@pytest.fixture
def drawn(monkeypatch) -> list[matplotlib.figure.Figure]:
    """The figures that are saved, in place of saving them."""
    figures: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(plot, "save", lambda figure, path: figures.append(figure))
    return figures


def texts(figure: matplotlib.figure.Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_plot_writes_a_png_and_nothing_else(tmp_path):
    shares = {"generated": 0.1, "rationalized": None}
    rounds = [a_round(0, 0.1), a_round(1, 0.5, wrong_step_share=shares)]
    plot.plot(result(rounds), tmp_path / "accuracy.png", "digits")
    assert matplotlib.image.imread(tmp_path / "accuracy.png").shape[1] > 800
    assert [file.name for file in tmp_path.iterdir()] == ["accuracy.png"]


def test_plot_names_every_line_and_draws_what_the_rounds_say(drawn):
    shares = {"generated": 0.25, "rationalized": 0.75}
    rounds = [a_round(0, 0.1), a_round(1, 0.5, wrong_step_share=shares)]
    plot.plot(result(rounds), "unused", "digits")
    names = {"1 digit", "2 digits", "6 digits (unseen)", "overall 50.0 %"}
    assert set(texts(drawn[0])) == names | {"generated", "rationalized"}
    accuracy, wrong_steps = drawn[0].axes
    curves = [tuple(line.get_ydata()) for line in accuracy.lines]  # pyright: ignore[reportArgumentType]
    assert curves == [(10.0, 50.0), (5.0, 25.0), (0.0, 0.0), (10.0, 50.0)]
    assert [tuple(line.get_ydata()) for line in wrong_steps.lines] == [(25.0,), (75.0,)]  # pyright: ignore[reportArgumentType]


def test_plot_of_data_without_answers_says_so(drawn):
    unknown = {"accuracy_by_class": {}, "out_of_distribution": {}}
    plot.plot(result([a_round(n, None, **unknown) for n in range(2)]), "unused")
    assert texts(drawn[0]) == ["the data has no answers"]


def test_plot_without_known_steps_or_unseen_groups_has_no_empty_panel(drawn):
    rounds = [a_round(0, 0.1, wrong_step_share={"generated": None, "rationalized": None})]
    del rounds[0]["out_of_distribution"]
    plot.plot(result(rounds), "unused")
    assert len(drawn[0].axes) == 1
    assert set(texts(drawn[0])) == {"1", "2", "overall 10.0 %"}


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=14).map(sorted))
def test_labels_never_touch_and_stay_in_the_panel(wanted):
    heights = plot.spread(wanted, 6.5, 0.0, 100.0)
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
    assert plot.spread(wanted, 10, 0, 100) == heights


def test_colors_of_ordered_groups_differ():
    assert len(set(plot.ordered_colors(10))) == 10
    assert len(plot.ordered_colors(1)) == 1
    assert plot.ordered_colors(0) == []
