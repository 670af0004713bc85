"""Chooses the shapes in which a run samples: prompt length, max_new_tokens, rows at a time."""

import math
from collections.abc import Sequence

from etils import epath
from jax.sharding import Mesh

from star_jax.config.validation import Settings, SettingsError
from star_jax.data.problems import Problems
from star_jax.data.prompts import Prompter
from star_jax.inference.buckets import Bucket, page_ring
from star_jax.models import memory
from star_jax.models.config import ModelConfig
from star_jax.runtime import multihost, sharding
from star_jax.storage import files
from star_jax.tasks import Problem

ROWS = "rows.json"  # file in the run's folder: the number of rows that its shards are made of
_REFILLS = 8  # requests per slot in the largest phase, so that few slots are idle at its end
MULTIPLE = 16  # divides vocabulary, prompt and prefix sizes, for meshes and vector units


def choose(
    settings: Settings,
    prompter: Prompter,
    problems: Problems,
    model: ModelConfig,
    grid: Mesh,
    *,
    prefix: int,
    samples: int,
    workdir: epath.PathLike,
) -> tuple[Bucket, ...]:
    """Chooses a bucket for the problems in distribution, and one for those out of distribution.

    Args:
        settings: settings of the run.
        prompter: prompter that measures prompts.
        problems: all problems of the run.
        model: configuration of the model that samples.
        grid: mesh of the devices.
        prefix: length of the few-shot prompt, in tokens.
        samples: rows of every problem that is evaluated.
        workdir: folder of the run; its file `ROWS`, if present, has the number of rows.
    """
    inside = [p for p in problems.seen if prompter.task.in_distribution(p.group)]
    outside = [p for p in problems.seen if not prompter.task.in_distribution(p.group)]
    evaluated = samples * max(len(problems.held_out), len(problems.test))
    most = max(settings.sampler.samples * len(problems.first), evaluated)
    sizes = [_lengths(settings, prompter, part) for part in (inside, outside) if part]
    multiple = math.lcm(MULTIPLE, sharding.batch_multiple(grid))

    def choose_rows() -> int:
        """Returns the rows that fit in memory, but so few that the largest phase refills them."""
        if (file := epath.Path(workdir) / ROWS).exists():
            return files.read_json(file)["rows"]
        longest = max(prompt + page_ring(new_tokens).tokens for prompt, new_tokens in sizes)
        length = max(1, min(model.context - prefix, longest))
        fitting = memory.rows_that_fit(model, grid, length=length, prefix=prefix)
        busy = round_up(most // _REFILLS, multiple)
        return max(multiple, min(busy, fitting // multiple * multiple))

    rows = multihost.on_primary(lambda: settings.sampler.rows or choose_rows())
    counts = (most, samples * len(outside))  # no more rows than questions
    return tuple(
        Bucket(new_tokens, prompt, min(rows, round_up(count, multiple)))
        for (prompt, new_tokens), count in zip(sizes, counts, strict=False)
    )


def _lengths(
    settings: Settings, prompter: Prompter, problems: Sequence[Problem]
) -> tuple[int, int]:
    """Returns prompt_length and max_new_tokens for the problems."""
    longest = max(
        max_new_tokens(settings, prompter, group) for group in {p.group for p in problems}
    )
    return round_up(max(map(prompter.length, problems))), longest


def max_new_tokens(settings: Settings, prompter: Prompter, group: str) -> int:
    """Returns the new tokens that a completion in class `group` may take, with end-of-text.

    Raises:
        SettingsError: neither the settings nor the task know it.
    """
    longest = prompter.task.longest(group, prompter.direct)
    if not (settings.sampler.max_new_tokens or longest):
        raise SettingsError(
            "config.sampler.max_new_tokens = 0: must be above 0, the task does not know how long "
            "its answers are"
        )
    return settings.sampler.max_new_tokens or len(prompter.tokenizer.encode(longest)) + 1


def round_up(size: int, multiple: int = MULTIPLE) -> int:
    """Returns the least multiple of `multiple` that is at least `size`."""
    return -(-size // multiple) * multiple
