import importlib.util
import pathlib

import pytest
from ml_collections import ConfigDict

from star_jax import settings

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def test_there_are_configs():
    assert ROOT / "configs" / "arithmetic.py" in CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_valid_and_a_lab_note(path: pathlib.Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    assert isinstance(config, ConfigDict) and config.is_locked
    settings.from_config(config)
    lab_note = module.__doc__ or ""
    notes = ("command ", "hardware ", "time ", "expected ")
    assert all(f"\n{note}" in lab_note for note in notes)
    assert f"--config=configs/{path.name}" in lab_note
