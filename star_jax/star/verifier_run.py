"""What the training of a verifier works with: made from its settings and a run, in a folder."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from jax.sharding import Mesh
from numpy.typing import NDArray
from rich.console import Console

from star_jax.config.validation import SettingsError, differences, to_dict
from star_jax.conversion import load
from star_jax.data import pairs as preferences
from star_jax.data import tokenizer_loading
from star_jax.data.packing import Example
from star_jax.data.pairs import Pair, asked
from star_jax.data.prompts import Prompter
from star_jax.models.config import ModelConfig
from star_jax.runtime import multihost, sharding
from star_jax.star import ranking
from star_jax.star.past_run import PastRun
from star_jax.storage import files, run_dir, versions

PAIRS, HELD_OUT = "pairs.jsonl", "held_out.jsonl"
_CONFIG = "config.json"
_Key = tuple[tuple[str, ...], str]  # question, text


@dataclasses.dataclass(frozen=True)
class VerifierSettings:
    """What decides how a verifier is trained; the rest is as in the run's fine-tuning.

    Attributes:
        run: folder of the run.
        round: round whose model is the reference and the start; None: the best so far.
        beta: strength of DPO's pull towards the reference.
        learning_rate: Adam's highest; a cosine down from there. None: a tenth of the run's.
        steps: number of updates.
        batch_pairs: number of pairs in an update.
        pairs_per_question: most pairs of a question.
        held_out: share of the questions whose pairs are not trained on, but measured.
        rationalized: whether kept rationalizations may be chosen texts.
        seed: seed of the choice of pairs and of their order.
    """

    run: str
    round: int | None = None
    beta: float = 0.1
    learning_rate: float | None = None
    steps: int = 2000
    batch_pairs: int = 16
    pairs_per_question: int = 8
    held_out: float = 0.1
    rationalized: bool = True
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Texts:
    """Pairs as token ids; a text that is in several pairs is there once.

    Attributes:
        examples: the texts after their prompts.
        trained, held_out: indices of the chosen and the rejected text of each pair, int64 [n, 2].
    """

    examples: list[Example]
    trained: NDArray[np.int64]
    held_out: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class VerifierRun:
    """All that the training of a verifier works with, except the weights.

    Attributes:
        settings: settings, without any None.
        past: the run.
        folder: folder of the verifier.
        console: console for progress.
        model: configuration of the decoder.
        mesh: all devices.
        trained, held_out: pairs to train on, and to measure on.
        texts: the same as token ids.
    """

    settings: VerifierSettings
    past: PastRun
    folder: epath.Path
    console: Console
    model: ModelConfig
    mesh: Mesh
    trained: Sequence[Pair]
    held_out: Sequence[Pair]
    texts: Texts

    @property
    def source(self) -> str:
        """The source of the reference model's weights."""
        return self.past.source(self.settings.round or 0)

    def checkpoint_folder(self, round_: int) -> epath.Path:
        """Returns the folder of the checkpoints that training resumes from."""
        return run_dir.training(self.folder, round_)


