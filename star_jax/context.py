"""What a run works with, built once from its settings: task, tokenizer, mesh, programs, folder."""

import dataclasses
import math

from etils import epath
from jax.sharding import Mesh
from rich.console import Console

from star_jax import mesh, prompts, tasks, tokenizer_source, train
from star_jax.folder import open_folder
from star_jax.model.config import ModelConfig
from star_jax.programs import Learning, Programs
from star_jax.sampler.decode import make_stop
from star_jax.sampler.engine import Shape
from star_jax.sampler.select import Selection
from star_jax.settings import Settings, SettingsError
from star_jax.tasks import Problem, Task
from star_jax.tokenizer import ByteTokenizer

_MULTIPLE = 16  # vocabulary, prompt and prefix sizes are rounded up to it, for meshes and vectors


@dataclasses.dataclass(frozen=True)
class Context:
    """Everything but the weights.

    Attributes:
        settings: validated.
        folder: of the run.
        console: for tables and progress.
        task, tokenizer: the text side.
        programs: the device side; not compiled yet.
        shapes: of the sampling programs.
        held_out: problems of the evaluation.
        few_shot: the few-shot prompt's tokens, without and with hints; empty without examples.
    """

    settings: Settings
    folder: epath.Path
    console: Console
    task: Task
    tokenizer: ByteTokenizer
    programs: Programs
    shapes: tuple[Shape, ...]
    held_out: list[Problem]
    few_shot: dict[bool, list[int]]

    @property
    def direct(self) -> bool:
        """Whether answers are learned without rationales."""
        return self.settings.method == "direct"

    def round_folder(self, round_: int) -> epath.Path:
        """The ledger of one round."""
        return self.folder / "rounds" / f"{round_:04d}"

    def shows_examples(self, round_: int) -> bool:
        """Whether the model after round `round_` is prompted with the few-shot examples."""
        return bool(self.few_shot[False]) and round_ < self.settings.few_shot.rounds

    def budget(self, problem: Problem) -> int:
        """New tokens a completion of `problem` may take."""
        return _budget(self.settings, self.task, self.tokenizer, problem.group)


def make_context(settings: Settings, workdir: epath.PathLike, console: Console) -> Context:
    """Opens the run's folder and builds everything; compiles nothing.

    Raises:
        SettingsError: the folder is of another configuration, a batch does not fit the mesh, or a
            length does not hold what it is for.
    """
    digits = settings.task
    task = tasks.make(
        digits.name,
        min_digits=digits.min_digits,
        max_digits=digits.max_digits,
        ood_digits=digits.ood_digits,
    )
    tokenizer = ByteTokenizer(task.markup)
    held_out = task.evaluation(
        settings.seed, settings.evaluate.problems, settings.evaluate.ood_problems
    )
    few_shot = _few_shot(settings, task, tokenizer)
    grid = _mesh(settings)
    shapes = _shapes(settings, task, tokenizer, held_out, mesh.batch_multiple(grid))
    prefix = _rounded(max(len(tokens) for tokens in few_shot.values()))
    _check(settings, shapes, prefix, mesh.batch_multiple(grid))
    programs = _programs(settings, tokenizer, grid, shapes, prefix)
    folder = open_folder(settings, workdir)  # last: what cannot run leaves no folder behind
    tokenizer.save(folder / tokenizer_source.RUNS)
    return Context(settings, folder, console, task, tokenizer, programs, shapes, held_out, few_shot)


def _few_shot(settings: Settings, task: Task, tokenizer: ByteTokenizer) -> dict[bool, list[int]]:
    count = settings.few_shot.examples if settings.few_shot.rounds else 0
    examples = task.few_shot(settings.seed, count)
    direct = settings.method == "direct"
    return {
        hint: prompts.few_shot(tokenizer, task, examples, hint, direct) for hint in (False, True)
    }


