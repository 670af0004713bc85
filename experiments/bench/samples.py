"""Several samples a question: prompts read once, against a request for every sample.

    python -m experiments.bench.samples --model=MODEL --data=DATA [--questions=64] [--samples=8]
        [--rows=64] [--temperature=0.7] [--top-k=0] [--dtype=float32] [--repeats=3] [--json=FILE]

MODEL and DATA as in `workload`. GSM8K's questions stand behind the few-shot prompt, and completions
end as in a run. Both sides run the same compiled programs by turns and draw the same texts: one has
N requests of K samples, the other N x K requests. Seconds are from ids to ids, prefix included.
Peak memory is that of the process while a side runs (0 where the system does not tell).
"""

import argparse
import contextlib
import dataclasses
import pathlib
import re
import time
from collections.abc import Sequence

import jax
from rich.console import Console

from experiments.bench import compare, workload
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

SEED = (0, 1, 2)


@dataclasses.dataclass
class Told:
    """What a side's last run did.

    Attributes:
        prefilled: tokens of the prompts that were read.
        occupied: share of the slots' steps that wrote.
        peak_mib: peak memory of the process, in MiB; 0 where it is not known.
        rows: new ids by draw number.
    """

    prefilled: int = 0
    occupied: float = 0.0
    peak_mib: int = 0
    rows: dict[int, list[int]] = dataclasses.field(default_factory=dict)


class Sampled:
    """The programs of both sides, compiled.

    Attributes:
        questions: the work.
        samples: completions of a question.
    """

    def __init__(
        self,
        loaded: load.Loaded,
        questions: Questions,
        *,
        samples: int,
        rows: int,
        params: SamplingParams,
    ) -> None:
        """Compiles.

        Args:
            loaded: the model on its mesh.
            questions: the work.
            samples: completions of a question.
            rows: decoded at a time.
            params: how tokens are drawn.
        """
        self.questions, self.samples = questions, samples
        self._params, self._encoded = loaded.params, questions.encode()
        self._bucket = Bucket(questions.budget, round_up(max(map(len, self._encoded))), rows)
        pieces, vocab = questions.tokenizer.token_bytes(), loaded.config.vocab
        stop = make_stop_rule(questions.ends, questions.stop, pieces[:vocab], vocab)
        spec = SamplingSpec(
            (self._bucket,), stop, params, prefix_length=round_up(len(questions.prefix))
        )
        compiler, mesh = Compiler(), sharding.make_mesh(devices=jax.devices()[:1])
        self._programs = SamplingPrograms(compiler, loaded.config, mesh, spec)
        compiler.finish()

    def requests(self, together: bool) -> list[Request]:
        """N requests of K samples, or `together` is False and they are N x K requests."""
        budget, samples = self.questions.budget, range(self.samples)
        if together:
            return [Request(n, ids, budget, len(samples)) for n, ids in enumerate(self._encoded)]
        return [
            Request(scheduler.draw_number(n, sample), ids, budget)
            for n, ids in enumerate(self._encoded)
            for sample in samples
        ]

    def side(self, together: bool, told: Told) -> compare.Side:
        """A side of the comparison, which writes to `told`."""

        class Counting(DeviceSlots):
            """Slots that count the tokens they read."""

            def prefill(self, requests: Sequence[Request]) -> None:
                told.prefilled += sum(len(request.tokens) for request in requests)
                super().prefill(requests)

        def run() -> tuple[int, float]:
            programs, asked = self._programs, self.requests(together)
            told.prefilled, told.rows, usage = 0, {}, SlotUsage()
            forget_peak()
            begun = time.perf_counter()
            policy = programs.policy(programs.lay_out(self._params), self.questions.prefix)
            for chunk in scheduler.plan(asked, (self._bucket,), refills=self.samples * len(asked)):
                written, used = scheduler.run(chunk, Counting(programs, policy, SEED, self._bucket))
                usage.add(used)
                for one in written:
                    told.rows[scheduler.draw_number(one.number, one.sample)] = one.tokens
            seconds = time.perf_counter() - begun
            told.occupied, told.peak_mib = usage.busy / usage.steps, peak_mib()
            return sum(map(len, told.rows.values())), seconds

        return run


def forget_peak() -> None:
    """Begins to measure the peak memory of the process anew, where the system can do that."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> int:
    """The peak memory of the process since `forget_peak`, in MiB; 0 where it is not known."""
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) // 1024 if found else 0


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    workload.add_arguments(parser)
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--samples", type=int, default=8, help="of each question")
    parser.add_argument("--rows", type=int, default=64, help="decoded at a time")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-k", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    tokenizer = HuggingFaceTokenizer.open(given.model)
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    loaded = load.load(given.model, mesh, dtype=given.dtype)
    work = workload.questions(tokenizer, given.data, given.questions)
    params = SamplingParams(given.temperature, top_k=given.top_k)
    sampled = Sampled(loaded, work, samples=given.samples, rows=given.rows, params=params)
    title, apart = f"{given.questions} questions x {given.samples}", "a request for every sample"
    told = {"ours": Told(), apart: Told()}
    found = compare.compare(
        sampled.side(True, told["ours"]),
        {apart: sampled.side(False, told[apart])},
        repeats=given.repeats,
    )
    console = Console()
    compare.show(console, {title: found})
    for name, one in told.items():
        console.print(
            f"{name}: {one.prefilled} prompt tokens read, {100 * one.occupied:.1f} % of the slots "
            f"occupied, {one.peak_mib} MiB at most"
        )
    differing = sum(told["ours"].rows[number] != row for number, row in told[apart].rows.items())
    console.print(f"{differing} of {len(told[apart].rows)} texts differ")
    more = {
        name: {key: value for key, value in dataclasses.asdict(one).items() if key != "rows"}
        for name, one in told.items()
    }
    compare.write(given.json, {title: found}, more=more, differing=differing)


if __name__ == "__main__":
    main()
