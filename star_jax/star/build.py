"""Builds a run from its settings: task, tokenizer, model, mesh, programs, folder."""

from typing import Any

from etils import epath
from jax.sharding import Mesh
from rich.console import Console

from star_jax import tasks
from star_jax.config import schema
from star_jax.config.validation import Settings, SettingsError, differences, to_dict
from star_jax.conversion import load, run_checkpoint
from star_jax.data import packing, tokenizer_loading
from star_jax.data.problems import FILE, Problems, describe_change, gather_problems
from star_jax.data.prompts import Prompter, rehearsed_indices
from star_jax.data.tokenizer import ByteTokenizer, HuggingFaceTokenizer, Tokenizer
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import SamplingPrograms
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.spec import SamplingSpec
from star_jax.inference.stop_rule import make_stop_rule
from star_jax.models.config import ModelConfig, for_mesh
from star_jax.runtime import multihost, sharding
from star_jax.runtime.compile import Compiler
from star_jax.star import capacity, leak_score
from star_jax.star.capacity import round_up
from star_jax.star.fused_programs import FusedPrograms, FusedSpec
from star_jax.star.run import Run, RunPrograms
from star_jax.storage import files
from star_jax.storage.run_dir import open_folder
from star_jax.tasks import Task
from star_jax.training.optimizer import make_optimizer
from star_jax.training.programs import InitProgram, UpdatePrograms
from star_jax.training.spec import UpdateSpec, padded_rows

_CHECKED = 500  # documents of a corpus whose lengths are checked before the training


def make_run(
    settings: Settings, workdir: epath.PathLike, console: Console, *, samples: int = 1
) -> Run:
    """Opens the run's folder and builds everything; compiles nothing.

    Args:
        settings: settings of the run.
        workdir: folder of the run.
        console: console for tables and progress.
        samples: completions of every question that is evaluated; with the number of questions, it
            bounds the rows that are decoded at a time.

    Raises:
        SettingsError: the folder is of another configuration, a batch does not fit the mesh, a
            length is too small, or the data or the model cannot be read.
    """
    try:
        return _make(settings, workdir, console, samples)
    except SettingsError:
        raise
    except ValueError as error:  # from the mesh, the data, the tokenizer or the model
        raise SettingsError(str(error)) from error


def _make(settings: Settings, workdir: epath.PathLike, console: Console, samples: int) -> Run:
    task = tasks.make(settings.task)
    tokenizer = _tokenizer(settings, task)
    count = settings.few_shot.examples if settings.few_shot.rounds else 0
    prompter = Prompter(
        tokenizer,
        task,
        tuple(task.few_shot(settings.seed, count)),
        direct=settings.method == "direct",
        chat=settings.model.chat,
        own_class=settings.few_shot.own_class,
    )
    mesh = sharding.make_mesh(settings.mesh.data, settings.mesh.fsdp, settings.mesh.tensor)
    model = _model(settings, prompter, mesh)
    prefix = round_up(prompter.longest_few_shot())
    shards = sharding.batch_multiple(mesh)
    problems = gather_problems(
        settings, prompter, _longest_prompt(settings, model.context - prefix)
    )
    _check_corpus(settings, prompter)
    buckets = capacity.choose(
        settings, prompter, problems, model, mesh, prefix=prefix, samples=samples, workdir=workdir
    )
    if settings.rounds.count:
        _ = prompter.end  # raises now if the chat template has no replies
    fused = _fused_spec(settings, prompter, problems, buckets[0], shards)
    longest = max(bucket.prompt_length + bucket.max_new_tokens for bucket in buckets) + prefix
    _check(settings, model, buckets[0], longest, shards)
    stop = settings.sampler.stop or prompter.stop
    sampling = SamplingSpec(
        buckets,
        make_stop_rule(
            tokenizer.eos_ids,
            stop,
            tokenizer.token_bytes()[: model.tokens],
            model.vocab,
        ),
        SamplingParams(
            settings.sampler.temperature, settings.sampler.top_k, settings.sampler.top_p
        ),
        prefix_length=prefix,
        bare=settings.few_shot.rounds <= settings.rounds.count,
    )
    programs = _programs(settings, model, mesh, sampling, fused)
    # Opened last, so that a run that cannot start leaves no folder behind.
    folder = _open(settings, workdir, tokenizer, problems, buckets[0].rows)
    return Run(
        settings=settings,
        folder=folder,
        console=console,
        prompter=prompter,
        problems=problems,
        model=model,
        mesh=mesh,
        programs=programs,
        stop=stop,
    )


