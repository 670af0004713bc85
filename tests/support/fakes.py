"""A run small enough for tests: every phase of the real thing in a few seconds, and fake devices.

This file is a config file too: `--config=tests/support/fakes.py` is the tiny run on the command line.
"""

import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from star_jax.config import validation
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.inference import scheduler
from star_jax.inference.buckets import Bucket
from star_jax.tasks.arithmetic import Arithmetic

TOKENIZER = ByteTokenizer(Arithmetic.markup)
ROOT = pathlib.Path(__file__).parents[2]

# One digit is enough for a base that is sometimes right by luck, sometimes thanks to the hint.
TINY: dict[str, Any] = {
    "task.max_digits": 1,
    "task.ood_digits": 0,
    "model.layers": 2,
    "model.width": 32,
    "model.heads": 2,
    "model.head_dim": 16,
    "model.hidden": 64,
    "model.rotary": 8,
    "model.context": 256,
    "pretrain.steps": 200,
    "pretrain.warmup_steps": 10,
    "pretrain.learning_rate": 1e-2,
    "pretrain.examples": 400,
    "pretrain.easy": 1.0,
    "pretrain.batch_size": 8,
    "pretrain.length": 128,
    "pretrain.micro_batch": 0,
    "pretrain.save_every": 80,
    "sampler.rows": 16,
    "sampler.refills": 1,
    "rounds.count": 2,
    "rounds.problems": 60,
    "train.first_steps": 10,
    "train.batch_size": 8,
    "train.length": 128,
    "train.micro_batch": 0,
    "train.learning_rate": 3e-3,
    "train.warmup_steps": 2,
    "train.save_every": 4,
    "evaluate.problems": 20,
}


def get_config() -> ConfigDict:
    """The tiny run."""
    return _config(TINY)


def tiny(changes: dict[str, Any] | None = None) -> validation.Settings:
    """The settings of the tiny run, with some changed: {"rounds.count": 3}."""
    return validation.from_config(_config(TINY | (changes or {})))


def _config(values: dict[str, Any]) -> ConfigDict:
    config = validation.defaults()
    with config.unlocked():
        config.update_from_flattened_dict(values)
        if source := values.get("model.source"):  # instead of the tiny model
            validation.set_source(config, source)
    return config


def command(workdir: pathlib.Path, *arguments: str, program: str = "star_jax.main") -> list[str]:
    """The command line of the tiny run."""
    begin = [sys.executable, "-m", program, "--config=tests/support/fakes.py"]
    return [*begin, f"--workdir={workdir}", *arguments]


def environment(
    cache: pathlib.Path | None = None, devices: int = 1, *, optimized: bool = False
) -> dict[str, str]:
    """For processes of one test.

    Args:
        cache: of programs, for all of them; without one, each keeps them where it would.
        devices: virtual ones of a process.
        optimized: for those that compute for longer than they compile.
    """
    flags = [f"--xla_force_host_platform_device_count={devices}"]
    if not optimized:
        flags += ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
    chosen = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": " ".join(flags)}
    # What XLA says below an error differs by version: jaxlib 0.12 warns of how it splits the
    # gradient of an embedding, which 0.10 splits the same way in silence.
    chosen["TF_CPP_MIN_LOG_LEVEL"] = "2"
    chosen.pop("JAX_COMPILATION_CACHE_DIR", None)
    if cache:
        chosen["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        chosen["JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return chosen


def together(
    workdir: pathlib.Path,
    cache: pathlib.Path,
    processes: int,
    *arguments: str,
    program: str = "star_jax.main",
) -> list[subprocess.Popen[str]]:
    """The tiny run over several processes of this machine, started; they share eight devices."""
    place = (f"--coordinator=localhost:{free_port()}", f"--processes={processes}")
    return [
        subprocess.Popen(
            command(workdir, *arguments, *place, f"--process={number}", program=program),
            cwd=ROOT,
            env=environment(cache, 8 // processes),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for number in range(processes)
    ]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


class Devices:
    """Stands in for a run's programs in sampling: says what it is told to, and notes what it was asked.

    Attributes:
        answer: (prompt, number of the row) -> text, to be ended by end-of-text unless cut off by
            the budget.
        calls: per chunk: weights, prefix, seed, shape and the rows' numbers.
        prefixes: the tokens that prefixes were made of.
        greedy: whether that was asked for, per phase.
        lasts: how many more chunks it does before it breaks down.
    """

    def __init__(self, answer: Callable[[str, int], str], lasts: int = 10**9) -> None:
        self.answer, self.lasts = answer, lasts
        self.calls: list[tuple[Any, Any, Any, Bucket, list[int]]] = []
        self.prefixes: list[list[int]] = []
        self.greedy: list[bool] = []
        self.spec: Any = None  # of the programs it stands in for

    @property
    def sampling(self) -> "Devices":
        return self

    def lay_out(self, params: Any) -> Any:
        return params

    def policy(
        self, params: Any, few_shot: list[int], *, greedy: bool = False
    ) -> tuple[Any, str | None]:
        self.greedy.append(greedy)
        if few_shot:
            self.prefixes.append(few_shot)
        return params, "prefix" if few_shot else None

    def owners(self, rows: int) -> list[int]:
        return [0] * rows

    def open(
        self, policy: tuple[Any, Any], seed: tuple[int, int, int], shape: Bucket
    ) -> "FakeSlots":
        if len(self.calls) == self.lasts:
            raise KeyboardInterrupt
        self.calls.append((*policy, seed, shape, []))
        return FakeSlots(self, shape)


class FakeSlots:
    """Rows in it have written all they will as soon as they are admitted."""

    def __init__(self, devices: Devices, shape: Bucket) -> None:
        self.count, self.order = shape.rows, range(shape.rows)
        self.wave, self.fewer, self._devices, self._shape = 1, 0, devices, shape
        self.usage = scheduler.SlotUsage()
        self._tokens = np.zeros((shape.rows, shape.max_new_tokens), np.int32)
        self._length, self._finished = np.zeros(shape.rows, np.int32), np.ones(shape.rows, bool)

    def choose(self, requests: Sequence[scheduler.Request]) -> list[int]:
        return list(range(len(requests)))

    def prefill(self, requests: Sequence[scheduler.Request]) -> None:
        assert requests

    def admit(self, rows: Sequence[scheduler.Row], slots: Sequence[int]) -> int:
        for row, place in zip(rows, slots, strict=False):
            self._devices.calls[-1][-1].append(row.number)
            text = self._devices.answer(TOKENIZER.decode(list(row.request.tokens)), row.number)
            ids = [*TOKENIZER.encode(text), TOKENIZER.eos_id]
            length = self._length[place] = min(len(ids), self._shape.max_new_tokens)
            self._finished[place] = len(ids) <= self._shape.max_new_tokens
            self._tokens[place, :length] = ids[:length]
        return min(len(rows), len(slots))

    def shrink(self, slots: Any) -> Any:
        raise AssertionError("there are no fewer slots")

    def advance(self, wanted: int) -> tuple[Any, Any, Any]:
        assert 0 < wanted <= self._shape.rows
        return self._tokens, self._length, self._finished
