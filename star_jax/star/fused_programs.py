"""The compiled programs of the fused step."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import SamplingPrograms
from star_jax.models import prefix_tokens, stacking
from star_jax.models.abstract_params import abstract_params, graph
from star_jax.models.attention import length_multiple
from star_jax.models.params import Params, as_policy
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler, Program, Signature
from star_jax.star.fused_step import (
    PaddedRows,
    Rehearsed,
    StarBatch,
    StarConfig,
    StarMetrics,
    star_step,
)
from star_jax.tasks.answer_rule import AnswerRule
from star_jax.training.programs import make_update
from star_jax.training.spec import UpdateSpec
from star_jax.training.state import StarState, abstract_state, init_state


@dataclasses.dataclass(frozen=True)
class FusedSpec:
    """The static sizes and rules of the fused step (`star/fused_step.py`).

    Attributes:
        bucket: number of questions of a step, their prompt_length and max_new_tokens.
        answer_bytes: bytes of the longest gold answer.
        rule: rule by which an answer is found in a completion.
        eos: id of the token that ends a training document.
        rehearsed_rows: rows of an update besides its questions: those trained on again with their
            hint, and empty ones (see `spec.padded_rows`).
        refresh_every: updates between refreshes of the policy, as in `StarConfig`.
    """

    bucket: Bucket
    answer_bytes: int
    rule: AnswerRule
    eos: int
    rehearsed_rows: int = 0
    refresh_every: int = 0


class FusedPrograms:
    """The programs that make a learner's state and run the fused step on batches of questions.

    Attributes:
        spec: specification of the step.
        state: abstract state of the learner: shapes, types and shardings.
        has_policy: True if the state has separate weights to sample with.

    Args:
        compiler: compiler that the programs are added to.
        sampling: sampling programs of the same model; the step samples with their specification.
        update_spec: specification of the step's update.
        spec: specification of the step.
        train_on_few_shot: True if the update is on the few-shot prompt too.
    """

    def __init__(
        self,
        compiler: Compiler,
        sampling: SamplingPrograms,
        update_spec: UpdateSpec,
        spec: FusedSpec,
        *,
        train_on_few_shot: bool = False,
    ) -> None:
        config, mesh = sampling.config, sampling.mesh
        self.spec, self.has_policy = spec, spec.refresh_every != 1
        self.state = abstract_state(config, mesh, update_spec.optimizer, policy=self.has_policy)
        self._sampling, self._update_spec = sampling, update_spec
        self._train_on_few_shot = train_on_few_shot and bool(sampling.spec.prefix_length)

        def begin(params: Params, policy: Params | None) -> StarState:
            cast = None if policy is None else as_policy(policy, config.compute.dtype)
            return init_state(params, update_spec.optimizer, cast)

        def begin_signature() -> Signature:
            params = abstract_params(config, mesh)
            policy = params if self.has_policy else None
            return Signature((params, policy), self.state, donate=(0,))

        self._begin = compiler.add("begin star step", begin, begin_signature)
        self._step: dict[bool, Program[[StarState, StarBatch], tuple[StarState, StarMetrics]]] = {}
        for with_prefix in sampling.spec.with_prefix:
            step = functools.partial(star_step, self._config())
            signature = functools.partial(self._step_signature, with_prefix)
            self._step[with_prefix] = compiler.add(f"star step {with_prefix=}", step, signature)

    def begin(self, params: Params, policy: Params | None = None) -> StarState:
        """Makes the state of a learner that starts from `params`, with a fresh optimizer.

        Args:
            params: weights to start from; donated.
            policy: weights that the step samples with at first, in other arrays than `params`;
                None unless the state `has_policy`.
        """
        return self._begin(params, policy)

    def step(self, state: StarState, batch: StarBatch) -> tuple[StarState, StarMetrics]:
        """Runs one fused step.

        Args:
            state: state of the learner; donated.
            batch: questions as numpy arrays; its few-shot prompts are from
                `SamplingPrograms.prefix_tokens`.

        Returns:
            The new state, and the metrics as numpy arrays. Generated tokens are valid in the rows
            that this process owns (see `SamplingPrograms.owners`).
        """
        mesh = self._sampling.mesh
        rows, scalars = batch.parts()
        on_devices = sharding.device_put(mesh, rows, "batch") | sharding.device_put(mesh, scalars)
        step = self._step[batch.few_shot is not None]
        state, metrics = step(state, dataclasses.replace(batch, **on_devices))
        return state, jax.tree.map(sharding.to_host, metrics)

    def _config(self) -> StarConfig:
        sampling, spec = self._sampling, self.spec
        return StarConfig(
            graph=graph(sampling.config),
            update=make_update(sampling.config, sampling.mesh, self._update_spec),
            max_new_tokens=spec.bucket.max_new_tokens,
            stop=sampling.spec.stop,
            selection=sampling.spec.params,
            rule=spec.rule,
            eos=spec.eos,
            dtype=sampling.config.compute.dtype,
            refresh_every=spec.refresh_every,
            train_on_few_shot=self._train_on_few_shot,
            unstacked=stacking.is_unstacked_on(sampling.mesh),
            layout=sampling.layout(spec.bucket.rows),
            length_multiple=length_multiple(sampling.mesh),
        )

    def _step_signature(self, with_prefix: bool) -> Signature:
        spec, abstract = self.spec, functools.partial(sharding.abstract, self._sampling.mesh)
        bucket = spec.bucket
        padded = self._abstract_rows(bucket.rows, bucket.prompt_length)
        rehearsed = self._abstract_rows(spec.rehearsed_rows, bucket.prompt_length)
        prefix = None
        if with_prefix:
            size = self._sampling.spec.prefix_length
            prefix = prefix_tokens.abstract(self._sampling.mesh, size)
        batch = StarBatch(
            question=padded,
            hinted=padded,
            trained=padded,
            rehearsed=Rehearsed(rehearsed, rehearsed.start) if spec.rehearsed_rows else None,
            number=padded.start,
            gold=abstract((bucket.rows, spec.answer_bytes), np.uint8, "batch"),
            gold_length=padded.start,
            few_shot=prefix,
            few_shot_hinted=prefix,
            seed=abstract((2,), np.uint32),
            learning_rate=abstract((), np.float32),
        )
        _, metrics = jax.eval_shape(functools.partial(star_step, self._config()), self.state, batch)
        out = (self.state, jax.tree_util.tree_map_with_path(self._abstract_metric, metrics))
        return Signature((self.state, batch), out, donate=(0,))

    def _abstract_metric(self, path: tuple[Any, ...], x: Any) -> Any:
        """Returns an abstract metric; generated rows are sharded, everything else is replicated."""
        axes = ("batch",) if "generated" in jax.tree_util.keystr(path) else ()
        return sharding.abstract(self._sampling.mesh, x.shape, x.dtype, *axes)

    def _abstract_rows(self, rows: int, length: int) -> PaddedRows:
        mesh = self._sampling.mesh
        tokens = sharding.abstract(mesh, (rows, length), np.int32, "batch")
        return PaddedRows(tokens, sharding.abstract(mesh, (rows,), np.int32, "batch"))
