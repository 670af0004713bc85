"""Runs several runs of a study, each on a core of its own."""

import concurrent.futures
import itertools
import os
import pathlib
import queue
import subprocess
import sys
from collections.abc import Sequence


def run(line: Sequence[str]) -> int:
    """Runs a command to its end, its output in a log beside its --workdir; returns its status."""
    (workdir,) = (flag.partition("=")[2] for flag in line if flag.startswith("--workdir="))
    name = pathlib.Path(workdir).name
    _say(f"{name}: started")
    with pathlib.Path(f"{workdir}.log").open("a") as log:
        status = subprocess.run(line, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    _say(f"{name}: {'FAILED, see its log' if status else 'done'}")
    return status


def run_all(lines: Sequence[Sequence[str]], jobs: int) -> list[int]:
    """Runs commands, `jobs` at a time and each on a core of its own; returns their statuses."""
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()

    def pin() -> None:
        """Keeps the calling thread, and the processes it starts, on a core of their own."""
        if sys.platform == "linux" and jobs > 1:
            os.sched_setaffinity(0, {cores.get()})

    if sys.platform == "linux":
        mine = itertools.cycle(sorted(os.sched_getaffinity(0)))
        for core in itertools.islice(mine, jobs):
            cores.put(core)
    with concurrent.futures.ThreadPoolExecutor(jobs, initializer=pin) as pool:
        return list(pool.map(run, lines))


def _say(line: str) -> None:
    print(f"{line}\n", end="", flush=True)  # in one piece: the runs speak from threads
