"""The values a setting may take."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Allowed:
    """The values a setting may take, and how to say so."""

    kind: type  # bool, int, float or str
    interval: str = ""  # numbers only, as in '(0, 1]'; inf has no bound on that side
    also: float | None = None  # one more number, outside the interval
    choices: tuple[str, ...] = ()  # strings only; none = any string

    def admits(self, value: object) -> bool:
        """Whether `value` has the right type (an int will do for a float) and is in range."""
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if isinstance(value, str):
            return self.kind is str and (not self.choices or value in self.choices)
        if not isinstance(value, int if self.kind is int else (int, float)) or self.kind is str:
            return False
        low, high = (float(bound) for bound in self.interval[1:-1].split(","))
        above = low <= value if self.interval[0] == "[" else low < value
        below = value <= high if self.interval[-1] == "]" else value < high
        return (above and below) or value == self.also

    def read(self, text: str) -> object:
        """The value that `text` spells, or `text` itself where it spells none of this type."""
        if self.kind is bool:
            words = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
            return words.get(text.lower(), text)
        try:
            return self.kind(text)
        except ValueError:
            return text

    def __str__(self) -> str:
        """A noun phrase for messages, as in 'a whole number in [1, 20]'."""
        if self.kind is bool:
            return "true or false"
        if self.choices:
            return " or ".join(repr(choice) for choice in self.choices)
        if self.kind is str:
            return "a string"
        noun = "a whole number" if self.kind is int else "a number"
        return f"{noun} in {self.interval}" + (f", or {self.also}" if self.also is not None else "")
