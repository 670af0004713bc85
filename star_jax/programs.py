"""Every program that runs on devices: the one place where pure functions meet `jax.jit`.

All are compiled ahead, from shapes alone, before the first round; afterwards nothing is. Calls are
timed, so that a run can say which share of its time was not spent on the devices.
"""

import concurrent.futures
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from numpy.typing import NDArray

from star_jax import mesh as mesh_lib
from star_jax import state as state_lib
from star_jax import train
from star_jax.model import cache as kv
from star_jax.model.abstract import abstract_params
from star_jax.model.config import ModelConfig
from star_jax.packing import Packed
from star_jax.sampler.decode import Generated, Prompts, Stop, decode
from star_jax.sampler.engine import Shape
from star_jax.sampler.select import Selection
from star_jax.state import Params, StarState


@dataclasses.dataclass(frozen=True)
class Learning:
    """One kind of update: its optimizer and the shape of its batches.

    Attributes:
        optimizer: as `train.make_optimizer` gives it.
        batch_size: packed sequences an update.
        length: tokens a packed sequence.
        micro_batch: most sequences a device works on at a time; more are accumulated. 0: no limit.
        remat: "none", or "blocks" to compute each block a second time for the gradient instead of
            keeping what is in it.
    """

    optimizer: optax.GradientTransformation
    batch_size: int
    length: int
    micro_batch: int
    remat: Literal["none", "blocks"] = "none"


