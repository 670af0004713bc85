"""From logits to the next token.

Shapes: B rows, V vocabulary.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from star_jax.inference import draw_cpu
from star_jax.inference.ranks import highest

BROKEN = -1  # stands for a token whose logits are not finite


@dataclasses.dataclass(frozen=True)
class SamplingParams:
    """The parameters of drawing a token.

    Attributes:
        temperature: divisor of the logits; 0 for greedy decoding.
        top_k: number of most likely tokens to keep; 0 keeps all.
        top_p: total probability that the most likely tokens to keep must reach; 1.0 keeps all.
        greedy: [] bool, True for greedy decoding whatever the temperature is; None: False. It is
            an argument of the compiled program.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    greedy: jax.Array | None = None


def sample_tokens(logits_BxV: jax.Array, keys_B: jax.Array, selection: SamplingParams) -> jax.Array:
    """Returns the next token of each row, [B] int32; each row has its own random key."""
    temperature = selection.temperature
    if temperature == 0.0:
        return highest(logits_BxV)

    def draw_plainly(logits_BxV: jax.Array) -> jax.Array:
        # This is `jax.random.categorical` of logits / temperature, with two differences: a small
        # temperature cannot overflow, and the noise is float32 whatever the logits are, because
        # bfloat16 is too coarse for rare tokens.
        logits = restrict(logits_BxV, selection.top_k, selection.top_p, temperature)
        noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:], jnp.float32))(keys_B)
        return jnp.argmax(logits + temperature * noise, axis=-1).astype(jnp.int32)

    def draw(logits_BxV: jax.Array) -> jax.Array:
        if selection.top_p < 1.0:
            return draw_plainly(logits_BxV)
        fast = functools.partial(
            draw_cpu.draw, keys_B=keys_B, top_k=selection.top_k, temperature=temperature
        )
        return jax.lax.platform_dependent(logits_BxV, cpu=fast, default=draw_plainly)

    if selection.greedy is None:
        return draw(logits_BxV)
    return jax.lax.cond(selection.greedy, highest, draw, logits_BxV)


def is_broken(logits_BxV: jax.Array, token_B: jax.Array) -> jax.Array:
    """Returns [B] bool: whether the logit of a row's token is NaN or infinite.

    Such logits compare above all others, so the token is one of them if there are any. An exception
    is a CPU, whose maximum may skip a few NaNs among numbers, as a damaged row of the head causes.
    """
    return ~jnp.isfinite(jnp.take_along_axis(logits_BxV, token_B[:, None], axis=1)[:, 0])


def restrict(
    logits_BxV: jax.Array, top_k: int, top_p: float, temperature: float = 1.0
) -> jax.Array:
    """Sets logits that top-k, then top-p (Holtzman et al., 2020) leave out to minus infinity.

    The most likely token always stays. Of equal logits at the edge of top-k all stay.

    Args:
        logits_BxV: logits, not divided by the temperature.
        top_k: number of most likely tokens to keep; 0 keeps all.
        top_p: total probability that the tokens to keep must reach; 1.0 keeps all.
        temperature: temperature of these probabilities.
    """
    if top_k:
        kth = jax.lax.top_k(logits_BxV, min(top_k, logits_BxV.shape[1]))[0][:, -1:]
        logits_BxV = jnp.where(logits_BxV < kth, -jnp.inf, logits_BxV)
    if top_p < 1.0:
        ordered = jnp.sort(logits_BxV, axis=-1, descending=True)
        # The highest is subtracted first: the others may become minus infinity, but never NaN.
        probabilities = jax.nn.softmax((ordered - ordered[:, :1]) / temperature, axis=-1)
        before = jnp.cumsum(probabilities, axis=-1) - probabilities
        last = jnp.sum(before < top_p, axis=-1, keepdims=True) - 1
        edge = jnp.take_along_axis(ordered, jnp.maximum(last, 0), axis=-1)
        logits_BxV = jnp.where(logits_BxV < edge, -jnp.inf, logits_BxV)
    return logits_BxV