def _programs(
    settings: Settings,
    model: ModelConfig,
    mesh: Mesh,
    sampling_spec: SamplingSpec,
    fused_spec: FusedSpec | None,
) -> RunPrograms:
    """Returns the programs that the run needs, added in the order of their first use."""
    compiler = Compiler()
    init = pretrain = train = fused = score = None
    if not (settings.model.source or settings.pretrain.base):
        init = InitProgram(compiler, model, mesh)
    if _pretrains(settings):
        spec = _pretrain_spec(settings.pretrain)
        pretrain = UpdatePrograms(compiler, model, mesh, spec, name="pretrain")
    sampling = SamplingPrograms(compiler, model, mesh, sampling_spec)
    if settings.rounds.count and settings.rationalize.score_leaks:
        score = leak_score.make_score_programs(compiler, model, mesh, settings, sampling_spec)
    if settings.rounds.count:
        spec = _train_spec(settings.train, fused_spec)
        few_shot = settings.train.few_shot
        if fused_spec:
            fused = FusedPrograms(compiler, sampling, spec, fused_spec, train_on_few_shot=few_shot)
        else:
            length = sampling_spec.prefix_length if few_shot else 0
            train = UpdatePrograms(compiler, model, mesh, spec, prefix_length=length)
    return RunPrograms(
        compiler=compiler,
        sampling=sampling,
        init=init,
        pretrain=pretrain,
        train=train,
        fused=fused,
        score=score,
    )


def _open(
    settings: Settings,
    workdir: epath.PathLike,
    tokenizer: Tokenizer,
    problems: Problems,
    rows: int,
) -> epath.Path:
    """Opens the run's folder in the first process; the others check that they share it."""

    def make() -> dict[str, Any]:
        folder = open_folder(settings, workdir)
        data, report = folder / FILE, problems.report()
        before = files.read_json(data) if data.exists() else {}
        if why := describe_change(before, report):
            raise SettingsError(f"{data}: {why}")
        report["checkpoint"] = before.get(
            "checkpoint", run_checkpoint.number(settings.model.source)
        )
        tokenizer.save(folder / tokenizer_loading.RUNS)
        files.write_json(data, report)
        if not settings.sampler.rows:
            files.write_json(folder / capacity.ROWS, {"rows": rows})
        return to_dict(settings)

    of_primary = multihost.on_primary(make)
    if different := differences(of_primary, to_dict(settings), where=("in process 0", "here")):
        raise SettingsError(
            "process 0 was started with other settings; give all processes one command:\n"
            + "\n".join(different)
        )
    folder = epath.Path(workdir)
    if not (folder / FILE).exists():
        raise SettingsError(
            f"--workdir={folder}: {FILE} is not there, though process 0 has written it; all "
            "processes must share one workdir, on a shared filesystem or gs://"
        )
    return folder


def _tokenizer(settings: Settings, task: Task) -> Tokenizer:
    source = settings.model.source
    return HuggingFaceTokenizer.open(source) if source else ByteTokenizer(task.markup)


def _model(settings: Settings, prompter: Prompter, mesh: Mesh) -> ModelConfig:
    """Returns the configuration of the pretrained model, or of the one that this run makes."""
    cfg = settings.model
    if cfg.source:
        model = load.check(cfg.source, mesh, dtype=cfg.dtype)
        try:
            prompter.check(model.tokens)
        except ValueError as error:
            raise SettingsError(f"config.model.source = {cfg.source!r}: {error}") from error
        return model
    model = ModelConfig(
        layers=cfg.layers,
        width=cfg.width,
        heads=cfg.heads,
        head_dim=cfg.head_dim,
        hidden=cfg.hidden,
        rotary=cfg.rotary,
        vocab=round_up(prompter.tokenizer.vocab_size),
        context=cfg.context,
    )
    return for_mesh(model, mesh, dtype=cfg.dtype)


def _fused_spec(
    settings: Settings, prompter: Prompter, problems: Problems, bucket: Bucket, shards: int
) -> FusedSpec | None:
    """Returns the specification of the fused step; None in other modes."""
    if settings.mode != "fused":
        return None
    rule = prompter.task.byte_rule()
    if rule is None:
        raise SettingsError(
            f"config.mode = 'fused': the answers of task {prompter.task.name} cannot be graded on "
            "the device; take config.mode='rounds'"
        )
    longest = max(len(problem.answer.encode()) for problem in problems.seen)
    rehearsed = len(rehearsed_indices(bucket.rows, settings.rationalize.rehearsal))
    if rehearsed:
        rows = padded_rows(bucket.rows + rehearsed, shards, settings.train.micro_batch)
        rehearsed = rows - bucket.rows
    return FusedSpec(
        bucket=bucket,
        answer_bytes=round_up(longest),
        rule=rule,
        eos=prompter.end,
        rehearsed_rows=rehearsed,
        refresh_every=settings.policy_refresh_every,
    )


