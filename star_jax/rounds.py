"""STaR's outer loop (Zelikman et al., 2022, Algorithm 1), on the host.

    M_0 is the base model M. In round n = 1, 2, ...
      generate      M_{n-1} writes a rationale and an answer for every problem
      rationalize   where it failed, it is given the answer as a hint and tries again
      filter        what ends in the right answer is kept, as if there had been no hint
      fine-tune     M, not M_{n-1}, is trained on what was kept: M_n
    and M_n is evaluated on held-out problems.

Every phase leaves what it did in the run's folder. A run that was killed is started again by the same
command: what is there is read, what is not is done.
"""

import time
from typing import Any

from etils import epath
from rich.console import Console

from star_jax import console as shown
from star_jax import evaluate, files, phases, prompts, rationales, report, state
from star_jax.checkpoint import Checkpoints
from star_jax.context import Context, make_context
from star_jax.packing import Example
from star_jax.phases import Stopwatch
from star_jax.programs import CompilationCount
from star_jax.rationales import Sample
from star_jax.settings import Settings
from star_jax.state import Params
from star_jax.train import steps_of_round

Record = dict[str, Any]  # one entry of `rounds` in result.json

_SUMMARY = "summary.json"
_UNIT = "digits"


def run(settings: Settings, workdir: epath.PathLike) -> dict[str, Any]:
    """Runs or resumes the whole experiment in `workdir` and returns what result.json holds.

    Raises:
        SettingsError: `workdir` belongs to a run with other settings.
    """
    compilations = CompilationCount()
    context = make_context(settings, workdir, Console())
    weights = Checkpoints(context.folder / "checkpoints" / "rounds")
    records = _finished(context, weights)
    if len(records) <= _last(settings, records):
        _compile(context)
        base = _base(context, weights)
        policy = base
        if len(records) > 1:
            policy = weights.restore(len(records) - 1, context.programs.params)
        while len(records) <= _last(settings, records):
            meter = _Meter(context, compilations, first=not records)
            if not records:
                record = _evaluate_base(context, base, meter)
            else:
                policy, record = _round(context, len(records), policy, base, weights, meter)
            records.append(meter.close(record))
            _report(context, records)
    weights.close()
    outcome = report.result(records)
    if len(records) > 1:
        shown.print_rounds(context.console, records, _UNIT)
    shown.closing(context.console, context.folder)
    return outcome


def _round(
    context: Context,
    n: int,
    policy: Params,
    base: Params,
    weights: Checkpoints,
    meter: "_Meter",
) -> tuple[Params, Record]:
    """Algorithm 1, lines 3 to 7: M_{n-1} = `policy` in, M_n and what there is to say of it out."""
    examples, counts = (_gold if context.direct else _bootstrap)(context, n, policy, meter)
    chosen = context.settings.train
    steps = steps_of_round(n, chosen.first_steps, chosen.growth, chosen.max_steps)
    steps = steps if examples else 0  # nothing kept, nothing learned: M_n = M
    with meter.watch.phase("train"):
        policy, loss = base, None
        outcome = context.round_folder(n) / "train.json"
        if weights.has(n):
            policy = weights.restore(n, context.programs.params)
            loss = files.read_json(outcome)["loss"]
        else:
            if steps:
                policy, loss = phases.fine_tune(context, n, base, examples, steps)
            files.write_json(outcome, {"loss": loss})
            weights.save(n, policy)
    score = _evaluate(context, n, policy, meter)
    return policy, {"round": n, **score, **counts, "train_steps": steps, "train_loss": loss}


def _bootstrap(
    context: Context, n: int, policy: Params, meter: "_Meter"
) -> tuple[list[Example], Record]:
    """Lines 3 to 6: rationale generation, rationalization, filter; the examples to train on."""
    settings, task, folder = context.settings, context.task, context.round_folder(n)
    problems = task.train(settings.seed, n, settings.rounds.problems)
    few_shot = context.shows_examples(n - 1)
    with meter.watch.phase("generate"):
        generated = phases.sample(
            context, n, "samples", policy, problems, hint=False, examples=few_shot
        )
    rationalized: list[Sample] = []
    if settings.rationalize.enabled:
        wrong = {sample.id for sample in rationales.failures(generated)}
        failed = [problem for problem in problems if problem.id in wrong]
        with meter.watch.phase("rationalize"):
            rationalized = phases.sample(
                context, n, "rationalized", policy, failed, hint=True, examples=few_shot
            )
    kept = rationales.keep(generated, rationalized)
    rationales.write_kept(folder, kept)
    examples = [prompts.training_example(context.tokenizer, task, sample) for sample in kept]
    return examples, rationales.summarize(generated, rationalized)


