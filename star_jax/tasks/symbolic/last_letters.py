"""Last letters of words, put together (Wei et al., 2022): does a model know how words are spelled?

    Q: Take the last letters of the words in "Amy Brown" and concatenate them.
    A: The last letter of "Amy" is "y". The last letter of "Brown" is "n". Concatenating them is
    "yn". The answer is yn

One name in ten is never trained on. Class "new" asks for as many words as the training does, all of
them such names.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from star_jax.tasks.symbolic import names
from star_jax.tasks.symbolic.base import Symbolic

NEW = "new"
_LETTER = re.compile(r'last letter of "([^"\n]*)" is "([^"\n]*)"')
_WHOLE = re.compile(r'oncatenating them is "([^"\n]*)"')
_QUOTED = re.compile('"(.*)"')


def is_new(word: str) -> bool:
    """Returns whether a name is never trained on: a hash, the same under every seed."""
    return hashlib.sha256(word.encode()).digest()[0] % 10 == 0


_WORDS = names.FIRST + names.LAST
_KNOWN, _NEW = (tuple(w for w in _WORDS if is_new(w) == new) for new in (False, True))


@dataclass(frozen=True)
class LastLetters(Symbolic):
    """Last-letter concatenation as a task."""

    name: ClassVar[str] = "last_letters"
    unit: ClassVar[str] = "words"

    def beyond(self) -> list[str]:
        """Returns the longer classes, and "new"."""
        return [*super().beyond(), NEW]

    def draw(self, rng: np.random.Generator, group: str) -> str:
        """Returns a question about different names."""
        words, length = (_NEW, self.length) if group == NEW else (_KNOWN, int(group))
        chosen = " ".join(rng.choice(words, length, replace=False))
        return f'Take the last letters of the words in "{chosen}" and concatenate them.'

    def solve(self, question: str) -> tuple[str, str]:
        """Returns a sentence for each word and one for all, and the letters."""
        quoted = _QUOTED.search(question)
        words = quoted[1].split() if quoted else []
        letters = "".join(word[-1].lower() for word in words)
        sentences = [f'The last letter of "{word}" is "{word[-1].lower()}".' for word in words]
        return " ".join([*sentences, f'Concatenating them is "{letters}".']), letters

    def found_steps(self, completion: str) -> list[str]:
        """Returns each word with its letter, and the letters together."""
        letters = [f"{word}: {letter.lower()}" for word, letter in _LETTER.findall(completion)]
        return letters + [letters_.lower() for letters_ in _WHOLE.findall(completion)]
