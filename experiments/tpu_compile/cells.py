"""One cell: a model, a topology, a program, compiled for devices that are not there."""

import dataclasses
import math
import os
import re
import time
from collections.abc import Sequence
from typing import Any

# Before jax starts: nothing of a TPU is here, and nothing asks the network for one.
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}
os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # its lock is for those who use a TPU
os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from experiments.tpu_compile import hlo
from experiments.tpu_compile.chips import DEVICES, OPTIONS, Device
from star_jax.inference import abstract, buckets, decode
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import SamplingPrograms
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.spec import SamplingSpec
from star_jax.inference.stop_rule import make_stop_rule
from star_jax.models.abstract_params import abstract_params
from star_jax.models.config import ModelConfig, RopeScaling, for_mesh
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler, Signature, lower
from star_jax.star.fused_programs import FusedPrograms, FusedSpec
from star_jax.tasks.answer_rule import AnswerRule
from star_jax.training.optimizer import make_optimizer
from star_jax.training.programs import UpdatePrograms
from star_jax.training.spec import UpdateSpec

LLAMA = ModelConfig(
    layers=32, width=4096, heads=32, kv_heads=8, head_dim=128, hidden=14336, rotary=128,
    vocab=128256, context=8192, parallel=False, shared_norm=False, norm="rms", activation="silu",
    gated=True, mlp_bias=False, head_bias=False, rotary_pairs="halves", rotary_base=500000.0,
    rope_scaling=RopeScaling("llama3", 8.0),
)  # fmt: skip
MODELS: dict[str, ModelConfig] = {
    "gpt-j-6b": ModelConfig(
        layers=28, width=4096, heads=16, head_dim=256, hidden=16384, rotary=64, vocab=50400,
        context=2048,
    ),
    "llama-3.1-8b": LLAMA,
    "llama-3.1-70b": dataclasses.replace(LLAMA, layers=80, width=8192, heads=64, hidden=28672),
    "tiny": ModelConfig(
        layers=2, width=256, heads=4, head_dim=64, hidden=512, rotary=32, vocab=512, context=2048
    ),
}  # fmt: skip
TOKEN_BYTES = 16  # longest token of the byte table, which is a constant of the program


@dataclasses.dataclass(frozen=True)
class Work:
    """The shapes of a run; the defaults are the paper's.

    Attributes:
        prefix: places of the few-shot prompt.
        prompt: places of a question.
        budget: new tokens.
        rows: questions decoded at a time.
        questions: of a fused step.
        batch: packed sequences an update.
        length: tokens of a packed sequence.
        micro: most sequences a device trains on at a time; the fused step takes all at once.
        remat: as `config.train.remat`.
        fsdp, tensor: the mesh; "data" takes the rest.
    """

    prefix: int = 1024
    prompt: int = 256
    budget: int = 256
    rows: int = 64
    questions: int = 32
    batch: int = 8
    length: int = 1536
    micro: int = 8
    remat: str = "blocks"
    fsdp: int = 1
    tensor: int = 8


# Whose text cannot be read -> whose work is taken for theirs.
ALIKE = {"v6e:2x4": "v5e:2x4"}
# The table's columns: how each model lies on each topology, for all of its programs.
CELLS: dict[tuple[str, str], Work] = {
    ("gpt-j-6b", "v3:2x2"): Work(questions=24),
    ("gpt-j-6b", "v4:2x2x1"): Work(tensor=4),
    ("gpt-j-6b", "v5e:2x4"): Work(),
    ("gpt-j-6b", "v6e:2x4"): Work(),
    ("gpt-j-6b", "tpu7x:2x2x1"): Work(),
    ("llama-3.1-8b", "v5e:4x4"): Work(fsdp=2),
    ("llama-3.1-70b", "v5p:8x8x8"): Work(rows=512, questions=512, batch=64, fsdp=64),
    ("tiny", "v5e:2x4"): Work(
        prefix=64,
        prompt=32,
        budget=80,
        rows=16,
        questions=16,
        batch=8,
        length=256,
        fsdp=2,
        tensor=4,
    ),
}


PROGRAMS = ("decode", "advance", "train", "star_step")


def devices(topology: str) -> list[Any]:
    """Those of a topology such as "v5e:2x4"; a v4 chip is one device (megacore).

    Raises:
        ValueError: libtpu is not installed, or knows no such topology.
    """
    options = OPTIONS.get(topology.partition(":")[0], {})
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
    except Exception as error:  # whatever jax raises where the library is missing
        raise ValueError(
            f"no devices of {topology}: is libtpu installed (pip install libtpu)? {error}"
        ) from error
    return list(found.devices)


