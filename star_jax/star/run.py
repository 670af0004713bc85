"""The objects that a run works with, from its first round to its last."""

import dataclasses
from collections.abc import Sequence

from etils import epath
from jax.sharding import Mesh
from rich.console import Console

from star_jax.config.validation import Settings
from star_jax.data.problems import Problems
from star_jax.data.prompts import Prompter
from star_jax.data.tokenizer import Tokenizer
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import SamplingPrograms
from star_jax.inference.slot_batch import SlotUsage
from star_jax.models.abstract_params import abstract_params
from star_jax.models.config import ModelConfig
from star_jax.models.params import Params, count_params
from star_jax.runtime import multihost
from star_jax.runtime.compile import Compiler
from star_jax.star import capacity, finite
from star_jax.star.fused_programs import FusedPrograms
from star_jax.storage import run_dir
from star_jax.tasks import Problem, Task
from star_jax.training.programs import InitProgram, UpdatePrograms
from star_jax.training.scoring import ScorePrograms


@dataclasses.dataclass(frozen=True)
class RunPrograms:
    """The programs of a run, all added to one compiler.

    Attributes:
        compiler: compiler of all programs.
        sampling: programs from prompts to completions.
        init: program that draws weights; None if the base model comes from elsewhere.
        pretrain: updates of the base model; None for a run that makes none.
        train: updates of mode "rounds"; None in other runs.
        fused: fused step of mode "fused"; None in other runs.
        score: log-probabilities of completions; None in a run that needs none.
    """

    compiler: Compiler
    sampling: SamplingPrograms
    init: InitProgram | None = None
    pretrain: UpdatePrograms | None = None
    train: UpdatePrograms | None = None
    fused: FusedPrograms | None = None
    score: ScorePrograms | None = None


@dataclasses.dataclass(frozen=True)
class Run:
    """All objects of a run except the weights.

    Attributes:
        settings: validated settings.
        folder: folder of the run.
        console: console for tables and progress.
        prompter: task, tokenizer and few-shot examples.
        problems: problems to train on, hold out and test on, without those that are too long.
        model: configuration of the decoder.
        mesh: mesh of all devices.
        programs: compiled programs of the devices.
        stop: text that ends a completion; "" for none.
        usage: usage of sampling's slots so far.
    """

    settings: Settings
    folder: epath.Path
    console: Console
    prompter: Prompter
    problems: Problems
    model: ModelConfig
    mesh: Mesh
    programs: RunPrograms
    stop: str
    usage: SlotUsage = dataclasses.field(default_factory=SlotUsage)

    @property
    def task(self) -> Task:
        """The task to learn."""
        return self.prompter.task

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self.prompter.tokenizer

    @property
    def direct(self) -> bool:
        """Returns whether answers are learned without rationales."""
        return self.prompter.direct

    @property
    def buckets(self) -> Sequence[Bucket]:
        """The shapes that rows are sampled in; the first is for the problems trained on."""
        return self.programs.sampling.spec.buckets

    @property
    def abstract_params(self) -> Params:
        """The weights' shapes and shardings."""
        return abstract_params(self.model, self.mesh)

    def round_folder(self, round_: int) -> epath.Path:
        """Returns the folder of one round's ledger."""
        return run_dir.ledger(self.folder, round_)

    def checkpoint_folder(self, round_: int) -> epath.Path:
        """Returns the folder of the checkpoints that a round's training resumes from."""
        return run_dir.training(self.folder, round_)

    def shows_few_shot(self, round_: int) -> bool:
        """Returns whether the model after round `round_` is prompted with the few-shot examples."""
        return bool(self.prompter.examples) and round_ < self.settings.few_shot.rounds

    def trains_on_few_shot(self, round_: int) -> bool:
        """Returns whether round `round_` is trained on the few-shot prompt too."""
        return self.settings.train.few_shot and self.shows_few_shot(round_ - 1)

    def max_new_tokens(self, problem: Problem) -> int:
        """Returns the new tokens that a completion of `problem` may take."""
        return capacity.max_new_tokens(self.settings, self.prompter, problem.group)

    def text(self, tokens: Sequence[int]) -> str:
        """Decodes a row's tokens, up to the stop text.

        Raises:
            SettingsError: the row's logits were not finite; see `finite.check_written`.
        """
        finite.check_written(tokens, self.settings.model.dtype)
        text = self.tokenizer.decode(tokens)
        return text.partition(self.stop)[0].rstrip() if self.stop else text


def announce(run: Run) -> None:
    """Prints the model's size, the devices, the number of rows, and the end of a reply."""
    parameters = count_params(run.abstract_params)
    devices = run.mesh.devices.size
    where = f" of {multihost.count()} processes" if multihost.count() > 1 else ""
    rows = " and ".join(str(rows) for rows in sorted({bucket.rows for bucket in run.buckets}))
    run.console.print(
        f"{parameters:,} parameters on {devices} device(s){where}, {rows} rows at a time; "
        f"{len(run.programs.compiler.programs)} programs are compiled in the background"
    )
    if run.prompter.chat:
        name = run.tokenizer.name
        ends = " or ".join(map(name, run.tokenizer.eos_ids))
        text = f" or the text {run.stop!r}" if run.stop else ""
        trains = run.settings.rounds.count
        trained = f", and trained to end with {name(run.prompter.end)}" if trains else ""
        run.console.print(f"replies are sampled until {ends}{text}{trained}", markup=False)
    wanted = run.settings.few_shot.examples
    if run.prompter.examples and len(run.prompter.examples) < wanted:
        run.console.print(
            f"the few-shot prompt has {len(run.prompter.examples)} worked examples, which are "
            f"all that there are; config.few_shot.examples = {wanted}"
        )
