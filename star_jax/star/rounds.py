"""STaR's outer loop (Zelikman et al., 2022, Algorithm 1), on the host.

    M_0 is the base model M. In round n = 1, 2, ...
      generate      M_{n-1} samples a rationale and an answer for every problem
      rationalize   M_{n-1} samples again for failed problems, with the answer as a hint
      filter        samples with the right answer are kept, as if there had been no hint
      fine-tune     M, not M_{n-1}, is trained on the kept samples: M_n
    and M_n is evaluated on held-out problems.

Every phase saves its results in the run's folder. The same command resumes a run that was killed:
finished phases are loaded, the rest are run.
"""

import functools
from typing import Any

from etils import epath
from rich.console import Console

from star_jax.config.validation import Settings
from star_jax.data.sample import Sample
from star_jax.grading import filtering, ledger, statistics, summary
from star_jax.models.params import Params
from star_jax.reporting import console, plot
from star_jax.reporting.meter import Meter
from star_jax.reporting.result import RESULT, result
from star_jax.runtime import multihost
from star_jax.star import bootstrap, build, finetune, fused_round, generate, phase
from star_jax.star import weights as models
from star_jax.star.run import Run, announce
from star_jax.storage import files, run_dir, versions
from star_jax.storage.checkpoint import Checkpoints
from star_jax.training.optimizer import steps_of_round

Record = dict[str, Any]  # one entry of `rounds` in result.json

_SUMMARY = "summary.json"


def run_rounds(settings: Settings, workdir: epath.PathLike) -> dict[str, Any]:
    """Runs or resumes the whole experiment in `workdir`; returns the content of result.json.

    Raises:
        SettingsError: `workdir` belongs to a run with other settings, or misses a round.
    """
    run = build.make_run(settings, workdir, Console(quiet=not multihost.is_primary()))
    console.print_data(run.console, run.problems.report())
    versions.report(run.console, run.folder)
    weights = models.open_weights(run)
    records = multihost.on_primary(lambda: _finished(run))
    if records:
        _publish(run, records)  # the run may have been killed before this
    test = run.folder / run_dir.TEST
    tested = not run.problems.test or multihost.on_primary(test.exists)
    if len(records) <= _last(settings, records) or not tested:
        try:
            _run_missing(run, weights, records)
        finally:
            run.programs.compiler.stop()
    weights.close()
    if len(records) > 1:
        console.print_rounds(run.console, records, run.task.unit)
    outcome = _outcome(run, records)
    if "test" in outcome:
        console.print_test(run.console, outcome["test"])
    console.closing(run.console, run.folder)
    return outcome


def _run_missing(run: Run, weights: Checkpoints, records: list[Record]) -> None:
    """Runs the rounds without a record, the base model included, and adds their records."""
    meter = Meter(run.programs.compiler, run.usage)
    sampled = not run.direct
    multihost.on_primary(lambda: run_dir.check_round(run.folder, len(records), samples=sampled))
    announce(run)
    run.programs.compiler.start()
    if not records:
        with meter.watch.phase("pretrain"):
            models.make_base(run, weights)
    else:
        meter.restart()  # the time to resume belongs to no round
    while len(records) <= _last(run.settings, records):
        record = (_round if records else _evaluate_base)(run, len(records), weights, meter)
        _compile_rest(run)
        records.append(record | meter.read())
        _write(run.round_folder(record["round"]) / _SUMMARY, records[-1])
        _publish(run, records)
        _prune(run, weights, records)
        console.print_round(run.console, records[-1], run.task.unit)
        meter.restart()
    if run.problems.test:
        _test(run, weights, records)
        _publish(run, records)


def _compile_rest(run: Run) -> None:
    """Waits for the programs that are not compiled yet, with a progress bar."""
    compiler = run.programs.compiler
    if compiler.missing():
        with console.progress(run.console, "compile", compiler.missing()) as advance:
            compiler.finish(advance)


def _test(run: Run, weights: Checkpoints, records: list[Record]) -> None:
    """Evaluates the best round's model on the test set; the held-out problems choose the round."""
    best = result(records)["best_round"]
    policy = models.restore_policy(run, weights, best)
    samples = generate.sample(run, best, phase.TEST, policy, run.problems.test)
    _write(run.folder / run_dir.TEST, {"round": best, **_score(run, samples)})


def _prune(run: Run, weights: Checkpoints, records: list[Record]) -> None:
    """Removes weights that neither the next round nor the test needs, if keep_weights is "best"."""
    if run.settings.rounds.keep_weights == "best":
        needed = {0, records[-1]["round"], result(records)["best_round"]}
        weights.keep_only(needed)


def _round(run: Run, n: int, weights: Checkpoints, meter: Meter) -> Record:
    """Makes M_n from M_{n-1} and M (Algorithm 1, lines 3 to 7); returns the round's record.

    One model is on the devices at a time: each is loaded again when it is needed.
    """
    learn = _learn_in_steps if run.settings.mode == "fused" else _learn_at_once
    counts = learn(run, n, weights, meter)
    score = _evaluate(run, n, models.restore_policy(run, weights, n), meter)
    training = multihost.on_primary(lambda: files.read_json(_training_file(run, n)))
    return {"round": n, **score, **counts, **training}


