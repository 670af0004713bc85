"""Several processes as a cluster would start them: refused, found, and ended with each other."""

import os
import socket
import subprocess
import sys

import pytest

import fakes
from star_jax.config import validation
from star_jax.runtime import distributed


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (("h:1", 2, None), "--process: missing; give all of"),
        ((None, 2, 0), "--coordinator: missing"),
        ((None, None, 1), "--coordinator, --processes: missing"),
        (("localhost", 2, 0), "--coordinator=localhost: must be HOST:PORT"),
        ((":8476", 2, 0), "--coordinator=:8476: must be HOST:PORT"),
        (("h:port", 2, 0), "--coordinator=h:port: must be HOST:PORT"),
        (("h:70000", 2, 0), "--coordinator=h:70000: must be HOST:PORT"),
        (("h:1", 0, 0), "--processes=0: must be how many there are, at least 1"),
        (("h:1", 2, 2), r"--process=2: must be in 0\.\.1"),
        (("h:1", 2, -1), r"--process=-1: must be in 0\.\.1"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(place, says: str):
    with pytest.raises(validation.SettingsError, match=says):
        distributed.check(*place)


@pytest.mark.parametrize(
    "place", [(None, None, None), ("10.0.0.1:8476", 2, 1), ("[::1]:8476", 1, 0)]
)
def test_flags_that_can_be_meant_are_not(place):
    distributed.check(*place)


def test_what_is_set_for_jax_stays_as_it_is(monkeypatch: pytest.MonkeyPatch):
    pinned, slices = "XLA_PJRT_GPU_HOST_MEMORY_LIMIT_GB", "MEGASCALE_NUM_SLICES"
    for name in (pinned, slices, "TPU_SKIP_MDS_QUERY"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv(pinned, "12")
    distributed._environment()
    assert os.environ[pinned] == "12" and slices not in os.environ
    monkeypatch.delenv(pinned)
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    distributed._environment()
    assert int(os.environ[pinned]) >= 64 and os.environ[slices] == "1"


def test_a_notebook_s_tpu_is_one_process_that_no_server_is_asked_about():
    """Where the environment names a TPU's host, as Kaggle's does, jax asks how many slices."""
    script = "from star_jax.runtime import distributed as d; d._environment(); print(d._found())"
    given = {"TPU_SKIP_MDS_QUERY": "1", "TPU_PROCESS_ADDRESSES": "local", "TPU_WORKER_ID": "0"}
    given |= {"JAX_FORCE_TPU_INIT": "1"}  # jax then takes this machine for one with a TPU
    given |= {"GCE_METADATA_IP": "127.0.0.1:9"}  # where nobody answers
    environment = fakes.environment() | given
    environment.pop("MEGASCALE_NUM_SLICES", None)
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, env=environment, cwd=fakes.ROOT, text=True, capture_output=True, timeout=100
    )
    assert done.stdout == "1\n", done.stderr


# Two processes of two devices each meet, and say what they have seen of each other.
MEET = """
import sys
from star_jax.runtime import distributed

distributed.HEARTBEAT, distributed._STARTED = 10, 20
numbers = [int(argument) for argument in sys.argv[2:]] or [None, None]
with distributed.initialized(sys.argv[1] if numbers[0] else None, *numbers):
    import jax
    from star_jax.runtime import multihost
    from star_jax.config.validation import SettingsError

    said = multihost.on_primary(lambda: {"from": multihost.index(), "pi": 3.141592653589793})
    multihost.barrier()
    print(multihost.index(), multihost.count(), multihost.is_primary(), said, jax.device_count())
    try:
        multihost.on_primary(lambda: 1 / 0)
    except (ZeroDivisionError, multihost.OtherProcessError) as error:
        print(type(error).__name__, error)
    sys.stdout.flush()
    if multihost.index():
        raise SettingsError("refused here alone")
    multihost.barrier()
"""


def meet(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MEET, *map(str, arguments)],
        cwd=fakes.ROOT,
        env=fakes.environment(devices=2) | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def by_flags() -> list[subprocess.Popen[str]]:
    return [
        meet(address, 2, number)
        for address in [f"localhost:{fakes.free_port()}"]
        for number in (0, 1)
    ]


def by_slurm() -> list[subprocess.Popen[str]]:
    """As srun starts them: the port follows from the number of the job."""
    job = str(fakes.free_port())
    step = {"SLURM_JOB_ID": job, "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    place = ({"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)} for number in (0, 1))
    return [meet("", **step, **each) for each in place]


@pytest.mark.parametrize("start", [by_flags, by_slurm])
def test_they_meet_agree_and_end_together(start):
    started = start()
    (zero, zero_says), (one, one_says) = (each.communicate(timeout=120) for each in started)
    said = {"from": 0, "pi": 3.141592653589793}
    assert zero.splitlines() == [f"0 2 True {said} 4", "ZeroDivisionError division by zero"]
    assert one.splitlines() == [f"1 2 False {said} 4", "OtherProcessError division by zero"]
    assert one_says.splitlines()[-1] == "process 1 of 2: refused here alone"
    assert "another process is gone" in zero_says and "the same command" in zero_says
    assert [process.returncode for process in started] == [1, 2]


def test_a_port_that_is_taken_is_refused():
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        process = meet(f"localhost:{port}", 2, 0)
        said = process.communicate(timeout=60)[1]
    assert f"--coordinator=localhost:{port}: port {port} cannot be had here" in said


def test_a_coordinator_that_is_not_there_is_said_plainly():
    process = meet(f"localhost:{fakes.free_port()}", 2, 1)
    said = process.communicate(timeout=60)[1]
    assert said.splitlines()[-1].startswith("star_jax: the processes did not find each other")
    assert process.returncode == 1
