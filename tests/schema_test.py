"""The schema by itself; what settings make of it is in settings_test.py."""

import dataclasses

import pytest

from star_jax import schema, settings


@pytest.mark.parametrize("path", settings.SETTINGS)
def test_every_setting_has_a_meaning_and_an_allowed_default(path: str):
    field = settings.SETTINGS[path]
    assert field.metadata["help"]
    assert field.metadata["allowed"].admits(field.default)
    assert isinstance(field.default, field.metadata["allowed"].kind)


def test_sections_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schema.Settings(), "seed", 3)  # noqa: B010  (a plain assignment fails the type check)
