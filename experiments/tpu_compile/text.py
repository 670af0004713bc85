"""The text of a compiled program, read into instructions."""

import dataclasses
import math
import re

_BITS = {"pred": 8, "bf16": 16, "f8e4m3fn": 8, "f8e5m2": 8, "token": 0, "opaque": 0}
ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
NAME = re.compile(r"%([\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation: `name = shape op(operands), rest`; shapes are kept as text.

    A constant's value and a parameter's number are its `literal`.
    """

    name: str
    shape: str
    op: str
    operands: tuple[str, ...]
    literal: str
    rest: str
    root: bool

    def called(self, attribute: str) -> str:
        """The computation that an attribute such as "body" names; "" for none."""
        found = re.search(rf"\b{attribute}=%([\w.\-]+)", self.rest)
        return found[1] if found else ""

    def attribute(self, name: str) -> str:
        """What stands behind `name=`, up to a comma or a space."""
        found = re.search(rf"\b{name}=([^, ]+)", self.rest)
        return found[1] if found else ""


Computation = dict[str, Instruction]


def dims(shape: str) -> list[int]:
    """Of one array: "f32[2,3]{1,0}" has [2, 3]."""
    found = ARRAY.match(shape)
    return [int(size) for size in found[2].split(",") if size] if found else []


def size(shape: str, *, main_memory: bool = False) -> int:
    """Bytes of an array or of all arrays of a tuple; maybe only of those in main memory."""
    total = 0
    for kind, sizes, layout in ARRAY.findall(shape):
        if main_memory and re.search(r"S\([1-9]\d*\)", layout):
            continue
        bits = _BITS.get(kind) if kind in _BITS else int((re.findall(r"\d+", kind) or ["0"])[0])
        total += math.prod(int(one) for one in sizes.split(",") if one) * (bits or 0) // 8
    return total


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """The computations by name, and the name of the entry."""
    computations: dict[str, Computation] = {}
    entry, lines = "", None
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")) and line.rstrip().endswith("{"):
            name = NAME.search(line)
            assert name is not None, line
            lines = computations.setdefault(name[1], {})
            entry = name[1] if line.startswith("ENTRY") else entry
        elif line.rstrip() == "}":
            lines = None
        elif lines is not None and " = " in line:
            one = _instruction(line)
            lines[one.name] = one
    return computations, entry


def _instruction(line: str) -> Instruction:
    left, _, right = line.strip().partition(" = ")
    end = _closing(right, 0) if right.startswith("(") else right.index(" ")
    shape, right = right[:end], right[end:].lstrip()
    opened = right.index("(")
    closed = _closing(right, opened)
    inside = right[opened + 1 : closed - 1]
    return Instruction(
        name=left.removeprefix("ROOT ").lstrip("%"),
        shape=shape,
        op=right[:opened],
        operands=tuple(NAME.findall(inside)),
        literal="" if "%" in inside else inside,
        rest=right[closed:],
        root=left.startswith("ROOT "),
    )


def _closing(text: str, opened: int) -> int:
    """Just behind the parenthesis that closes the one at `opened`."""
    depth = 0
    for place in range(opened, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    raise ValueError(f"parentheses do not close: {text[:80]}")
