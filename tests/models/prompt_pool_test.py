"""Rows of prompts that are read once: each gets its prompt's logits, keys and values."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import toys
from star_jax.models import kv_cache, prompt_pool
from toys import SMALL

PLACES, ROWS = 7, 6
PROMPTS = [document.tokens.tolist() for document in toys.documents([5, 1, 7], SMALL.vocab)]
FIRST, SECOND, THIRD = PROMPTS


@dataclasses.dataclass(frozen=True)
class Packed:
    """The prompts in one group, or in two; seats of new rows, and where they go."""

    tokens: Any
    segments: Any
    positions: Any
    end: Any
    start: Any
    seat: Any
    rows: Any
    expected: dict[int, int]  # row -> prompt


ONE = Packed(
    tokens=[[*FIRST, *SECOND, *THIRD, 0]],
    segments=[[1] * 5 + [2] + [3] * 7 + [0]],
    positions=[[*range(5), 0, *range(7), 0]],
    end=[[5, 6, 13]],
    start=[[2, 6, 0]],
    seat=[[1, 0, 1, 2, 0]],
    rows=[3, 5, 0, 4, ROWS],
    expected={3: 1, 5: 0, 0: 1, 4: 2},
)
TWO = Packed(
    tokens=[[*FIRST, *SECOND, 0, 0], [*THIRD, 0]],
    segments=[[1] * 5 + [2, 0, 0], [1] * 7 + [0]],
    positions=[[*range(5), 0, 0, 0], [*range(7), 0]],
    end=[[5, 6], [7, 0]],
    start=[[2, 6], [0, PLACES]],
    seat=[[1, 0, 1], [0, 0, 1]],
    rows=[3, 5, 0, 4, ROWS, ROWS],
    expected={3: 1, 5: 0, 0: 1, 4: 2},
)


def model(unstacked: bool = False) -> Any:
    made = nnx.merge(toys.graph(SMALL), toys.params(SMALL))
    return made.unstacked() if unstacked else made


@functools.cache
def expected() -> tuple[jax.Array, kv_cache.PromptCache]:
    tokens = np.zeros((3, PLACES), np.int32)
    for row, prompt in enumerate(PROMPTS):
        tokens[row, PLACES - len(prompt) :] = prompt
    start = jnp.asarray([PLACES - len(prompt) for prompt in PROMPTS])
    return jax.jit(lambda: kv_cache.prefill(model(), jnp.asarray(tokens), start, None))()


@pytest.mark.parametrize("unstacked", [False, True], ids=["stacked", "unstacked"])
@pytest.mark.parametrize("packed", [ONE, TWO], ids=["one group", "two groups"])
def test_rows_have_the_logits_keys_and_values_of_their_prompts(packed: Packed, unstacked: bool):
    given = {
        name: jnp.asarray(value, jnp.int32)
        for name, value in vars(packed).items()
        if name != "expected"
    }

    @jax.jit
    def run(given: dict[str, jax.Array]) -> tuple[jax.Array, kv_cache.Cache, kv_cache.Cache]:
        pool = prompt_pool.read(
            model(unstacked),
            given["tokens"],
            given["segments"],
            given["positions"],
            given["end"],
            given["start"],
            PLACES,
            None,
        )
        before = kv_cache.empty_cache(model(unstacked), ROWS, PLACES, 4)
        before = jax.tree.map(lambda x: x + 9, before)
        logits = prompt_pool.logits_after(pool, given["seat"])
        return logits, before, prompt_pool.copy(before, pool, given["seat"], given["rows"])

    logits, before, after = run(given)
    by_prompt, asked = expected()
    for row, found in zip(packed.rows, logits, strict=True):
        if row < ROWS:
            np.testing.assert_allclose(found, by_prompt[packed.expected[row]], atol=1e-4)
    starts = {row: PLACES - len(PROMPTS[prompt]) for row, prompt in packed.expected.items()}
    assert after.prompt.start.tolist() == [starts.get(row, PLACES + 9) for row in range(ROWS)]
    assert after.written.tolist() == [0 if row in starts else 9 for row in range(ROWS)]
    for name, axis in (("keys", -1), ("values", -2)):
        mine, old, theirs = (
            np.moveaxis(np.stack(getattr(x, name)), axis, -1)
            for x in (after.prompt, before.prompt, asked)
        )
        for row in range(ROWS):
            if row not in starts:
                np.testing.assert_array_equal(mine[:, row], old[:, row])
                continue
            found, wanted = mine[:, row], theirs[:, packed.expected[row]]
            first = starts[row]
            np.testing.assert_allclose(found[..., first:], wanted[..., first:], atol=1e-5)
