"""STaR's outer loop (Zelikman et al., 2022, Algorithm 1), on the host.

    M_0 is the base model M. In round n = 1, 2, ...
      generate      M_{n-1} writes a rationale and an answer for every problem
      rationalize   where it failed, it is given the answer as a hint and tries again
      filter        what ends in the right answer is kept, as if there had been no hint
      fine-tune     M, not M_{n-1}, is trained on what was kept: M_n
    and M_n is evaluated on held-out problems.

Every phase leaves what it did in the run's folder. A run that was killed is started again by the
same command: what is there is read, what is not is done.
"""

import functools
from typing import Any

from etils import epath
from rich.console import Console

from star_jax.config.validation import Settings, SettingsError
from star_jax.conversion import load, run_checkpoint
from star_jax.data import problems
from star_jax.data.packing import Example
from star_jax.data.sample import Sample
from star_jax.grading import ledger, statistics, summary
from star_jax.models.params import Params
from star_jax.reporting import console, report
from star_jax.reporting.meter import Meter
from star_jax.runtime import multihost
from star_jax.star import fused_round, phases
from star_jax.star.build import Run, make_run
from star_jax.storage import files, run_dir, versions
from star_jax.storage.checkpoint import Checkpoints
from star_jax.training.optimizer import steps_of_round

Record = dict[str, Any]  # one entry of `rounds` in result.json

_SUMMARY = "summary.json"


def run(settings: Settings, workdir: epath.PathLike) -> dict[str, Any]:
    """Runs or resumes the whole experiment in `workdir` and returns what result.json holds.

    Raises:
        SettingsError: `workdir` belongs to a run with other settings, or misses a round.
    """
    context = make_run(settings, workdir, Console(quiet=not multihost.is_primary()))
    console.print_data(context.console, context.problems.report())
    versions.say(context.console, context.folder)
    weights = Checkpoints(run_dir.weights(context.folder))
    records = multihost.on_primary(lambda: _finished(context))
    if records:
        _publish(context, records)  # the run may have been killed before it could
    tested = not context.problems.test or multihost.on_primary(
        (context.folder / run_dir.TEST).exists
    )
    if len(records) <= _last(settings, records) or not tested:
        try:
            _go_on(context, weights, records)
        finally:
            context.programs.stop()
    weights.close()
    if len(records) > 1:
        console.print_rounds(context.console, records, context.task.unit)
    outcome = _outcome(context, records)
    if "test" in outcome:
        console.print_test(context.console, outcome["test"])
    console.closing(context.console, context.folder)
    return outcome


def _go_on(context: Run, weights: Checkpoints, records: list[Record]) -> None:
    """Adds the records of the rounds that are not done, from the base model on."""
    programs = context.programs
    meter = Meter(
        lambda: programs.device_seconds, programs.sampling.counts, lambda: programs.waited
    )
    sampled = not context.direct
    multihost.on_primary(lambda: run_dir.check_round(context.folder, len(records), samples=sampled))
    phases.start(context)
    if not records:
        with meter.watch.phase("pretrain"):
            make_base(context, weights)
    else:
        meter.restart()  # what it took to be here again is no round's work
    while len(records) <= _last(context.settings, records):
        record = (_round if records else _evaluate_base)(context, len(records), weights, meter)
        phases.compile_rest(context)
        records.append(record | meter.read())
        _write(context.round_folder(record["round"]) / _SUMMARY, records[-1])
        _publish(context, records)
        _prune(context, weights, records)
        console.print_round(context.console, records[-1], context.task.unit)
        meter.restart()
    if context.problems.test:
        _test(context, weights, records)
        _publish(context, records)


def _test(context: Run, weights: Checkpoints, records: list[Record]) -> None:
    """The test set, once: by the model of the round that the held-out problems have chosen."""
    best = report.result(records)["best_round"]
    policy = policy_of(context, weights, best)
    samples = phases.sample(context, best, "test", policy, context.problems.test)
    _write(context.folder / run_dir.TEST, {"round": best, **_score(context, samples)})


def _prune(context: Run, weights: Checkpoints, records: list[Record]) -> None:
    """Removes the weights that neither the next round nor the test needs, if so wanted."""
    if context.settings.rounds.keep_weights == "best":
        needed = {0, records[-1]["round"], report.result(records)["best_round"]}
        weights.keep_only(needed)


