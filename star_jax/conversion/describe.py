"""Shows a model before anything is loaded: its shape, what it takes of each device, its tokenizer.

    python -m star_jax.inspect_model SOURCE [--mesh=data=8,fsdp=1,tensor=1] [--dtype=bfloat16]
        [--weights=float32] [--batch=8] [--length=1024]

SOURCE is a Hugging Face folder, a .gguf file, a run's folder or owner/name on the hub. No weights
are read, and the mesh may have more devices than there are here.
"""

import argparse
import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence

from jax.sharding import Mesh
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from star_jax.conversion import load
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.models.abstract_params import abstract_params
from star_jax.models.config import ModelConfig
from star_jax.models.memory import FORMULA, TYPES, estimate
from star_jax.runtime import sharding
from star_jax.storage.checkpoint import named


def parameters(config: ModelConfig) -> dict[str, int]:
    """Returns the number of weights of each part of the model, without vocabulary padding."""
    config = dataclasses.replace(config, vocab=config.tokens, vocab_padding=0)
    counts: dict[str, int] = collections.defaultdict(int)
    for name, leaf in named(abstract_params(config, _mesh(""))).items():
        path = name.split(".")
        part = path[1] if path[0] == "blocks" else path[0]
        counts["norms" if "norm" in part else part] += math.prod(leaf.shape)
    return dict(counts)


def tokenizer_facts(source: str, config: ModelConfig) -> dict[str, str]:
    """Returns facts about a model's tokenizer by label, and whether it fits the model."""
    try:
        tokenizer = HuggingFaceTokenizer.open(source)
    except ValueError as error:
        return {"tokenizer": f"none: {error}"}
    table = tokenizer.token_bytes()
    rows, ids = config.tokens, tokenizer.vocab_size

    def name(id_: int | None) -> str:
        return "none" if id_ is None else f"{id_} {tokenizer.name(id_)}"

    return {
        "ids": f"{ids:,}" if ids <= rows else f"{ids:,}, MORE THAN THE MODEL'S {rows:,} ROWS",
        "begins a document": name(tokenizer.bos_id),
        "end a text": ", ".join(map(name, tokenizer.eos_ids)),
        "padding": name(tokenizer.pad_id),
        "special": str(sum(not piece for piece in table)),
        "longest": f"{max(map(len, table))} bytes",
        "bytes without a token": str(len(tokenizer.missing_bytes)),
        "chat template": f"replies end with {name(tokenizer.reply_end)}"
        if tokenizer.chats
        else "no",
    }


def shape_facts(config: ModelConfig) -> dict[str, str]:
    """Returns facts about the architecture by label."""
    blocks = "attention and MLP " + ("side by side" if config.parallel else "one after the other")
    positions = (
        f"rotary, {config.rotary} of {config.head_dim} dimensions, base {config.rotary_base:g}"
    )
    if config.rope_scaling:
        positions += f", {config.rope_scaling.kind} x {config.rope_scaling.factor:g}"
    windows = sorted({window for window in config.windows if window})
    local = sum(window > 0 for window in config.windows)
    return {
        "layers": f"{config.layers}, {blocks}",
        "width": f"{config.width:,}",
        "attention": f"{config.heads} heads of {config.head_dim}, {config.key_heads} of keys"
        + (f"; {local} layers see {windows} tokens back" if windows else ""),
        "MLP": f"{config.hidden:,} {config.activation}{', gated' if config.gated else ''}",
        "norms": f"{config.norm}, epsilon {config.norm_epsilon:g}",
        "positions": "learned"
        if config.learned_positions
        else positions
        if config.rotary
        else "none",
        "context": f"{config.context:,} tokens",
        "vocabulary": f"{config.tokens:,} rows" + (", also the head" if config.tied else ""),
    }


def report(
    console: Console,
    source: str,
    *,
    mesh: Mesh,
    batch: int = 0,
    length: int = 0,
    dtype: str = "float32",
    weights: str = "float32",
) -> None:
    """Prints the architecture, parameters, memory and tokenizer of a model.

    Args:
        console: console to print on.
        source: folder, .gguf file, run, or owner/name on the Hugging Face hub.
        mesh: devices, real or abstract.
        batch: rows on all devices; 0 for one row for each device that the batch is split over.
        length: tokens of a row; 0 for the smaller of 1024 and the model's context.
        dtype: type of the computation, and of the weights that are sampled with.
        weights: type that training keeps weights, gradients and moments in.

    Raises:
        ValueError: the source cannot be read, or the batch or length does not fit the model.
    """
    config = load.open_config(source)
    batch = batch or sharding.batch_multiple(mesh)
    length = length or min(1024, config.context)
    memory = estimate(config, mesh, batch=batch, length=length, dtype=dtype, weights=weights)
    counts = parameters(config)
    _print(console, source, shape_facts(config))
    _print(
        console,
        f"{sum(counts.values()):,} parameters",
        {part: f"{count:,}" for part, count in counts.items()},
    )
    devices = ", ".join(f"{axis}={size}" for axis, size in mesh.shape.items())
    for what, types, parts in (
        ("sampling", f"all in {dtype}, logits in float32", memory.sampling),
        ("training", f"in {weights}, activations in {dtype}", memory.training),
    ):
        title = f"{what}, a device of {devices}: {batch} rows of {length} tokens"
        sizes = {name: _bytes(size) for name, size in parts.items()}
        _print(console, title, {**sizes, "total": f"{_bytes(sum(parts.values()))}, {types}"})
    console.print(f"activations: {FORMULA}\n", style="dim", highlight=False)
    _print(console, "tokenizer", tokenizer_facts(source, config))


def _print(console: Console, title: str, facts: Mapping[str, str]) -> None:
    console.print(title, style="bold", highlight=False, soft_wrap=True, markup=False)
    table = Table(box=box.SIMPLE, show_header=False, show_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in facts.items():
        table.add_row(name, escape(value))
    console.print(table)
    console.print()


def _bytes(count: int) -> str:
    """Formats a number of bytes in the largest unit of which there is at least one: 1.5 GiB."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:.0f} {units[0]}"


def _mesh(text: str) -> Mesh:
    """Returns a mesh without devices from "data=8,tensor=2"; axes that are not named are 1."""
    sizes = dict.fromkeys(sharding.AXES, 1)
    for part in filter(None, text.split(",")):
        name, _, size = part.partition("=")
        if name not in sizes or not size.isdigit() or int(size) < 1:
            raise argparse.ArgumentTypeError(
                f"{part!r}: say how many devices each of {', '.join(sizes)} has: data=8,tensor=2"
            )
        sizes[name] = int(size)
    return sharding.without_devices(**sizes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; ends with status 2 on an error in the arguments or in the model."""
    parser = argparse.ArgumentParser(
        prog="python -m star_jax.inspect_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="the model")
    parser.add_argument("--mesh", type=_mesh, default="", help="such as data=8,tensor=2 (all 1)")
    parser.add_argument("--batch", type=int, default=0, help="rows on all devices (one a device)")
    parser.add_argument("--length", type=int, default=0, help="tokens of a row (1024)")
    for name, what in {
        "dtype": "of the computation, and of the weights sampled with",
        "weights": "that training keeps weights, gradients and moments in",
    }.items():
        parser.add_argument(f"--{name}", choices=TYPES, default="float32", help=what)
    args = parser.parse_args(arguments)
    try:
        report(
            Console(),
            args.source,
            mesh=args.mesh,
            batch=args.batch,
            length=args.length,
            dtype=args.dtype,
            weights=args.weights,
        )
    except ValueError as error:
        parser.error(str(error))
