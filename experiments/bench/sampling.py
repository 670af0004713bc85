"""Sampling: ours against transformers' `generate`, on GSM8K behind a few-shot prompt, greedily.

    python -m experiments.bench.sampling --model=MODEL --data=DATA [--kinds=natural,forced]
        [--dtype=float32] [--dtypes=float32,bfloat16] [--questions=256] [--trial=64] [--rows=64]
        [--repeats=3] [--peer=SETTING] [--json=FILE]

MODEL and DATA as in `workload`. Natural completions end as in a run, forced ones have 128 tokens
each. The peer's best setting is chosen first, on `--trial` questions, unless it is named, such as
"static cache, batch 32, float32"; then both have all questions, by turns. Seconds are from text to
text. Ours has compiled before that (`compile_seconds`). Where a text is not the peer's, its two
logits are told apart (`largest_margin`). The roofline is of one decoding step of `--rows`, in
float32: prompts are not in it, nor is attention. `--dtype` is ours, `--dtypes` are what the peer
may choose from. On a CPU that has no products of bfloat16 (see lscpu) torch takes 7 times as long
for them: --dtypes=float32.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Sequence

import jax
from rich.console import Console

from experiments.bench import compare, peer_sampling, workload
from experiments.bench.compare import Side
from experiments.bench.peer_sampling import Peer, Setting
from experiments.bench.roofline import Products
from experiments.bench.workload import Questions
from star_jax.conversion import load
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.inference import scheduler
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import SamplingPrograms
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.scheduler import Request, SlotUsage
from star_jax.inference.slot_batch import DeviceSlots
from star_jax.inference.spec import SamplingSpec
from star_jax.inference.stop_rule import make_stop_rule
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler
from star_jax.star.capacity import round_up


class Ours:
    """Our side, compiled.

    Attributes:
        compile_seconds: which that took.
        rows: what was written last: new ids of each question.
        slots_occupied: share of the slots' steps that wrote for a question.
    """

    def __init__(self, loaded: load.Loaded, questions: Questions, rows: int) -> None:
        """Compiles.

        Args:
            loaded: the model on its mesh.
            questions: the work.
            rows: decoded at a time.
        """
        self._params, self._questions = loaded.params, questions
        longest = max(map(len, questions.encode()))
        self._bucket = Bucket(questions.budget, round_up(longest), rows)
        pieces, vocab = questions.tokenizer.token_bytes(), loaded.config.vocab
        spec = SamplingSpec(
            (self._bucket,),
            make_stop_rule(questions.ends, questions.stop, pieces[:vocab], vocab),
            SamplingParams(),
            prefix_length=round_up(len(questions.prefix)),
        )
        compiler, mesh = Compiler(), sharding.make_mesh(devices=jax.devices()[:1])
        self._programs = SamplingPrograms(compiler, loaded.config, mesh, spec)
        self._usage = SlotUsage()
        begun = time.perf_counter()
        compiler.finish()
        self.compile_seconds = time.perf_counter() - begun
        self.rows: list[list[int]] = []

    def run(self) -> tuple[int, float]:
        """Answers all questions; a side of the comparison."""
        begun = time.perf_counter()
        questions, programs = self._questions, self._programs
        asked = [Request(i, row, questions.budget) for i, row in enumerate(questions.encode())]
        policy = programs.policy(programs.lay_out(self._params), questions.prefix)
        slots = DeviceSlots(programs, policy, (0, 0, 0), self._bucket)
        [chunk] = scheduler.plan(asked, (self._bucket,), refills=len(asked))
        written, usage = scheduler.run(chunk, slots)
        self._usage.add(usage)
        self.rows = [one.tokens for one in sorted(written, key=lambda one: one.number)]
        for tokens in self.rows:
            questions.tokenizer.decode(tokens)
        return sum(map(len, self.rows)), time.perf_counter() - begun

    @property
    def slots_occupied(self) -> float:
        """Of all runs so far."""
        return self._usage.busy / self._usage.steps


def best(folder: pathlib.Path, questions: Questions, settings: Sequence[Setting]) -> Setting:
    """The peer's fastest setting on these questions; of a single one nothing is tried."""
    if len(settings) == 1:
        return settings[0]

    def rate(setting: Setting) -> float:
        sampled = Peer(folder, setting).run(questions)
        print(f"trial, {setting}: {sampled.tokens} tokens in {sampled.seconds:.1f} s", flush=True)
        return sampled.tokens / sampled.seconds

    return max(settings, key=rate)


def peer(opened: Peer, questions: Questions) -> Side:
    """The peer's side."""

    def side() -> tuple[int, float]:
        sampled = opened.run(questions)
        return sampled.tokens, sampled.seconds

    return side


def differing(peer: Peer, questions: Questions, ours: list[list[int]]) -> list[float]:
    """Of each question that the peer has answered otherwise, how far its two logits are apart."""
    return [
        peer.margin(questions, number, one, other)
        for number, (one, other) in enumerate(zip(ours, peer.rows, strict=True))
        if one != other
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    workload.add_arguments(parser)
    parser.add_argument("--kinds", default="natural,forced")
    parser.add_argument("--dtypes", default="float32,bfloat16", help="of the peer")
    parser.add_argument("--questions", type=int, default=workload.QUESTIONS)
    parser.add_argument("--trial", type=int, default=64)
    parser.add_argument("--rows", type=int, default=64, help="of ours, at a time")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer", choices=[str(one) for one in peer_sampling.SETTINGS])
    given = parser.parse_args(arguments)
    tokenizer = HuggingFaceTokenizer.open(given.model)
    loaded = load.load(
        given.model, sharding.make_mesh(devices=jax.devices()[:1]), dtype=given.dtype
    )
    dtypes = given.dtypes.split(",")
    settings = [
        setting
        for setting in peer_sampling.SETTINGS
        if (str(setting) == given.peer if given.peer else setting.dtype in dtypes)
    ]
    found, more = {}, {}
    roofline = Products(loaded.config).measure(given.rows).tokens_per_second
    with tempfile.TemporaryDirectory() as folder:
        exported = workload.export(given.model, pathlib.Path(folder) / "model")
        for kind in given.kinds.split(","):
            work = workload.questions(
                tokenizer, given.data, given.questions, forced=kind == "forced"
            )
            few = dataclasses.replace(work, problems=work.problems[: given.trial])
            setting = best(exported, few, settings)
            mine, theirs = Ours(loaded, work, given.rows), Peer(exported, setting)
            found[kind] = compare.compare(
                mine.run,
                {str(setting): peer(theirs, work)},
                repeats=given.repeats,
                roofline=roofline,
            )
            margins = differing(theirs, work, mine.rows)
            finite = [margin for margin in margins if margin < float("inf")]
            more[kind] = {
                "compile_seconds": mine.compile_seconds,
                "slots_occupied": mine.slots_occupied,
                "texts": len(work.problems),
                "differing": len(margins),
                "ended_otherwise": len(margins) - len(finite),
                "largest_margin": max(finite, default=0.0),
            }
    console = Console()
    compare.show(console, found)
    for kind, told in more.items():
        console.print(
            f"{kind}: {100 * told['slots_occupied']:.1f} % of the slots occupied, "
            f"{told['differing']} of {told['texts']} texts are not the peer's "
            f"({told['ended_otherwise']} end elsewhere, of the others logits are "
            f"{told['largest_margin']:.1e} apart at most)"
        )
    compare.write(given.json, found, more=more)


if __name__ == "__main__":
    main()
