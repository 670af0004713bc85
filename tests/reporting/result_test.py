import pytest

from star_jax.reporting.result import deterministic, result


def a_round(number: int, accuracy: float | None, **fields) -> dict:
    return {
        "round": number,
        "accuracy": accuracy,
        "accuracy_by_class": {"1": accuracy, "2": (accuracy or 0) / 2},
        "out_of_distribution": {"6": 0.0},
        **fields,
    }


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [([0.1], 0), ([0.1, 0.5, 0.4], 1), ([0.1, 0.5, 0.5], 1), ([0.2, 0.1], 0)],
)
def test_result_names_base_last_and_earliest_best(accuracies, best):
    rounds = [a_round(number, accuracy) for number, accuracy in enumerate(accuracies)]
    assert result(rounds) == {
        "base_accuracy": accuracies[0],
        "accuracy": accuracies[-1],
        "best_round": best,
        "rounds": rounds,
    }


@pytest.mark.parametrize("numbers", [[], [1], [0, 2], [0, 0]])
def test_result_refuses_missing_rounds(numbers):
    with pytest.raises(ValueError, match="0, 1, 2"):
        result([a_round(number, 0.5) for number in numbers])


def test_without_answers_the_last_round_is_the_best_known():
    outcome = result([a_round(number, None) for number in range(3)])
    assert (outcome["accuracy"], outcome["best_round"]) == (None, 2)


def test_deterministic_drops_what_is_measured_at_any_depth_and_nothing_else():
    measured = {"seconds": {"train": 1.5}, "compilations": 3, "host_share": 0.1}
    rounds = [a_round(0, 0.1, kept=7, **measured)]
    outcome = result(rounds) | {"pretrain": {"loss": 1.0, "seconds": 4.0}}
    expected = result([a_round(0, 0.1, kept=7)]) | {"pretrain": {"loss": 1.0}}
    assert deterministic(outcome) == expected
    assert rounds[0]["seconds"] == {"train": 1.5}, "the argument was changed"
