"""What is NaN or infinite is told of, before it counts for anything or is kept."""

import math
from collections.abc import Mapping, Sequence

from star_jax.config.validation import SettingsError
from star_jax.inference.sampling import BROKEN


def check_written(tokens: Sequence[int], dtype: str) -> None:
    """Refuses a completion whose model gave no numbers to draw a token from.

    Args:
        tokens: of the completion.
        dtype: of the computation.

    Raises:
        SettingsError: there is `BROKEN` among them.
    """
    if BROKEN in tokens:
        raise SettingsError(
            f"the model's logits are NaN or infinite at token {tokens.index(BROKEN) + 1} of a "
            f"completion: its weights are damaged, or too large for config.model.dtype = {dtype!r}."
            " Take config.model.dtype='float32', or fetch the model again; what a run has trained, "
            "train anew in another --workdir with a lower config.train.learning_rate"
        )


def check_metrics(metrics: Mapping[str, float], where: str, setting: str, folder: str) -> None:
    """Refuses an update that has diverged; nothing that comes of it may be saved.

    Args:
        metrics: of the update.
        where: round and step.
        setting: the learning rate's.
        folder: of checkpoints that training may have gone on from.

    Raises:
        SettingsError: a metric is not finite.
    """
    if wrong := [name for name, value in metrics.items() if not math.isfinite(value)]:
        raise SettingsError(
            f"{where}: training has diverged, {' and '.join(wrong)} not finite; nothing of it is "
            f"saved. Start anew in another --workdir, with a lower {setting} or with "
            "config.model.dtype='float32'. If an older version has gone on from here before, "
            f"delete {folder} and start again: what it has saved there may be NaN"
        )