def lower_program(model: str, mesh: Mesh, work: Work, program: str = "decode") -> tuple[Any, Any]:
    """Lowers one of `PROGRAMS` as a run would, without text; also gives its weights' shapes.

    The fused step is one of a run in that mode, on `work.questions`.
    """
    rows = work.questions if program == "star_step" else work.rows
    bucket = Bucket(work.budget, work.prompt, rows)
    config = for_mesh(MODELS[model], mesh, dtype="bfloat16")
    pieces = [b"a" * TOKEN_BYTES] * config.tokens
    stop = make_stop_rule([len(pieces) - 1], "\n\n", pieces, config.vocab)
    spec = SamplingSpec([bucket], stop, SamplingParams(), prefix_length=work.prefix)
    compiler = Compiler()
    sampling = SamplingPrograms(compiler, config, mesh, spec)
    if program == "decode":
        return _lower_decode(sampling, work), sampling.weights
    if program == "advance":
        pages = buckets.page_ring(work.budget).pages
        return sampling.advance[bucket, pages, True].lower(), sampling.weights
    optimizer, remat = make_optimizer(clip=1.0), "blocks" if work.remat == "blocks" else "none"
    if program == "train":
        update = UpdateSpec(optimizer, work.batch, work.length, work.micro, remat)
        UpdatePrograms(compiler, config, mesh, update)
    else:
        update = UpdateSpec(optimizer, rows, work.prompt + work.budget + 1, 0, remat)
        rule = AnswerRule("number first", "#### ", first=True)
        FusedPrograms(compiler, sampling, update, FusedSpec(bucket, 16, rule, eos=0))
    return compiler.programs[-1].lower(), abstract_params(config, mesh)


def compile_cell(model: str, topology: str, program: str, work: Work) -> dict[str, Any]:
    """Lowers, compiles and reads what the compiler says; see the package for every field."""
    there = devices(topology)
    grid = sharding.make_mesh(-1, work.fsdp, work.tensor, devices=there)
    device = DEVICES[there[0].device_kind, there[0].num_cores]
    cell: dict[str, Any] = {"model": model, "topology": topology, "program": program}
    cell |= {"devices": len(there), "device_kind": there[0].device_kind}
    cell |= {"work": dataclasses.asdict(work), "hbm_per_device": device.hbm_bytes}
    lowered, weights = lower_program(model, grid, work, program)
    cell["weight_bytes"] = weight_bytes(weights)
    begun = time.perf_counter()
    try:
        compiled = lowered.compile()
    except Exception as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        took = time.perf_counter() - begun
        return cell | {"compile_seconds": took, "fits": False} | refusal(str(error))
    cell["compile_seconds"] = time.perf_counter() - begun
    ring = buckets.page_ring(work.budget)
    trips = [
        min(ring.page_length, work.budget - 1 - n * ring.page_length) for n in range(ring.pages)
    ]
    trips = {"decode": trips, "advance": trips[:1], "train": [], "star_step": 2 * trips}[program]
    cell |= fitting(compiled, device)
    try:
        cell |= counted(compiled, device, trips)
    except jax.errors.JaxRuntimeError as error:  # jaxlib cannot read what a newer libtpu writes
        return cell | {"error": f"no text of the program: {str(error).splitlines()[0]}"}
    return cell | speed(program, work, cell["seconds"], len(there))


