"""Counts work in the text of a compiled program, with every loop's body as often as it runs.

The compiler's own cost analysis takes the body of a loop once. Here products of matrices, bytes to
and from the device's main memory and bytes of collectives are counted by computation, and each
computation by its trips, so that a decode of 256 tokens costs 256 steps.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence

from experiments.tpu_compile.text import ARRAY, NAME, Computation, Instruction, dims, parse, size

COLLECTIVES = (
    *("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute"),
    "collective-broadcast",
)
_FREE = {
    *("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while", "conditional"),
    *("call", "after-all", "partition-id", "replica-id", "iota", "broadcast", "domain"),
    "optimization-barrier",
}


@dataclasses.dataclass(frozen=True)
class Region:
    """The work of the entry, or of one loop's body, in one pass.

    Attributes:
        trips: how often it runs in one call of the program.
        flops: of matrix products, two a multiplication.
        hbm_bytes: read from and written to main memory; what stays in vector memory is not counted.
        collective_bytes: by kind, of the arrays that are gathered, summed or sent.
        wire_bytes: that a device sends, in rings: (n - 1) / n of what it gathers, twice of sums.
    """

    trips: int
    flops: float
    hbm_bytes: float
    collective_bytes: dict[str, float]
    wire_bytes: float


def regions(text: str, trips: Sequence[int] = ()) -> list[Region]:
    """The entry and every loop's body, in the order in which they run.

    Args:
        text: of the compiled program.
        trips: of the loops whose end depends on data, in order; a loop that counts to a constant
            says so itself.

    Raises:
        ValueError: there are more or fewer of those loops than `trips`.
    """
    computations, entry = parse(text)
    waiting = list(trips)
    found = list(_walk(computations, entry, 1, waiting))
    if waiting:
        raise ValueError(f"{len(trips)} loops were to end by data, {len(waiting)} are not there")
    return found


def copied(text: str) -> list[list[int]]:
    """Shapes of the arrays that loops copy from one place of main memory to another."""
    computations, _ = parse(text)
    bodies = {
        one.called("body")
        for lines in computations.values()
        for one in lines.values()
        if one.op == "while"
    }
    return [
        dims(one.shape)
        for name in sorted(bodies)
        for one in computations[name].values()
        if one.op == "copy" and size(one.shape, main_memory=True)
    ]


def _walk(
    computations: dict[str, Computation], name: str, trips: int, waiting: list[int]
) -> Iterator[Region]:
    lines = computations[name]
    yield _region(computations, lines, trips)
    for one in lines.values():
        if one.op == "while":
            times = _count(computations[one.called("condition")])
            if times is None:
                if not waiting:
                    raise ValueError(f"{one.name} ends by data and nobody says when")
                times = waiting.pop(0)
            yield from _walk(computations, one.called("body"), trips * times, waiting)
        elif one.op == "call":
            yield from _walk(computations, one.called("to_apply"), trips, waiting)
        elif one.op == "conditional":  # the dearest of its branches
            branches = [name for name in NAME.findall(one.rest) if name in computations]
            found = [list(_walk(computations, branch, trips, waiting)) for branch in branches]
            yield from max(found, key=lambda regions: sum(r.trips * r.flops for r in regions))


def _count(condition: Computation) -> int | None:
    """To what a loop counts from 0, where that is all it asks for."""
    root = next(one for one in condition.values() if one.root)
    if root.op != "compare" or root.attribute("direction") != "LT":
        return None
    limit = condition[root.operands[1]]
    return int(limit.literal) if limit.op == "constant" else None


def _region(computations: dict[str, Computation], lines: Computation, trips: int) -> Region:
    kinds: dict[str, float] = dict.fromkeys(COLLECTIVES, 0.0)
    wire = 0.0
    channels: set[str] = set()  # of what is counted: its start, its steps and its end all say it
    everything = list(_with_fused(computations, lines))
    for fusion, within, one in everything:
        kind = one.op.removesuffix("-start")
        channel = re.search(r"channel_id=(\d+)", one.rest)
        if kind not in COLLECTIVES or (channel and channel[1] in channels):
            continue
        if channel:
            channels.add(channel[1])
        if kind == "all-reduce" and fusion.startswith("all-reduce-scatter"):
            kind = "reduce-scatter"  # a TPU's, of which its fusion keeps a slice
        inward = sum(size(within[name].shape) for name in one.operands if name in within)
        outward = size(one.shape) - (inward if one.op == "all-gather-start" else 0)
        moved = inward if kind in ("reduce-scatter", "collective-permute") else outward
        kinds[kind] += moved
        sums = 2 if kind == "all-reduce" else 1
        parts = group(one.rest)
        wire += moved * (sums * (parts - 1) / parts if kind != "collective-permute" else 1)
    return Region(
        trips=trips,
        flops=sum(_flops(within, one) for _, within, one in everything),
        hbm_bytes=sum(_traffic(computations, lines, one) for one in lines.values()),
        collective_bytes={kind: total for kind, total in kinds.items() if total},
        wire_bytes=wire,
    )


def _with_fused(
    computations: dict[str, Computation], lines: Computation, fusion: str = ""
) -> Iterator[tuple[str, Computation, Instruction]]:
    """Every instruction with the fusion's name, "" for none, and the computation that it is in."""
    for one in lines.values():
        yield fusion, lines, one
        inner = one.called("to_apply" if one.op == "call-start" else "calls")
        if inner and one.op in ("fusion", "async-start", "call-start"):
            yield from _with_fused(computations, computations[inner], inner)


