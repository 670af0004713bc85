"""In which shapes a run samples: places for prompts, new tokens, and rows at a time."""

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

ROWS = "rows.json"  # in the run's folder: how many rows its shards are made of
_REFILLS = 8  # rows of a slot, so that few stand empty at the end
MULTIPLE = 16  # vocabulary, prompt and prefix sizes are rounded up to it, for meshes and vectors


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
    """A shape for what is trained on, and one for the longer problems out of distribution.

    Args:
        settings: of the run.
        prompter: measures prompts.
        problems: all there are.
        model: that samples.
        grid: the devices.
        prefix: places of the few-shot prompt.
        samples: rows of every problem.
        workdir: of the run, which says how many rows its shards are made of, if there are any.
    """
    inside = [p for p in problems.seen if prompter.task.in_distribution(p.group)]
    outside = [p for p in problems.seen if not prompter.task.in_distribution(p.group)]
    most = samples * max(map(len, (problems.first, problems.held_out, problems.test)))
    sizes = [_fitted(settings, prompter, each) for each in (inside, outside) if each]
    multiple = math.lcm(MULTIPLE, sharding.batch_multiple(grid))

    def chosen() -> int:
        """As many as fit, if the largest phase fills each of them some times."""
        if (file := epath.Path(workdir) / ROWS).exists():
            return files.read_json(file)["rows"]
        longest = max(prompt + page_ring(budget).tokens for prompt, budget in sizes)
        length = max(1, min(model.context - prefix, longest))
        fitting = memory.rows_that_fit(model, grid, length=length, prefix=prefix)
        busy = round_up(most // _REFILLS, multiple)
        return max(multiple, min(busy, fitting // multiple * multiple))

    rows = multihost.on_primary(lambda: settings.sampler.rows or chosen())
    counts = (most, samples * len(outside))  # no more rows than questions
    return tuple(
        Bucket(budget, prompt, min(rows, round_up(count, multiple)))
        for (prompt, budget), count in zip(sizes, counts, strict=False)
    )


def _fitted(settings: Settings, prompter: Prompter, problems: Sequence[Problem]) -> tuple[int, int]:
    """Places for the prompts of the problems, and for what is written."""
    longest = max(
        max_new_tokens(settings, prompter, group) for group in {p.group for p in problems}
    )
    return round_up(max(map(prompter.length, problems))), longest


def max_new_tokens(settings: Settings, prompter: Prompter, group: str) -> int:
    """New tokens a completion in class `group` may take, end-of-text included."""
    longest = prompter.task.longest(group, prompter.direct)
    if not (settings.sampler.max_new_tokens or longest):
        raise SettingsError(
            "config.sampler.max_new_tokens = 0: must be above 0, the task does not know how long "
            "its answers are"
        )
    return settings.sampler.max_new_tokens or len(prompter.tokenizer.encode(longest)) + 1


def round_up(size: int, multiple: int = MULTIPLE) -> int:
    """The next multiple."""
    return -(-size // multiple) * multiple
