"""Scores hint leaks by likelihood: how much the hint explains of each rationalization.

A rationalization that only the hint makes likely does not follow from the question. Cetin et al.
(2025, "Reinforcement Learning Teachers") reward teachers for the opposite.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jax.sharding import Mesh

from star_jax.config.validation import Settings, SettingsError
from star_jax.data import packing
from star_jax.data.packing import Example
from star_jax.data.sample import Sample
from star_jax.grading import leak_scores
from star_jax.grading.leak_scores import LeakScore
from star_jax.inference.spec import SamplingSpec
from star_jax.models.attention import length_multiple
from star_jax.models.config import ModelConfig
from star_jax.models.params import Params
from star_jax.reporting import console
from star_jax.runtime import multihost, sharding
from star_jax.runtime.compile import Compiler
from star_jax.star.capacity import round_up
from star_jax.star.run import Run
from star_jax.training.scoring import ScorePrograms

_MARGIN = 16  # tokens that the text of a completion may have more than the model took to write it


def make_score_programs(
    compiler: Compiler, model: ModelConfig, mesh: Mesh, settings: Settings, spec: SamplingSpec
) -> ScorePrograms:
    """Adds the programs that score a run's rationalizations.

    A batch has as many sequences as a device trains on at a time, on every device.

    Args:
        compiler: compiler of the run's programs.
        model: configuration of the decoder.
        mesh: all devices.
        settings: settings of the run.
        spec: specification of sampling, which knows the longest prompts and completions.
    """
    cfg, shards = settings.train, sharding.batch_multiple(mesh)
    longest = spec.buckets[0].prompt_length + spec.buckets[0].max_new_tokens + _MARGIN
    return ScorePrograms(
        compiler,
        model,
        mesh,
        batch_size=min(cfg.batch_size, (cfg.micro_batch or cfg.batch_size) * shards),
        length=round_up(max(cfg.length, longest), length_multiple(mesh)),
        prefix_length=spec.prefix_length,
    )


def score(run: Run, round_: int, params: Params, samples: Sequence[Sample]) -> list[LeakScore]:
    """Returns the leak score of each rationalization.

    The two contexts are those in which the round's rationalizations and first attempts were
    sampled: the prompt with the hint after the few-shot examples with hints, and the prompt without
    the hint after the examples without; both without examples in rounds that show none.

    The tokens are the same in both. Where a tokenizer would write the completion differently after
    the two prompts, they are those after the prompt without the hint, which are trained on. Tokens
    for which there is no room after the longer context are not scored.

    Args:
        run: the run.
        round_: number of the round.
        params: weights of the model that has sampled, M_(n-1), as restored from a checkpoint.
        samples: rationalizations.

    Raises:
        ValueError: the run has no programs for it, or there is no room for a completion at all.
        SettingsError: a log-probability is NaN or infinite.
    """
    programs = run.programs.score
    if programs is None:
        raise ValueError("this run scores no leaks: its programs were built without `score`")
    shown = run.shows_few_shot(round_ - 1)
    few_shot = {hint: run.prompter.few_shot(hint) if shown else [] for hint in (True, False)}
    pairs = [_contexts(run, programs, sample, few_shot, shown) for sample in samples]
    parts: dict[bool, list[np.ndarray]] = {}
    title = f"round {round_} score leaks"
    with console.progress(run.console, title, 2 * len(samples)) as advance:
        for hint, prefix in few_shot.items():
            examples = [pair[hint] for pair in pairs]
            parts[hint] = programs.score(params, examples, prefix, advance) if samples else []
    return [
        _leak_score(run, sample, with_hint - without)
        for sample, with_hint, without in zip(samples, parts[True], parts[False], strict=True)
    ]


def score_round(
    run: Run, round_: int, load: Callable[[], Params], samples: Sequence[Sample]
) -> list[LeakScore]:
    """Returns the round's leak scores from their file, or scores `samples` and writes it.

    Args:
        run: the run.
        round_: number of the round.
        load: function that restores the weights of M_(n-1); called if there is no file.
        samples: rationalizations.

    Raises:
        ValueError: the file is damaged or of other samples; or as in `score`.
        SettingsError: as in `score`.
    """
    folder = run.round_folder(round_)
    if not multihost.on_primary((folder / leak_scores.FILE).exists):
        found = score(run, round_, load(), samples)
        multihost.on_primary(lambda: leak_scores.write(folder, samples, found))
    return leak_scores.of_samples(folder, samples)


def summarize(scores: Sequence[LeakScore]) -> dict[str, float | int | None]:
    """Returns a round's leak scores in the form of `result.json`.

    Args:
        scores: scores of the round's rationalizations.

    Returns:
        scored: number of scores.
        mean, worst: means of `LeakScore.mean` and `LeakScore.worst`, in nats; None without scores.
    """
    count = len(scores)
    mean, worst = sum(one.mean for one in scores), sum(one.worst for one in scores)
    return {
        "scored": count,
        "mean": mean / count if count else None,
        "worst": worst / count if count else None,
    }


def _contexts(
    run: Run,
    programs: ScorePrograms,
    sample: Sample,
    few_shot: dict[bool, list[int]],
    shown: bool,
) -> dict[bool, Example]:
    """Returns the completion after the prompt with the hint (True) and without it (False)."""
    problem, prompter = sample.problem, run.prompter
    before = {hint: prompter.prompt_ids(problem, hint, shown) for hint in few_shot}
    ids = prompter.completion_ids(problem, False, sample.completion)
    room = min(
        min(programs.length, run.model.context - len(few_shot[hint])) - len(context)
        for hint, context in before.items()
    )
    if room < 1:
        raise ValueError(
            f"the prompts of {sample.id!r} leave no room for a completion in the "
            f"{programs.length} tokens of the scoring program"
        )
    return {hint: packing.example(context, ids[:room]) for hint, context in before.items()}


def _leak_score(run: Run, sample: Sample, differences: np.ndarray) -> LeakScore:
    """Returns the score from the differences of the tokens' log-probabilities."""
    if not np.isfinite(differences).all():
        raise SettingsError(
            f"the log-probabilities of rationalization {sample.id!r} are NaN or infinite: the "
            "model's weights are damaged, or too large for config.model.dtype = "
            f"{run.settings.model.dtype!r}. Take config.model.dtype='float32', or fetch the model "
            "again"
        )
    return LeakScore(float(differences.mean(dtype=np.float64)), float(differences.max()))
