"""Models small enough to test with, and a stand-in for a trained one."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import Mesh

from star_jax.data.packing import Example, Packed
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import Policy, SamplingPrograms
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.scheduler import Chunk, Completion, run
from star_jax.inference.slot_batch import DeviceSlots
from star_jax.inference.spec import SamplingSpec
from star_jax.inference.stop_rule import make_stop_rule
from star_jax.models import abstract_params, stacking
from star_jax.models.attention import Attend, Layer
from star_jax.models.config import ModelConfig, RopeScaling, for_mesh
from star_jax.models.params import Params, init_params
from star_jax.models.stacking import Carry
from star_jax.models.transformer import Decoder
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler
from star_jax.training.optimizer import make_optimizer
from star_jax.training.programs import InitProgram, UpdatePrograms
from star_jax.training.spec import UpdateSpec

END = 2  # end-of-text


def replace(config: ModelConfig, **changes: Any) -> ModelConfig:
    """The configuration with other fields, those of `compute` among them."""
    inner = {field.name for field in dataclasses.fields(config.compute)} & changes.keys()
    compute = dataclasses.replace(config.compute, **{name: changes.pop(name) for name in inner})
    return dataclasses.replace(config, compute=compute, **changes)


GREEDY = SamplingParams()
SMALL = ModelConfig(
    layers=2, width=16, heads=2, head_dim=8, hidden=24, rotary=4, vocab=32, context=256
)
EVERYTHING = ModelConfig(  # what GPT-J does not have, all at once
    layers=4, width=16, heads=4, kv_heads=2, head_dim=8, hidden=24, rotary=8, vocab=32, context=256,
    parallel=False, shared_norm=False, post_norms=True, norm="rms", norm_offset=1.0,
    activation="silu", gated=True, qkv_bias=True, out_bias=True, mlp_bias=True, head_bias=False,
    tied=True, qk_norm=True, rotary_pairs="halves", rotary_local_base=500.0,
    rope_scaling=RopeScaling("linear", 2.0), learned_positions=True, scale=0.3, attention_cap=5.0,
    logit_cap=10.0, windows=(3, 0, 5, 0), embedding_scale=4.0,
)  # fmt: skip
ONE_LAYER = replace(SMALL, layers=1)
BYTES = replace(ONE_LAYER, vocab=272)  # has room for the byte-level tokenizer

eight_devices = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs eight devices")


def optimizer() -> optax.GradientTransformation:
    return make_optimizer(clip=1.0)


UPDATE = UpdateSpec(optimizer(), batch_size=8, length=24, micro_batch=0)


def params(config: ModelConfig, seed: int = 0) -> Params:
    """Weights of which each matters: no bias is 0, no scale 1, and attention is strong and sharp."""
    draws = np.random.default_rng(seed)

    def fill(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        x = draws.normal(size=leaf.shape)
        if name.endswith("scale.value"):
            x = 1 + 0.3 * x
        elif "bias" in name:
            x = 0.3 * x
        elif "embedding" not in name:
            x *= 2 / np.sqrt(config.width)
        return jnp.asarray(x, leaf.dtype)

    shapes = nnx.eval_shape(lambda: init_params(config, jax.random.key(0)))
    return jax.tree_util.tree_map_with_path(fill, shapes)


@functools.cache
def graph(config: ModelConfig) -> nnx.GraphDef[Decoder]:
    """What turns weights into a Decoder again."""
    return abstract_params.graph(config)


def documents(sizes: Sequence[int], vocabulary: int, seed: int = 0) -> list[Example]:
    """Random documents of these lengths, weighted on random tokens but the first."""
    draws = np.random.default_rng(seed)
    found = []
    for size in sizes:
        weights = (draws.random(size) < 0.6).astype(np.float32)
        weights[0] = 0  # nothing comes before it
        found.append(Example(draws.integers(3, vocabulary, size).astype(np.int32), weights))
    return found


def batch(packed: Packed) -> Packed:
    arrays = (packed.tokens, packed.segments, packed.positions, packed.weights)
    return Packed(*map(jnp.asarray, arrays))


class Scripted:
    """Stands in for a Decoder: after a one-token prompt, row b writes script[b, 0], script[b, 1], ...

    Where the script says -1, all tokens are equally likely.
    """

    def __init__(self, script_BxN: jax.Array, vocab: int) -> None:
        self._script, self._vocab = script_BxN, vocab
        self.config, self.is_unstacked = replace(ONE_LAYER, heads=1, head_dim=1, rotary=0), False

    def decoder(self) -> Decoder:
        return cast(Decoder, self)

    def hidden(
        self,
        tokens_BxT: jax.Array,
        positions_BxT: jax.Array,
        attend: Attend,
        kept: Carry,
        given: Carry = (),
        layout: Any = None,
    ) -> tuple[jax.Array, Carry]:
        rows, length = tokens_BxT.shape
        nothing = jnp.zeros((rows, 1, length, 1))
        own = tuple(stacking.take(x, 0) for x in given)
        layer = Layer(0, window=0, scale=1.0, cap=0.0, given=own)
        return positions_BxT, attend(layer, nothing, nothing, nothing, kept)[1]

    def logits(self, x_BxT: jax.Array) -> jax.Array:
        token = jnp.take_along_axis(self._script, x_BxT, axis=1)
        return 50.0 * jax.nn.one_hot(token, self._vocab)


@dataclass(frozen=True)
class Programs:
    """The programs of a small run: weights are drawn, sampled from and trained."""

    compiler: Compiler
    params: Params
    init: InitProgram
    sampling: SamplingPrograms
    train: UpdatePrograms | None

    @property
    def update(self) -> UpdatePrograms:
        """Those of training, which this run has."""
        assert self.train is not None
        return self.train


def programs(
    mesh: Mesh,
    *,
    config: ModelConfig = BYTES,
    buckets: Sequence[Bucket] = (),
    prefix: int = 0,
    params: SamplingParams = GREEDY,
    spec: UpdateSpec | None = UPDATE,
    show: bool = False,
) -> Programs:
    """Of a model with the vocabulary of `BYTES`, not compiled yet."""
    tokenizer, compiler, config = ByteTokenizer(), Compiler(), for_mesh(config, mesh)
    stop = make_stop_rule(tokenizer.eos_ids, "", tokenizer.token_bytes(), config.vocab)
    sampling_spec = SamplingSpec(buckets, stop, params, prefix_length=prefix, bare=True)
    init = InitProgram(compiler, config, mesh)
    sampling = SamplingPrograms(compiler, config, mesh, sampling_spec)
    length = prefix if show else 0
    train = UpdatePrograms(compiler, config, mesh, spec, prefix_length=length) if spec else None
    weights = abstract_params.abstract_params(config, mesh)
    return Programs(compiler, weights, init, sampling, train)


def decode(
    programs: SamplingPrograms, policy: Policy, seed: tuple[int, int, int], chunk: Chunk
) -> list[Completion]:
    """The completions of a chunk."""
    return run(chunk, DeviceSlots(programs, policy, seed, chunk.bucket))[0]


def one_device() -> Mesh:
    return sharding.make_mesh(devices=jax.devices()[:1])
