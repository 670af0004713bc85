"""The phases of a round as they run: on the device in chunks or steps, on disk as they go.

Each phase shows its progress, writes what it has done whole, and goes on from there when called
again.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import get_args

from etils import epath

from star_jax.config import schema
from star_jax.data import prompts
from star_jax.data.packing import Example
from star_jax.data.sample import Sample
from star_jax.grading import ledger
from star_jax.grading.ledger import Kind
from star_jax.inference import scheduler
from star_jax.inference.programs import Policy
from star_jax.models.params import Params, count_params
from star_jax.reporting import console, report
from star_jax.runtime import multihost
from star_jax.star import finite
from star_jax.star.build import Run
from star_jax.storage.run_dir import training
from star_jax.tasks import Problem
from star_jax.training.loop import TrainPlan, train
from star_jax.training.optimizer import Schedule, constant, cosine

_STREAMS: dict[Kind, int] = {kind: stream for stream, kind in enumerate(get_args(Kind))}
_HINTED: set[Kind] = {"rationalized", "hinted"}  # what is written with the answer in the prompt
_DRAWN: set[Kind] = {"samples", "rationalized", "votes"}  # the others are greedy
_BY_THE_LAST: set[Kind] = {"samples", "rationalized"}  # and by the model of the round before
_HEARD_EVERY = 10  # steps between two lines of metrics.jsonl


def start(context: Run) -> None:
    """Says what runs where, and begins to compile it; a phase waits for the programs it needs."""
    parameters = count_params(context.programs.params)
    devices = context.programs.mesh.devices.size
    where = f" of {multihost.count()} processes" if multihost.count() > 1 else ""
    rows = " and ".join(str(rows) for rows in sorted({shape.rows for shape in context.buckets}))
    context.console.print(
        f"{parameters:,} parameters on {devices} device(s){where}, {rows} rows at a time; "
        f"{len(context.programs)} programs are compiled in the background"
    )
    if context.prompter.chat:
        name = context.tokenizer.name
        ends = " or ".join(map(name, context.tokenizer.eos_ids))
        text = f" or the text {context.stop!r}" if context.stop else ""
        learns = context.settings.rounds.count
        learnt = f", and trained to end with {name(context.prompter.end)}" if learns else ""
        context.console.print(f"replies are sampled until {ends}{text}{learnt}", markup=False)
    wanted = context.settings.few_shot.examples
    if context.prompter.examples and len(context.prompter.examples) < wanted:
        context.console.print(
            f"the few-shot prompt has {len(context.prompter.examples)} worked examples, which are "
            f"all that there are; config.few_shot.examples = {wanted}"
        )
    context.programs.start()


def compile_rest(context: Run) -> None:
    """Waits for the programs that are not compiled yet, and shows how far that is."""
    if context.programs.missing():
        with console.progress(context.console, "compile", context.programs.missing()) as advance:
            context.programs.compile(advance)


def sample(
    context: Run,
    round_: int,
    kind: Kind,
    policy: Params,
    problems: Sequence[Problem],
) -> list[Sample]:
    """Has `policy` complete every problem, grades it and writes it to the round's ledger.

    The kind says whether the prompt holds the answer, whether tokens are drawn where there is a
    temperature, and by which round's model; that one says whether there is a few-shot prompt.

    Args:
        context: of the run.
        round_: number of the round.
        kind: the phase, which names the ledger's files.
        policy: weights to sample from.
        problems: what to complete.

    Returns:
        One sample a problem, in the order of `problems`.
    """
    folder = context.round_folder(round_)
    hint = kind in _HINTED
    examples = context.shows_examples(round_ - 1 if kind in _BY_THE_LAST else round_)
    rows = [
        scheduler.Request(
            number, context.prompter.row(problem, hint, examples), context.max_new_tokens(problem)
        )
        for number, problem in enumerate(problems)
    ]
    chunks = scheduler.plan(rows, context.buckets, context.settings.sampler.refills)
    done = multihost.on_primary(lambda: ledger.shard_count(folder, kind))
    before = sum(len(chunk.rows) for chunk in chunks[:done])
    right = 0
    title = f"round {round_} {kind}"
    with console.progress(context.console, title, len(rows), before) as advance:
        shown = context.prompter.few_shot(hint) if examples else ()
        sampling = context.programs.sampling
        ready: Policy | None = None
        for index, chunk in enumerate(chunks[done:], done):
            seed = (context.settings.seed, round_, _STREAMS[kind])
            ready = ready or sampling.policy(policy, shown, greedy=kind not in _DRAWN)
            # No name holds the slots: those of two chunks at a time would be too many.
            completions = scheduler.run(chunk, sampling.open(ready, seed, chunk.shape), advance)
            holders = context.programs.owners(chunk.shape)
            owners = [holders[one.slot] for one in completions]
            own = [one for one in completions if holders[one.slot] == multihost.index()]
            graded = _graded(context, round_, own, problems, hint)
            graded = write(folder, kind, index, graded, owners)
            right += sum(one.correct for one in graded)
            advance(0, right=right)
    multihost.barrier()  # the last shard is there
    return _read(folder, kind, chunks, problems)


def _read(
    folder: epath.Path,
    kind: Kind,
    chunks: Sequence[scheduler.Chunk],
    problems: Sequence[Problem],
) -> list[Sample]:
    """The samples of a phase that is done, in the order of the problems."""
    order = [row.number for chunk in chunks for row in chunk.rows]
    by_number = dict(zip(order, ledger.read_shards(folder, kind), strict=True))
    found = [by_number[number] for number in range(len(problems))]
    for sample, problem in zip(found, problems, strict=True):
        if sample.id != problem.id:
            raise ValueError(
                f"{folder}: a {kind} sample is of problem {sample.id!r}, {problem.id!r} is due; "
                "has the data changed? Put it back, or delete that folder"
            )
    return found


def _graded(
    context: Run,
    round_: int,
    completions: Sequence[scheduler.Completion],
    problems: Sequence[Problem],
    hint: bool,
) -> list[Sample]:
    return [
        ledger.make_sample(
            context.task,
            problems[completion.number],
            round_,
            hint,
            context.text(completion.tokens),
            truncated=completion.truncated,
            tokens=len(completion.tokens),
            direct=context.direct,
            rule=context.settings.grading,
            drop_leaks=context.settings.rationalize.drop_leaks,
        )
        for completion in completions
    ]


def write(
    folder: epath.Path, kind: Kind, index: int, graded: list[Sample], owners: Sequence[int]
) -> list[Sample]:
    """Writes a chunk to the ledger; returns all of it in process 0, what was given elsewhere.

    Args:
        folder: of the round.
        kind: of the shard.
        index: of the shard.
        graded: the samples of this process.
        owners: of each sample of the chunk, in order, the process that has graded it.
    """
    if multihost.count() == 1:
        ledger.write_shard(folder, kind, index, graded)
        return graded
    if graded:
        ledger.write_part(folder, kind, index, multihost.index(), graded)
    multihost.barrier()
    return ledger.join_parts(folder, kind, index, owners) if multihost.is_primary() else graded


def pretrain(context: Run, start: Callable[[], Params]) -> Params:
    """The base model: a short training on the task's corpus (format and hints, no arithmetic)."""
    chosen = context.settings.pretrain
    seed = context.settings.seed
    corpus = context.task.corpus(seed, chosen.examples, chosen.hinted, chosen.easy)
    plan = TrainPlan(
        kind="pretrain",
        examples=prompts.documents(context.tokenizer, corpus, chosen.shots),
        length=chosen.length,
        batch_size=chosen.batch_size,
        steps=chosen.steps,
        seed=seed,
        schedule=cosine(chosen.learning_rate, chosen.warmup_steps, chosen.steps),
        save_every=chosen.save_every,
        folder=checkpoints(context, 0),
    )
    return _fit(context, 0, plan, start)[0]


