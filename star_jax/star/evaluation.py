"""Evaluates a model on a task: samples and grades, without rounds of training."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from etils import epath
from rich.console import Console

from star_jax.config.validation import Settings, SettingsError, check_samples
from star_jax.conversion import run_checkpoint
from star_jax.data.sample import Sample
from star_jax.grading.evaluation import summarize
from star_jax.runtime import multihost
from star_jax.star import build, generate, phase, ranking, weights
from star_jax.star.run import Run, announce
from star_jax.storage import files, versions
from star_jax.tasks import Problem

T = TypeVar("T")

RESULT = "evaluation.json"
OF = "evaluation-of.json"  # names the model, split and samples that the folder is of


def evaluate(
    settings: Settings,
    workdir: str,
    *,
    split: str = "test",
    samples: int = 1,
    verifier: str = "",
) -> dict[str, Any]:
    """Samples, grades, and writes `RESULT` and the ledger's lines to a folder; resumes there.

    Args:
        settings: settings whose `model.source` is evaluated, prompted as before the first round.
        workdir: folder of this evaluation and of no other run.
        split: "test" or "development".
        samples: completions of every question; a single one is greedy.
        verifier: folder of a verifier, which ranks the samples of each question; "": none.

    Returns:
        The content of `RESULT`.

    Raises:
        SettingsError: the settings cannot be run, name no model, or several samples would be
            equal; or the verifier does not fit the model, or has a single sample to rank.
    """
    if verifier:
        ranking.check_folder(verifier, samples)
    run = build.make_run(
        for_evaluation(settings, samples),
        workdir,
        Console(quiet=not multihost.is_primary()),
        samples=samples,
    )
    of_split = run.problems.test if split == "test" else run.problems.held_out
    problems = [problem for problem in of_split if run.task.in_distribution(problem.group)]
    if not problems:
        raise SettingsError(f"--split={split}: the task has no such problems")
    if verifier:
        ranking.check(run, verifier)
    versions.report(run.console, run.folder)
    of = run.folder / OF
    multihost.on_primary(lambda: _check_folder(of, settings.model.source, split, samples))
    announce(run)
    run.programs.compiler.start()
    graded = _sample(run, problems, samples)
    scores = ranking.score(run, verifier, graded) if verifier else []
    run.programs.compiler.stop()
    result = {
        "model": settings.model.source,
        "task": run.task.name,
        "split": split,
        **({"verifier": verifier} if verifier else {}),
        **summarize(_questions(graded, samples), _questions(scores, samples)),
    }
    multihost.on_primary(lambda: files.write_json(run.folder / RESULT, result))
    return result


def _sample(run: Run, problems: Sequence[Problem], samples: int) -> list[Sample]:
    """Samples and grades; the model's memory is free afterwards, as a verifier may need it."""
    policy = weights.restore_policy(run, weights.open_weights(run), 0)
    return generate.sample(run, 0, phase.VOTE, policy, problems, samples)


def _questions(every: Sequence[T], samples: int) -> list[Sequence[T]]:
    """Cuts what belongs to each sample to the parts of each question."""
    return [every[at : at + samples] for at in range(0, len(every), samples)]


def for_evaluation(settings: Settings, samples: int) -> Settings:
    """Returns the settings of an evaluation: no rounds, and greedy if there is one sample.

    Raises:
        SettingsError: they name no model, the data has no answers, or all samples would be equal.
    """
    if not settings.model.source:
        raise SettingsError("--model: must say what to evaluate, as config.model.source does not")
    if not settings.task.answer_field:
        raise SettingsError(
            "config.task.answer_field = '': there are no answers to evaluate with; name the field "
            "that has them"
        )
    check_samples(settings, samples)
    temperature = settings.sampler.temperature if samples > 1 else 0.0
    return dataclasses.replace(
        settings,
        rounds=dataclasses.replace(settings.rounds, count=0),
        sampler=dataclasses.replace(settings.sampler, temperature=temperature, samples=1),
    )


def _check_folder(path: epath.Path, source: str, split: str, samples: int) -> None:
    """Refuses the folder of another evaluation, whose samples would be mistaken for this one's."""
    run = run_checkpoint.find(source)
    current = {"model": str(run or source), "split": split, "samples": samples}
    if path.exists() and (other := files.read_json(path)) != current:
        raise SettingsError(
            f"{path}: the folder holds the evaluation of {other}, this one is of {current}; choose "
            "another --workdir, or delete it"
        )
    files.write_json(path, current)
