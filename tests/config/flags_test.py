import pathlib

import pytest
from absl import flags

from star_jax.config import validation
from star_jax.config.flags import blame, check_file, check_overrides, help_text
from star_jax.config.validation import SettingsError


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--config=a.py", "--workdir=b"],
        ["--config.rounds.count=3", "--config.train.learning_rate=3e-4"],
        ["--config.rounds.count", "3"],
        ["-config.rounds.count=3"],
        ["--config.rationalize.enabled=false"],
        ["--config.rationalize.enabled", "--config.seed=1"],
        ["--noconfig.rationalize.enabled"],
        ["--config.method=direct"],
    ],
)
def test_overrides_accepted(arguments: list[str]):
    check_overrides(arguments)


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--config.rounds.cuont=3"], ["config.rounds.cuont: no such setting; did you mean 'config.rounds.count'?"]),
        (["--config.rounds.count=many"], ["config.rounds.count = 'many': must be a whole number in [0, 1000]"]),
        (["--config.rounds.count", "-1"], ["config.rounds.count = -1: must be a whole number in [0, 1000]"]),
        (["--config.rounds.count"], ["config.rounds.count = '': must be a whole number in [0, 1000]"]),
        (["--config.train.clip="], ["config.train.clip = '': must be a number in (0, inf)"]),
        (["--config.rationalize.enabled=maybe"], ["config.rationalize.enabled = 'maybe': must be true or false"]),
        (["--noconfig.seed"], ["--noconfig.seed: only a setting of true or false has a 'no' form"]),
        (["--config.seed=x", "--config.sede=1"], ["config.seed = 'x': must be a whole number in [0, 2147483647]", "config.sede: no such setting; did you mean 'config.seed'?"]),
    ],
)  # fmt: skip
def test_overrides_refused(arguments: list[str], lines: list[str]):
    with pytest.raises(SettingsError) as caught:
        check_overrides(arguments)
    assert str(caught.value).splitlines() == lines


def test_file_is_asked_for_and_found(tmp_path: pathlib.Path):
    present = tmp_path / "arithmetic.py"
    present.touch()
    check_file([f"--config={present}"])
    check_file(["--config", f"{present}:small"])
    with pytest.raises(SettingsError, match="--config is missing"):
        check_file(["--config.seed=1"])
    with pytest.raises(SettingsError, match=f"no such file; did you mean {present}"):
        check_file([f"--config={tmp_path / 'arithmetik.py'}"])
    with pytest.raises(SettingsError, match="no such file$"):
        check_file([f"--config={tmp_path / 'nowhere' / 'a.py'}"])


def test_short_help_names_every_section_and_full_help_every_setting():
    short, full = help_text(full=False), help_text(full=True)
    assert len(short.splitlines()) < 45
    for section in validation.SECTIONS:
        assert f"  {section}.*" in short
    for path, field in validation.SETTINGS.items():
        assert f"{path}={field.default} " in full
    for text in (short, full):
        assert max(map(len, text.splitlines())) <= 120


def test_blame_finds_the_line_of_the_config_file_behind_what_wraps_it(tmp_path: pathlib.Path):
    config = tmp_path / "mine.py"
    code = compile("\n\nint('x')", str(config), "exec")
    with pytest.raises(flags.Error) as caught:
        try:
            exec(code)
        except ValueError:
            raise flags.Error("flag --config: wrapped") from None
    blamed = blame(caught.value, str(config))
    assert blamed.startswith(f"{config} line 3: ValueError: invalid literal")
    assert blame(flags.Error("unknown flag"), str(config)) == "unknown flag"
