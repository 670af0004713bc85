"""Kills the real process, again and again, and compares what comes out with a run left alone."""

import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import numpy as np
import orbax.checkpoint as ocp
import pytest

import fakes
from star_jax.reporting.metrics import METRICS
from star_jax.reporting.plot import PLOT
from star_jax.reporting.result import RESULT, deterministic
from star_jax.storage import files

Folder = pathlib.Path

# Kills its own process just before the first file operation that matches, once a file is there; put
# in by sitecustomize, so that the program itself is the real one.
ASSASSIN = """
import os, re, signal, sys

def strike(event, arguments, when=re.compile(os.environ["KILL_BEFORE"])):
    if event in ("open", "os.rename", "shutil.rmtree") and isinstance(arguments[0], str):
        target = arguments[1] if event == "os.rename" else arguments[0]
        reads = event == "open" and not set("wax") & set(arguments[1] or "")
        due = os.path.exists(os.environ["KILL_AFTER"])
        if when.search(f"{event} {target}") and due and not reads:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(strike)
"""

# (just before which file operation, what is there already, what is not)
STRIKES = [
    ("os.rename .*/training-0000/160$", "checkpoints/training-0000/80", "checkpoints/rounds/0"),
    ("os.rename .*/samples-00002.jsonl$", "rounds/0001/samples-00001.jsonl", "rounds/0001/rationalized-00000.jsonl"),
    ("os.rename .*/rationalized-00001.jsonl$", "rounds/0001/rationalized-00000.jsonl", "rounds/0001/kept.jsonl"),
    ("open .*/metrics.jsonl$", "checkpoints/training-0001/8", "rounds/0001/train.json"),
    ("open .*/checkpoints/rounds/1.orbax", "rounds/0001/train.json", "checkpoints/rounds/1"),
    ("os.rename .*/rounds/0002/evaluation-00001.jsonl$", "checkpoints/rounds/2", "rounds/0002/summary.json"),
    ("open .*/result.json", "rounds/0002/summary.json", "nothing"),
    ("shutil.rmtree .*/training-0002$", "rounds/0002/summary.json", "nothing"),
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tmp_path_factory.mktemp("resume")


def start(home: Folder, name: str, before: str = "", after: str = "") -> subprocess.Popen[str]:
    """The tiny run in home/name, sampled at a temperature: its draws must come again as well."""
    environment = fakes.environment()
    if before:
        (home / "sitecustomize.py").write_text(ASSASSIN)
        after = str(home / name / after)
        environment |= {"PYTHONPATH": str(home), "KILL_BEFORE": before, "KILL_AFTER": after}
    return subprocess.Popen(
        fakes.command(home / name, "--config.sampler.temperature=0.3"),
        cwd=fakes.ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def kill_when(process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    """Kills at whatever instant it is in when `ready` is first seen."""
    while not ready():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.002)
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def weights(folder: Folder) -> dict[str, bytes]:
    """The bytes of every array of every round's checkpoint."""
    manager = ocp.CheckpointManager(
        folder / "checkpoints" / "rounds", item_handlers=ocp.PyTreeCheckpointHandler()
    )
    found = {}
    for number in manager.all_steps():
        names = manager.item_metadata(number).tree
        as_numpy = dict.fromkeys(names, ocp.RestoreArgs(restore_type=np.ndarray))
        tree = manager.restore(number, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
        found |= {f"{number} {name}": array.tobytes() for name, array in tree.items()}
    return found


def ledger(folder: Folder) -> dict[str, bytes]:
    paths = [path for path in (folder / "rounds").rglob("*") if path.name != "summary.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def names(folder: Folder) -> set[str]:
    """All there is, but Orbax's own files and programs: their names are drawn, or of the folder."""
    paths = {path.relative_to(folder) for path in folder.rglob("*")}
    return {str(path) for path in paths if len(path.parts) <= (1 if "cache" in path.parts else 3)}


def programs(folder: Folder) -> set[str]:
    return {path.name for path in (folder / "cache").iterdir()}


@pytest.fixture(scope="module")
def alone(home: Folder) -> Folder:
    """A run that nobody interrupts."""
    finish(start(home, "alone"))
    return home / "alone"


@pytest.fixture(scope="module")
def killed(home: Folder, alone: Folder) -> Folder:
    """The same run, killed in every phase."""
    folder = home / "killed"
    process = start(home, "killed")
    metrics = folder / METRICS
    kill_when(process, lambda: metrics.exists() and len(metrics.read_bytes().splitlines()) >= 10)
    assert names(folder) >= {"checkpoints/training-0000/80"}, "killed before the first checkpoint"
    for before, there, absent in STRIKES:
        process = start(home, "killed", before, there)
        output = process.communicate(timeout=300)[0]
        assert process.returncode == -signal.SIGKILL, output
        assert not (folder / absent).exists(), output
    output = finish(start(home, "killed"))
    assert "compile" not in output, "nothing is left to do"
    return folder


def test_the_result_is_the_same(alone: Folder, killed: Folder):
    results = [files.read_json(folder / RESULT) for folder in (alone, killed)]
    assert deterministic(results[0]) == deterministic(results[1])
    assert len(results[0]["rounds"]) == 3
    assert all(record["kept"] for record in results[0]["rounds"][1:]), "nothing to be lost"


def test_the_ledger_is_the_same(alone: Folder, killed: Folder):
    assert ledger(alone) == ledger(killed)


def test_the_weights_are_the_same(alone: Folder, killed: Folder):
    found = weights(alone)
    assert {name.split()[0] for name in found} == {"0", "1", "2"}
    assert found == weights(killed)


def test_the_metrics_of_training_are_the_same(alone: Folder, killed: Folder):
    lines = (alone / METRICS).read_bytes()
    assert len(lines.splitlines()) > 20
    assert lines == (killed / METRICS).read_bytes()


def test_the_plot_is_the_same(alone: Folder, killed: Folder):
    assert (alone / PLOT).read_bytes() == (killed / PLOT).read_bytes()


def test_nothing_is_left_lying_about(alone: Folder, killed: Folder):
    assert names(alone) == names(killed)
    assert not [name for name in names(alone) if "tmp" in name or "training" in name]


def test_all_starts_of_a_run_compile_what_one_does(alone: Folder, killed: Folder):
    """Were a program compiled anew, it would be there twice."""
    assert len(programs(alone)) == len(programs(killed)) >= 8


def test_a_second_start_compiles_nothing(home: Folder, alone: Folder):
    """Of the same run, all of which is gone but its programs."""
    before = alone.rename(home / "before")
    shutil.copytree(before / "cache", alone / "cache")
    finish(start(home, "alone"))
    first, second = (
        [record["compilations"] for record in files.read_json(folder / RESULT)["rounds"]]
        for folder in (before, alone)
    )
    assert sum(first) >= 8 and second == [0, 0, 0]
    assert names(alone) == names(before) and programs(alone) == programs(before)
    assert ledger(alone) == ledger(before)


def test_a_folder_of_another_run_is_refused_before_jax_is_imported(home: Folder, alone: Folder):
    before = {name: (alone / name).stat().st_mtime_ns for name in names(alone)}
    (home / "fake" / "jax").mkdir(parents=True)
    (home / "fake" / "jax" / "__init__.py").write_text("raise SystemExit('jax is imported')")
    refused = subprocess.run(
        fakes.command(alone, "--config.train.clip=2.0", "--config.seed=1"),
        cwd=fakes.ROOT,
        env=os.environ | {"PYTHONPATH": str(home / "fake")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    first, *differences = refused.stderr.splitlines()
    assert str(alone) in first
    assert differences == [
        "seed: 0 in the folder, 1 now",
        "sampler.temperature: 0.3 in the folder, 0.0 now",
        "train.clip: 1.0 in the folder, 2.0 now",
    ]
    assert before == {name: (alone / name).stat().st_mtime_ns for name in names(alone)}
