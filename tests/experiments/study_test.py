"""The runs of the arithmetic study (experiments/arithmetic/study.py), all of them faked."""

import importlib.util
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]

# Stands in for python: notes its arguments and its cores, and fails as it is told to.
FAKE = f"""#!{sys.executable}
import os, pathlib, sys
line = " ".join(sys.argv[1:])
print(len(os.sched_getaffinity(0)), line)
sys.exit("direct-seed1" in line or "broken" in line)
"""


@pytest.fixture
def study():
    path = ROOT / "experiments/arithmetic/study.py"
    spec = importlib.util.spec_from_file_location("arithmetic_study", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("arm", "own"),
    [
        ("rationalize", []),
        ("no_rationalize", ["--config.rationalize.enabled=false"]),
        ("direct", ["--config.method=direct", "--config.train.length=64"]),
    ],
)
def test_command(study, arm: str, own: list[str]):
    assert study.arm_command(arm, 2, pathlib.Path("runs"), ["--config.rounds.count=4"]) == [
        *(sys.executable, "-m", "star_jax.main"),
        f"--config={ROOT / 'configs/arithmetic.py'}:study",
        f"--workdir=runs/{arm}-seed2",
        "--config.seed=2",
        "--config.pretrain.base=runs/base",
        *own,
        "--config.rounds.count=4",
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="pins to cores")
@pytest.mark.parametrize(("seeds", "jobs", "status"), [(1, 1, 0), (2, 3, 1)])
def test_runs_every_arm_and_seed_then_plots_if_all_are_done(
    study, seeds: int, jobs: int, status: int, tmp_path: pathlib.Path, monkeypatch, capfd
):
    fake, runs = tmp_path / "python", tmp_path / "runs"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    arguments = [f"--runs={runs}", f"--seeds={seeds}", f"--jobs={jobs}", "--config.rounds.count=4"]
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.setattr(sys, "argv", ["study.py", *arguments])
    assert study.main() == status
    names = {f"{arm}-seed{seed}" for arm in study.ARMS for seed in range(seeds)}
    assert {log.stem for log in runs.iterdir()} == {"base", *names}
    base = (runs / "base.log").read_text()
    assert base.startswith(f"{len(os.sched_getaffinity(0))} -m star_jax.main ")
    assert base.endswith(" --config.rounds.count=4 --config.rounds.count=0\n")
    cores = 1 if jobs > 1 else len(os.sched_getaffinity(0))
    for name in names:
        log = (runs / f"{name}.log").read_text()
        assert log.startswith(f"{cores} -m star_jax.main ")
        assert f"--workdir={runs / name} " in log
        assert log.endswith(" --config.rounds.count=4\n")
    said = capfd.readouterr().out
    assert said.count(": started\n") == 1 + len(names)
    assert said.count("direct-seed1: FAILED, see its log\n") == status
    drawn = said.splitlines()[-1].endswith(f"plot {runs} --output {study.HERE}")
    assert drawn == (status == 0), "what an earlier run left of an arm that failed is not drawn"


def test_without_a_base_model_nothing_else_runs(study, tmp_path: pathlib.Path, monkeypatch, capfd):
    fake, runs = tmp_path / "python", tmp_path / "broken"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    monkeypatch.setattr(sys, "argv", ["study.py", f"--runs={runs}"])
    assert study.main() == 1
    assert [log.stem for log in runs.iterdir()] == ["base"]
    assert capfd.readouterr().out.endswith("base: FAILED, see its log\n")