def questions(context: Run, round_: int) -> list[Problem]:
    """The problems of a round, those that the run's programs hold: fresh ones can be longer."""
    found = context.problems.train(round_)
    places, fused = context.buckets[0].prompt_length, context.programs.fused
    kept = [problem for problem in found if context.prompter.length(problem) <= places]
    if fused:
        kept = [problem for problem in kept if len(problem.answer.encode()) <= fused.answer_bytes]
    if len(kept) < len(found):
        context.console.print(
            f"round {round_}: {len(found) - len(kept)} of {len(found)} problems are longer than "
            f"those that the run was compiled for (prompts of {places} tokens) and are left out"
        )
    return kept


def drop_too_long(context: Run, round_: int, examples: Sequence[Example]) -> list[Example]:
    """Those that `train.length` holds: a text can have more tokens than it was written in."""
    room = context.settings.train.length
    found = [example for example in examples if len(example.tokens) <= room]
    if len(found) < len(examples):
        context.console.print(
            f"round {round_}: {len(examples) - len(found)} of {len(examples)} texts have more than "
            f"the {room} tokens of train.length and are left out"
        )
    return found


def fine_tune(
    context: Run,
    round_: int,
    base: Callable[[], Params],
    examples: Sequence[Example],
    steps: int,
) -> tuple[Params, float]:
    """Trains the base weights on what the round kept; returns the weights and the last loss."""
    chosen = context.settings.train
    plan = TrainPlan(
        kind="train",
        examples=examples,
        length=chosen.length,
        batch_size=chosen.batch_size,
        steps=steps,
        seed=context.settings.seed + round_,
        schedule=schedule(chosen, steps),
        save_every=chosen.save_every,
        folder=checkpoints(context, round_),
        few_shot=context.prompter.few_shot(False) if context.trains_on_examples(round_) else (),
    )
    return _fit(context, round_, plan, base)


