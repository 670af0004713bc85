"""The DPO update (Rafailov et al., 2023): a model learns to prefer the chosen of two texts.

    loss = -log sigmoid(beta ((log pi(c) - log ref(c)) - (log pi(r) - log ref(r)))), mean over pairs

Its gradient is a weighted sum of the gradients of both log-probabilities, so the cross-entropy of
packed texts computes it: the weight of a token of a chosen text is beta sigmoid(-margin), of a
rejected one the negative. The margins come from the same forward pass as the gradient.

Shapes: A micro-batches of P pairs each, B rows, T tokens.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from star_jax.data.packing import Packed
from star_jax.data.pair_batches import PairBatch, PairShape
from star_jax.models.abstract_params import abstract_params, graph
from star_jax.models.config import ModelConfig
from star_jax.models.loss import Sums, cross_entropy, token_log_probs
from star_jax.models.params import Params
from star_jax.models.transformer import Decoder
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler, Program, Signature
from star_jax.training.state import StarState, abstract_state, init_state
from star_jax.training.step import apply_gradients, sum_gradients, trained_hidden

Metrics = dict[str, jax.Array]

jax.tree_util.register_dataclass(
    PairBatch, data_fields=["packed", "sequences", "reference"], meta_fields=[]
)


@dataclasses.dataclass(frozen=True)
class DpoSpec:
    """What a DPO update is compiled for.

    Attributes:
        optimizer: gradient transformation, from `make_optimizer`.
        beta: strength of the pull towards the reference model.
        shape: shape of the batches.
        remat: True for gradient checkpointing, which takes less memory and more time.
    """

    optimizer: optax.GradientTransformation
    beta: float
    shape: PairShape
    remat: bool = False


def pair_loss(
    model: Decoder, batch: PairBatch, beta: float, *, remat: bool = False, mesh: Mesh | None = None
) -> tuple[jax.Array, Metrics]:
    """Returns a number with the gradient of the DPO loss, summed over pairs, and sums of metrics.

    The number itself is the weighted cross-entropy, not the loss.

    Args:
        model: decoder.
        batch: one micro-batch: packed and sequences [B, T], reference [P, 2].
        beta: strength of the pull towards the reference model.
        remat: True for gradient checkpointing (`step.token_loss`).
        mesh: devices that the program will run on (`step.token_loss`).

    Returns:
        The number, [], and sums over the pairs, each []: loss, reward_margin, reward_accuracy.
    """
    packed = batch.packed
    x = trained_hidden(model, packed, remat=remat, mesh=mesh)[:, :-1]
    targets, weights, sequences = (
        each[:, 1:] for each in (packed.tokens, packed.weights, batch.sequences)
    )
    head = jax.lax.stop_gradient(model.last)
    log_probs = token_log_probs(model.config, head, jax.lax.stop_gradient(x), targets, weights)
    # A sum over a mask instead of a scatter, whose order of summands GPUs do not fix.
    ids = jnp.arange(1, batch.reference.size + 1)
    of_text = jnp.where(sequences[..., None] == ids, (log_probs * weights)[..., None], 0.0)
    log_ratios = of_text.sum((0, 1)).reshape(batch.reference.shape) - batch.reference
    margins = beta * (log_ratios[:, 0] - log_ratios[:, 1])
    slopes = beta * jax.nn.sigmoid(-margins)
    of_id = jnp.stack([slopes, -slopes], axis=1).reshape(-1)
    signed = weights * jnp.pad(of_id, (1, 0))[sequences]
    number = cast(Sums, cross_entropy(model.config, model.last, x, targets, signed))[0]
    return number, {
        "loss": -jax.nn.log_sigmoid(margins).sum(),
        "reward_margin": margins.sum(),
        "reward_accuracy": (margins > 0).astype(jnp.float32).sum(),
    }


def update(
    modules: nnx.GraphDef,
    spec: DpoSpec,
    state: StarState,
    batch: PairBatch,
    learning_rate: jax.Array,
    *,
    mesh: Mesh | None = None,
) -> tuple[StarState, Metrics]:
    """Computes one optimizer step on a batch of pairs; pure.

    Args:
        modules: modules of the decoder without weights.
        spec: optimizer, beta and shapes.
        state: state of the learner.
        batch: the pairs, [A, ...]; the result does not depend on how they are cut to micro-batches.
        learning_rate: learning rate of this step, [].
        mesh: devices that the program will run on (`step.token_loss`).

    Returns:
        The new state and metrics: loss, reward_margin (beta times the difference of the
        log-ratios) and reward_accuracy (share of the pairs with a margin above 0), each the mean
        over pairs; gradient_norm (before clipping), tokens (padding not counted), learning_rate.
    """

    def loss_fn(params: Params, part: PairBatch) -> tuple[jax.Array, Metrics]:
        model = nnx.merge(modules, params)
        return pair_loss(model, part, spec.beta, remat=spec.remat, mesh=mesh)

    parts = batch if spec.shape.parts > 1 else jax.tree.map(lambda x: x[0], batch)
    names = ("loss", "reward_margin", "reward_accuracy")
    zeros: Metrics = {name: jnp.float32(0) for name in names}
    grads, _, sums = sum_gradients(loss_fn, state.params, parts, spec.shape.parts, zeros)
    pairs = spec.shape.parts * spec.shape.pairs
    grads = jax.tree.map(lambda g: g / pairs, grads)
    metrics = {name: value / pairs for name, value in sums.items()} | {
        "gradient_norm": optax.tree.norm(grads),
        "tokens": (batch.packed.segments > 0).sum(),
        "learning_rate": learning_rate,
    }
    return apply_gradients(spec.optimizer, state, grads, learning_rate), metrics


class DpoPrograms:
    """The programs that create a learner's state and update it on preference pairs.

    Attributes:
        spec: argument of the constructor.
        state: shapes, types and shardings of the learner's state.

    Args:
        compiler: compiler of the programs.
        config: configuration of the decoder.
        mesh: all devices.
        spec: optimizer, beta and shapes.
    """

    def __init__(self, compiler: Compiler, config: ModelConfig, mesh: Mesh, spec: DpoSpec) -> None:
        self.spec = spec
        self.state = abstract_state(config, mesh, spec.optimizer)
        self._compiler, self._mesh = compiler, mesh

        def begin(params: Params) -> StarState:
            return init_state(params, spec.optimizer)

        def begin_signature() -> Signature:
            return Signature((abstract_params(config, mesh),), self.state, donate=(0,))

        step = functools.partial(update, graph(config), spec, mesh=mesh)
        self._begin = compiler.add("begin dpo", begin, begin_signature)
        self._update: Program[[StarState, PairBatch, jax.Array], tuple[StarState, Metrics]] = (
            compiler.add("update dpo", step, self._update_signature)
        )

    def begin(self, params: Params) -> StarState:
        """Returns a state with weights `params`, donated, and a fresh optimizer."""
        return self._begin(params)

    def update(
        self, state: StarState, batch: PairBatch, learning_rate: float
    ) -> tuple[StarState, Callable[[], dict[str, float]]]:
        """Starts one optimizer step.

        Args:
            state: state of the learner; donated.
            batch: pairs, of the shape in `spec`.
            learning_rate: learning rate of this update.

        Returns:
            The new state, which the devices may still be computing, and a function that waits for
            the metrics and returns them as floats.
        """
        mesh = self._mesh
        on_devices = PairBatch(
            packed=sharding.device_put(mesh, batch.packed, None, "batch"),
            sequences=sharding.device_put(mesh, batch.sequences, None, "batch"),
            reference=sharding.device_put(mesh, batch.reference),
        )
        rate = sharding.device_put(mesh, np.float32(learning_rate))
        state, metrics = self._update.dispatch(state, on_devices, rate)

        def read() -> dict[str, float]:
            return {name: float(value) for name, value in self._compiler.wait(metrics).items()}

        return state, read

    def _update_signature(self) -> Signature:
        mesh, shape = self._mesh, self.spec.shape
        rows = (shape.parts, shape.rows, shape.length)
        ids = sharding.abstract(mesh, rows, np.int32, None, "batch")
        weights = sharding.abstract(mesh, rows, np.float32, None, "batch")
        packed = Packed(tokens=ids, segments=ids, positions=ids, weights=weights)
        reference = sharding.abstract(mesh, (shape.parts, shape.pairs, 2), np.float32)
        rate = sharding.abstract(mesh, (), np.float32)
        batch = PairBatch(packed=packed, sequences=ids, reference=reference)
        return Signature((self.state, batch, rate), (self.state, None), donate=(0,))