class Programs:
    """The compiled programs of a run.

    Args:
        config: of the decoder.
        mesh: all devices.
        stop, selection: how sampling ends and draws.
        shapes: of the sampling programs.
        prefix: places of the few-shot prompt; 0 for runs that have none.
        learning: kinds of update by name, such as "pretrain" and "train".
        fresh: whether weights are drawn, for a model made here.
    """

    def __init__(
        self,
        config: ModelConfig,
        mesh: Mesh,
        *,
        stop: Stop,
        selection: Selection,
        shapes: Sequence[Shape],
        prefix: int,
        learning: dict[str, Learning],
        fresh: bool = True,
    ) -> None:
        self.mesh = mesh
        self.graph = state_lib.graph(config)
        self.params = abstract_params(config, mesh)
        self.states = {
            name: state_lib.abstract_state(config, mesh, kind.optimizer)
            for name, kind in learning.items()
        }
        self.device_seconds = 0.0
        self._config, self._learning, self._prefix = config, learning, prefix
        self._lowered: dict[Any, Callable[[], Any]] = {"init": self._lower_init} if fresh else {}
        for name in learning:
            self._lowered["begin", name] = functools.partial(self._lower_begin, name)
            self._lowered["update", name] = functools.partial(self._lower_update, name)
        if prefix:
            self._lowered["prefix"] = self._lower_prefix
        for shape in shapes:
            for shared in (False, True)[: 2 if prefix else 1]:
                self._lowered["sample", shape, shared] = functools.partial(
                    self._lower_sample, shape, shared, stop, selection
                )
        self._compiled: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self._lowered)

    def lower(self, name: Any) -> Any:
        """One program, lowered for the devices of the mesh; compiling it is the caller's.

        Args:
            name: "init", "prefix", ("begin", kind), ("update", kind) or ("sample", shape, whether
                there is a few-shot prompt).
        """
        return self._lowered[name]()

    def compile(self, advance: Callable[[], object] = lambda: None) -> None:
        """Compiles all programs, a few at a time; `advance` is called after each."""
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            jobs = {
                pool.submit(lambda lower=lower: lower().compile()): name
                for name, lower in self._lowered.items()
            }
            for job in concurrent.futures.as_completed(jobs):
                self._compiled[jobs[job]] = job.result()
                advance()

    def init(self, seed: int) -> Params:
        """Freshly drawn weights."""
        return self._run("init", self._whole(np.uint32(seed)))

    def begin(self, kind: str, params: Params) -> StarState:
        """A learner that starts from a copy of `params` with a fresh optimizer."""
        return self._run(("begin", kind), params)

    def update(
        self, kind: str, state: StarState, batch: Packed, learning_rate: float
    ) -> tuple[StarState, dict[str, float]]:
        """One optimizer step; `state` is donated. Returns the new state and metrics as floats."""
        arrays = (batch.tokens, batch.segments, batch.positions, batch.weights)
        rows = train.Batch(*(mesh_lib.place(self.mesh, x, "batch") for x in arrays))
        rate = self._whole(np.float32(learning_rate))
        state, metrics = self._run(("update", kind), state, rows, rate)
        return state, {name: float(value) for name, value in metrics.items()}

    def make_prefix(self, params: Params, tokens: Sequence[int]) -> kv.Prefix:
        """Keys and values of the few-shot prompt `tokens`, once for all rows."""
        padded = np.zeros((self._prefix,), np.int32)
        padded[: len(tokens)] = tokens
        length = self._whole(np.int32(len(tokens)))
        return self._run("prefix", params, self._whole(padded), length)

    def sample(
        self,
        params: Params,
        prefix: kv.Prefix | None,
        seed: tuple[int, int, int],
        shape: Shape,
        tokens: NDArray,
        start: NDArray,
        number: NDArray,
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Decodes one chunk (see `engine.Decode`); `seed` and a row's number key its draws."""
        rows = (mesh_lib.place(self.mesh, x, "batch") for x in (tokens, start, number))
        key = self._whole(np.asarray(seed, np.uint32))
        name = ("sample", shape, prefix is not None)
        out: Generated = self._run(name, params, prefix, key, *rows)
        return np.asarray(out.tokens), np.asarray(out.length), np.asarray(out.finished)

    def accumulation(self, kind: str) -> int:
        """The fewest micro-batches that divide a device's sequences and keep to the limit."""
        learning = self._learning[kind]
        each = learning.batch_size // mesh_lib.batch_multiple(self.mesh)
        limit = learning.micro_batch or each
        return next(n for n in range(1, each + 1) if each % n == 0 and each // n <= limit)

    def _run(self, name: Any, *args: Any) -> Any:
        begun = time.perf_counter()
        out = jax.block_until_ready(self._compiled[name](*args))
        self.device_seconds += time.perf_counter() - begun
        return out

    def _whole(self, x: Any) -> jax.Array:
        return mesh_lib.place(self.mesh, x)

    def _shaped(self, shape: tuple[int, ...], dtype: Any, *axes: str | None) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=mesh_lib.sharding(self.mesh, *axes))

    def _lower_init(self) -> Any:
        def init(seed: jax.Array) -> Params:
            return state_lib.init_params(self._config, jax.random.key(seed))

        return _jit(init, out=self.params).lower(self._shaped((), np.uint32))

    def _lower_begin(self, kind: str) -> Any:
        def begin(params: Params) -> StarState:
            copy = jax.tree.map(jax.numpy.copy, params)  # updates donate it; the base stays
            return state_lib.init_state(copy, self._learning[kind].optimizer)

        return _jit(begin, out=self.states[kind]).lower(self.params)

    def _lower_update(self, kind: str) -> Any:
        learning = self._learning[kind]
        update = functools.partial(
            train.update,
            self.graph,
            learning.optimizer,
            self.accumulation(kind),
            remat=learning.remat == "blocks",
            mesh=self.mesh,
        )
        shape = (learning.batch_size, learning.length)
        ids = self._shaped(shape, np.int32, "batch")
        batch = train.Batch(ids, ids, ids, self._shaped(shape, np.float32, "batch"))
        out = (self.states[kind], None)
        rate = self._shaped((), np.float32)
        return _jit(update, out=out, donate=(0,)).lower(self.states[kind], batch, rate)

    def _lower_prefix(self) -> Any:
        ids = self._shaped((self._prefix,), np.int32)
        length = self._shaped((), np.int32)
        return _jit(self._make_prefix, out=self._abstract_prefix()).lower(self.params, ids, length)

    def _abstract_prefix(self) -> kv.Prefix:
        ids = self._shaped((self._prefix,), np.int32)
        length = self._shaped((), np.int32)
        shapes = jax.eval_shape(self._make_prefix, self.params, ids, length)
        axes = ("kv_heads", "length", "head_dim")

        def place(x: Any) -> Any:
            layout = mesh_lib.fitting(self.mesh, x.shape, axes[: x.ndim])
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=layout)

        return jax.tree.map(place, shapes)

    def _make_prefix(self, params: Params, tokens: jax.Array, length: jax.Array) -> kv.Prefix:
        return kv.make_prefix(nnx.merge(self.graph, params), tokens, length)

    def _lower_sample(self, shape: Shape, shared: bool, stop: Stop, selection: Selection) -> Any:
        def sample(
            params: Params,
            prefix: kv.Prefix | None,
            seed: jax.Array,
            tokens: jax.Array,
            start: jax.Array,
            number: jax.Array,
        ) -> Generated:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed[0]), seed[1]), seed[2])
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, number)
            return decode(
                nnx.merge(self.graph, params),
                Prompts(tokens, start, keys),
                prefix,
                budget=shape.budget,
                stop=stop,
                selection=selection,
            )

        prefix = self._abstract_prefix() if shared else None
        rows = self._shaped((shape.rows,), np.int32, "batch")
        tokens = self._shaped((shape.rows, shape.prompt), np.int32, "batch")
        key = self._shaped((3,), np.uint32)
        return _jit(sample).lower(self.params, prefix, key, tokens, rows, rows)


def _jit(function: Callable, *, out: Any = None, donate: tuple[int, ...] = ()) -> Any:
    """`jax.jit` with the output shardings that the abstract outputs `out` carry."""
    shardings = jax.tree.map(lambda x: x.sharding, out)
    return jax.jit(function, out_shardings=shardings, donate_argnums=donate)


class CompilationCount:
    """Counts what XLA compiles in this process, our programs and anything else."""

    def __init__(self) -> None:
        self.total = 0
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **kwargs: Any) -> None:
        del duration_secs, kwargs
        self.total += event == "/jax/core/compile/backend_compile_duration"
