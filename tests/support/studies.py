"""The settings that the command line of a study's arm comes to."""

import importlib.util

from experiments.arms import Study
from star_jax.config import validation
from star_jax.config.schema import Settings


def settings_of(study: Study, arm: str, *more: str) -> Settings:
    """The settings of an arm, with the flags in `more`.

    Raises:
        SettingsError: they are not valid.
    """
    chosen = study.arms[arm]
    spec = importlib.util.spec_from_file_location(study.config.stem, study.config)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    variant = chosen.variant or study.variant
    config = module.get_config(variant) if variant else module.get_config()
    for flag in (*study.settings, *chosen.settings, *more):
        path, _, value = flag.removeprefix("--config.").partition("=")
        section, _, name = path.rpartition(".")
        place = config[section] if section else config
        place[name] = validation.SETTINGS[path].metadata["allowed"].read(value)
    return validation.from_config(config)