def _learn_at_once(run: Run, n: int, weights: Checkpoints, meter: Meter) -> Record:
    """Generates for all problems, filters, then fine-tunes: mode "rounds"."""
    examples, counts = (
        bootstrap.gold(run, n) if run.direct else bootstrap.bootstrap(run, n, weights, meter)
    )
    examples = finetune.drop_too_long(run, n, examples)
    cfg = run.settings.train
    steps = steps_of_round(n, cfg.first_steps, cfg.growth, cfg.max_steps)
    start = n - 1 if run.settings.rounds.start == "previous" else 0
    if not examples:
        why = ", ".join(
            f"{count} {reason}"
            for tries in counts["dropped"].values()
            for reason, count in tries.items()
        )
        bare = run.shows_few_shot(n - 1) and not run.shows_few_shot(n)
        run.console.print(
            f"round {n}: nothing was kept to train on ({why}); M_{n} is "
            + ("the base model" if start == 0 else f"M_{start}")
            + (", from now on without its few-shot prompt; see few_shot.rounds" if bare else "")
        )
        steps = 0
    with meter.watch.phase("train"):
        if not weights.has(n):
            load = functools.partial(models.restore, run, weights, start)
            if steps:
                params, loss = finetune.fine_tune(run, n, load, examples, steps)
            else:
                params, loss = load(), None
            _save(run, n, weights, params, loss, steps)
    return counts


def _learn_in_steps(run: Run, n: int, weights: Checkpoints, meter: Meter) -> Record:
    """Generates, filters and learns one batch of problems at a time: mode "fused".

    With a refreshed policy the learner starts from M_{n-1} instead of M.
    """
    with meter.watch.phase("train"):
        if not weights.has(n):
            start = n - 1 if run.settings.policy_refresh_every else 0
            load = functools.partial(models.restore, run, weights)
            outcome = fused_round.learn(run, n, lambda: load(start), lambda: load(n - 1))
            _save(run, n, weights, outcome.params, outcome.loss, outcome.steps)
    generated, rationalized = fused_round.read(run, n)
    kept = filtering.filter_samples(generated, rationalized)
    multihost.on_primary(lambda: ledger.write_kept(run.round_folder(n), kept))
    return summary.summarize(generated, rationalized, kept)


def _save(
    run: Run, n: int, weights: Checkpoints, params: Params, loss: float | None, steps: int
) -> None:
    """Saves the steps and the loss of M_n's training, then M_n."""
    _write(_training_file(run, n), {"train_steps": steps, "train_loss": loss})
    weights.save(n, params)


def _training_file(run: Run, n: int) -> epath.Path:
    return run.round_folder(n) / "train.json"


def _evaluate(run: Run, n: int, policy: Params, meter: Meter) -> Record:
    """Returns accuracies on the held-out problems, prompted as in round n + 1."""
    with meter.watch.phase("evaluate"):
        samples = generate.sample(run, n, phase.EVALUATE, policy, run.problems.held_out)
    return _score(run, samples)


def _score(run: Run, samples: list[Sample]) -> Record:
    if not any(sample.answer for sample in samples):  # the data has no answers
        return statistics.NO_ACCURACY | {"evaluation": summary.agreement([])}
    groups = [(sample.group, sample.correct) for sample in samples]
    inside = [sample for sample in samples if run.task.in_distribution(sample.group)]
    score = statistics.accuracy_summary(groups, run.task.in_distribution)
    return score | {"evaluation": summary.agreement(inside)}


def _evaluate_base(run: Run, n: int, weights: Checkpoints, meter: Meter) -> Record:
    """Evaluates the base model, round 0, without and with the hint."""
    base = models.restore_policy(run, weights, n)
    score = _evaluate(run, 0, base, meter)
    inside = [p for p in run.problems.held_out if run.task.in_distribution(p.group)]
    with meter.watch.phase("evaluate"):
        hinted = (
            []
            if run.direct or not run.settings.rationalize.enabled
            else generate.sample(run, 0, phase.EVALUATE_HINTED, base, inside)
        )
    by_class = {
        g: s.accuracy for g, s in statistics.by_group((s.group, s.correct) for s in hinted).items()
    }
    return {
        "round": 0,
        **score,
        "hinted_accuracy_by_class": by_class,
        **summary.summarize([], [], []),
        "train_steps": 0,
        "train_loss": None,
    }


def _last(settings: Settings, records: list[Record]) -> int:
    """Returns the last round to run: `rounds.count`, or sooner if accuracy has stopped rising."""
    patience = settings.rounds.patience
    accuracies = [record["accuracy"] for record in records]
    if patience and len(records) > patience:
        earlier, recent = accuracies[:-patience], accuracies[-patience:]
        if max(recent) <= max(earlier):
            return min(settings.rounds.count, len(records) - 1)
    return settings.rounds.count


def _finished(run: Run) -> list[Record]:
    """Reads the records of the finished rounds, from 0 on."""
    records: list[Record] = []
    while (path := run.round_folder(len(records)) / _SUMMARY).exists():
        records.append(files.read_json(path))
    return records


def _publish(run: Run, records: list[Record]) -> None:
    """Writes the result and its plot, and removes the checkpoints of finished training."""

    def publish() -> None:
        outcome = _outcome(run, records)
        files.write_json(run.folder / RESULT, outcome)
        plot.plot(outcome, run.folder / plot.PLOT, run.task.unit)
        finetune.clear(run, records[-1]["round"])

    multihost.on_primary(publish)


def _write(path: epath.Path, value: Any) -> None:
    """Writes a JSON file, once for all processes."""
    multihost.on_primary(lambda: files.write_json(path, value))


def _outcome(run: Run, records: list[Record]) -> Record:
    """Returns the content of result.json."""
    test = run.folder / run_dir.TEST
    return result(records) | ({"test": files.read_json(test)} if test.exists() else {})
