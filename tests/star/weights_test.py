import types
from typing import Any, cast

import pytest

import fakes
from star_jax.config.validation import SettingsError
from star_jax.conversion import load
from star_jax.star import weights
from star_jax.storage import files


def test_a_base_that_is_another_run_s_stays_the_checkpoint_it_was(tmp_path, monkeypatch):
    def note(source: str, *given: Any, **options: Any) -> None:
        raise load.LoadError(source)

    monkeypatch.setattr(load, "load", note)
    for number in (0, 1, 2):  # the other run has got further since
        (tmp_path / f"base/checkpoints/rounds/{number}").mkdir(parents=True)
    chosen = fakes.tiny({"model.source": str(tmp_path / "base")})
    given: Any = types.SimpleNamespace(settings=chosen, folder=tmp_path, mesh=None)
    files.write_json(tmp_path / "data.json", {"checkpoint": "1"})
    with pytest.raises(SettingsError, match=f"^{tmp_path}/base/checkpoints/rounds/1$"):
        weights.restore(given, cast(Any, None), 0)
