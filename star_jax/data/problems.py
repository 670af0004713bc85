"""The problems of a run: trained on, held out, tested on; and the rows of its data left out."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from star_jax.config.validation import Settings, SettingsError
from star_jax.data.prompts import Prompter
from star_jax.tasks.rows import Flaw, audit
from star_jax.tasks.task import Problem

FILE = "data.json"  # in the run's folder: what is used, and what was left out and why


@dataclass(frozen=True)
class Problems:
    """What a task gives a run, without what is too long for the model.

    Attributes:
        settings: of the run.
        prompter: measures prompts.
        max_prompt_tokens: most tokens of a prompt with its hint, few-shot examples not counted;
            0: no limit.
        first: those of the first round. A generated task has others of their kind in the next.
        held_out: those that choose the round.
        test: those that are only reported on.
        flaws: split -> rows that are left out.
    """

    settings: Settings
    prompter: Prompter
    max_prompt_tokens: int
    first: Sequence[Problem]
    held_out: Sequence[Problem]
    test: Sequence[Problem]
    flaws: Mapping[str, Sequence[Flaw]]

    def train(self, round_: int) -> list[Problem]:
        """Those of one round."""
        chosen = self.settings
        found = self.prompter.task.train(chosen.seed, round_, chosen.rounds.problems)
        return [
            p
            for p in found
            if not self.max_prompt_tokens or self.prompter.length(p) <= self.max_prompt_tokens
        ]

    @property
    def seen(self) -> list[Problem]:
        """All that there are, as far as they are known before the run."""
        return [*self.held_out, *self.test, *self.first]

    def report(self) -> dict[str, Any]:
        """What `FILE` says: how many problems, a hash of them, and the flaws with their lines."""
        used = {"train": self.first, "development": self.held_out, "test": self.test}
        return {
            "problems": {split: len(problems) for split, problems in used.items()},
            "hashes": {
                split: _hash(problems)
                for split, problems in {**used, "few-shot": self.prompter.examples}.items()
            },
            "left_out": {
                split: [[flaw.line, flaw.kind, flaw.detail] for flaw in flaws]
                for split, flaws in self.flaws.items()
            },
        }


def gather_problems(settings: Settings, prompter: Prompter, max_prompt_tokens: int) -> Problems:
    """Asks the task for its problems and leaves out what is too long.

    Args:
        settings: of the run.
        prompter: of its task and tokenizer.
        max_prompt_tokens: see `Problems`.

    Raises:
        DataError: too many rows are unusable.
        SettingsError: a run of rounds has nothing to learn from, or to be judged by.
    """
    task = prompter.task
    chosen = settings.evaluate
    found = {
        "train": task.train(settings.seed, 1, settings.rounds.problems),
        "development": task.evaluation(settings.seed, chosen.problems, chosen.ood_problems),
        "test": task.test(chosen.test_problems),
    }
    flaws = {split: list(rows) for split, rows in getattr(task, "flaws", {}).items()}
    for split, problems in found.items() if max_prompt_tokens else ():
        too_long = _too_long(prompter, problems, max_prompt_tokens)
        audit(f"{task.name}, {split}", len(problems), list(too_long.values()), settings.task.bad)
        found[split] = [problem for problem in problems if problem.id not in too_long]
        flaws.setdefault(split, []).extend(too_long.values())
    judges = [problem for problem in found["development"] if task.in_distribution(problem.group)]
    needed = {"train": found["train"], "development": judges}
    none = [split for split, some in needed.items() if not some]
    if none and settings.rounds.count or not any(found.values()):
        raise SettingsError(
            f"task {task.name}: there is no problem of {' and of '.join(none)} that can be used"
        )
    return Problems(
        settings,
        prompter,
        max_prompt_tokens,
        found["train"],
        found["development"],
        found["test"],
        flaws,
    )


def describe_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is said where the problems of two reports are not the same; "" where they are."""
    kind = "hashes" if "hashes" in before else "problems"  # older versions only counted them
    old, new = before.get(kind, {}), now[kind]
    different = [split for split in new if split in old and old[split] != new[split]]
    if not different:
        return ""
    return (
        f"{' and '.join(different)} problems are not those that the run began with; put back data "
        "and tokenizer, or choose another --workdir"
    )


def _hash(problems: Sequence[Problem]) -> str:
    lines = json.dumps([dataclasses.astuple(problem) for problem in problems])
    return hashlib.sha256(lines.encode()).hexdigest()


def _too_long(prompter: Prompter, problems: Sequence[Problem], room: int) -> dict[str, Flaw]:
    """Id -> flaw; such a flaw has no line, its row was fine until there was a tokenizer."""
    found = {}
    for problem in problems:
        if (length := prompter.length(problem)) > room:
            what = (
                f"{problem.id}: {length} tokens; sampler.max_new_tokens leaves {room} "
                "of train.length and of the model's context"
            )
            found[problem.id] = Flaw(0, "too long", what)
    return found
