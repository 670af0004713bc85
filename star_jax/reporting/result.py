"""Makes `result.json`: the results of a run, round by round.

A round is a dict as in `result.json`.
"""

from collections.abc import Sequence
from typing import Any

RESULT = "result.json"

# The measured fields, which differ between two runs of one configuration.
MEASURED = ("compilations", "host_share", "seconds", "slots_occupied")


def result(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the content of `result.json`.

    Args:
        rounds: rounds so far in order, each with at least `round` and `accuracy` (0..1, or None
            if the data has no answers); the first is round 0, the base model.

    Returns:
        A dict with base_accuracy, accuracy (the last round's), best_round (the earliest best; the
        last if no accuracy is known) and rounds.

    Raises:
        ValueError: the rounds are not 0, 1, 2, ...
    """
    numbers = [record["round"] for record in rounds]
    if not numbers or numbers != list(range(len(numbers))):
        raise ValueError(f"a result needs the rounds 0, 1, 2, ... in order; got {numbers}")
    known = [record for record in rounds if record["accuracy"] is not None]
    earliest = max(known, key=lambda record: (record["accuracy"], -record["round"]), default=None)
    best = earliest or rounds[-1]
    return {
        "base_accuracy": rounds[0]["accuracy"],
        "accuracy": rounds[-1]["accuracy"],
        "best_round": best["round"],
        "rounds": list(rounds),
    }


def deterministic(value: Any) -> Any:
    """Returns `value`, such as a result, without the `MEASURED` fields at any depth.

    Two runs with one configuration and seed give the same, however often they were interrupted.
    """
    if isinstance(value, dict):
        return {key: deterministic(item) for key, item in value.items() if key not in MEASURED}
    if isinstance(value, list):
        return [deterministic(item) for item in value]
    return value
