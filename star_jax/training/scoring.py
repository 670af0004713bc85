"""Scores examples: the log-probability that the model gives each of their target tokens.

Shapes: B packed sequences, T tokens each, S tokens of the few-shot prompt.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from numpy.typing import NDArray

from star_jax.data import packing
from star_jax.data.packing import Example, Packed
from star_jax.models import kv_cache, prefix_tokens
from star_jax.models.abstract_params import abstract_params, graph
from star_jax.models.config import ModelConfig
from star_jax.models.kv_cache import Prefix
from star_jax.models.loss import token_log_probs
from star_jax.models.params import Params
from star_jax.models.prefix_tokens import PrefixTokens
from star_jax.models.transformer import Decoder
from star_jax.runtime import sharding
from star_jax.runtime.compile import Compiler, Program, Signature
from star_jax.training.step import packed_hidden

# (number of examples in the batch) -> anything; called after every batch
OnBatch = Callable[[int], object]

_PREFIX_AXES = ("layers", "kv_heads", "head_dim", "length")


class ScorePrograms:
    """The programs that score examples with the weights of a learner.

    Examples are packed into batches of one shape, so one program scores all of them. The keys and
    values of a few-shot prompt are computed once a call.

    Attributes:
        config, length, prefix_length: arguments of the constructor.
        batch_size: number of packed sequences in a batch, a multiple of the devices that share it.

    Args:
        compiler: compiler of the programs.
        config: configuration of the decoder.
        mesh: all devices.
        batch_size: least number of packed sequences in a batch.
        length: number of tokens in a packed sequence, the most that an example may have.
        prefix_length: most tokens of a few-shot prompt that examples follow; 0: there is none.
    """

    def __init__(
        self,
        compiler: Compiler,
        config: ModelConfig,
        mesh: Mesh,
        *,
        batch_size: int,
        length: int,
        prefix_length: int = 0,
    ) -> None:
        self.config, self.length, self.prefix_length = config, length, prefix_length
        shards = sharding.batch_multiple(mesh)
        self.batch_size = -(-batch_size // shards) * shards
        self._compiler, self._mesh, self._params = compiler, mesh, abstract_params(config, mesh)
        modules = graph(config)

        def read(params: Params, tokens: PrefixTokens) -> Prefix:
            return kv_cache.make_prefix(nnx.merge(modules, params), tokens.tokens, tokens.length)

        def score(params: Params, batch: Packed, prefix: Prefix | None) -> jax.Array:
            return log_probs(nnx.merge(modules, params), batch, prefix, mesh=mesh)

        self._read: Program[[Params, PrefixTokens], Prefix] | None = None
        if prefix_length:
            self._read = compiler.add("score prefix", read, self._read_signature)
        self._score = compiler.add("score", score, self._score_signature)

    def score(
        self,
        weights: Params,
        examples: Sequence[Example],
        few_shot: Sequence[int] = (),
        on_batch: OnBatch | None = None,
    ) -> list[NDArray[np.float32]]:
        """Returns the log-probability of each target token, given all tokens before it.

        An example's result depends on its tokens and on the few-shot prompt, not on its neighbours,
        except for rounding.

        Args:
            weights: weights of the learner, as restored from a checkpoint; they are kept.
            examples: examples to score; their targets are the tokens whose weight is not 0.
            few_shot: token ids of the few-shot prompt that every example follows.
            on_batch: function called after every batch with the number of its examples.

        Returns:
            For each example, in the given order, the log-probabilities of its targets in order:
            float32 [number of targets], in nats.

        Raises:
            ValueError: an example is longer than `length` or, after the few-shot prompt, than the
                model's context; it holds a token without a row in the embedding; its first token is
                a target; or the few-shot prompt is longer than `prefix_length`.
        """
        self._check(examples, few_shot)
        rows = packing.first_fit(examples, self.length)
        prefix = self._prefix(weights, few_shot)
        found = [np.zeros(0, np.float32) for _ in examples]

        def collect(members: list[list[int]], result: jax.Array) -> None:
            whole = sharding.to_host(self._compiler.wait(result))
            for row, indices in zip(whole, members, strict=True):
                start = 0
                for index in indices:
                    end = start + len(examples[index].tokens)
                    found[index] = row[start:end][examples[index].weights != 0]
                    start = end
            if on_batch is not None:
                on_batch(sum(map(len, members)))

        pending: list[tuple[list[list[int]], jax.Array]] = []
        for first in range(0, len(rows), self.batch_size):
            members = rows[first : first + self.batch_size]
            members += [[] for _ in range(self.batch_size - len(members))]
            batch = packing.fill(examples, members, self.length)
            on_devices = sharding.device_put(self._mesh, batch, "batch")
            result = self._score.dispatch(weights, on_devices, prefix)
            # The batch before is read while the devices compute this one.
            while pending:
                collect(*pending.pop())
            pending.append((members, result))
        for each in pending:
            collect(*each)
        return found

    def _check(self, examples: Sequence[Example], few_shot: Sequence[int]) -> None:
        """Refuses what the programs cannot score; `packing.first_fit` refuses long examples."""
        packing.check_ids((example.tokens for example in examples), self.config.tokens)
        if len(few_shot) > self.prefix_length:
            raise ValueError(
                f"the few-shot prompt has {len(few_shot)} tokens and these programs have room for "
                f"{self.prefix_length}: compile them with a larger prefix_length"
            )
        if len(few_shot) and not 0 <= min(few_shot) <= max(few_shot) < self.config.tokens:
            raise ValueError(
                f"the few-shot prompt holds tokens {min(few_shot)} to {max(few_shot)}, and the "
                f"model has rows for 0 to {self.config.tokens - 1}: tokenizer and model do not "
                "belong together"
            )
        room = self.config.context - len(few_shot)
        for number, example in enumerate(examples):
            if len(example.tokens) > room:
                raise ValueError(
                    f"example {number} has {len(example.tokens)} tokens after a few-shot prompt of "
                    f"{len(few_shot)}, and the model's context is {self.config.context}: leave the "
                    "example out, or show fewer worked examples"
                )
            if len(example.tokens) and example.weights[0]:
                raise ValueError(
                    f"example {number}: its first token is a target, but nothing precedes it; give "
                    "it weight 0, or a token before it"
                )

    def _prefix(self, weights: Params, few_shot: Sequence[int]) -> Prefix | None:
        if self._read is None:
            return None
        tokens = prefix_tokens.device_put(self._mesh, few_shot, self.prefix_length)
        return self._read.dispatch(weights, tokens)

    def _read_signature(self) -> Signature:
        tokens = prefix_tokens.abstract(self._mesh, self.prefix_length)
        return Signature((self._params, tokens), self._abstract_prefix())

    def _score_signature(self) -> Signature:
        mesh, shape = self._mesh, (self.batch_size, self.length)
        ids = sharding.abstract(mesh, shape, np.int32, "batch")
        targets = sharding.abstract(mesh, shape, np.float32, "batch")
        batch = Packed(tokens=ids, segments=ids, positions=ids, weights=targets)
        prefix = self._abstract_prefix() if self.prefix_length else None
        # Replicated: every process reads all of it.
        return Signature((self._params, batch, prefix), sharding.abstract(mesh, shape, np.float32))

    def _abstract_prefix(self) -> Prefix:
        config = self.config
        shape = (config.layers, config.key_heads, config.head_dim, self.prefix_length)
        layout = sharding.divisible_sharding(self._mesh, shape, _PREFIX_AXES)
        stack: Any = jax.ShapeDtypeStruct(shape, config.compute.dtype, sharding=layout)
        return Prefix(stack, stack, sharding.abstract(self._mesh, (), np.int32))


def log_probs(
    model: Decoder, batch: Packed, prefix: Prefix | None = None, *, mesh: Mesh | None = None
) -> jax.Array:
    """Returns the log-probability of every token that has weight, given those before it; pure.

    Args:
        model: decoder.
        batch: packed sequences.
        prefix: keys and values of the few-shot prompt that precedes every segment; None: no prompt.
        mesh: devices that the program will run on (`step.token_loss`).

    Returns:
        Log-probabilities in nats, float32 [B, T]; 0 where the weight is 0 and at each first token.
    """
    x = packed_hidden(model, batch, prefix, mesh=mesh)
    tokens, weights = batch.tokens[:, 1:], batch.weights[:, 1:]
    found = token_log_probs(model.config, model.last, x[:, :-1], tokens, weights)
    return jnp.pad(found, ((0, 0), (1, 0)))
