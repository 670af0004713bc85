"""The schema by itself; what settings make of it is in config/validation_test.py."""

import dataclasses

import pytest

from star_jax.config import schema, validation


@pytest.mark.parametrize("path", validation.SETTINGS)
def test_every_setting_has_a_meaning_and_an_allowed_default(path: str):
    field = validation.SETTINGS[path]
    assert field.metadata["help"]
    assert field.metadata["allowed"].admits(field.default)
    assert isinstance(field.default, field.metadata["allowed"].kind)


def test_sections_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schema.Settings(), "seed", 3)  # noqa: B010  (a plain assignment fails the type check)
