"""Ranks completions by a verifier: the log-likelihood that it gives them.

The score of a completion is log p(completion, end | prompt), the sum over its tokens, as in V-STaR
(Hosseini et al., 2024). The prompt has neither hint nor few-shot examples. A completion that was
cut off is scored with an end too.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np
from etils import epath
from jax.sharding import Mesh
from numpy.typing import NDArray

from star_jax.config import schema
from star_jax.config.validation import SettingsError, differences
from star_jax.conversion import load
from star_jax.data import packing
from star_jax.data.packing import Example
from star_jax.data.prompts import Prompter
from star_jax.data.sample import Sample
from star_jax.data.tokenizer import HuggingFaceTokenizer, Tokenizer
from star_jax.models.attention import length_multiple
from star_jax.models.config import ModelConfig
from star_jax.models.params import Params
from star_jax.reporting import console
from star_jax.runtime import multihost, sharding
from star_jax.runtime.compile import Compiler
from star_jax.star.capacity import MULTIPLE, round_up
from star_jax.star.run import Run
from star_jax.storage import files, run_dir
from star_jax.tasks import Problem
from star_jax.training.scoring import OnBatch, ScorePrograms

SCORES = "scores.jsonl"  # beside evaluation.json: the score of every sample
SECTION = "verifier"  # of a verifier's config.json
_HOW = "make one with: python -m star_jax.verifier --run=RUN"


def example(prompter: Prompter, problem: Problem, completion: str, most: int) -> Example:
    """Returns a completion after its prompt, right or wrong; only its first `most` tokens."""
    before = prompter.prompt_ids(problem, hint=False)
    whole = packing.example(before, prompter.completion_ids(problem, False, completion))
    return Example(whole.tokens[:most], whole.weights[:most])


def score_programs(
    compiler: Compiler, model: ModelConfig, mesh: Mesh, cfg: schema.Train, longest: int
) -> ScorePrograms:
    """Adds the programs that score texts of at most `longest` tokens.

    A batch has as many sequences as a device trains on at a time.
    """
    length = packed_length(mesh, cfg, longest)
    rows = (cfg.micro_batch or cfg.batch_size) * sharding.batch_multiple(mesh)
    return ScorePrograms(compiler, model, mesh, batch_size=rows, length=length)


def packed_length(mesh: Mesh, cfg: schema.Train, longest: int) -> int:
    """Returns the tokens of a packed sequence that holds texts of at most `longest` tokens."""
    return round_up(max(cfg.length, longest), max(MULTIPLE, length_multiple(mesh)))


def log_likelihoods(
    programs: ScorePrograms,
    weights: Params,
    examples: Sequence[Example],
    on_batch: OnBatch | None = None,
) -> NDArray[np.float64]:
    """Returns the log-likelihood of each text after its prompt: float64 [examples], in nats.

    Raises:
        SettingsError: one is NaN or infinite.
    """
    parts = programs.score(weights, examples, on_batch=on_batch)
    sums = np.array([part.sum(dtype=np.float64) for part in parts])
    if not np.isfinite(sums).all():
        raise SettingsError(
            "a log-likelihood is NaN or infinite: the model's weights are damaged, or too large "
            "for config.model.dtype; take config.model.dtype='float32', or train again with a "
            "lower learning rate"
        )
    return sums


def check_folder(folder: str, samples: int) -> None:
    """Refuses to rank a single sample, and a folder without a verifier.

    Raises:
        SettingsError: the cases above; the message names the flag and the remedy.
    """
    if samples < 2:
        raise SettingsError(
            f"--verifier={folder}: ranks several completions of a question, and "
            f"--samples={samples} makes one; set --samples=16 --config.sampler.temperature=0.7"
        )
    path = epath.Path(folder).expanduser()
    config = path / "config.json"
    if not config.exists() or SECTION not in files.read_json(config):
        what = "holds a run, not a verifier" if config.exists() else "holds no verifier"
        raise SettingsError(f"--verifier={folder}: {what}; {_HOW}")
    if not any(each.name.isdigit() for each in run_dir.weights(path).glob("*")):
        raise SettingsError(
            f"--verifier={folder}: is not trained to its end; run the command that made it again"
        )


def check(run: Run, folder: str) -> None:
    """Refuses a verifier of another model or tokenizer than the one that is evaluated.

    Raises:
        SettingsError: they differ, or the verifier cannot be read.
    """
    source = str(pathlib.Path(folder).expanduser())
    remedy = f"{_HOW}, of a run that began with the model evaluated"
    try:
        model = load.check(source, run.mesh, dtype=run.settings.model.dtype)
        tokenizer = HuggingFaceTokenizer.open(source)
    except ValueError as error:
        raise SettingsError(f"--verifier={folder}: {error}") from error
    shapes = dataclasses.asdict(model), dataclasses.asdict(run.model)
    where = ("in the verifier", "in the model evaluated")
    if different := differences(*shapes, where=where):
        raise SettingsError(
            f"--verifier={folder}: has another shape than the model evaluated "
            f"({'; '.join(different)}); {remedy}"
        )
    if _ids(tokenizer) != _ids(run.tokenizer):
        raise SettingsError(
            f"--verifier={folder}: has another tokenizer than the model evaluated; {remedy}"
        )
    chat = files.read_json(epath.Path(source) / "config.json")["model"]["chat"]
    if chat != run.settings.model.chat:
        raise SettingsError(
            f"--verifier={folder}: was trained with config.model.chat={chat}; set the same here"
        )


def score(run: Run, folder: str, samples: Sequence[Sample]) -> list[float]:
    """Returns the verifier's score of every sample, and writes them to `SCORES`.

    Equal completions of a question have equal scores. Of a text longer than the model's context the
    part that fits is scored.

    Args:
        run: the evaluation; its compiler gets one more program.
        folder: folder of the verifier, checked.
        samples: graded samples.
    """
    keys = [(sample.id, sample.completion) for sample in samples]
    texts = {key: sample for key, sample in zip(keys, samples, strict=True)}
    examples = [
        example(run.prompter, sample.problem, sample.completion, run.model.context)
        for sample in texts.values()
    ]
    compiler = run.programs.compiler
    longest = max(len(one.tokens) for one in examples)
    programs = score_programs(compiler, run.model, run.mesh, run.settings.train, longest)
    compiler.start()
    source = str(pathlib.Path(folder).expanduser())
    weights = load.load(source, run.mesh, dtype=run.settings.model.dtype).params
    with console.progress(run.console, "verifier", len(examples)) as advance:
        found = log_likelihoods(programs, weights, examples, advance)
    of_text = dict(zip(texts, found.tolist(), strict=True))
    scores = [of_text[key] for key in keys]

    def write() -> None:
        lines = (
            json.dumps({"id": sample.id, "correct": sample.correct, "score": score}) + "\n"
            for sample, score in zip(samples, scores, strict=True)
        )
        files.write_atomic(run.folder / SCORES, "".join(lines))

    multihost.on_primary(write)
    return scores


def _ids(tokenizer: Tokenizer) -> tuple[list[bytes], tuple[int, ...], int | None]:
    return tokenizer.token_bytes(), tokenizer.eos_ids, tokenizer.bos_id
