"""Trains the base model of a run, and fine-tunes it in each round."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Protocol

from etils import epath
from rich.console import Console

from star_jax.config import schema
from star_jax.data import packing
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
    """Makes the base model by a short training on the task's corpus.

    The corpus teaches the format and the use of hints alone.

    Args:
        run: the run.
        start: function that returns the weights to start from.
    """
    cfg, programs = run.settings.pretrain, run.programs.pretrain
    if programs is None:
        raise ValueError("this run makes no base model")
    corpus = run.task.corpus(run.settings.seed, cfg.examples, cfg.hinted, cfg.easy)
    plan = TrainPlan(
        examples=packing.documents(run.tokenizer, corpus, cfg.shots),
        steps=cfg.steps,
        seed=run.settings.seed,
        schedule=optimizer.cosine(cfg.learning_rate, cfg.warmup_steps, cfg.steps),
        save_every=cfg.save_every,
        folder=run.checkpoint_folder(0),
    )
    return _train(run, 0, "pretrain", programs, plan, start)[0]


def drop_too_long(run: Run, round_: int, examples: Sequence[Example]) -> list[Example]:
    """Drops examples that are longer than `train.length`.

    An encoded text can have more tokens than the model took to write it.
    """
    most = run.settings.train.length
    fitting = [example for example in examples if len(example.tokens) <= most]
    if len(fitting) < len(examples):
        run.console.print(
            f"round {round_}: {len(examples) - len(fitting)} of {len(examples)} texts have more "
            f"than the {most} tokens of train.length and are left out"
        )
    return fitting


def fine_tune(
    run: Run, round_: int, base: Callable[[], Params], examples: Sequence[Example], steps: int
) -> tuple[Params, float]:
    """Trains the base weights on the round's examples; returns the weights and the last loss."""
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
        few_shot=run.prompter.few_shot(False) if run.trains_on_few_shot(round_) else (),
    )
    return _train(run, round_, "train", programs, plan, base)


def schedule(cfg: schema.Train, steps: int) -> optimizer.Schedule:
    """Returns the learning rate over a round of `steps` updates."""
    if cfg.schedule == "cosine":
        return optimizer.cosine(cfg.learning_rate, cfg.warmup_steps, steps)
    return optimizer.constant(cfg.learning_rate, cfg.warmup_steps)


def clear(run: Run, round_: int) -> None:
    """Removes the checkpoints of a round's training, which is finished and saved."""
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


class Reported(Protocol):
    """What `TrainingReport` needs of a `Run`, or of another training with a folder of its own."""

    @property
    def folder(self) -> epath.Path:
        """The folder of metrics.jsonl."""
        ...

    @property
    def console(self) -> Console:
        """The console for the progress bar."""
        ...

    def checkpoint_folder(self, round_: int) -> epath.Path:
        """Returns the folder of the checkpoints that the training resumes from."""
        ...


class TrainingReport(contextlib.ExitStack):
    """Reports training: a progress bar, and a line of metrics.jsonl every few steps.

    Attributes:
        loss: loss of the last step.

    Args:
        run: the run.
        round_: number of the round; 0 for the base model.
        name: name of the training in metrics.jsonl.
        steps: number of all updates.
        setting: name of the learning rate's setting, for errors; "": that of the run's section.
    """

    def __init__(
        self, run: Reported, round_: int, name: str, steps: int, setting: str = ""
    ) -> None:
        super().__init__()
        section = "pretrain" if name == "pretrain" else "train"
        self.loss, self._setting = float("nan"), setting or f"config.{section}.learning_rate"
        self._run, self._round, self._name, self._steps = run, round_, name, steps
        self._file = run.folder / metrics.METRICS

    def on_resume(self, step: int) -> None:
        """Drops the metrics of steps after `step`, where training begins; opens the bar."""
        if multihost.is_primary():
            metrics.truncate_metrics(
                self._file, lambda line: (line["round"], line["step"]) <= (self._round, step)
            )
        title = f"round {self._round} {self._name}"
        bar = console.progress(self._run.console, title, self._steps, step)
        self._advance = self.enter_context(bar)

    def on_step(self, step: int, values: dict[str, float]) -> None:
        """Reports a step, before anything of it is saved.

        Raises:
            SettingsError: training has diverged: a metric is not finite.
        """
        finite.check_metrics(
            values,
            f"round {self._round}, step {step} of {self._steps}",
            self._setting,
            str(self._run.checkpoint_folder(self._round)),
        )
        self.loss = values["loss"]
        self._advance(1, loss=self.loss)
        if multihost.is_primary() and (step % _LOG_EVERY == 0 or step == self._steps):
            line = {"phase": self._name, "round": self._round, "step": step} | values
            metrics.append_metrics(self._file, line)
