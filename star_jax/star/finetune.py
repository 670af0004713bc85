"""The trainings of a run: its base model, and each round's fine-tuning of it."""

import contextlib
from collections.abc import Callable, Sequence

from star_jax.config import schema
from star_jax.data import prompts
from star_jax.data.packing import Example
from star_jax.models.params import Params
from star_jax.reporting import console, metrics
from star_jax.runtime import multihost
from star_jax.star import finite
from star_jax.star.run import Run
from star_jax.training import optimizer
from star_jax.training.loop import TrainPlan, train
from star_jax.training.programs import UpdatePrograms

_LOG_EVERY = 10  # steps between two lines of metrics.jsonl


def pretrain(run: Run, start: Callable[[], Params]) -> Params:
    """Makes the base model: a short training on the task's corpus, of format and hints alone."""
    cfg, programs = run.settings.pretrain, run.programs.pretrain
    if programs is None:
        raise ValueError("this run makes no base model")
    corpus = run.task.corpus(run.settings.seed, cfg.examples, cfg.hinted, cfg.easy)
    plan = TrainPlan(
        examples=prompts.documents(run.tokenizer, corpus, cfg.shots),
        steps=cfg.steps,
        seed=run.settings.seed,
        schedule=optimizer.cosine(cfg.learning_rate, cfg.warmup_steps, cfg.steps),
        save_every=cfg.save_every,
        folder=run.checkpoint_folder(0),
    )
    return _train(run, 0, "pretrain", programs, plan, start)[0]


def drop_too_long(run: Run, round_: int, examples: Sequence[Example]) -> list[Example]:
    """Drops examples that `train.length` does not hold.

    A text can have more tokens than it was written in.
    """
    most = run.settings.train.length
    kept = [example for example in examples if len(example.tokens) <= most]
    if len(kept) < len(examples):
        run.console.print(
            f"round {round_}: {len(examples) - len(kept)} of {len(examples)} texts have more than "
            f"the {most} tokens of train.length and are left out"
        )
    return kept


def fine_tune(
    run: Run, round_: int, base: Callable[[], Params], examples: Sequence[Example], steps: int
) -> tuple[Params, float]:
    """Trains the base weights on what the round kept; returns the weights and the last loss."""
    cfg, programs = run.settings.train, run.programs.train
    if programs is None:
        raise ValueError("this run does not train in mode 'rounds'")
    plan = TrainPlan(
        examples=examples,
        steps=steps,
        seed=run.settings.seed + round_,
        schedule=schedule(cfg, steps),
        save_every=cfg.save_every,
        folder=run.checkpoint_folder(round_),
        few_shot=run.prompter.few_shot(False) if run.trains_on_examples(round_) else (),
    )
    return _train(run, round_, "train", programs, plan, base)


def schedule(cfg: schema.Train, steps: int) -> optimizer.Schedule:
    """The learning rate over a round of so many updates."""
    if cfg.schedule == "cosine":
        return optimizer.cosine(cfg.learning_rate, cfg.warmup_steps, steps)
    return optimizer.constant(cfg.learning_rate, cfg.warmup_steps)


def clear(run: Run, round_: int) -> None:
    """Removes the checkpoints made while a round was trained, once its outcome is safe."""
    if (folder := run.checkpoint_folder(round_)).exists():
        folder.rmtree()


def _train(
    run: Run,
    round_: int,
    name: str,
    programs: UpdatePrograms,
    plan: TrainPlan,
    start: Callable[[], Params],
) -> tuple[Params, float]:
    with TrainingReport(run, round_, name, plan.steps) as report:
        params = train(programs, start, plan, report.on_step, report.on_resume)
    return params, report.loss


class TrainingReport(contextlib.ExitStack):
    """Reports training: a progress bar, and a line of metrics.jsonl every few steps.

    Attributes:
        loss: of the last step.

    Args:
        run: the run.
        round_: number of the round; 0 for the base model.
        name: of the training, as metrics.jsonl has it.
        steps: updates in all.
    """

    def __init__(self, run: Run, round_: int, name: str, steps: int) -> None:
        super().__init__()
        self.loss = float("nan")
        self._run, self._round, self._name, self._steps = run, round_, name, steps
        self._file = run.folder / metrics.METRICS

    def on_resume(self, step: int) -> None:
        """Training begins after `step`: drops lines of later ones, and shows the bar."""
        if multihost.is_primary():
            metrics.truncate_metrics(
                self._file, lambda line: (line["round"], line["step"]) <= (self._round, step)
            )
        title = f"round {self._round} {self._name}"
        bar = console.progress(self._run.console, title, self._steps, step)
        self._advance = self.enter_context(bar)

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Reports a step, of which nothing has been saved yet.

        Raises:
            SettingsError: training has diverged: a metric is not finite.
        """
        section = "pretrain" if self._name == "pretrain" else "train"
        finite.check_metrics(
            values,
            f"round {self._round}, step {step} of {self._steps}",
            f"config.{section}.learning_rate",
            str(self._run.checkpoint_folder(self._round)),
        )
        self.loss = values["loss"]
        self._advance(1, loss=self.loss)
        if multihost.is_primary() and (step % _LOG_EVERY == 0 or step == self._steps):
            line = {"phase": self._name, "round": self._round, "step": step} | values
            metrics.append_metrics(self._file, line)