def _mesh(settings: Settings) -> Mesh:
    try:
        return mesh.make_mesh(settings.mesh.data, settings.mesh.fsdp, settings.mesh.tensor)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def _shapes(
    settings: Settings, task: Task, tokenizer: ByteTokenizer, held_out: list[Problem], shards: int
) -> tuple[Shape, ...]:
    """One shape for what is trained on, and one for the longer problems out of distribution."""
    # A few held-out problems may all have short hints: the first round's are looked at as well.
    seen = held_out + task.train(settings.seed, 1, settings.rounds.problems)
    inside = [problem for problem in seen if task.in_distribution(problem.group)]
    outside = [problem for problem in seen if not task.in_distribution(problem.group)]

    def shape(problems: list[Problem], rows: int) -> Shape:
        groups = {problem.group for problem in problems}
        budget = max(_budget(settings, task, tokenizer, group) for group in groups)
        rows_ = (prompts.row(tokenizer, task, problem, hint=True) for problem in problems)
        return Shape(budget=budget, prompt=_rounded(max(map(len, rows_))), rows=rows)

    rows = settings.sampler.rows
    shapes = [shape(inside, rows)]
    if outside:
        few = _rounded(len(outside), math.lcm(_MULTIPLE, shards))
        shapes.append(shape(outside, min(rows, few)))
    return tuple(shapes)


def _budget(settings: Settings, task: Task, tokenizer: ByteTokenizer, group: str) -> int:
    """New tokens a completion in class `group` may take, end-of-text included."""
    longest = task.longest(group, settings.method == "direct")
    return settings.sampler.max_new_tokens or len(tokenizer.encode(longest)) + 1


def _programs(
    settings: Settings,
    tokenizer: ByteTokenizer,
    grid: Mesh,
    shapes: tuple[Shape, ...],
    prefix: int,
) -> Programs:
    model, sampler = settings.model, settings.sampler
    learning = {"pretrain": _pretraining(settings), "train": _training(settings)}
    vocab = _rounded(tokenizer.vocab_size)
    return Programs(
        ModelConfig(
            layers=model.layers,
            width=model.width,
            heads=model.heads,
            head_dim=model.head_dim,
            hidden=model.hidden,
            rotary=model.rotary,
            vocab=vocab,
            context=model.context,
            dtype=model.dtype,
        ),
        grid,
        stop=make_stop(tokenizer.eos_id, "", tokenizer.token_bytes(), vocab),
        selection=Selection(sampler.temperature, sampler.top_k, sampler.top_p),
        shapes=shapes,
        prefix=prefix,
        learning=learning,
    )


def _pretraining(settings: Settings) -> Learning:
    chosen = settings.pretrain
    optimizer = train.make_optimizer(
        clip=chosen.clip,
        b2=chosen.b2,
    )
    return Learning(optimizer, chosen.batch_size, chosen.length, chosen.micro_batch)


def _training(settings: Settings) -> Learning:
    chosen = settings.train
    optimizer = train.make_optimizer(
        clip=chosen.clip,
        weight_decay=chosen.weight_decay,
        b1=chosen.b1,
        b2=chosen.b2,
    )
    return Learning(optimizer, chosen.batch_size, chosen.length, chosen.micro_batch)


def _check(settings: Settings, shapes: tuple[Shape, ...], prefix: int, shards: int) -> None:
    """Refuses what only shows once there are devices and problems."""
    sizes = {
        "pretrain.batch_size": settings.pretrain.batch_size,
        "train.batch_size": settings.train.batch_size,
        "sampler.rows": settings.sampler.rows,
    }
    problems = [
        f"config.{name} = {size}: must be a multiple of the {shards} devices that share a batch "
        "(mesh.data x mesh.fsdp)"
        for name, size in sizes.items()
        if size % shards
    ]
    trained, longest = shapes[0], max(shape.prompt + shape.budget for shape in shapes)
    example = trained.prompt + trained.budget
    lengths = {
        "train.length": (settings.train.length, example, "a question and its completion"),
        "model.context": (settings.model.context, prefix + longest, "what is sampled"),
    }
    problems += [
        f"config.{name} = {length}: must be at least {least}, to hold {what}"
        for name, (length, least, what) in lengths.items()
        if length < least
    ]
    if problems:
        raise SettingsError("\n".join(problems))


def _rounded(size: int, multiple: int = _MULTIPLE) -> int:
    return -(-size // multiple) * multiple