def group(rest: str) -> int:
    """How many devices take part in one group of a collective."""
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", rest):
        sizes = {name: int(n) for name, n in re.findall(r"'(\w+)'=(\d+)", found[1])}
        return math.prod(sizes[name] for name in re.findall(r"'(\w+)'", found[2]))
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]", rest):
        return int(found[2])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return len(found[1].split(","))
    return 1


def _flops(lines: Computation, one: Instruction) -> float:
    if one.op == "dot":
        kept = dims(lines[one.operands[0]].shape)
        summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.rest)
        over = [kept[int(axis)] for axis in summed[1].split(",") if axis] if summed else []
        return 2.0 * math.prod(dims(one.shape)) * math.prod(over)
    if one.op != "convolution":
        return 0.0
    base, kernel, out = re.split(r"_|->", one.attribute("dim_labels"))
    sizes = {
        where: dict(zip(labels, dims(shape), strict=True))
        for where, labels, shape in (
            ("base", base, lines[one.operands[0]].shape),
            ("kernel", kernel, lines[one.operands[1]].shape),
            ("out", out, one.shape),
        )
    }
    window = re.search(r"window=\{([^}]*)\}", one.rest)
    given = dict(part.split("=") for part in window[1].split()) if window else {}
    spatial = [label for label in out if label.isdigit()]
    met = 1
    for axis, label in enumerate(sorted(spatial, key=int)):
        at = {key: value.split("x")[axis] for key, value in given.items()}
        met *= _meetings(sizes["base"][label], sizes["kernel"][label], sizes["out"][label], at)
    return 2.0 * sizes["out"]["b"] * sizes["out"]["f"] * sizes["kernel"]["i"] * met


def _meetings(base: int, kernel: int, out: int, window: dict[str, str]) -> int:
    """How often an element of the window meets one of the base: products of batches, too."""
    stride, spread = int(window.get("stride", 1)), int(window.get("lhs_dilate", 1))
    step, before = int(window.get("rhs_dilate", 1)), int(window.get("pad", "0_0").split("_")[0])
    room = (base - 1) * spread + 1
    places = (at * stride + k * step - before for at in range(out) for k in range(kernel))
    return sum(0 <= place < room and place % spread == 0 for place in places)


def _traffic(computations: dict[str, Computation], lines: Computation, one: Instruction) -> float:
    """Bytes of main memory that one instruction reads and writes."""
    if one.op in _FREE or one.op.endswith("-done") or one.op == "call-start":
        return 0.0
    if one.op == "call-update":  # ((from), to): what a core beside the others gathers or sums
        return float(size(one.shape, main_memory=True))
    given = [lines[name].shape for name in one.operands if name in lines]
    if one.op == "dynamic-update-slice":
        return 2.0 * size(given[1], main_memory=True)
    if one.op in ("dynamic-slice", "slice", "gather"):
        return 2.0 * size(one.shape, main_memory=True)
    if one.op in ("copy-start", "slice-start"):  # of (to, from, ..) and of ((from), to, ..)
        arrays = [found[0] for found in ARRAY.finditer(one.shape)]
        target = arrays[0] if one.op == "copy-start" else arrays[1]
        through = [size(shape, main_memory=True) > 0 for shape in (target, given[0])]
        return float(size(target) * sum(through))
    inner = computations.get(one.called("calls")) if one.op == "fusion" else None
    if inner is None:
        return float(sum(size(shape, main_memory=True) for shape in (one.shape, *given)))
    return _fused_traffic(computations, inner, one, given)


def _fused_traffic(
    computations: dict[str, Computation], inner: Computation, one: Instruction, given: list[str]
) -> float:
    """A fusion reads only the slices it takes, and writes only the slice it updates in place."""
    total = 0.0
    for place, shape in enumerate(given):
        if size(shape, main_memory=True):
            part = _part(computations, inner, _parameter(inner, place))
            total += size(shape) if part is None else part
    root = next(line for line in inner.values() if line.root)
    updates = [inner[name] for name in root.operands] if root.op == "tuple" else [root]
    if any(line.op == "dynamic-update-slice" for line in updates):
        changed = (inner[line.operands[1]] if "update" in line.op else line for line in updates)
        return total + sum(size(line.shape) for line in changed)
    return total + size(one.shape, main_memory=True)


def _parameter(lines: Computation, place: int) -> str:
    found = (one for one in lines.values() if one.op == "parameter" and one.literal == str(place))
    return next(found).name


def _part(computations: dict[str, Computation], lines: Computation, name: str) -> float | None:
    """Bytes of the slices that a fused computation takes of an array; None if it takes it all."""
    total = 0.0
    for user in lines.values():
        if name not in user.operands:
            continue
        if user.op == "bitcast" or _IN_PLACE in user.rest:  # that is read as it is asked for
            part = _part(computations, lines, user.name)
        elif user.op == "fusion":
            inner = computations[user.called("calls")]
            places = [place for place, one in enumerate(user.operands) if one == name]
            parts = [_part(computations, inner, _parameter(inner, place)) for place in places]
            part = None if None in parts else sum(one or 0.0 for one in parts)
        elif user.operands[0] == name and name not in user.operands[1:]:
            part = _SLICES.get(user.op, lambda shape: None)(user.shape)
        else:
            part = None
        if part is None:
            return None
        total += part
    return total


_IN_PLACE = "output_to_operand_aliasing={{}: (0, {})}"  # a fusion that only turns tiles around


def _slice(shape: str) -> float | None:
    return float(size(re.sub(r"S\(\d+\)", "", shape)))


# What an instruction reads of the array that it cuts from, or writes a part of.
_SLICES: dict[str, Callable[[str], float | None]] = {
    **dict.fromkeys(("dynamic-slice", "slice", "gather"), _slice),
    "dynamic-update-slice": lambda shape: 0.0,
}
