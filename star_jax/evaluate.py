"""Evaluates a model on a task: accuracy greedily, or maj@k and pass@k over k samples a question.

    python -m star_jax.evaluate --config=configs/gsm8k.py:smollm2 --model=runs/gsm8k --split=test
    python -m star_jax.evaluate --config=configs/gsm8k.py:smollm2 --model=runs/gsm8k --samples=16
        --config.sampler.temperature=0.7

  --model    a run's folder (its newest model), one of its checkpoints/rounds/<n>, a Hugging Face
             folder, a .gguf file or owner/name on the hub (default: config.model.source)
  --split    test (default) or development
  --samples  completions of every question (default 1: greedily, unless the config draws)
  --workdir  where samples and evaluation.json go; the same command goes on with what is there
             (default: runs/evaluate/ and task, model, split and samples)
  --coordinator, --processes, --process
             over several hosts, as star_jax.main

Task, prompts and sampler are the config's.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import app, flags, logging
from etils import epath
from ml_collections import config_flags

from star_jax.config.flags import parse, refuse
from star_jax.config.validation import Settings, SettingsError, from_config
from star_jax.grading import statistics, summary
from star_jax.runtime import distributed
from star_jax.storage import files

if TYPE_CHECKING:
    from star_jax.data.sample import Sample

RESULT = "evaluation.json"
OF = "evaluation-of.json"  # whose samples the folder holds

_CONFIG = config_flags.DEFINE_config_file("config", None, "the experiment's config file")
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of samples and result (runs/evaluate/...)")
_MODEL = flags.DEFINE_string("model", None, "what to evaluate (config.model.source)")
_SPLIT = flags.DEFINE_enum("split", "test", ["test", "development"], "which problems")
_SAMPLES = flags.DEFINE_integer("samples", 1, "completions a question; 1: greedy", lower_bound=1)


def evaluate(
    settings: Settings, workdir: str, *, split: str = "test", samples: int = 1
) -> dict[str, Any]:
    """Samples, grades, and writes `RESULT` and the ledger's lines to a folder; resumes there.

    Args:
        settings: `model.source` is evaluated on the task, prompted as before the first round.
        workdir: the folder; of no other run.
        split: "test" or "development".
        samples: completions of every question; a single one is greedy.

    Raises:
        SettingsError: the settings cannot be run, name no model, or several samples would be one
            and the same.
    """
    if not settings.model.source:
        raise SettingsError("--model: must say what to evaluate, as config.model.source does not")
    _check_samples(settings, samples)
    from rich.console import Console

    from star_jax.runtime import multihost
    from star_jax.star import phases, rounds
    from star_jax.star.build import make_run
    from star_jax.storage import versions
    from star_jax.storage.checkpoint import Checkpoints
    from star_jax.storage.run_dir import weights

    alone = dataclasses.replace(settings.rounds, count=0)
    sampler = (
        dataclasses.replace(settings.sampler, temperature=0.0) if samples == 1 else settings.sampler
    )
    context = make_run(
        dataclasses.replace(settings, rounds=alone, sampler=sampler),
        workdir,
        Console(quiet=not multihost.is_primary()),
        samples=samples,
    )
    of_split = context.problems.test if split == "test" else context.problems.held_out
    chosen = [problem for problem in of_split if context.task.in_distribution(problem.group)]
    if not chosen:
        raise SettingsError(f"--split={split}: the task has no such problems")
    versions.say(context.console, context.folder)
    of = context.folder / OF
    multihost.on_primary(lambda: _check_folder(of, settings.model.source, split, samples))
    phases.start(context)
    policy = rounds.policy_of(context, Checkpoints(weights(context.folder)), 0)
    asked = [problem for problem in chosen for _ in range(samples)]
    found = phases.sample(context, 0, "votes", policy, asked)
    context.programs.stop()
    result = {
        "model": settings.model.source,
        "task": context.task.name,
        "split": split,
        **summarize([found[at : at + samples] for at in range(0, len(found), samples)]),
    }
    multihost.on_primary(lambda: files.write_json(context.folder / RESULT, result))
    return result


def _check_samples(settings: Settings, samples: int) -> None:
    if samples > 1 and settings.sampler.temperature == 0:
        raise SettingsError(
            f"--samples={samples}: all would be the same; set --config.sampler.temperature=0.7"
        )


def _check_folder(path: epath.Path, source: str, split: str, samples: int) -> None:
    """Refuses the folder of another evaluation, whose samples would be taken for this one's."""
    from star_jax.conversion import run_checkpoint

    found = run_checkpoint.find(source)
    mine = {"model": str(found or source), "split": split, "samples": samples}
    if path.exists() and (other := files.read_json(path)) != mine:
        raise SettingsError(
            f"{path}: the folder holds the evaluation of {other}, this one is of {mine}; choose "
            "another --workdir, or delete it"
        )
    files.write_json(path, mine)


