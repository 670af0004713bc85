"""Words near an equation that change what its numbers mean."""

from collections.abc import Collection, Sequence
from fractions import Fraction
from itertools import pairwise

_FRACTIONS = {
    *("half", "halves", "third", "thirds", "quarter", "quarters", "fourth", "fourths", "fifth"),
    *("fifths", "sixth", "sixths", "seventh", "eighth", "eighths", "ninth", "tenth", "tenths"),
}
_MULTIPLES = {
    *(
        "twice",
        "double",
        "doubled",
        "triple",
        "tripled",
        "thrice",
        "times",
        "multiplied",
        "divided",
    ),
    *("half", "plus", "minus", "square", "cube", "root", "off", "sqrt", "log", "ln", "sin", "cos"),
}
_CHANGED = {  # after a number: the number is not all of the quantity
    *("half", "halves", "third", "thirds", "fourths", "fifths", "tenths", "squared", "cubed"),
    *("remainder", "r", "mod", "modulo", "am", "pm", "o'clock", "factorial"),
}
_NUMBERS = {
    *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("fifteen", "twenty", "thirty", "forty", "fifty", "hundred", "thousand", "dozen"),
}
_DENIALS = {
    *("not", "isn't", "instead", "wrong", "incorrect", "incorrectly", "mistake", "false", "never"),
    *("if", "suppose", "say", "says", "guess", "try", "unless", "cannot"),
}
_ROUNDING = ("about", "approx", "around", "nearly", "roughly", "almost", "round", "estimat")

_DOZENS = {"dozen": 12, "score": 20, "pair": 2, "ten": 10, "hundred": 100}
_SCALES = _DOZENS | {"thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}

# A unit -> the numbers of it in other units, and of them in it, that people convert by.
_CONVERSIONS: dict[str, dict[str, tuple[int, ...]]] = {
    "time": {
        **dict.fromkeys(("second", "sec"), (60, 3600)),
        **dict.fromkeys(("minute", "min"), (60, 1440)),
        **dict.fromkeys(("hour", "hr"), (60, 3600, 24, 168)),
        **{
            "day": (24, 1440, 7, 14, 28, 30, 31, 365),
            "week": (7, 4, 52, 168),
            "fortnight": (14, 2),
        },
        **{"month": (12, 30, 31, 4), "year": (12, 52, 365, 10, 100), "decade": (10,)},
        **{"century": (100,), "centurie": (100,)},
    },
    "length": {
        **dict.fromkeys(("inch", "inche", "in"), (12, 36)),
        **dict.fromkeys(("foot", "feet", "ft"), (12, 3, 5280)),
        **{"yard": (3, 36, 1760), "mile": (5280, 1760)},
        **dict.fromkeys(("centimeter", "centimetre", "cm"), (10, 100, 1000, 10**5)),
        **dict.fromkeys(("meter", "metre"), (10, 100, 1000)),
        **dict.fromkeys(("kilometer", "kilometre", "km", "millimeter", "mm"), (10, 1000, 10**6)),
    },
    "weight and volume": {
        **dict.fromkeys(("ounce", "oz"), (16, 8, 32, 128)),
        **dict.fromkeys(("pound", "lb"), (16, 2000)),
        **{"ton": (2000, 1000)},
        **dict.fromkeys(("gram", "kilogram", "kg", "kilo", "milligram", "mg"), (1000, 10**6)),
        **dict.fromkeys(("liter", "litre", "ml", "milliliter", "millilitre"), (1000, 100)),
        **{"cup": (2, 4, 8, 16), "pint": (2, 8, 16), "quart": (4, 2, 32)},
        **{"gallon": (4, 8, 16, 128), "tablespoon": (3, 16), "teaspoon": (3, 48)},
    },
    "money": {
        **dict.fromkeys(("$", "dollar"), (100, 1000, 10**6)),
        **{"cent": (100,), "penny": (100,), "pennie": (100,), "pence": (100,)},
        **{"nickel": (5, 20), "dime": (10,), "quarter": (25, 4)},
    },
}


def is_denied(before: Sequence[str], after: Collection[str]) -> bool:
    """Returns whether an equation is said not to hold: "it is not 2 + 3 = 6"."""
    return not _DENIALS.isdisjoint([*before[-2:], *after])


def is_rounded(words: Collection[str]) -> bool:
    """Returns whether a result is said to be near: "about 33"."""
    return any(word.startswith(_ROUNDING) for word in words)


def changes(before: Sequence[str], words: Collection[str]) -> bool:
    """Returns whether words before or after its numbers are a part of the sum: "half of 20 + 4".

    Args:
        before: words before an equation.
        words: words after its numbers.
    """
    shares = any(
        word.split("-")[-1] in _FRACTIONS and after == "of" for word, after in pairwise(before)
    )
    near = set(before[-3:])
    multiples = near & _MULTIPLES or "of" in near and near & _NUMBERS
    last = before[-1:] and before[-1].split("-")[-1] in _FRACTIONS | _NUMBERS
    return bool(shares or multiples or last) or not (_CHANGED | _NUMBERS).isdisjoint(words)


def are_units(words: Collection[str]) -> bool:
    """Returns whether words are units, so that 5 feet 6 inches is one quantity."""
    named = {word.removesuffix("s") for word in words} - {"and"}
    return bool(named) and all(
        any(word in factors for factors in _CONVERSIONS.values()) for word in named
    )


def converts(
    left: Fraction, right: Fraction, units: Sequence[Collection[str]], additive: bool
) -> bool:
    """Returns whether two values may be the same quantity in different units.

    Args:
        left: value of the left side.
        right: value of the right side.
        units: words of the units of each side.
        additive: True if either side is a sum.
    """
    ours, theirs = ({word.removesuffix("s") for word in side} for side in units)
    both = ours | theirs
    scales = both & _SCALES.keys()
    if scales and (additive and ours & scales or ours & scales != theirs & scales and left * right):
        if additive and ours & scales:
            return True
        if _ratio(left, right) in {_SCALES[scale] for scale in scales} | {144, 1000}:
            return True
    for factors in _CONVERSIONS.values():
        present = both & factors.keys()
        if not present or ours & present == theirs & present and len(present) == 1:
            continue
        if additive and len(present - {"$"}) > 1 or {"$", "cent"} <= present and additive:
            return True
        if _ratio(left, right) in {number for unit in present for number in factors[unit]}:
            return True
    return False


def _ratio(left: Fraction, right: Fraction) -> Fraction | None:
    """Returns how many times the larger value is the smaller one."""
    if not left or not right:
        return None
    return left / right if abs(left) > abs(right) else right / left
