"""The peer of our trainer: a plain PyTorch loop over transformers' model, on the same packed batch.

    python -m experiments.bench.peer_training FOLDER BATCH [--dtype=float32] [--micro_batch=0]
        [--checkpointing] [--steps=3]

FOLDER is a model as `workload.export` writes it, BATCH a file of `save`. It prints one line of
JSON: the fields of `Trained`. `measure` runs it so, in a process of its own, for the memory's sake.
"""

import argparse
import dataclasses
import json
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from star_jax.data.packing import Packed

LEARNING_RATE = 1e-6  # small: what is measured is time
CLIP = 1.0


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the peer is run.

    Attributes:
        dtype: "float32", or "bfloat16" for autocast; weights and AdamW are float32 in either.
        micro_batch: rows whose activations are there at a time; 0: all.
        checkpointing: a gradient keeps what goes into each block, and computes the rest again.
    """

    dtype: str = "float32"
    micro_batch: int = 0
    checkpointing: bool = False

    def __str__(self) -> str:
        rows = f"micro-batch {self.micro_batch}" if self.micro_batch else "whole batch"
        return f"{self.dtype}, {rows}{', checkpointing' if self.checkpointing else ''}"


SETTINGS = tuple(
    Setting(dtype, micro_batch, checkpointing)
    for dtype in ("float32", "bfloat16")
    for micro_batch in (0, 1)
    for checkpointing in (False, True)
)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What the updates took.

    Attributes:
        tokens: of the batch, without its padding.
        losses: before each update, nats per weighted token.
        seconds: of each update but the first, which warms up.
        peak_mib: most memory that the process held, weights and optimizer included.
    """

    tokens: int
    losses: list[float]
    seconds: list[float]
    peak_mib: float


class Peer:
    """A model that is open, with its optimizer; checkpointing needs transformers 5.24."""

    def __init__(self, folder: pathlib.Path, setting: Setting) -> None:
        """Opens the model in `folder`."""
        import torch
        import transformers

        self._torch, self._setting = torch, setting
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32
        ).train()
        if setting.checkpointing:
            self.model.activation_checkpointing_enable({"use_reentrant": False})
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True
        )

    def update(self, batch: Packed) -> float:
        """One update; returns the loss before it, in nats per weighted token."""
        torch, loss = self._torch, 0.0
        total = float(batch.weights[:, 1:].sum())
        for part in self._parts(batch):
            with torch.autocast("cpu", torch.bfloat16, enabled=self._setting.dtype == "bfloat16"):
                share = self.loss(part) / total
            share.backward()
            loss += share.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return loss

    def loss(self, batch: Packed) -> Any:
        """Summed weighted cross-entropy in nats, [], each segment by itself."""
        torch = self._torch
        tokens, segments = (torch.from_numpy(x).long() for x in (batch.tokens, batch.segments))
        # [B, 1, T, T]: a token sees those before it that are of its segment
        seen = (segments[:, None, :, None] == segments[:, None, None, :]).tril()
        logits = self.model(
            tokens,
            attention_mask=seen,
            position_ids=torch.from_numpy(batch.positions).long(),
            use_cache=False,
        ).logits[:, :-1]
        each = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="none"
        )
        return each @ torch.from_numpy(batch.weights)[:, 1:].flatten()

    def _parts(self, batch: Packed) -> Iterator[Packed]:
        size = self._setting.micro_batch or len(batch)
        for first in range(0, len(batch), size):
            yield batch.rows(np.arange(first, min(first + size, len(batch))))


def save(batch: Packed, path: pathlib.Path) -> None:
    """Writes a batch for another process, as NumPy's .npz."""
    np.savez(path, **vars(batch))


def load_batch(path: pathlib.Path) -> Packed:
    """Reads what `save` wrote."""
    with np.load(path) as arrays:
        return Packed(**arrays)


def measure(folder: pathlib.Path, batch: pathlib.Path, setting: Setting, steps: int) -> Trained:
    """Does `steps` updates in a process of its own.

    Raises:
        subprocess.CalledProcessError: it failed; its standard error has been shown.
    """
    flags = [f"--dtype={setting.dtype}", f"--micro_batch={setting.micro_batch}", f"--steps={steps}"]
    flags += ["--checkpointing"] * setting.checkpointing
    return run("experiments.bench.peer_training", str(folder), str(batch), *flags)


def run(module: str, *arguments: str) -> Trained:
    """Runs a module that prints the fields of `Trained` as its last line, as this one does.

    Raises:
        subprocess.CalledProcessError: it failed; its standard error has been shown.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Trained(**json.loads(done.stdout.splitlines()[-1]))


def repeat(update: Callable[[], float], batch: Packed, steps: int) -> Trained:
    """Calls `update`, which returns the loss before it, `steps` times; the first one warms up."""
    losses: list[float] = []
    seconds: list[float] = []
    for _ in range(steps):
        begun = time.perf_counter()
        losses.append(update())
        seconds.append(time.perf_counter() - begun)
    return Trained(int((batch.segments > 0).sum()), losses, seconds[1:], peak_mib())


def peak_mib() -> float:
    """Most memory that this process has held.

    VmHWM of Linux: `ru_maxrss` would start from the memory of the process that started this one.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    assert found is not None, "Linux says this since 2.6"
    return round(int(found[1]) / 1024, 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", metavar="FOLDER", type=pathlib.Path)
    parser.add_argument("batch", metavar="BATCH", type=pathlib.Path)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--micro_batch", type=int, default=0)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--steps", type=int, default=3, help="the first one is not timed")
    given = parser.parse_args(arguments)
    batch = load_batch(given.batch)
    peer = Peer(given.folder, Setting(given.dtype, given.micro_batch, given.checkpointing))
    done = repeat(lambda: peer.update(batch), batch, given.steps)
    print(json.dumps(dataclasses.asdict(done)))


if __name__ == "__main__":
    main()
