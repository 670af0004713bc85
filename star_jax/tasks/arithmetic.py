"""Sums of two numbers of equal length, worked out on the scratchpad of Nye et al. (2021).

The text is that of STaR's Figure 3. For 624 + 259 the prompt is

    Input:
    6 2 4 + 2 5 9
    Target:

and the completion is the scratchpad, a line for each step: the digits still to add, the digits of
the sum so far, the carry. The last two lines are the carry before the digits, and the sum:

    <scratch>
    6 2 4 + 2 5 9 , C: 0
    6 2 + 2 5 , 3 C: 1
    6 + 2 , 8 3 C: 0
    , 8 8 3 C: 0
    0 8 8 3
    </scratch>
    8 8 3

The hint is the sum after "Target:". A problem's class is its number of digits, "1" to "10".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from star_jax.tasks.answer_rule import AnswerRule, Ending, finds_as
from star_jax.tasks.task import Problem

_END = "</scratch>"
_TRAIN, _EVALUATION, _FEW_SHOT, _CORPUS = range(4)  # independent streams of random numbers

_RIGHT = 1 / 4  # share of correct columns in the pretraining corpus without a hint
_EASY_SUM = 9  # largest sum of a column in the corpus's easy problems

Step = tuple[int, int]  # a digit of the sum and the carry after it


@dataclass(frozen=True)
class Arithmetic:
    """Addition as a task.

    A hash of a problem says whether it is held out, the same under every seed. One problem in ten
    is, and one in five of the hundred sums of one digit. Evaluation draws from the held-out
    problems alone, everything else from the rest.

    Attributes:
        min_digits, max_digits: smallest and largest class trained on.
        ood_digits: largest class of the evaluation, out of distribution; 0 for none.
    """

    min_digits: int = 1
    max_digits: int = 5
    ood_digits: int = 10
    name: ClassVar[str] = "arithmetic"
    unit: ClassVar[str] = "digits"
    separator: ClassVar[str] = ""
    markup: ClassVar[tuple[str, ...]] = (
        *("Input:\n", "\nTarget:", "<scratch>\n", "\n</scratch>\n", " + ", " , ", " C: "),
    )

    def __post_init__(self) -> None:
        if not 1 <= self.min_digits <= self.max_digits:
            raise ValueError(
                f"min_digits = {self.min_digits}, max_digits = {self.max_digits}: must be "
                "1 <= min_digits <= max_digits"
            )

    def train(self, seed: int, round: int, count: int) -> list[Problem]:
        """Returns `count` problems with classes in turn, so that any stretch of them is balanced.

        No problem repeats while its class has others left. The copies of a repeated problem have
        ids of their own ("6+2", "6+2#2").
        """
        return self._in_turn(_TRAIN, seed, round, count)

    def evaluation(self, seed: int, count: int, ood_count: int) -> list[Problem]:
        """Returns held-out problems by class, without repeats; one digit has about 20 of them."""
        return [
            _problem(a, b)
            for digits in range(self.min_digits, max(self.max_digits, self.ood_digits) + 1)
            for a, b in _draw(
                _random(_EVALUATION, seed, 0, digits),
                digits,
                count if digits <= self.max_digits else ood_count,
                held_out=True,
            )
        ]

    def test(self, count: int) -> list[Problem]:
        """Returns []: the held-out problems are like the rest, so there is no test set."""
        del count
        return []

    def in_distribution(self, group: str) -> bool:
        """Returns whether numbers of this many digits are trained on."""
        return self.min_digits <= int(group) <= self.max_digits

    def few_shot(self, seed: int, count: int) -> list[Problem]:
        """`count` worked sums of each class trained on, shuffled."""
        examples = self._in_turn(_FEW_SHOT, seed, 0, count * len(self._classes))
        return [examples[i] for i in _random(_FEW_SHOT, seed).permutation(len(examples))]

    def prompt(self, problem: Problem, hint: bool) -> str:
        """The problem up to "Target:", and with `hint` the sum there."""
        target = f" {_spaced(problem.answer)}" if hint else ""
        return f"Input:\n{problem.question}\nTarget:{target}\n"

    def message(self, problem: Problem, hint: bool) -> str:
        """The prompt."""
        return self.prompt(problem, hint)

    def completion(self, rationale: str, answer: str) -> str:
        """The scratchpad, then the sum on a line of its own."""
        return f"{rationale}\n{_spaced(answer)}"

    def direct(self, problem: Problem) -> str:
        """The sum alone, its digits with spaces between them."""
        return _spaced(problem.answer)

    def answer(self, completion: str) -> str | None:
        """The number on the one line after the last "</scratch>"; None for anything else there."""
        _, end, sum_line = completion.rpartition(f"{_END}\n")
        return _number(sum_line) if end else None

    def ending(self) -> Ending:
        """Returns the ending after the line that follows the first "</scratch>"."""
        return Ending(f"{_END}\n", number=True) if finds_as(Arithmetic, self) else Ending()

    def byte_rule(self) -> AnswerRule | None:
        """Returns the rule of `answer` for a device; None for a class that finds answers itself."""
        rule = AnswerRule("digits", f"{_END}\n", ending=self.ending())
        return rule if finds_as(Arithmetic, self) else None

    def direct_answer(self, completion: str) -> str | None:
        """The number that is the whole completion; None for anything else."""
        return _number(completion)

    def flexible(self, problem: Problem, completion: str) -> str | None:
        """The number in the last line, scratchpad or not."""
        del problem
        return _number(completion.rpartition("\n")[2])

    def leaks(self, problem: Problem, completion: str) -> list[str]:
        """Returns []: a scratchpad has nothing but the steps."""
        del problem, completion
        return []

    def wrong_step(self, problem: Problem, completion: str) -> bool | None:
        """Returns whether the scratchpad differs from the true one; None without a scratchpad."""
        if "<scratch>" not in completion and _END not in completion:
            return None
        head, end, _ = completion.rpartition(_END)
        a, b = _operands(problem)
        return (head + end).removeprefix(" ") != scratchpad(a, b, true_steps(a, b))

    def steps(self, problem: Problem, completion: str) -> tuple[str, ...] | None:
        """Returns the lines of the scratchpad; None without one."""
        del problem
        lines = completion.rpartition(_END)[0].partition("<scratch>")[2].splitlines()
        return tuple(line.strip() for line in lines if line.strip()) or None

    def longest(self, group: str, direct: bool = False) -> str:
        """The completion for nines alone."""
        nines = _problem("9" * int(group), "9" * int(group))
        return self.direct(nines) if direct else self.completion(nines.rationale, nines.answer)

    def corpus(self, seed: int, count: int, hinted: float, easy: float) -> list[tuple[str, str]]:
        """Returns the pretraining corpus: scratchpads with a rough sense of number.

        With a hint everything is right. Without one, the sum of each column is right one time in
        four and otherwise one too many, and the later steps follow from it. So the corpus teaches
        the format, the use of a hint, where to look and what to copy, but not addition: the
        likeliest digit is wrong. It does not teach certainty of wrong sums either. A model that is
        certain of them would first unlearn to look at the digits at all.

        Args:
            seed: seed of the draws; held-out problems are left out.
            count: number of pairs, the same for each class.
            hinted: share of pairs with the hint in the prompt.
            easy: share of the others that have no carry; the model learns these first.
        """
        rng = _random(_CORPUS, seed)
        problems = self._in_turn(_CORPUS, seed, 0, count)
        return [
            self._corpus_pair(problems[i], rng, rng.random() < hinted, rng.random() < easy)
            for i in rng.permutation(count)
        ]

    def _corpus_pair(
        self, problem: Problem, rng: np.random.Generator, hint: bool, easy: bool
    ) -> tuple[str, str]:
        if hint:
            return self.prompt(problem, hint), self.completion(problem.rationale, problem.answer)
        if easy:
            problem = _easy(rng, int(problem.group))
        a, b = _operands(problem)
        steps = _guessed_steps(a, b, rng)
        return self.prompt(problem, hint), self.completion(scratchpad(a, b, steps), _sum(steps))

    @property
    def _classes(self) -> range:
        return range(self.min_digits, self.max_digits + 1)

    def _in_turn(self, stream: int, seed: int, round: int, count: int) -> list[Problem]:
        """`count` problems that are not held out, one of each class in turn."""
        number = len(self._classes)
        shares = [len(range(first, count, number)) for first in range(number)]
        classes = [
            self._class(_random(stream, seed, round, digits), digits, share)
            for digits, share in zip(self._classes, shares, strict=True)
        ]
        return [classes[i % number][i // number] for i in range(count)]

    def _class(self, rng: np.random.Generator, digits: int, count: int) -> list[Problem]:
        """Returns `count` problems of one class; if it has fewer, copies of them follow."""
        pairs = _draw(rng, digits, count, held_out=False)
        return [_problem(*pairs[i % len(pairs)], 1 + i // len(pairs)) for i in range(count)]


def true_steps(a: str, b: str) -> list[Step]:
    """The digits of a + b, last digit first, each with the carry after it."""
    steps: list[Step] = []
    carry = 0
    for x, y in zip(reversed(a), reversed(b), strict=True):
        carry, digit = divmod(int(x) + int(y) + carry, 10)
        steps.append((digit, carry))
    return steps


def _guessed_steps(a: str, b: str, rng: np.random.Generator) -> list[Step]:
    """Returns steps whose sums are right one time in four and otherwise one too many."""
    steps: list[Step] = []
    carry = 0
    for x, y in zip(reversed(a), reversed(b), strict=True):
        total = int(x) + int(y) + carry
        if rng.random() >= _RIGHT:
            total = min(total + 1, 19)
        carry, digit = divmod(total, 10)
        steps.append((digit, carry))
    return steps


def _easy(rng: np.random.Generator, digits: int) -> Problem:
    """A problem that is not held out, with no column beyond `_EASY_SUM`."""
    low = np.array([int(digits > 1)] + [0] * (digits - 1))  # no leading zero
    while True:
        a = rng.integers(low, _EASY_SUM - low + 1)
        b = rng.integers(low, _EASY_SUM - a + 1)
        pair = np.concatenate((a, b))[None]
        if not _is_held_out(pair)[0]:
            return _problem(*_numbers(pair)[0])


def scratchpad(a: str, b: str, steps: Sequence[Step]) -> str:
    """The scratchpad of a + b, "<scratch>" to "</scratch>", that takes these steps."""
    lines = ["<scratch>", f"{_spaced(a)} + {_spaced(b)} , C: 0"]
    digits = ""
    for done, (digit, carry) in enumerate(steps, 1):
        digits = f"{digit}{digits}"
        left = len(a) - done
        todo = f"{_spaced(a[:left])} + {_spaced(b[:left])} " if left else ""
        lines.append(f"{todo}, {_spaced(digits)} C: {carry}")
    return "\n".join([*lines, _spaced(f"{steps[-1][1]}{digits}"), _END])


def _problem(a: str, b: str, copy: int = 1) -> Problem:
    steps = true_steps(a, b)
    return Problem(
        id=f"{a}+{b}" + (f"#{copy}" if copy > 1 else ""),
        question=f"{_spaced(a)} + {_spaced(b)}",
        answer=_sum(steps),
        rationale=scratchpad(a, b, steps),
        group=str(len(a)),
    )


def _operands(problem: Problem) -> tuple[str, str]:
    a, b = problem.question.replace(" ", "").split("+")
    return a, b


def _sum(steps: Sequence[Step]) -> str:
    digits = str(steps[-1][1]) + "".join(str(digit) for digit, _ in reversed(steps))
    return digits.lstrip("0") or "0"


def _spaced(digits: str) -> str:
    return " ".join(digits)


def _number(line: str) -> str | None:
    """The canonical form of one line of ASCII digits and spaces, or None."""
    digits = line.rstrip("\n").replace(" ", "")
    return digits.lstrip("0") or "0" if digits.isascii() and digits.isdigit() else None


def _random(stream: int, seed: int, round: int = 0, digits: int = 0) -> np.random.Generator:
    return np.random.default_rng([stream, seed, round, digits])


def _draw(
    rng: np.random.Generator, digits: int, count: int, *, held_out: bool
) -> list[tuple[str, str]]:
    """Returns `count` different pairs of numbers of `digits` digits, or all if there are fewer.

    Raises:
        ValueError: `count` is more than half of a class too large to list (3 digits and more).
    """
    if digits <= 2:
        pairs = np.indices((10,) * (2 * digits)).reshape(2 * digits, -1).T
        pairs = pairs[(digits == 1) | (pairs[:, [0, digits]] > 0).all(axis=1)]
        return _numbers(rng.permutation(pairs[_is_held_out(pairs) == held_out])[:count])
    most = 81 * 100 ** (digits - 1) * (1 if held_out else 9) // 20
    if count > most:
        raise ValueError(
            f"{count} different problems of {digits} digits: ask for at most {most} of a class"
        )
    drawn: dict[tuple[str, str], None] = {}
    while len(drawn) < count:
        pairs = rng.integers(10, size=(2 * count, 2 * digits))
        pairs[:, [0, digits]] = rng.integers(1, 10, size=(2 * count, 2))
        drawn.update(dict.fromkeys(_numbers(pairs[_is_held_out(pairs) == held_out])))
    return list(drawn)[:count]


def _numbers(pairs: NDArray[np.int64]) -> list[tuple[str, str]]:
    """Returns the two numbers in each row of pairs [N, 2 * digits], one half of the row each."""
    rows = ("".join(map(str, row)) for row in pairs.tolist())
    return [(row[: len(row) // 2], row[len(row) // 2 :]) for row in rows]


def _is_held_out(pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns which pairs [N, 2 * digits] are held out: a hash, the same on every machine."""
    hashed = _mix(np.zeros(len(pairs), np.uint64))
    for column in pairs.T.astype(np.uint64):
        hashed = _mix(hashed + column)
    return hashed % np.uint64(10) < (2 if pairs.shape[1] == 2 else 1)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64 (Steele et al., 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