def borrowed(cell: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A cell whose text cannot be read, with the work counted in that of another topology.

    The rates are the cell's own; what its compiler does otherwise is not in it.

    Raises:
        ValueError: they have not the same work on as many devices.
    """
    for field in ("model", "program", "work", "devices"):
        if cell[field] != other[field]:
            raise ValueError(f"{field} is {cell[field]} here and {other[field]} there")
    loops = [hlo.Region(**loop) for loop in other["loops"]]
    fields = {"flops": "flops", "hbm_bytes": "bytes_accessed", "wire_bytes": "wire_bytes"}
    rest = {
        name: other[key] - sum(loop.trips * getattr(loop, name) for loop in loops)
        for name, key in fields.items()
    }
    entry = hlo.Region(trips=1, collective_bytes={}, **rest)
    [device] = (found for (kind, _), found in DEVICES.items() if kind == cell["device_kind"])
    seconds = sum(region.trips * roofline(region, device) for region in (entry, *loops))
    found = {name: other[name] for name in (*fields.values(), "collective_bytes")}
    found["counted_in"] = other["topology"]
    found |= {"seconds": seconds, "bound": bound((entry, *loops), device)}
    return cell | found | speed(cell["program"], Work(**cell["work"]), seconds, cell["devices"])


def _lower_decode(sampling: SamplingPrograms, work: Work) -> Any:
    """What all slots do if they begin at once, after a few-shot prompt that has been read."""

    def run(weights: Any, prompts: Any, prefix: Any) -> Any:
        return decode.decode(
            sampling.model(weights),
            prompts,
            prefix,
            max_new_tokens=work.budget,
            stop=sampling.spec.stop,
            selection=sampling.spec.params,
            layout=sampling.layout(work.rows),
        )

    prompts = abstract.prompts(sampling.mesh, work.rows, work.prompt)
    arguments = (sampling.weights, prompts, sampling.abstract_prefix())
    return lower(run, Signature(arguments))


def weight_bytes(weights: Any) -> int:
    """Bytes a device of one copy of the weights, of which these are the shapes."""
    leaves = jax.tree.leaves(weights)
    return sum(x.dtype.itemsize * math.prod(x.sharding.shard_shape(x.shape)) for x in leaves)


def refusal(message: str) -> dict[str, Any]:
    """What the compiler says when it does not fit: "Used 20.1G of 15.75G hbm"."""
    found = re.search(r"[Uu]sed ([\d.]+)([MGT]) of ([\d.]+)([MGT]) hbm", message)
    if found is None:
        return {"error": message[:400]}
    units = {"M": 2.0**20, "G": 2.0**30, "T": 2.0**40}
    return {"bytes_per_device": float(found[1]) * units[found[2]], "error": found[0]}


def fitting(compiled: Any, device: Device) -> dict[str, Any]:
    """Memory of a compiled program, and the compiler's own estimate of its time."""
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    data = (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
    code = memory.generated_code_size_in_bytes
    return {
        "bytes_per_device": data,
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "code_bytes": code,
        "fits": data + code <= device.hbm_bytes,
        "optimal_seconds": cost.get("optimal_seconds"),
    }


def counted(compiled: Any, device: Device, trips: Sequence[int]) -> dict[str, Any]:
    """Work and the roofline's seconds of one call of a compiled program."""
    cost, text = compiled.cost_analysis(), compiled.as_text()
    found = hlo.regions(text, trips)
    kinds = sorted({kind for region in found for kind in region.collective_bytes})
    return {
        "flops": total(found, lambda region: region.flops),
        "bytes_accessed": total(found, lambda region: region.hbm_bytes),
        "collective_bytes": {
            kind: total(found, lambda region, kind=kind: region.collective_bytes.get(kind, 0))
            for kind in kinds
        },
        "wire_bytes": total(found, lambda region: region.wire_bytes),
        "seconds": sum(region.trips * roofline(region, device) for region in found),
        "bound": bound(found, device),
        "loops": [dataclasses.asdict(region) for region in found[1:]],
        "copied_in_loops": hlo.copied(text),
        "once": {
            "flops": sum(region.flops for region in found),
            "flops_of_compiler": cost.get("flops"),
            "bytes_accessed": sum(region.hbm_bytes for region in found),
            "bytes_accessed_of_compiler": cost.get("bytes accessed"),
        },
    }


def total(regions: Sequence[hlo.Region], of: Any) -> float:
    """Over all passes of all loops."""
    return sum(region.trips * of(region) for region in regions)


def times(region: hlo.Region, device: Device) -> dict[str, float]:
    """Seconds of one pass, were only one of the three to be waited for."""
    return {
        "compute": region.flops / device.flops,
        "memory": region.hbm_bytes / device.hbm_bandwidth,
        "links": region.wire_bytes / device.ring_bandwidth,
    }


def roofline(region: hlo.Region, device: Device) -> float:
    """Seconds of one pass at best: the slowest of the three, the others hidden behind it."""
    return max(times(region, device).values())


def bound(regions: Sequence[hlo.Region], device: Device) -> str:
    """What most of the time is spent on."""
    spent: dict[str, float] = dict.fromkeys(("compute", "memory", "links"), 0.0)
    for region in regions:
        each = times(region, device)
        slowest = max(each, key=lambda name: each[name])
        spent[slowest] += region.trips * each[slowest]
    return max(spent, key=lambda name: spent[name])


def speed(program: str, work: Work, seconds: float, count: int) -> dict[str, float]:
    """What one call gives: tokens a second of all devices, and of one."""
    tokens = {
        "decode": work.rows * work.budget,
        "advance": work.rows * buckets.page_ring(work.budget).page_length,
        "train": work.batch * work.length,
        "star_step": 2 * work.questions * work.budget,
    }[program]
    return {
        "tokens_per_second": tokens / seconds,
        "tokens_per_second_device": tokens / seconds / count,
    }


def round_minutes(work: Work, decode_seconds: float, train_seconds: float) -> float:
    """A round of GSM8K: its 7,473 questions, all tried twice (with the hint), and 40 updates."""
    chunks = 2 * math.ceil(7473 / work.rows)
    return (chunks * decode_seconds + 40 * train_seconds) / 60