def summarize(questions: "Sequence[Sequence[Sample]]") -> dict[str, Any]:
    """The samples of every question in numbers.

    Returns: a dict with
        questions, samples: how many, and how many of each.
        accuracy: share of all samples that are right; `accuracy_interval` its 95 % interval over
            questions.
        exact_accuracy, flexible_accuracy, disagreement, unparsable, truncated: shares of all
            samples, see `summary.agreement`.
        maj_at, pass_at: k -> {"accuracy", "interval"} for k = 1, 2, 4, ... and all samples.
    """
    count = len(questions[0])
    sizes = [size for size in (2**power for power in range(20)) if size < count] + [count]
    right = [[sample.correct for sample in samples] for samples in questions]
    mean = statistics.mean([sum(flags) / count for flags in right])
    every = [sample for samples in questions for sample in samples]
    majorities = {
        size: [
            statistics.majority([None if s.truncated else s.predicted for s in samples[:size]])
            == samples[0].answer
            for samples in questions
        ]
        for size in sizes
    }
    return {
        "questions": len(questions),
        "samples": count,
        "accuracy": mean.value,
        "accuracy_interval": list(mean.interval),
        **summary.agreement(every),
        "maj_at": {str(size): _score(statistics.mean(won)) for size, won in majorities.items()},
        "pass_at": {
            str(size): _score(
                statistics.mean([statistics.pass_at_k(count, sum(flags), size) for flags in right])
            )
            for size in sizes
        },
    }


def _score(found: statistics.Mean) -> dict[str, Any]:
    return {"accuracy": found.value, "interval": list(found.interval)}


def main(argv: Sequence[str]) -> None:
    """The command line."""
    del argv
    logging.set_verbosity(logging.WARNING)
    place = distributed.given()
    try:
        distributed.check(*place)
        if _MODEL.value:
            _CONFIG.value.model.source = _MODEL.value
        chosen = from_config(_CONFIG.value)
        _check_samples(chosen, _SAMPLES.value)  # jax takes seconds to import
        name = pathlib.Path(chosen.model.source).name
        what = f"{chosen.task.name}-{name}-{_SPLIT.value}-{_SAMPLES.value}"
        workdir = _WORKDIR.value or f"runs/evaluate/{what}"
        with distributed.together(*place):
            from star_jax.reporting import console
            from star_jax.runtime import multihost
            from star_jax.star import programs

            programs.use_cache(f"{workdir}/cache")
            found = evaluate(chosen, workdir, split=_SPLIT.value, samples=_SAMPLES.value)
            if multihost.is_primary():
                console.print_evaluation(found, f"{workdir}/{RESULT}")
    except SettingsError as error:
        refuse(error)
    except KeyboardInterrupt:
        refuse("\nstopped; the same command goes on", status=130)


if __name__ == "__main__":
    app.run(main, flags_parser=functools.partial(parse, help=__doc__ or ""))
