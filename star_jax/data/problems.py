"""Gathers the problems of a run: training, held-out and test; records the data left out."""

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

FILE = "data.json"  # in the run's folder: counts and hashes of problems; rows left out, and why


@dataclass(frozen=True)
class Problems:
    """The problems of a run, without those that are too long for the model.

    Attributes:
        settings: settings of the run.
        prompter: prompter of the run; measures the length of prompts.
        max_prompt_tokens: most tokens of a prompt with its hint, without the few-shot prompt; 0 for
            no limit.
        first: training problems of the first round. A generated task has other problems of the same
            kind in the next round.
        held_out: development problems, by which the best round is chosen.
        test: test problems, which are only reported on.
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
        """Returns the training problems of one round, without those that are too long."""
        settings = self.settings
        problems = self.prompter.task.train(settings.seed, round_, settings.rounds.problems)
        return [
            problem
            for problem in problems
            if not self.max_prompt_tokens or self.prompter.length(problem) <= self.max_prompt_tokens
        ]

    @property
    def seen(self) -> list[Problem]:
        """All problems that are known before the run."""
        return [*self.held_out, *self.test, *self.first]

    def report(self) -> dict[str, Any]:
        """Returns the content of `FILE`: counts and hashes of problems; flaws with their lines."""
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
    """Gets the problems of the task, and leaves out those that are too long.

    Args:
        settings: settings of the run.
        prompter: prompter of the run's task and tokenizer.
        max_prompt_tokens: most tokens of a prompt, as in `Problems`.

    Raises:
        DataError: too many rows are unusable.
        SettingsError: a run with rounds has no training problems or no development problems.
    """
    task = prompter.task
    cfg = settings.evaluate
    splits = {
        "train": task.train(settings.seed, 1, settings.rounds.problems),
        "development": task.evaluation(settings.seed, cfg.problems, cfg.ood_problems),
        "test": task.test(cfg.test_problems),
    }
    flaws = {split: list(rows) for split, rows in getattr(task, "flaws", {}).items()}
    for split, problems in splits.items() if max_prompt_tokens else ():
        too_long = _too_long(prompter, problems, max_prompt_tokens)
        audit(f"{task.name}, {split}", len(problems), list(too_long.values()), settings.task.bad)
        splits[split] = [problem for problem in problems if problem.id not in too_long]
        flaws.setdefault(split, []).extend(too_long.values())
    judges = [problem for problem in splits["development"] if task.in_distribution(problem.group)]
    needed = {"train": splits["train"], "development": judges}
    empty = [split for split, problems in needed.items() if not problems]
    if empty and settings.rounds.count or not any(splits.values()):
        raise SettingsError(
            f"task {task.name}: there is no problem of {' and of '.join(empty)} that can be used"
        )
    return Problems(
        settings=settings,
        prompter=prompter,
        max_prompt_tokens=max_prompt_tokens,
        first=splits["train"],
        held_out=splits["development"],
        test=splits["test"],
        flaws=flaws,
    )


def describe_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Returns a warning if two reports have different problems; "" if they have the same."""
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


def _too_long(prompter: Prompter, problems: Sequence[Problem], most: int) -> dict[str, Flaw]:
    """Returns id -> flaw of problems of over `most` tokens; the line is 0, as the row is valid."""
    flaws = {}
    for problem in problems:
        if (length := prompter.length(problem)) > most:
            what = (
                f"{problem.id}: {length} tokens; sampler.max_new_tokens leaves {most} "
                "of train.length and of the model's context"
            )
            flaws[problem.id] = Flaw(0, "too long", what)
    return flaws
