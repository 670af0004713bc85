"""What the work of a cell takes at least, whatever the program: to see what its program adds."""

from typing import Any

import jax

from experiments.tpu_compile.cells import MODELS, Work
from star_jax.inference.buckets import page_ring
from star_jax.models.abstract_params import abstract_params
from star_jax.models.params import count_params
from star_jax.runtime import sharding

_BYTES = 2  # of a weight, a key or a value in bfloat16


def times_least(cell: dict[str, Any]) -> float | None:
    """How many times the least a cell's work is; None for a fused step, or if it is not counted.

    A decode's bytes are measured by the weights, the few-shot prompt's cache and the filled part of
    the rows' own, each read once for every new token. The reading of the prompts is in its bytes.
    So are those of slots that go on for a block of the ring (advance), with all blocks full.
    An update's FLOPs are measured by 6 for each weight and token; attention is in neither.
    """
    if "flops" not in cell or cell["program"] == "star_step":
        return None
    work, config = Work(**cell["work"]), MODELS[cell["model"]]
    if cell["program"] == "train":
        alone = sharding.make_mesh(devices=jax.devices()[:1])
        count = count_params(abstract_params(config, alone))
        tokens = work.batch * work.length
        return cell["flops"] * cell["devices"] / (6 * count * tokens)
    heads = config.key_heads / work.tensor
    token = 2 * _BYTES * config.layers * heads * config.head_dim
    rows = work.rows * work.tensor / cell["devices"]
    whole = cell["program"] == "advance"
    steps, own = (
        (page_ring(work.budget).page_length, work.budget)
        if whole
        else (work.budget, work.budget / 2)
    )
    filled = work.prefix + rows * (work.prompt + own)
    return cell["bytes_accessed"] / (steps * (cell["weight_bytes"] + token * filled))
