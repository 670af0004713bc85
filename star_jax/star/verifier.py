"""Trains a verifier from a run's samples: V-STaR (Hosseini et al., 2024).

A copy of a model of the run learns by DPO to prefer right completions to wrong ones of the same
question; the model itself is the reference. The verifier ranks completions (`star/ranking.py`). It
is no generator: its own answers become worse.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from numpy.typing import NDArray

from star_jax.config.validation import SettingsError
from star_jax.conversion import load
from star_jax.data.pair_batches import PairData
from star_jax.data.pairs import Pair, asked
from star_jax.grading import statistics
from star_jax.models.abstract_params import abstract_params
from star_jax.models.params import Params
from star_jax.reporting import console, metrics
from star_jax.reporting.result import RESULT
from star_jax.runtime import multihost, sharding
from star_jax.runtime.compile import Compiler
from star_jax.star import ranking, verifier_run
from star_jax.star.finetune import TrainingReport
from star_jax.star.verifier_run import VerifierRun, VerifierSettings
from star_jax.storage import files, run_dir, versions
from star_jax.storage.checkpoint import Checkpoints
from star_jax.training import optimizer
from star_jax.training.dpo import DpoPrograms, DpoSpec
from star_jax.training.loop import fit
from star_jax.training.scoring import ScorePrograms
from star_jax.training.state import StarState

NUMBER = 1  # of the verifier's weights: checkpoints/rounds/1
_REFERENCE = "reference.json"  # log-likelihoods of the texts by the reference model


def train_verifier(
    settings: VerifierSettings, workdir: epath.PathLike, mesh: Sequence[int] = ()
) -> dict[str, Any]:
    """Trains a verifier in `workdir`, or resumes there; returns the content of its result.json.

    Args:
        settings: settings; those that are None are taken from the run.
        workdir: folder of the verifier and of nothing else.
        mesh: sizes of the mesh axes (data, fsdp, tensor); empty: those of the run.

    Raises:
        SettingsError: the run cannot be used, there are no pairs, or the folder holds something
            else; the message names the flag.
    """
    try:
        made = verifier_run.make(settings, epath.Path(workdir), mesh)
    except SettingsError:
        raise
    except ValueError as error:  # from the mesh, the data, the tokenizer or the model
        raise SettingsError(str(error)) from error
    versions.report(made.console, made.folder)
    result = made.folder / RESULT
    if not multihost.on_primary(result.exists):
        outcome = _train(made)
        multihost.on_primary(lambda: files.write_json(result, outcome))
    outcome = files.read_json(result)
    _print(made, outcome)
    return outcome


def _train(made: VerifierRun) -> dict[str, Any]:
    """Trains, if that is not done, and measures; returns the content of result.json."""
    compiler, cfg = Compiler(), made.past.settings.train
    longest = max(len(one.tokens) for one in made.texts.examples)
    scoring = ranking.score_programs(compiler, made.model, made.mesh, cfg, longest)
    weights = Checkpoints(run_dir.weights(made.folder))
    learned = weights.has(NUMBER)
    data = _data(made)
    programs = None if learned else _dpo_programs(made, compiler, data, scoring.length)
    compiler.start()
    try:
        reference = _reference(made, scoring)
        if programs is not None:
            weights.save(NUMBER, _fit(made, programs, data, reference))
        params = weights.restore(NUMBER, abstract_params(made.model, made.mesh))
        after = _score(made, scoring, params, np.unique(made.texts.held_out), "held out")
    finally:
        compiler.stop()
    weights.close()
    multihost.on_primary(lambda: _clear(made))
    return _result(made, reference, after)


def _data(made: VerifierRun) -> PairData:
    texts, settings = made.texts, made.settings
    of_pairs = [(texts.examples[one], texts.examples[other]) for one, other in texts.trained]
    return PairData(of_pairs, settings.batch_pairs, settings.steps, settings.seed)


def _dpo_programs(
    made: VerifierRun, compiler: Compiler, data: PairData, length: int
) -> DpoPrograms:
    cfg, shards = made.past.settings.train, sharding.batch_multiple(made.mesh)
    shape = data.shape(length, shards, cfg.micro_batch * shards)
    rule = optimizer.make_optimizer(clip=cfg.clip, b1=cfg.b1, b2=cfg.b2)
    spec = DpoSpec(rule, made.settings.beta, shape, remat=cfg.remat == "blocks")
    return DpoPrograms(compiler, made.model, made.mesh, spec)


def _score(
    made: VerifierRun,
    programs: ScorePrograms,
    weights: Params,
    index: NDArray[np.int64],
    title: str,
) -> NDArray[np.float64]:
    """Returns the log-likelihood of the texts at `index`, float64 [texts]; NaN for the others."""
    found = np.full(len(made.texts.examples), np.nan)
    examples = [made.texts.examples[at] for at in index]
    with console.progress(made.console, title, len(examples)) as advance:
        found[index] = ranking.log_likelihoods(programs, weights, examples, advance)
    return found


def _reference(made: VerifierRun, programs: ScorePrograms) -> NDArray[np.float64]:
    """Returns the log-likelihood of every text by the reference model, from its file if there."""
    path = made.folder / _REFERENCE
    if not multihost.on_primary(path.exists):
        loaded = load.load(made.source, made.mesh, dtype=made.past.settings.model.dtype)
        every = np.arange(len(made.texts.examples))
        found = _score(made, programs, loaded.params, every, "reference")
        multihost.on_primary(lambda: files.write_json(path, found.tolist()))
    return np.array(files.read_json(path), np.float64)


def _fit(
    made: VerifierRun, programs: DpoPrograms, data: PairData, reference: NDArray[np.float64]
) -> Params:
    """Trains from the reference model, or resumes from a checkpoint."""
    settings, cfg = made.settings, made.past.settings.train
    rate = settings.learning_rate or 0.0
    of_pairs = reference[made.texts.trained].astype(np.float32)

    def begin() -> StarState:
        dtype = made.past.settings.model.dtype
        return programs.begin(load.load(made.source, made.mesh, dtype=dtype).params)

    with TrainingReport(made, NUMBER, "dpo", settings.steps, "--learning_rate") as report:
        return fit(
            programs.state,
            begin,
            programs.update,
            functools.partial(data.batches, programs.spec.shape, of_pairs),
            steps=settings.steps,
            schedule=optimizer.cosine(rate, settings.steps // 10, settings.steps),
            save_every=cfg.save_every,
            folder=made.checkpoint_folder(NUMBER),
            on_step=report.on_step,
            on_resume=report.on_resume,
        )


def _clear(made: VerifierRun) -> None:
    """Removes the checkpoints of a training that is finished and saved."""
    if (folder := made.checkpoint_folder(NUMBER)).exists():
        folder.rmtree()


def _result(
    made: VerifierRun, reference: NDArray[np.float64], after: NDArray[np.float64]
) -> dict[str, Any]:
    """Returns the content of result.json."""
    last = metrics.read_metrics(made.folder / metrics.METRICS)[-1]
    before, now = (found[made.texts.held_out] for found in (reference, after))
    return {
        "run": made.settings.run,
        "round": made.settings.round,
        "pairs": len(made.trained),
        "questions": len({asked(pair.problem) for pair in made.trained}),
        "steps": made.settings.steps,
        **{name: last[name] for name in ("loss", "reward_margin", "reward_accuracy")},
        "held_out": {
            "pairs": len(made.held_out),
            "questions": len({asked(pair.problem) for pair in made.held_out}),
            **_preferred("accuracy", made.held_out, now),
            **_preferred("reference_accuracy", made.held_out, before),
            **_preferred("reward_accuracy", made.held_out, now - before),
        },
    }


def _preferred(name: str, pairs: Sequence[Pair], scores: NDArray[np.float64]) -> dict[str, Any]:
    """Returns how often the chosen text of a pair has the higher score, and the 95 % interval.

    It is the mean over questions of the share of their pairs; equal scores count half.

    Args:
        name: name of the number.
        pairs: pairs; without any, both values are None.
        scores: scores of chosen and rejected text, float64 [pairs, 2].
    """
    of_question: dict[tuple[str, ...], list[float]] = {}
    for pair, (chosen, rejected) in zip(pairs, scores.tolist(), strict=True):
        won = (chosen > rejected) + 0.5 * (chosen == rejected)
        of_question.setdefault(asked(pair.problem), []).append(won)
    shares = [sum(won) / len(won) for won in of_question.values()]
    mean = statistics.mean(shares) if shares else None
    interval = list(mean.interval) if mean else None
    return {name: mean.value if mean else None, f"{name}_interval": interval}


def _print(made: VerifierRun, outcome: dict[str, Any]) -> None:
    measured = outcome["held_out"]
    made.console.print(
        f"{outcome['pairs']} pairs of {outcome['questions']} questions; loss {outcome['loss']:.3f}"
    )
    if measured["pairs"]:
        low, high = measured["accuracy_interval"]
        made.console.print(
            f"held out, {measured['pairs']} pairs of {measured['questions']} questions: the right "
            f"completion is the likelier one in {100 * measured['accuracy']:.1f} % "
            f"({100 * low:.1f}–{100 * high:.1f}), by the reference model in "
            f"{100 * measured['reference_accuracy']:.1f} %"
        )
    made.console.print(f"use it with: python -m star_jax.evaluate --verifier={made.folder}")