def make(settings: VerifierSettings, folder: epath.Path, mesh_sizes: Sequence[int]) -> VerifierRun:
    """Reads the run, makes the pairs and opens the folder; compiles nothing.

    Args:
        settings: settings; those that are None are taken from the folder, or from the run.
        folder: folder of the verifier.
        mesh_sizes: sizes of the mesh axes; empty: those of the run.

    Raises:
        SettingsError: the run cannot be used, there are no pairs, or the folder is of another one.
        ValueError: the mesh, the tokenizer or the model cannot be made.
    """
    past = PastRun.open(settings.run)
    before = multihost.on_primary(lambda: _stored(folder))
    rounds = before["rounds"] if before else past.rounds
    settings = _resolved(settings, past, before)
    section = dataclasses.asdict(settings) | {"rounds": rounds}
    _check(folder, before, section)
    where = Console(quiet=not multihost.is_primary())
    config = past.settings
    own = (config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    mesh = _mesh(mesh_sizes or own)
    model = load.check(past.source(settings.round or 0), mesh, dtype=config.model.dtype)
    samples = [one for one in past.samples(rounds) if settings.rationalized or not one.hint]
    voted = config.labels.source == "majority"
    most = settings.pairs_per_question
    every = preferences.make_pairs(samples, most, settings.seed, voted=voted)
    prompter = past.prompter()
    encoded, fitting = _encode(prompter, every, model.context, where)
    if every and not fitting:
        raise SettingsError(
            f"--run={settings.run}: each of its {len(every)} pairs has a text of more than the "
            f"{model.context} tokens of the model's context; name a run with a lower "
            "config.sampler.max_new_tokens"
        )
    trained, held_out = preferences.split(fitting, settings.held_out, settings.seed)
    if not trained:
        raise SettingsError(
            f"--run={settings.run}: no question has both a right and a wrong completion to train "
            f"on, in {len(samples)} samples of {rounds} round(s); sample several a question "
            "(config.sampler.samples), run more rounds, or lower --held_out"
        )

    def open_folder() -> None:
        _open_folder(folder, section, past, started=bool(before))
        prompter.tokenizer.save(folder / tokenizer_loading.RUNS)
        for name, some in ((PAIRS, trained), (HELD_OUT, held_out)):
            preferences.write_pairs(folder / name, some, prompter.task, chat=prompter.chat)

    multihost.on_primary(open_folder)
    texts = _texts(encoded, trained, held_out)
    return VerifierRun(settings, past, folder, where, model, mesh, trained, held_out, texts)


def _mesh(sizes: Sequence[int]) -> Mesh:
    """Returns the mesh of these sizes; an error names the flag that sets them."""
    data, fsdp, tensor = sizes
    try:
        return sharding.make_mesh(data, fsdp, tensor)
    except ValueError as error:
        raise SettingsError(f"--mesh={data},{fsdp},{tensor}: {error}") from error


def _stored(folder: epath.Path) -> dict[str, Any]:
    """Returns the settings that the folder was begun with; {} for a new folder.

    Raises:
        SettingsError: the folder holds a run.
    """
    config = folder / _CONFIG
    found = files.read_json(config) if config.exists() else {ranking.SECTION: {}}
    if ranking.SECTION not in found:
        raise SettingsError(f"--workdir={folder}: holds a run; choose another --workdir")
    return found[ranking.SECTION]


def _resolved(
    settings: VerifierSettings, past: PastRun, before: dict[str, Any]
) -> VerifierSettings:
    """Returns the settings with the values that are None taken from the folder, or the run."""
    usual = {
        "round": past.best_round,
        "learning_rate": past.settings.train.learning_rate / 10,
    } | before
    unset = {
        name: usual[name] for name in ("round", "learning_rate") if getattr(settings, name) is None
    }
    return dataclasses.replace(settings, **unset)


def _check(folder: epath.Path, before: dict[str, Any], section: dict[str, Any]) -> None:
    """Refuses other settings than those that the folder was begun with."""
    if before and (different := differences(before, section)):
        raise SettingsError(
            f"--workdir={folder}: holds a verifier with other settings; choose another --workdir, "
            "delete it, or set these flags back:\n" + "\n".join(f"--{each}" for each in different)
        )


def _open_folder(
    folder: epath.Path, section: dict[str, Any], past: PastRun, *, started: bool
) -> None:
    """Writes config.json at the first start, and removes unfinished files."""
    versions.record(folder, started=started)
    if not started:
        # The model's section is where `run_checkpoint` reads the shape of the weights.
        config = {"model": to_dict(past.settings)["model"], ranking.SECTION: section}
        files.write_json(folder / _CONFIG, config)
    files.sweep(folder)


def _encode(
    prompter: Prompter, pairs: Sequence[Pair], most: int, where: Console
) -> tuple[dict[_Key, Example], list[Pair]]:
    """Returns the texts as token ids, and the pairs whose texts have at most `most` tokens."""
    texts: dict[_Key, Example] = {}
    fitting = []
    for pair in pairs:
        for key in _keys(pair):
            if key not in texts:
                texts[key] = ranking.example(prompter, pair.problem, key[1], most + 1)
        if max(len(texts[key].tokens) for key in _keys(pair)) <= most:
            fitting.append(pair)
    if len(fitting) < len(pairs):
        where.print(
            f"{len(pairs) - len(fitting)} of {len(pairs)} pairs have a text of more than the "
            f"{most} tokens of the model's context and are left out"
        )
    return texts, fitting


def _keys(pair: Pair) -> list[_Key]:
    """Returns what names the chosen and the rejected text of a pair."""
    return [(asked(pair.problem), text) for text in (pair.chosen, pair.rejected)]


def _texts(
    encoded: dict[_Key, Example], trained: Sequence[Pair], held_out: Sequence[Pair]
) -> Texts:
    used: dict[_Key, int] = {}

    def index(pairs: Sequence[Pair]) -> NDArray[np.int64]:
        rows = [[used.setdefault(key, len(used)) for key in _keys(pair)] for pair in pairs]
        return np.array(rows, np.int64).reshape(-1, 2)

    indices = [index(pairs) for pairs in (trained, held_out)]
    return Texts([encoded[key] for key in used], *indices)
