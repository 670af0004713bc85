"""The settings that the command line of a study's arm comes to."""

from experiments.arms import Study
from star_jax.config import validation
from star_jax.config.schema import Settings
from tests.config.configs_test import load


def settings_of(study: Study, arm: str, *more: str) -> Settings:
    """The settings of an arm, with the flags in `more`.

    Raises:
        SettingsError: they are not valid.
    """
    chosen = study.arms[arm]
    get_config, variant = load(study.config).get_config, chosen.variant or study.variant
    config = get_config(variant) if variant else get_config()
    for flag in (*study.settings, *chosen.settings, *more):
        path, _, value = flag.removeprefix("--config.").partition("=")
        section, _, name = path.rpartition(".")
        place = config[section] if section else config
        place[name] = validation.SETTINGS[path].metadata["allowed"].read(value)
    return validation.from_config(config)
