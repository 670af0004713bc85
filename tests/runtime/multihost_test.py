"""One run over one, two and four real processes, on eight devices in all; and one that is killed."""

import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

import fakes
import hugging_face
from star_jax.reporting.result import RESULT, deterministic
from star_jax.runtime import multihost
from star_jax.storage import files

SHORT = (
    "--config.train.first_steps=6",
    "--config.rounds.count=1",
    "--config.model.heads=4",
    "--config.model.head_dim=8",
    "--config.evaluate.problems=10",
)
# Every axis lies over the four processes, and two of them hold each row.
SPLIT = ("--config.mesh.data=1", "--config.mesh.fsdp=2", "--config.mesh.tensor=4")
RUNS = {"one": (1, ()), "two": (2, ()), "four": (4, SPLIT)}


# The library of their sockets speaks for itself, and its threads tear each other's lines.
GLOO = set("Gloo Rank is connected to peer ranks Expected number of".split())


def words(said: str) -> set[str]:
    return set(re.findall(r"[^\W\d]+", said))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the runs are, with the base model that they all start from."""
    found = tmp_path_factory.mktemp("processes")
    flags = (*SHORT, "--config.rounds.count=0", "--config.pretrain.steps=100")
    subprocess.run(
        fakes.command(found / "base", *flags),
        cwd=fakes.ROOT,
        env=fakes.environment(found / "cache"),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return found


def together(
    home: pathlib.Path, name: str, count: int, *changes: str
) -> list[subprocess.Popen[str]]:
    """A run in home/name over some processes."""
    base = f"--config.pretrain.base={home / 'base'}"
    return fakes.together(home / name, home / "cache", count, *SHORT, base, *changes)


def finish(started: list[subprocess.Popen[str]]) -> list[str]:
    said = [process.communicate(timeout=600)[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started), said
    return said


@pytest.fixture(scope="module")
def runs(home: pathlib.Path) -> dict[str, pathlib.Path]:
    for name, (count, mesh) in RUNS.items():
        started = together(home, name, count, *mesh)
        first, *others = finish(started)
        assert f"on 8 device(s){f' of {count} processes' if others else ''}, 16 rows" in first
        assert words("\n".join(others)) <= GLOO, others
    return {name: home / name for name in RUNS}


def written(folder: pathlib.Path) -> dict[str, bytes]:
    """Every file of ours that has no measured field: ledger, metrics, plot, tokenizer, settings."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    skip = {"summary.json", RESULT}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if not {"checkpoints", "cache"} & set(path.parts) and path.name not in skip
    }


def same(a: pathlib.Path, b: pathlib.Path) -> None:
    assert written(a) == written(b)
    one, other = (deterministic(files.read_json(run / RESULT)) for run in (a, b))
    assert one == other


def test_every_file_is_what_one_process_writes(runs: dict[str, pathlib.Path]):
    same(runs["one"], runs["two"])


def test_on_another_mesh_the_ledger_is_the_same(runs: dict[str, pathlib.Path]):
    """Sums are taken in another order there, as in `devices_test`."""
    one, four = (written(runs[name]) for name in ("one", "four"))
    assert one["rounds/0001/kept.jsonl"] and one.keys() == four.keys()
    ledger = [name for name in one if name.startswith("rounds/") and name.endswith(".jsonl")]
    assert {name: one[name] for name in ledger} == {name: four[name] for name in ledger}
    results = [files.read_json(runs[name] / RESULT) for name in ("one", "four")]
    for record in (record for result in results for record in result["rounds"]):
        record["train_loss"] = record["train_loss"] and round(record["train_loss"], 4)
    assert deterministic(results[0]) == deterministic(results[1])


def test_the_fused_step_is_the_same_program(home: pathlib.Path):
    fused = ("--config.mode=fused", "--config.rationalize.rehearsal=0.25")
    for count in (1, 2):
        finish(together(home, f"fused{count}", count, *fused))
    assert files.read_json(home / "fused1" / RESULT)["rounds"][1]["kept"] > 0
    same(home / "fused1", home / "fused2")


def test_an_evaluation_is_what_one_process_finds(home: pathlib.Path):
    flags = (f"--model={home / 'base'}", "--split=development", "--samples=2")
    flags += ("--config.sampler.temperature=0.5", "--config.evaluate.problems=10")
    for count in (1, 2):
        folder = home / f"evaluated{count}"
        program = "star_jax.evaluate"
        first, *others = finish(
            fakes.together(folder, home / "cache", count, *flags, program=program)
        )
        assert "pass@2" in first and words("\n".join(others)) <= GLOO, others
    assert written(home / "evaluated1") == written(home / "evaluated2")