def _round(context: Run, n: int, weights: Checkpoints, meter: Meter) -> Record:
    """Algorithm 1, lines 3 to 7: makes M_n of M_{n-1} and M; returns what there is to say of it.

    One model is on the devices at a time: each is read again where it is needed.
    """
    learn = _learn_in_steps if context.settings.mode == "fused" else _learn_at_once
    counts = learn(context, n, weights, meter)
    score = _evaluate(context, n, policy_of(context, weights, n), meter)
    told = multihost.on_primary(lambda: files.read_json(_outcome_of_training(context, n)))
    return {"round": n, **score, **counts, **told}


def _learn_at_once(context: Run, n: int, weights: Checkpoints, meter: Meter) -> Record:
    """Generates for all problems, filters, then fine-tunes: mode "rounds"."""
    examples, counts = (_gold if context.direct else _bootstrap)(context, n, weights, meter)
    examples = phases.drop_too_long(context, n, examples)
    chosen = context.settings.train
    steps = steps_of_round(n, chosen.first_steps, chosen.growth, chosen.max_steps)
    if not examples:
        why = ", ".join(
            f"{count} {reason}"
            for tries in counts["dropped"].values()
            for reason, count in tries.items()
        )
        context.console.print(
            f"round {n}: nothing was kept to train on ({why}); M_{n} is the base model"
        )
        steps = 0
    with meter.watch.phase("train"):
        if not weights.has(n):
            base = functools.partial(model_of, context, weights, 0)
            if steps:
                params, loss = phases.fine_tune(context, n, base, examples, steps)
            else:
                params, loss = base(), None
            _save(context, n, weights, params, loss, steps)
    return counts


def _learn_in_steps(context: Run, n: int, weights: Checkpoints, meter: Meter) -> Record:
    """Generates, filters and learns a batch of problems at a time: mode "fused".

    With a policy that is refreshed the learner goes on from M_{n-1}, not from M.
    """
    with meter.watch.phase("train"):
        if not weights.has(n):
            start = n - 1 if context.settings.policy_refresh_every else 0
            read = functools.partial(model_of, context, weights)
            done = fused_round.learn(context, n, lambda: read(start), lambda: read(n - 1))
            _save(context, n, weights, done.params, done.loss, done.steps)
    found = fused_round.read(context, n)
    kept = ledger.keep(*found)
    multihost.on_primary(lambda: ledger.write_kept(context.round_folder(n), kept))
    return summary.summarize(*found)


def _save(
    context: Run, n: int, weights: Checkpoints, params: Params, loss: float | None, steps: int
) -> None:
    """Saves M_n, after what there is to say of its training."""
    told = {"train_steps": steps, "train_loss": loss}
    _write(_outcome_of_training(context, n), told)
    weights.save(n, params)


def _outcome_of_training(context: Run, n: int) -> epath.Path:
    return context.round_folder(n) / "train.json"


def _bootstrap(
    context: Run, n: int, weights: Checkpoints, meter: Meter
) -> tuple[list[Example], Record]:
    """Lines 3 to 6: rationale generation, rationalization, filter; the examples to train on."""
    settings = context.settings
    problems = phases.questions(context, n)
    policy = policy_of(context, weights, n - 1)
    with meter.watch.phase("generate"):
        generated = phases.sample(context, n, "samples", policy, problems)
    rationalized: list[Sample] = []
    if settings.rationalize.enabled:
        wrong = {sample.id for sample in ledger.failures(generated)}
        failed = [problem for problem in problems if problem.id in wrong]
        with meter.watch.phase("rationalize"):
            rationalized = phases.sample(context, n, "rationalized", policy, failed)
    kept = ledger.keep(generated, rationalized)
    multihost.on_primary(lambda: ledger.write_kept(context.round_folder(n), kept))
    with_shots = context.trains_on_examples(n)
    examples = context.prompter.training_examples(kept, settings.rationalize.rehearsal, with_shots)
    return examples, summary.summarize(generated, rationalized)


def _gold(context: Run, n: int, weights: Checkpoints, meter: Meter) -> tuple[list[Example], Record]:
    """The baseline without rationales: the round's problems with their gold answers."""
    del weights, meter
    with_shots = context.trains_on_examples(n)
    problems = phases.questions(context, n)
    examples = [context.prompter.direct_example(problem, with_shots) for problem in problems]
    return examples, summary.summarize([], []) | {"tried": 0, "kept": len(examples)}


