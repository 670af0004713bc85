"""Refuses NaN and infinities before a result is used or saved."""

import math
from collections.abc import Mapping, Sequence

from star_jax.config.validation import SettingsError
from star_jax.inference.sampling import BROKEN


def check_written(tokens: Sequence[int], dtype: str) -> None:
    """Refuses a completion with a token whose logits are NaN or infinite.

    Args:
        tokens: ids of the completion.
        dtype: numeric type of the computation, for the message.

    Raises:
        SettingsError: `BROKEN` is among the tokens.
    """
    if BROKEN in tokens:
        raise SettingsError(
            f"the model's logits are NaN or infinite at token {tokens.index(BROKEN) + 1} of a "
            f"completion: its weights are damaged, or too large for config.model.dtype = {dtype!r}."
            " Take config.model.dtype='float32', or fetch the model again; what a run has trained, "
            "train anew in another --workdir with a lower config.train.learning_rate"
        )


def check_metrics(metrics: Mapping[str, float], where: str, setting: str, folder: str) -> None:
    """Refuses an update that has diverged, before its result is saved.

    Args:
        metrics: metrics of the update.
        where: round and step, for the message.
        setting: name of the learning rate's setting, for the message.
        folder: folder of checkpoints that training may have resumed from.

    Raises:
        SettingsError: a metric is not finite.
    """
    if broken := [name for name, value in metrics.items() if not math.isfinite(value)]:
        raise SettingsError(
            f"{where}: training has diverged, {' and '.join(broken)} not finite; nothing of it is "
            f"saved. Start anew in another --workdir, with a lower {setting} or with "
            "config.model.dtype='float32'. If an older version has gone on from here before, "
            f"delete {folder} and start again: what it has saved there may be NaN"
        )
