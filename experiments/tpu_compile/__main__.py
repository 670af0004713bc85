"""The paper's machine, by the compiler for real TPUs: does it fit, and how fast could it be?

    python -m experiments.tpu_compile --topology=v5e:2x4 --model=gpt-j-6b --program=train
    python -m experiments.tpu_compile --all [--models=gpt-j-6b]      # cells/*.json and table.md

`--all` compiles the cells that are not there: delete one to have it done again by today's code.

Needs the package libtpu and no TPU. The programs are those of `star_jax.star.programs`. A cell
says:

- `bytes_per_device`: arguments + temporaries + outputs - those that share their place, by the
  compiler (its memory analysis is whole); `code_bytes`: of the program itself, also in memory;
- `fits`: whether both together are at most `hbm_per_device`. Where the compiler itself refuses,
  `bytes_per_device` is what it says would be used. A run keeps nothing beside: it has one model on
  the devices at a time;
- `flops`, `bytes_accessed`, `collective_bytes`, `wire_bytes`: of a device in one call, counted in
  the compiled program with each loop's body as often as it runs (`hlo.py`), a decode to its budget;
  attention by a kernel is not in `flops`. `once`: with each body once, beside the compiler's own
  figures, which are of that kind;
- `seconds`: for each loop's body the largest of compute, memory and links at their peak rates
  (`chips.py`), times its trips: no call can be faster, real ones are slower;
- `optimal_seconds`: the compiler's own, which counts loops once and can be negative with them;
- `error`: why the work is not counted, where jaxlib cannot read the program that libtpu gives; the
  table then has that of the same work on an equal mesh (`cells.ALIKE`) at the chip's own rates;
- `tokens_per_second`: new tokens of a decode, trained tokens of an update, at `seconds`.

The table's "x least" is how many times the least the work is (`least.py`): a decode's bytes over
weights and filled cache once a token, an update's FLOPs over 6 a weight and token.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from experiments.tpu_compile import cells
from experiments.tpu_compile.least import times_least

HERE = pathlib.Path(__file__).parent
HEADS = (
    "model", "topology", "mesh", "program", "GiB a device", "of", "fits", "TFLOP", "GB memory",
    "x least", "GB links", "bound by", "ms at best", "tokens/s", "minutes a round", "compiled in",
)  # fmt: skip


def one(given: argparse.Namespace) -> dict[str, Any]:
    """Compiles one cell, prints it and writes it where it was asked to."""
    work = cells.CELLS.get((given.model, given.topology), cells.Work())
    changes = {
        field.name: value
        for field in dataclasses.fields(work)
        if (value := getattr(given, field.name)) is not None
    }
    work = dataclasses.replace(work, **changes)
    found = cells.compile_cell(given.model, given.topology, given.program, work)
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(text)
    return found


def path(folder: pathlib.Path, model: str, topology: str, program: str) -> pathlib.Path:
    """Where the cell of a table is kept."""
    return folder / f"{model}_{topology.replace(':', '-')}_{program}.json"


def every(folder: pathlib.Path, models: Sequence[str]) -> None:
    """Compiles the cells that are not in `folder` yet, a process each, then writes the table."""
    for model, topology in cells.CELLS:
        for program in cells.PROGRAMS if model in models else ():
            target = path(folder, model, topology, program)
            if target.exists():
                continue
            which = (f"--model={model}", f"--topology={topology}", f"--program={program}")
            command = (sys.executable, "-m", __spec__.name.removesuffix(".__main__"), *which)
            print(" ".join(which), flush=True)
            subprocess.run((*command, f"--json={target}"), stdout=subprocess.DEVNULL, check=False)
    (HERE / "table.md").write_text(table(folder))


def table(folder: pathlib.Path) -> str:
    """All cells of a folder as a markdown table."""
    lines = ["| " + " | ".join(HEADS) + " |", "|" + "---|" * len(HEADS)]
    for model, topology in cells.CELLS:
        found = {
            program: json.loads(target.read_text())
            for program in cells.PROGRAMS
            if (target := path(folder, model, topology, program)).exists()
        }
        for program, cell in found.items() if topology in cells.ALIKE else ():
            alike = path(folder, model, cells.ALIKE[topology], program)
            if "flops" not in cell and cell["fits"] and alike.exists():
                found[program] = cells.borrowed(cell, json.loads(alike.read_text()))
        seconds = [found.get(program, {}).get("seconds") for program in ("decode", "train")]
        for cell in found.values():
            lines.append("| " + " | ".join(_row(cell, seconds)) + " |")
    return "\n".join(lines) + "\n"


def _row(cell: dict[str, Any], seconds: Sequence[float | None]) -> list[str]:
    work = cells.Work(**cell["work"])
    data = cell["devices"] // (work.fsdp * work.tensor)
    split = {"data": data, "fsdp": work.fsdp, "tensor": work.tensor}
    gib = (cell.get("bytes_per_device", 0) + cell.get("code_bytes", 0)) / 2**30
    room = cell["hbm_per_device"] / 2**30
    row = [
        cell["model"],
        cell["topology"],
        " ".join(f"{axis}={size}" for axis, size in split.items() if size > 1),
        cell["program"],
        f"{gib:.1f}",
        f"{room:.0f}",
        "yes" if cell["fits"] else "no",
    ]
    if "seconds" not in cell:
        why = "not counted" if cell["fits"] else cell["error"].splitlines()[0]
        return row + ["", "", "", "", why, "", "", "", _duration(cell)]
    least = times_least(cell)
    decode, update = seconds
    minutes = f"{cells.round_minutes(work, decode, update):.1f}" if decode and update else ""
    return row + [
        f"{cell['flops'] / 1e12:.1f}",
        f"{cell['bytes_accessed'] / 1e9:.0f}",
        f"{least:.2f}" if least else "",
        f"{cell['wire_bytes'] / 1e9:.1f}",
        cell["bound"] + (f", as on {cell['counted_in']}" if "counted_in" in cell else ""),
        f"{1000 * cell['seconds']:.0f}",
        f"{cell['tokens_per_second']:,.0f}",
        minutes if cell["program"] == "train" else "",
        _duration(cell),
    ]


def _duration(cell: dict[str, Any]) -> str:
    return f"{cell['compile_seconds']:.0f} s"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.tpu_compile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--topology", default="v3:2x2", help="such as v5e:2x4")
    parser.add_argument("--model", default="gpt-j-6b", choices=cells.MODELS)
    parser.add_argument("--program", default="decode", choices=cells.PROGRAMS)
    parser.add_argument("--json", type=pathlib.Path, help="where to write the cell too")
    for field in dataclasses.fields(cells.Work):
        kind = type(field.default)
        parser.add_argument(f"--{field.name}", type=kind, help="in place of the table's")
    parser.add_argument("--all", action="store_true", help="all cells of the table but tiny ones")
    parser.add_argument("--models", default="gpt-j-6b,llama-3.1-8b,llama-3.1-70b")
    parser.add_argument("--folder", type=pathlib.Path, default=HERE / "cells")
    given = parser.parse_args(arguments)
    try:
        if given.all:
            every(given.folder, given.models.split(","))
        else:
            one(given)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