def make_base(context: Run, weights: Checkpoints) -> None:
    """Makes M, or takes another run's, and keeps it as round 0's weights; not a pretrained one."""
    chosen = context.settings.pretrain
    if context.settings.model.source or weights.has(0):
        return
    if chosen.base:
        source = Checkpoints(run_dir.weights(chosen.base), read_only=True)
        base = source.restore(0, context.programs.params)
        source.close()
    else:
        fresh = functools.partial(context.programs.init, context.settings.seed)
        base = phases.pretrain(context, fresh) if chosen.steps else fresh()
    weights.save(0, base)


def model_of(context: Run, weights: Checkpoints, n: int) -> Params:
    """M_n, as it was saved; a pretrained M from its source."""
    model = context.settings.model
    if n or not model.source:
        return weights.restore(n, context.programs.params)
    number = files.read_json(context.folder / problems.FILE)["checkpoint"]
    try:
        source = run_checkpoint.pinned(model.source, number)
        return load.load(source, context.programs.mesh, dtype=model.dtype).params
    except load.LoadError as error:  # `make_context` looked at the files, but who knows
        raise SettingsError(str(error)) from error


def policy_of(context: Run, weights: Checkpoints, n: int) -> Params:
    """M_n, laid out for sampling; what it was laid out from is gone."""
    return context.programs.sampling.lay_out(model_of(context, weights, n))


def _evaluate(context: Run, n: int, policy: Params, meter: Meter) -> Record:
    """Accuracy on the held-out problems, prompted as round n + 1 will prompt."""
    with meter.watch.phase("evaluate"):
        samples = phases.sample(context, n, "evaluation", policy, context.problems.held_out)
    return _score(context, samples)


def _score(context: Run, samples: list[Sample]) -> Record:
    groups = [(sample.group, sample.correct) for sample in samples]
    inside = [sample for sample in samples if context.task.in_distribution(sample.group)]
    score = statistics.summary(groups, context.task.in_distribution)
    return score | {"evaluation": summary.agreement(inside)}


def _evaluate_base(context: Run, n: int, weights: Checkpoints, meter: Meter) -> Record:
    """Round 0: the base model without and with the hint."""
    base = policy_of(context, weights, n)
    score = _evaluate(context, 0, base, meter)
    inside = [p for p in context.problems.held_out if context.task.in_distribution(p.group)]
    with meter.watch.phase("evaluate"):
        hinted = (
            []
            if context.direct or not context.settings.rationalize.enabled
            else phases.sample(context, 0, "hinted", base, inside)
        )
    by_class = {
        g: s.accuracy for g, s in statistics.by_group((s.group, s.correct) for s in hinted).items()
    }
    return {
        "round": 0,
        **score,
        "hinted_accuracy_by_class": by_class,
        **summary.summarize([], []),
        "train_steps": 0,
        "train_loss": None,
    }


def _last(settings: Settings, records: list[Record]) -> int:
    """The last round to do: `rounds.count`, or sooner once accuracy has stopped rising."""
    patience = settings.rounds.patience
    accuracies = [record["accuracy"] for record in records]
    if patience and len(records) > patience:
        before, recent = accuracies[:-patience], accuracies[-patience:]
        if max(recent) <= max(before):
            return min(settings.rounds.count, len(records) - 1)
    return settings.rounds.count


def _finished(context: Run) -> list[Record]:
    """The records of the rounds that are done, from 0 on."""
    records: list[Record] = []
    while (path := context.round_folder(len(records)) / _SUMMARY).exists():
        records.append(files.read_json(path))
    return records


def _publish(context: Run, records: list[Record]) -> None:
    """Writes the result and its plot, and removes the checkpoints of training that is done."""

    def publish() -> None:
        outcome = _outcome(context, records)
        files.write_json(context.folder / report.RESULT, outcome)
        report.plot(outcome, context.folder / report.PLOT, context.task.unit)
        phases.clear(context, records[-1]["round"])

    multihost.on_primary(publish)


def _write(path: epath.Path, value: Any) -> None:
    """Writes a JSON file, once for all processes."""
    multihost.on_primary(lambda: files.write_json(path, value))


def _outcome(context: Run, records: list[Record]) -> Record:
    """What result.json holds."""
    tested = context.folder / run_dir.TEST
    return report.result(records) | ({"test": files.read_json(tested)} if tested.exists() else {})
