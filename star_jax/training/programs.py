"""The compiled programs of training."""

import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from star_jax.data.packing import Packed
from star_jax.models import prefix_tokens
from star_jax.models.abstract_params import abstract_params, graph
from star_jax.models.config import ModelConfig
from star_jax.models.params import Params, init_params
from star_jax.models.prefix_tokens import PrefixTokens
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler, Program, Signature
from star_jax.training.spec import UpdateSpec
from star_jax.training.state import StarState, abstract_state, init_state
from star_jax.training.step import update

Metrics = dict[str, jax.Array]
# (state, batch, learning rate, few-shot prompt) -> (state, metrics)
Update = Callable[[StarState, Packed, jax.Array, PrefixTokens | None], tuple[StarState, Metrics]]


class InitProgram:
    """Draws the weights of a new model.

    Args:
        compiler: compiler of the program.
        config: configuration of the decoder.
        mesh: all devices.
    """

    def __init__(self, compiler: Compiler, config: ModelConfig, mesh: Mesh) -> None:
        self._mesh = mesh

        def init(seed: jax.Array) -> Params:
            return init_params(config, jax.random.key(seed))

        def signature() -> Signature:
            seed = sharding.abstract(mesh, (), np.uint32)
            return Signature((seed,), abstract_params(config, mesh))

        self._init = compiler.add("init", init, signature)

    def __call__(self, seed: int) -> Params:
        """Draws the weights from a seed."""
        return self._init(sharding.device_put(self._mesh, np.uint32(seed)))


class UpdatePrograms:
    """The programs that create a learner's state and update it on packed sequences.

    Attributes:
        config, spec: arguments of the constructor.
        state: shapes, types and shardings of the learner's state.

    Args:
        compiler: compiler of the programs.
        config: configuration of the decoder.
        mesh: all devices.
        spec: optimizer and shapes of the update.
        name: name of this kind of update in the programs' names.
        prefix_length: most tokens of the few-shot prompt that examples follow; 0: there is none.
    """

    def __init__(
        self,
        compiler: Compiler,
        config: ModelConfig,
        mesh: Mesh,
        spec: UpdateSpec,
        *,
        name: str = "train",
        prefix_length: int = 0,
    ) -> None:
        self.config, self.spec = config, spec
        self.state = abstract_state(config, mesh, spec.optimizer)
        self._compiler, self._mesh, self._prefix_length = compiler, mesh, prefix_length

        def begin(params: Params) -> StarState:
            return init_state(params, spec.optimizer)

        def begin_signature() -> Signature:
            return Signature((abstract_params(config, mesh),), self.state, donate=(0,))

        self._begin = compiler.add(f"begin {name}", begin, begin_signature)
        self._update: Program[
            [StarState, Packed, jax.Array, PrefixTokens | None], tuple[StarState, Metrics]
        ] = compiler.add(f"update {name}", make_update(config, mesh, spec), self._update_signature)

    def begin(self, params: Params) -> StarState:
        """Returns a state with weights `params`, donated, and a fresh optimizer."""
        return self._begin(params)

    def update(
        self, state: StarState, batch: Packed, learning_rate: float, few_shot: Sequence[int] = ()
    ) -> tuple[StarState, Callable[[], dict[str, float]]]:
        """Starts one optimizer step.

        Args:
            state: state of the learner; donated.
            batch: packed sequences, of the shape in `spec`.
            learning_rate: learning rate of this update.
            few_shot: token ids of the few-shot prompt that every example follows.

        Returns:
            The new state, which the devices may still be computing, and a function that waits for
            the metrics and returns them as floats.
        """
        rows = sharding.device_put(self._mesh, batch, "batch")
        rate = sharding.device_put(self._mesh, np.float32(learning_rate))
        prefix = None
        if self._prefix_length:
            prefix = prefix_tokens.device_put(self._mesh, few_shot, self._prefix_length)
        state, metrics = self._update.dispatch(state, rows, rate, prefix)

        def read() -> dict[str, float]:
            return {name: float(value) for name, value in self._compiler.wait(metrics).items()}

        return state, read

    def _update_signature(self) -> Signature:
        mesh, shape = self._mesh, (self.spec.batch_size, self.spec.length)
        ids = sharding.abstract(mesh, shape, np.int32, "batch")
        weights = sharding.abstract(mesh, shape, np.float32, "batch")
        batch = Packed(tokens=ids, segments=ids, positions=ids, weights=weights)
        rate, prefix = sharding.abstract(mesh, (), np.float32), None
        if self._prefix_length:
            prefix = prefix_tokens.abstract(mesh, self._prefix_length)
        return Signature((self.state, batch, rate, prefix), (self.state, None), donate=(0,))


def make_update(config: ModelConfig, mesh: Mesh, spec: UpdateSpec) -> Update:
    """Returns `step.update` with its static arguments bound."""
    return functools.partial(
        update,
        graph(config),
        spec.optimizer,
        spec.accumulation(sharding.batch_multiple(mesh)),
        remat=spec.remat == "blocks",
        mesh=mesh,
    )
