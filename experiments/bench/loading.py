"""How long a model takes to load, and how much host memory beyond its weights.

    python -m experiments.bench.loading SOURCE [--weights=bfloat16] [--mesh=fsdp=8] [--json=FILE]

SOURCE is what `star_jax.conversion.load.load` takes. Memory is the own of this process (RssAnon,
looked at every 2 ms): pages of the mapped file are the kernel's, and are not counted. On a CPU what
is on the devices is in it; what is beyond that is what loading needs. The largest tensor counts as
it is read, in float32.
"""

import argparse
import json
import pathlib
import re
import threading
import time
from collections.abc import Sequence

import jax

from star_jax.conversion import load
from star_jax.runtime import sharding


def anonymous_bytes() -> int:
    """What this process has allocated and touched."""
    status = pathlib.Path("/proc/self/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    assert found is not None, "Linux says this since 4.5"
    return 1024 * int(found[1])


class Peak(threading.Thread):
    """The most memory between `start` and `stop`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()
        self.before = self.most = anonymous_bytes()

    def run(self) -> None:
        """Looks until it is stopped."""
        while not self._over.wait(0.002):
            self.most = max(self.most, anonymous_bytes())

    def stop(self) -> int:
        """Bytes beyond those at the start."""
        self._over.set()
        self.join()
        return self.most - self.before


def measure(source: str, sizes: dict[str, int], weights: str) -> dict[str, float]:
    """Loads a model and says what it took, in seconds and MiB."""
    devices = jax.devices()  # their start-up is not the model's
    grid = sharding.make_mesh(**(dict.fromkeys(sharding.AXES, 1) | sizes), devices=devices)
    peak = Peak()
    peak.start()
    begun = time.perf_counter()
    loaded = jax.block_until_ready(load.load(source, grid, param_dtype=weights).params)
    seconds = time.perf_counter() - begun
    most = peak.stop()
    leaves = jax.tree.leaves(loaded)
    resident = sum(shard.data.nbytes for leaf in leaves for shard in leaf.addressable_shards)
    mebi = 2.0**20
    return {
        "seconds": round(seconds, 2),
        "resident_mib": round(resident / mebi, 1),
        "largest_tensor_mib": round(max(leaf.size for leaf in leaves) * 4 / mebi, 1),
        "peak_mib": round(most / mebi, 1),
        "beyond_resident_mib": round((most - resident) / mebi, 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--mesh", default="", help="such as fsdp=2,tensor=4 (one device)")
    parser.add_argument("--weights", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures too")
    given = parser.parse_args(arguments)
    pairs = (part.partition("=") for part in filter(None, given.mesh.split(",")))
    found = measure(given.source, {name: int(size) for name, _, size in pairs}, given.weights)
    for name, value in found.items():
        print(f"{name:20} {value:10}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