def _gold(
    context: Context, n: int, policy: Params, meter: "_Meter"
) -> tuple[list[Example], Record]:
    """The baseline without rationales: the round's problems with their gold answers."""
    del policy, meter
    settings, task = context.settings, context.task
    problems = task.train(settings.seed, n, settings.rounds.problems)
    examples = [prompts.direct_example(context.tokenizer, task, problem) for problem in problems]
    return examples, rationales.summarize([], []) | {"tried": 0, "kept": len(examples)}


def _base(context: Context, weights: Checkpoints) -> Params:
    """M: pretrained once and kept in the folder as the weights of round 0."""
    if weights.has(0):
        return weights.restore(0, context.programs.params)
    base = context.programs.init(context.settings.seed)
    if context.settings.pretrain.steps:
        base = phases.pretrain(context, base)
    weights.save(0, base)
    return base


def _evaluate(context: Context, n: int, policy: Params, meter: "_Meter") -> Record:
    """Accuracy on the held-out problems, prompted as round n + 1 will prompt."""
    with meter.watch.phase("evaluate"):
        samples = phases.sample(
            context,
            n,
            "evaluation",
            policy,
            context.held_out,
            hint=False,
            examples=context.shows_examples(n),
        )
    return evaluate.summary([(s.group, s.correct) for s in samples], context.task.in_distribution)


def _evaluate_base(context: Context, base: Params, meter: "_Meter") -> Record:
    """Round 0: the base model without and with the hint."""
    score = _evaluate(context, 0, base, meter)
    inside = [p for p in context.held_out if context.task.in_distribution(p.group)]
    with meter.watch.phase("evaluate"):
        hinted = (
            []
            if context.direct
            else phases.sample(
                context, 0, "hinted", base, inside, hint=True, examples=context.shows_examples(0)
            )
        )
    by_class = {
        g: s.accuracy for g, s in evaluate.by_group((s.group, s.correct) for s in hinted).items()
    }
    return {
        "round": 0,
        **score,
        "hinted_accuracy_by_class": by_class,
        **rationales.summarize([], []),
        "train_steps": 0,
        "train_loss": None,
    }


class _Meter:
    """What is measured of a round: seconds by phase, time outside device programs, compilations."""

    def __init__(self, context: Context, compilations: CompilationCount, first: bool) -> None:
        self.watch = Stopwatch({})
        self._context, self._count = context, compilations
        self._compiled = 0 if first else compilations.total
        self._device = context.programs.device_seconds
        self._begun = time.perf_counter()

    def close(self, record: Record) -> Record:
        total = time.perf_counter() - self._begun
        device = self._context.programs.device_seconds - self._device
        seconds = {phase: round(self.watch.seconds.get(phase, 0.0), 3) for phase in shown.PHASES}
        return record | {
            "compilations": self._count.total - self._compiled,
            "host_share": round(1 - device / total, 4),
            "seconds": seconds | {"total": round(total, 3)},
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


def _finished(context: Context, weights: Checkpoints) -> list[Record]:
    """The records of the rounds that are done, from 0 on."""
    records: list[Record] = []
    while (path := context.round_folder(len(records)) / _SUMMARY).exists():
        records.append(files.read_json(path))
    return records


def _compile(context: Context) -> None:
    parameters = state.count(context.programs.params)
    devices = context.programs.mesh.devices.size
    context.console.print(f"{parameters:,} parameters on {devices} device(s)")
    with shown.progress(context.console, "compile", len(context.programs)) as advance:
        context.programs.compile(advance)


def _report(context: Context, records: list[Record]) -> None:
    """Makes the round official: its summary, then the whole result and its plot, then the table."""
    record = records[-1]
    files.write_json(context.round_folder(record["round"]) / _SUMMARY, record)
    files.write_json(context.folder / report.RESULT, report.result(records))
    report.plot(report.result(records), context.folder / report.PLOT, _UNIT)
    for done in (f"training-{record['round']:04d}", phases.PRETRAIN_FOLDER):
        folder = context.folder / "checkpoints" / done
        if folder.exists():
            folder.rmtree()
    shown.print_round(context.console, record, _UNIT)