def _pretrain_spec(cfg: schema.Pretrain) -> UpdateSpec:
    optimizer = make_optimizer(clip=cfg.clip, b2=cfg.b2)
    return UpdateSpec(optimizer, cfg.batch_size, cfg.length, cfg.micro_batch)


def _train_spec(cfg: schema.Train, fused: FusedSpec | None) -> UpdateSpec:
    """Returns the specification of updates; the fused step's update is on the rows it decodes."""
    optimizer = make_optimizer(clip=cfg.clip, weight_decay=cfg.weight_decay, b1=cfg.b1, b2=cfg.b2)
    rows, length = cfg.batch_size, cfg.length
    if fused:
        rows = fused.bucket.rows + fused.rehearsed_rows
        length = fused.bucket.prompt_length + fused.bucket.max_new_tokens + 1  # and end-of-text
    return UpdateSpec(optimizer, rows, length, cfg.micro_batch, cfg.remat)


def _pretrains(settings: Settings) -> bool:
    """Returns whether the run trains its base model itself."""
    source = settings.pretrain.base or settings.model.source
    return settings.pretrain.steps > 0 and not source


def _packs(settings: Settings) -> bool:
    """Returns whether examples are packed into sequences of `train.length`."""
    return settings.rounds.count > 0 and settings.mode != "fused"


def _longest_prompt(settings: Settings, context: int) -> int:
    """Returns the most tokens of a prompt if max_new_tokens is a setting.

    It is 0, no limit, if the task knows the length of its completions.
    """
    max_new_tokens = settings.sampler.max_new_tokens
    if not (max_new_tokens and (settings.task.data or settings.task.module)):
        return 0
    most = min(context, settings.train.length) if _packs(settings) else context
    length = (most - max_new_tokens) // capacity.MULTIPLE * capacity.MULTIPLE
    if length < 1:
        what = "config.train.length" if most < context else "the model's context, few-shot apart,"
        raise SettingsError(
            f"config.sampler.max_new_tokens = {max_new_tokens}: leaves no room for a question, as "
            f"{what} is {most}; lower the one or raise the other"
        )
    return length


def _check_corpus(settings: Settings, prompter: Prompter) -> None:
    """Refuses to make a model if the task has no corpus, or one with too long documents."""
    if not _pretrains(settings):
        return
    cfg = settings.pretrain
    count = min(cfg.examples, _CHECKED)
    corpus = prompter.task.corpus(settings.seed, count, cfg.hinted, cfg.easy)
    if not corpus:
        raise SettingsError(
            f"config.model.source = '': must name a pretrained model: task {prompter.task.name} "
            "has no corpus to make one from"
        )
    examples = packing.documents(prompter.tokenizer, corpus, cfg.shots)
    longest = max(len(document.tokens) for document in examples)
    if longest > cfg.length:
        raise SettingsError(
            f"config.pretrain.length = {cfg.length}: must be at least {longest}, to hold a "
            f"document of the corpus (pretrain.shots = {cfg.shots})"
        )


def _check(
    settings: Settings, model: ModelConfig, trained: Bucket, longest: int, shards: int
) -> None:
    """Refuses settings that do not fit the devices, the problems or the model."""
    sizes = {}
    if _pretrains(settings):
        sizes["pretrain.batch_size"] = settings.pretrain.batch_size
    lengths = {"model.context": (model.context, longest, "what is sampled")}
    if _packs(settings):
        least = trained.prompt_length + trained.max_new_tokens
        sizes["train.batch_size"] = settings.train.batch_size
        lengths["train.length"] = (settings.train.length, least, "a question and its completion")
    sizes["sampler.rows"] = settings.sampler.rows
    problems = [
        f"config.{name} = {size}: must be a multiple of the {shards} devices that share a batch "
        "(mesh.data x mesh.fsdp)"
        for name, size in sizes.items()
        if size % shards
    ]
    problems += [
        f"config.{name} = {length}: must be at least {least}, to hold {what}"
        for name, (length, least, what) in lengths.items()
        if length < least
    ]
    if problems:
        raise SettingsError("\n".join(problems))