def schedule(chosen: schema.Train, steps: int) -> Schedule:
    """The learning rate over a round of so many updates."""
    if chosen.schedule == "cosine":
        return cosine(chosen.learning_rate, chosen.warmup_steps, steps)
    return constant(chosen.learning_rate, chosen.warmup_steps)


def clear(context: Run, round_: int) -> None:
    """Removes the checkpoints made while a round was trained, once its outcome is safe."""
    if (folder := checkpoints(context, round_)).exists():
        folder.rmtree()


def checkpoints(context: Run, round_: int) -> epath.Path:
    """Where training leaves its state, to go on from."""
    return training(context.folder, round_)


def _fit(
    context: Run, round_: int, plan: TrainPlan, start: Callable[[], Params]
) -> tuple[Params, float]:
    with Report(context, round_, plan.kind, plan.steps) as told:
        params = train(context.programs, start, plan, told.heard, told.resumed)
    return params, told.loss


class Report(contextlib.ExitStack):
    """Where training is heard of: a progress bar, and a line of metrics.jsonl every few steps.

    Attributes:
        loss: of the last step.
    """

    def __init__(self, context: Run, round_: int, kind: str, steps: int) -> None:
        super().__init__()
        self.loss = float("nan")
        self._context, self._round, self._kind, self._steps = context, round_, kind, steps
        self._file = context.folder / report.METRICS

    def resumed(self, step: int) -> None:
        """Training begins after `step`: lines of later ones are dropped, and the bar is shown."""
        if multihost.is_primary():
            report.truncate_metrics(
                self._file, lambda line: (line["round"], line["step"]) <= (self._round, step)
            )
        title = f"round {self._round} {self._kind}"
        bar = console.progress(self._context.console, title, self._steps, step)
        self._advance = self.enter_context(bar)

    def heard(self, step: int, metrics: dict[str, float]) -> None:
        """A step is done; `fit` and `fused` save nothing of it before.

        Raises:
            SettingsError: training has diverged: a metric is not finite.
        """
        kind = "pretrain" if self._kind == "pretrain" else "train"
        finite.check_metrics(
            metrics,
            f"round {self._round}, step {step} of {self._steps}",
            f"config.{kind}.learning_rate",
            str(checkpoints(self._context, self._round)),
        )
        self.loss = metrics["loss"]
        self._advance(1, loss=self.loss)
        if multihost.is_primary() and (step % _HEARD_EVERY == 0 or step == self._steps):
            line = {"phase": self._kind, "round": self._round, "step": step} | metrics
            report.append_metrics(self._file, line)
