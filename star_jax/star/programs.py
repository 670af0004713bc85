"""Every program that runs on devices: the one place where pure functions meet `jax.jit`.

All are compiled from shapes alone, in the background and in the order of their use; after the first
round nothing is. Calls are timed, so that a run can say which share of its time was not spent on
the devices.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from star_jax.data.packing import Packed
from star_jax.inference.decode import StopRule
from star_jax.inference.programs import Sampling
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.scheduler import Bucket
from star_jax.models import stacking
from star_jax.models.abstract_params import abstract_params, graph
from star_jax.models.attention import length_multiple
from star_jax.models.config import ModelConfig
from star_jax.models.params import Params, as_policy, init_params
from star_jax.runtime import sharding
from star_jax.star.fused_step import (
    PaddedRows,
    Rehearsed,
    StarBatch,
    StarConfig,
    StarMetrics,
    star_step,
)
from star_jax.training import state as state_lib
from star_jax.training import step
from star_jax.training.spec import FusedSpec, UpdateSpec
from star_jax.training.state import StarState


class Programs:
    """The compiled programs of a run.

    Attributes:
        mesh, fused: as given.
        graph, params: of the decoder: its graph, and its weights as shapes with shardings.
        states: kind of update -> the learner's state, likewise.
        sampling: the programs of sampling.
        device_seconds: in which programs ran, or were waited for to end.
        waited: seconds in which they were waited for to be compiled.

    Args:
        config: of the decoder.
        mesh: all devices.
        stop, selection: how sampling ends and draws.
        shapes: of the sampling programs.
        prefix: places of the few-shot prompt; 0 for runs that have none.
        bare: whether some rows do without it.
        learning: kinds of update, "pretrain" and "train".
        fused: the step that takes the place of "train"; its batches are of its own shape.
        show: whether "train" is on the few-shot prompt too.
        fresh: whether weights are drawn, for a model made here.
    """

    def __init__(
        self,
        config: ModelConfig,
        mesh: Mesh,
        *,
        stop: StopRule,
        selection: SamplingParams,
        shapes: Sequence[Bucket],
        prefix: int,
        bare: bool = False,
        learning: dict[str, UpdateSpec],
        fused: FusedSpec | None = None,
        show: bool = False,
        fresh: bool = True,
    ) -> None:
        self.mesh = mesh
        self.graph = graph(config)
        self.params = abstract_params(config, mesh)
        self.states = {
            name: state_lib.abstract_state(
                config, mesh, kind.optimizer, policy=name == "train" and self._has_policy(fused)
            )
            for name, kind in learning.items()
        }
        self.device_seconds = self.waited = 0.0
        self._config, self._learning, self._prefix = config, learning, prefix
        self._stop, self._selection, self._show, self.fused = stop, selection, show, fused
        self._shaped = functools.partial(sharding.abstract, mesh)
        self.sampling = Sampling(
            config,
            mesh,
            shapes=shapes,
            prefix=prefix,
            bare=bare,
            stop=stop,
            selection=selection,
            lower=lowered,
            run=self._run,
        )
        # In the order in which a run needs them.
        self._lowered: dict[Any, Callable[[], Any]] = {"init": self._lower_init} if fresh else {}
        self._lowered |= self._learning_programs("pretrain")
        self._lowered |= self.sampling.programs()
        self._lowered |= self._learning_programs("train")
        # A core is left for data and weights; and what is compiled takes memory.
        self._pool = concurrent.futures.ThreadPoolExecutor(min(4, -(-(os.cpu_count() or 1) // 2)))
        self._jobs: dict[Any, concurrent.futures.Future[Any]] = {}

    def __len__(self) -> int:
        return len(self._lowered)

    def lower(self, name: Any) -> Any:
        """One program, lowered for the devices of the mesh; compiling it is the caller's.

        Args:
            name: "init", ("begin", kind), ("update", kind), ("star", shared), where shared says
                whether there is a few-shot prompt, or one of `Sampling.programs`.
        """
        return self._lowered[name]()

    def start(self) -> None:
        """Begins to compile all programs, a few at a time; who needs one waits for it."""
        for name, lower in self._lowered.items():
            if name not in self._jobs:
                self._jobs[name] = self._pool.submit(lambda lower=lower: lower().compile())

    def stop(self) -> None:
        """Compiles no more than what has been begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def missing(self) -> int:
        """How many programs are not compiled yet."""
        return len(self._lowered) - sum(job.done() for job in self._jobs.values())

    def compile(self, advance: Callable[[], object] = lambda: None) -> None:
        """Waits until all programs are compiled; `advance` is called for each it waited for."""
        self.start()
        begun = time.perf_counter()
        waiting = [job for job in self._jobs.values() if not job.done()]
        for _ in concurrent.futures.as_completed(waiting):
            advance()
        for job in self._jobs.values():
            job.result()  # or why there is none
        self.waited += time.perf_counter() - begun

    def init(self, seed: int) -> Params:
        """Freshly drawn weights."""
        return self._run("init", self._whole(np.uint32(seed)))

    def begin(self, kind: str, params: Params, policy: Params | None = None) -> StarState:
        """A learner that starts from `params`, which it takes over, with a fresh optimizer.

        Args:
            kind: of update.
            params: weights to start from; donated.
            policy: what the fused step samples with at first, where that is not the learner itself;
                other arrays than `params`.
        """
        return self._run(("begin", kind), params, policy)

    def update(
        self,
        kind: str,
        state: StarState,
        batch: Packed,
        learning_rate: float,
        few_shot: Sequence[int] = (),
    ) -> tuple[StarState, Callable[[], dict[str, float]]]:
        """One optimizer step; `state` is donated. Returns the new state and what reads its metrics.

        The devices may still be at it; whoever reads the metrics, as floats, waits for them.
        Where "train" is on the few-shot prompt too, its tokens are `few_shot`.
        """
        arrays = (batch.tokens, batch.segments, batch.positions, batch.weights)
        rows = step.Batch(*(sharding.device_put(self.mesh, x, "batch") for x in arrays))
        rate = self._whole(np.float32(learning_rate))
        shown = self.sampling.few_shot(few_shot) if self._shows(kind) else None
        state, metrics = self._call(("update", kind), state, rows, rate, shown)

        def read() -> dict[str, float]:
            return {name: float(value) for name, value in self._wait(metrics).items()}

        return state, read

    def star_step(self, state: StarState, batch: StarBatch) -> tuple[StarState, StarMetrics]:
        """One fused step; `state` is donated. Returns the new state and metrics as numpy arrays.

        `batch` is of numpy arrays, but for its few-shot prompts, which `Sampling.few_shot` gives.
        What was generated is real in the rows that this process holds (see `owners`).
        """
        rows, scalars = batch.parts()
        placed = sharding.device_put(self.mesh, rows, "batch") | sharding.device_put(
            self.mesh, scalars
        )
        name = ("star", batch.few_shot is not None)
        state, metrics = self._run(name, state, dataclasses.replace(batch, **placed))
        return state, jax.tree.map(sharding.to_host, metrics)

    def owners(self, shape: Bucket) -> list[int]:
        """Of each row of a chunk, the process that reads what it wrote."""
        return sharding.owners(self.mesh, shape.rows)

    def _run(self, name: Any, *args: Any) -> Any:
        return self._wait(self._call(name, *args))

    def _call(self, name: Any, *args: Any) -> Any:
        if not self._jobs[name].done():
            begun = time.perf_counter()
            self._jobs[name].exception()
            self.waited += time.perf_counter() - begun
        program = self._jobs[name].result()
        with self._timed():
            return program(*args)

    def _wait(self, out: Any) -> Any:
        with self._timed():
            return jax.block_until_ready(out)

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.device_seconds += time.perf_counter() - begun

    def _shows(self, kind: str) -> bool:
        return self._show and kind == "train" and bool(self._prefix)

    @staticmethod
    def _has_policy(fused: FusedSpec | None) -> bool:
        return fused is not None and fused.refresh_every != 1

    def _whole(self, x: Any) -> jax.Array:
        return sharding.device_put(self.mesh, x)

    def _learning_programs(self, kind: str) -> dict[Any, Callable[[], Any]]:
        """What a kind of update needs; nothing where the run has none of it."""
        if kind not in self._learning:
            return {}
        found: dict[Any, Any] = {("begin", kind): functools.partial(self._lower_begin, kind)}
        if self.fused is None or kind != "train":
            return found | {("update", kind): functools.partial(self._lower_update, kind)}
        for shared in self.sampling.shared:
            found["star", shared] = functools.partial(self._lower_star, self.fused, shared)
        return found

    def _lower_init(self) -> Any:
        def init(seed: jax.Array) -> Params:
            return init_params(self._config, jax.random.key(seed))

        return _jit(init, out=self.params).lower(self._shaped((), np.uint32))

    def _lower_begin(self, kind: str) -> Any:
        def begin(params: Params, policy: Params | None) -> StarState:
            kept = None if policy is None else as_policy(policy, self._config.dtype)
            return state_lib.init_state(params, self._learning[kind].optimizer, kept)

        own = self.params if self.states[kind].policy is not None else None
        return _jit(begin, out=self.states[kind], donate=(0,)).lower(self.params, own)

    def _lower_update(self, kind: str) -> Any:
        learning = self._learning[kind]
        shape = (learning.batch_size, learning.length)
        ids = self._shaped(shape, np.int32, "batch")
        batch = step.Batch(ids, ids, ids, self._shaped(shape, np.float32, "batch"))
        out = (self.states[kind], None)
        rate = self._shaped((), np.float32)
        shown = self.sampling.abstract_few_shot() if self._shows(kind) else None
        update = _jit(self._update(kind), out=out, donate=(0,))
        return update.lower(self.states[kind], batch, rate, shown)

    def _update(self, kind: str) -> Callable[..., Any]:
        """(state, batch, learning rate, few-shot prompt) -> (state, metrics)."""
        learning = self._learning[kind]
        return functools.partial(
            step.update,
            self.graph,
            learning.optimizer,
            learning.accumulation(sharding.batch_multiple(self.mesh)),
            remat=learning.remat == "blocks",
            mesh=self.mesh,
        )

    def _lower_star(self, fused: FusedSpec, shared: bool) -> Any:
        shape, state = fused.bucket, self.states["train"]
        config = StarConfig(
            graph=self.graph,
            update=self._update("train"),
            budget=shape.max_new_tokens,
            stop=self._stop,
            selection=self._selection,
            rule=fused.rule,
            eos=fused.eos,
            dtype=self._config.dtype,
            refresh_every=fused.refresh_every,
            show=self._shows("train"),
            apart=stacking.is_unstacked_on(self.mesh),
            layout=self.sampling.layout(shape.rows),
            block=length_multiple(self.mesh),
        )
        padded = self._abstract_padded(shape.rows, shape.prompt_length)
        some, count = self._abstract_padded(fused.again, shape.prompt_length), padded.start
        shown = self.sampling.abstract_few_shot() if shared else None
        batch = StarBatch(
            question=padded,
            hinted=padded,
            trained=padded,
            rehearsed=Rehearsed(some, some.start) if fused.again else None,
            number=count,
            gold=self._shaped((shape.rows, fused.answer_bytes), np.uint8, "batch"),
            gold_length=count,
            few_shot=shown,
            few_shot_hinted=shown,
            seed=self._shaped((2,), np.uint32),
            learning_rate=self._shaped((), np.float32),
        )
        step = functools.partial(star_step, config)
        _, metrics = jax.eval_shape(step, state, batch)
        out = (state, jax.tree_util.tree_map_with_path(self._place_metric, metrics))
        return _jit(step, out=out, donate=(0,)).lower(state, batch)

    def _place_metric(self, path: tuple[Any, ...], x: Any) -> Any:
        """Every process knows what is right; what was written is where its rows are."""
        axes = ("batch",) if "generated" in jax.tree_util.keystr(path) else ()
        return self._shaped(x.shape, x.dtype, *axes)

    def _abstract_padded(self, rows: int, places: int) -> PaddedRows:
        tokens = self._shaped((rows, places), np.int32, "batch")
        return PaddedRows(tokens, self._shaped((rows,), np.int32, "batch"))


def lowered(
    function: Callable, *arguments: Any, out: Any = None, donate: tuple[int, ...] = ()
) -> Any:
    """A program, lowered for abstract arguments; see `_jit`."""
    return _jit(function, out=out, donate=donate).lower(*arguments)


def use_cache(folder: str) -> None:
    """From now on what is compiled is kept in `folder`, however small, and looked for there."""
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", folder)
    jax.config.update("jax_compilation_cache_dir", folder)
    if "://" in folder:  # XLA's own, for GPUs, are files of this machine
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _jit(function: Callable, *, out: Any = None, donate: tuple[int, ...] = ()) -> Any:
    """`jax.jit` with the output shardings that the abstract outputs `out` carry."""
    shardings = jax.tree.map(lambda x: x.sharding, out)
    return jax.jit(function, out_shardings=shardings, donate_argnums=donate)
