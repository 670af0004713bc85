"""The command line as a user meets it: in processes of their own, with the rounds faked."""

import pathlib
import re
import subprocess
import sys

import pytest

from star_jax.config import validation
from star_jax.storage import run_dir

ROOT = pathlib.Path(__file__).parents[1]
CONFIG = "--config=configs/arithmetic.py"

# Runs star_jax.main as `python -m` does; its rounds print what they are given.
DRIVER = """
import contextlib, runpy, sys, types
from star_jax.runtime import distributed
from star_jax.config.validation import SettingsError

distributed.initialized = lambda *place: contextlib.nullcontext()  # it asks jax where it is

def run(settings, workdir):
    if settings.seed == 13:
        raise SettingsError("the folder was made with seed: 12")
    if settings.seed == 14:
        raise KeyboardInterrupt
    print(settings.rationalize.enabled, settings.rounds.count, settings.train.clip, workdir)

for name in ("runtime.compile", "star.rounds"):
    sys.modules[f"star_jax.{name}"] = types.ModuleType(name)
sys.modules["star_jax.star.rounds"].run_rounds = run
sys.modules["star_jax.runtime.compile"].use_cache = lambda folder: None
try:
    runpy.run_module("star_jax.main", run_name="__main__", alter_sys=True)
finally:
    assert "jax" not in sys.modules
"""


@pytest.fixture(autouse=True)
def _away_from_the_runs_of_this_folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DRIVER, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], "True 3 1.0 runs/arithmetic"),
        (["--workdir=runs/x", "--config.train.clip=2"], "True 3 2.0 runs/x"),
        (["--config=~/configs/arithmetic.py:study", "--workdir=~/runs/x"], "True 8 1.0 HOME/runs/x"),
        (["--config.rationalize.enabled=false", "--config.rounds.count=16"], "False 16 1.0 runs/arithmetic"),
        (["--noconfig.rationalize.enabled"], "False 3 1.0 runs/arithmetic"),
        (["--config.rationalize.enabled"], "True 3 1.0 runs/arithmetic"),
    ],
)  # fmt: skip
def test_runs(
    arguments: list[str], printed: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run(CONFIG, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == printed.replace("HOME", str(tmp_path)) + "\n"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "--config is missing; try --config=configs/arithmetic.py"),
        (["--config=configs/arithmetik.py"], 2, "--config=configs/arithmetik.py: no such file; did you mean configs/arithmetic.py?"),
        ([CONFIG, "--config.rounds.cuont=3"], 2, "config.rounds.cuont: no such setting; did you mean 'config.rounds.count'?"),
        ([CONFIG, "--config.ruonds.count=3"], 2, "config.ruonds.count: no such setting; did you mean 'config.rounds.count'?"),
        ([CONFIG, "--config.rounds.count=many"], 2, "config.rounds.count = 'many': must be a whole number in [0, 1000]"),
        ([CONFIG, "--config.pretrain.steps=15"], 2, "config.pretrain.steps = 15: changes nothing with model.source = 'shipped:arithmetic', a finished model; set that to '' to make one"),
        ([CONFIG, "--config.rationalize.enabled", "false"], 2, "false: not a flag; settings are --config.NAME=VALUE"),
        ([CONFIG, "--workdri=x"], 2, "Unknown command line flag 'workdri'. Did you mean: workdir ?"),
        ([CONFIG, "--processes=2"], 2, "--coordinator, --process: missing; give all of --coordinator=HOST:PORT --processes=N --process=I, or none of them where the cluster says it"),
        ([CONFIG, "--coordinator=h:1", "--processes=2", "--process=2"], 2, "--process=2: must be in 0..1, another in each of the --processes=2"),
        ([CONFIG, "--config.seed=13"], 2, "the folder was made with seed: 12"),
        ([CONFIG, "--config.seed=14"], 130, "\nstopped; the same command goes on in runs/arithmetic"),
    ],
)  # fmt: skip
def test_refuses_plainly(arguments: list[str], status: int, says: str):
    done = run(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", says + "\n")


def test_refuses_the_folder_of_another_run(tmp_path: pathlib.Path):
    run_dir.open_folder(validation.Settings(seed=7), tmp_path / "runs" / "arithmetic")
    done = run(CONFIG)
    assert (done.returncode, done.stdout) == (2, "")
    assert "seed: 7 in the folder, 0 now" in done.stderr.splitlines()[1:]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("    config.rounds.cuont = 3", 'mine.py line 4: AttributeError: .*Did you mean.*"count"'),
        ("    config.rounds.count = 'many'", "mine.py line 4: TypeError: "),
        ("    config.rounds.count = (", "mine.py line 4: SyntaxError: "),
        ("    return None", "the config is None, not a ConfigDict"),
        (
            "    config.rounds.count = -1",
            r"config.rounds.count = -1: must be a whole number in \[0, ",
        ),
    ],
)
def test_says_what_is_wrong_in_a_config_file(tmp_path: pathlib.Path, body: str, says: str):
    head = "from star_jax.config import validation\ndef get_config():\n    config = validation.defaults()\n"
    config = tmp_path / "mine.py"
    config.write_text(f"{head}{body}\n    return config\n")
    done = run(f"--config={config}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert re.search(says, done.stderr), done.stderr


def test_help():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--config.rationalize.enabled=false" in done.stdout
    assert "  --workdir " in done.stdout
    assert "--logtostderr" not in done.stdout  # absl's own flags are no help
    assert "rounds.count=8 " in run("--helpfull").stdout
