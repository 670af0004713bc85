"""How fast this machine multiplies a model's matrices for every token, in JAX and float32.

    python -m experiments.bench.roofline --model=MODEL [--decode=32,64,128,256]
        [--train=2048,8192] [--repeats=5] [--json=FILE]

MODEL is what `star_jax.conversion.load.load` takes. A pass runs N rows through every matrix of the
model, each layer with weights of its own, as in the model itself: they stream through the caches.
Attention's products of queries, keys and values are left out, and so are normalisation and the
embedding. A token of sampling is one row of a pass, a token of training three: the gradient takes
two products of the same size for each. A token per second "by matrix products" is that and no more.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import statistics
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from rich import box
from rich.console import Console
from rich.table import Table

from star_jax.conversion import load
from star_jax.models.config import ModelConfig
from star_jax.runtime.compile import Signature, lower

DECODE = (32, 64, 128, 256)  # rows of a decoding step
TRAIN = (2048, 8192)  # tokens of a batch
TRAINING = 3  # passes of a token that is trained on


@dataclasses.dataclass(frozen=True)
class Speed:
    """What was measured for one number of rows.

    Attributes:
        rows: of a pass.
        seconds: of a pass, the median.
        gflops: 10^9 floating-point operations a second.
        tokens_per_second: by matrix products alone.
    """

    rows: int
    seconds: float
    gflops: float
    tokens_per_second: float


def matrices(config: ModelConfig) -> tuple[dict[str, tuple[int, int]], tuple[int, int]]:
    """Inputs and outputs of the matrices of a layer, by name, and of the head."""
    width, queries = config.width, config.heads * config.head_dim
    keys = config.key_heads * config.head_dim
    layer = {"q": (width, queries), "k": (width, keys), "v": (width, keys), "out": (queries, width)}
    layer |= {"up": (width, config.hidden), "down": (config.hidden, width)}
    if config.gated:
        layer["gate"] = layer["up"]
    return layer, (width, config.vocab)


def flops(config: ModelConfig) -> int:
    """Operations of a token in a pass: a multiplication and an addition for each weight."""
    layer, head = matrices(config)
    return 2 * (config.layers * sum(a * b for a, b in layer.values()) + head[0] * head[1])


class Products:
    """The matrices of a model, to be multiplied by."""

    def __init__(self, config: ModelConfig) -> None:
        """Draws weights in the shapes of `config`; what they are does not matter."""
        self.config = config
        layer, head = matrices(config)
        key = jax.random.key(0)
        self._layers = [
            {name: _draw(jax.random.fold_in(key, i), shape) for name, shape in layer.items()}
            for i in range(config.layers)
        ]
        self._head = _draw(key, head)

    def measure(self, rows: int, repeats: int = 5, passes: int = 1) -> Speed:
        """Times passes of `rows` rows, compilation apart; `passes` of them make a token."""
        x = jnp.ones((rows, self.config.width))
        given = (x, self._layers, self._head)
        run = functools.partial(lower(_pass, Signature(given)).compile(), *given)
        jax.block_until_ready(run())
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            jax.block_until_ready(run())
            times.append(time.perf_counter() - begun)
        seconds = statistics.median(times)
        work = rows * flops(self.config)
        return Speed(rows, seconds, work / seconds / 1e9, rows / seconds / passes)


def _draw(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    return jax.random.normal(key, shape) * shape[0] ** -0.5


def _pass(
    x: jax.Array, layers: list[dict[str, jax.Array]], head: jax.Array
) -> tuple[jax.Array, list[jax.Array]]:
    """Every product once; what the next ones do not take is returned, so that none is left out."""
    rest = []
    for layer in layers:
        rest += [x @ layer["k"], x @ layer["v"]]
        mixed = x @ layer["q"] @ layer["out"]
        h = x @ layer["up"]
        if "gate" in layer:
            h = h * (x @ layer["gate"])
        x = mixed + h @ layer["down"]
    return x @ head, rest


def measure(
    config: ModelConfig,
    decode: Sequence[int] = DECODE,
    train: Sequence[int] = TRAIN,
    repeats: int = 5,
) -> dict[str, list[Speed]]:
    """Times sampling and training, "decode" and "train", at these numbers of rows."""
    products = Products(config)
    return {
        "decode": [products.measure(rows, repeats) for rows in decode],
        "train": [products.measure(rows, repeats, TRAINING) for rows in train],
    }


def _show(console: Console, config: ModelConfig, found: dict[str, list[Speed]]) -> None:
    caption = f"{flops(config) / 1e9:.3f} GFLOP a token forward"
    table = Table(box=box.SIMPLE, show_edge=False, caption=caption, caption_justify="left")
    for header in ("", "rows", "seconds\na pass", "GFLOP/s", "tokens/s by\nproducts alone"):
        table.add_column(header, justify="right" if header else "left")
    for kind, speeds in found.items():
        for speed in speeds:
            cells = (
                f"{speed.seconds:.4f}",
                f"{speed.gflops:.0f}",
                f"{speed.tokens_per_second:.0f}",
            )
            table.add_row(kind, str(speed.rows), *cells)
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", required=True, help="such as $(make -s smollm2)")
    parser.add_argument("--decode", type=_numbers, default=DECODE, help="rows of a step")
    parser.add_argument("--train", type=_numbers, default=TRAIN, help="tokens of a batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="where to write the figures too")
    given = parser.parse_args(arguments)
    config = load.open_config(given.model)
    found = measure(config, given.decode, given.train, given.repeats)
    _show(Console(), config, found)
    if given.json:
        lines = {kind: list(map(dataclasses.asdict, speeds)) for kind, speeds in found.items()}
        whole = {"flops_per_token": flops(config), **lines}
        given.json.write_text(json.dumps(whole, indent=2) + "\n")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


if __name__ == "__main__":
    main()