def kill_when(started: list[subprocess.Popen[str]], number: int, there: pathlib.Path) -> list[str]:
    """Kills one process once a file is there; what the others say, who must end within a minute."""
    while not there.exists():
        assert started[number].poll() is None, started[number].communicate()[0]
        time.sleep(0.002)
    started[number].kill()
    begun = time.monotonic()
    said = [process.communicate(timeout=120)[0] for process in started]
    assert time.monotonic() - begun < 60
    statuses = [process.returncode for process in started]
    assert statuses == [-signal.SIGKILL if at == number else 1 for at in range(len(started))], said
    return [text for at, text in enumerate(said) if at != number]


def test_one_killed_ends_the_others_and_the_same_command_goes_on(
    home: pathlib.Path, runs: dict[str, pathlib.Path]
):
    def start() -> list[subprocess.Popen[str]]:
        return together(home, "killed", 2)

    folder = home / "killed"
    # One, while its part of a chunk is not yet in the ledger; then, in training, the coordinator.
    [zero] = kill_when(start(), 1, folder / "rounds/0001/samples-00001.jsonl")
    assert not (folder / "rounds/0001/kept.jsonl").exists()
    [one] = kill_when(start(), 0, folder / "checkpoints/training-0001/4")
    for said, who in ((one, "process 1 of 2"), (zero, "process 0 of 2")):
        assert f"star_jax, {who}: another process is gone" in said.splitlines()[-1]
        assert "the same command, in all processes, goes on" in said.splitlines()[-1]
    assert "stopped sending heartbeats" in zero
    finish(start())
    same(runs["one"], folder)


def test_processes_of_other_settings_or_folders_are_refused(home: pathlib.Path):
    """They would wait for each other for ever, or mix two runs."""
    address = f"--coordinator=localhost:{fakes.free_port()}"
    started = [
        subprocess.Popen(
            fakes.command(home / name, address, "--processes=4", f"--process={number}", *changed),
            cwd=fakes.ROOT,
            env=fakes.environment(home / "cache", 1),
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for number, (name, changed) in enumerate(
            [
                ("shared", ()),
                ("shared", ("--config.train.clip=2.0",)),
                ("other", ()),
                ("shared", ()),
            ]
        )
    ]
    _, settings, folder, _ = (process.communicate(timeout=120)[1] for process in started)
    assert "process 1 of 4: process 0 was started with other settings" in settings
    assert "train.clip: 1.0 in process 0, 2.0 here" in settings
    assert f"process 2 of 4: --workdir={home / 'other'}: data.json is not there" in folder
    assert all(process.returncode in (1, 2) for process in started)


# Reads a model with two processes, each of which reads about half of it, and writes it again.
LOAD = """
import sys
from star_jax.runtime import distributed

with distributed.initialized(sys.argv[1], 2, int(sys.argv[2])):
    from star_jax.conversion import load
    from star_jax.conversion.export import export
    from star_jax.conversion.safetensors import SafetensorsFolder
    from star_jax.runtime import sharding

    read, whole = [0], SafetensorsFolder.read
    def counted(self, name, ranges):
        found = whole(self, name, ranges)
        read[0] += found.nbytes
        return found
    SafetensorsFolder.read = counted
    found = load.load(sys.argv[3], sharding.make_mesh(1, 2, 4))
    print(f"<{read[0]} bytes read>")
    what = (found.params, found.config, found.family, found.hf_config, None)
    export(*what, sys.argv[4])
"""


@pytest.mark.parametrize("name", ["llama", "gptj"])
def test_a_model_is_read_in_parts_and_exported_whole(tmp_path: pathlib.Path, name: str):
    hugging_face.write(name, tmp_path / "model")
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    address = f"localhost:{fakes.free_port()}"
    folders = [str(tmp_path / folder) for folder in ("model", "again")]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", LOAD, address, str(number), *folders],
            cwd=fakes.ROOT,
            env=fakes.environment(tmp_path / "cache", 4),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(2)
    ]
    said = finish(started)
    for text in said:
        [read] = re.findall(r"<(\d+) bytes read>", text)
        assert 0.4 * size < int(read) < 0.7 * size
    before, after = (
        (pathlib.Path(folder) / "model.safetensors").read_bytes() for folder in folders
    )
    assert before == after


def test_alone_nothing_is_waited_for():
    assert (multihost.index(), multihost.count(), multihost.is_primary()) == (0, 1, True)
    multihost.barrier()
    assert multihost.on_primary(lambda: "said") == "said"
    with pytest.raises(ZeroDivisionError):
        multihost.on_primary(lambda: 1 // 0)
