"""New rows in slots: they are what rows that are prefilled there are."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import toys
from star_jax.inference import admission, decode
from star_jax.inference.admission import NewRows, PrefillBatch
from star_jax.inference.decode import Prompts
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.stop_rule import make_stop_rule
from toys import END, SMALL

PLACES, BUDGET, SLOTS = 7, 5, 6
STOP = make_stop_rule((END,), "", [b""] * SMALL.vocab, SMALL.vocab)
SELECTION = SamplingParams(1.0)
SEED = jnp.asarray([7, 0, 1], jnp.uint32)
PROMPTS = [one.tokens.tolist() for one in toys.documents([5, 1, 7], SMALL.vocab)]
# A slot, a prompt and a number of each row, in two calls.
FIRST, SECOND = [(4, 0, 10), (1, 2, 11), (0, 1, 12)], [(5, 0, 13), (3, 0, 14), (4, 2, 15)]


def integers(x: Any) -> jax.Array:
    return jnp.asarray(x, jnp.int32)


def batch() -> PrefillBatch:
    tokens = [[*PROMPTS[0], *PROMPTS[1], 0, 0], [*PROMPTS[2], 0]]
    return PrefillBatch(
        tokens=integers(tokens),
        segments=integers([[1] * 5 + [2, 0, 0], [1] * 7 + [0]]),
        positions=integers([[*range(5), 0, 0, 0], [*range(7), 0]]),
        end=integers([[5, 6], [7, 0]]),
        start=integers([[2, 6], [0, PLACES]]),
    )


def new(rows: list[tuple[int, int, int]]) -> NewRows:
    """Prompts 0 and 1 are in the first group, prompt 2 in the second."""
    seat, number, slot = np.zeros((3, 2, 2), np.int32)
    slot[:] = SLOTS
    taken = [0, 0]
    for own_slot, prompt, own_number in rows:
        group = prompt // 2
        at = group, taken[group]
        seat[at], number[at], slot[at] = prompt % 2, own_number, own_slot
        taken[group] += 1
    return NewRows(integers(seat), integers(slot), integers(number), SEED)


def test_new_rows_are_as_if_they_were_prefilled_in_their_slots():
    model = nnx.merge(toys.graph(SMALL), toys.params(SMALL))
    admit = jax.jit(lambda *given: admission.admit(*given, stop=STOP, selection=SELECTION))
    slots = decode.empty_slots(model, SLOTS, PLACES, max_new_tokens=BUDGET, stop=STOP)
    pool = jax.jit(lambda given: admission.prefill(model, given, None, PLACES))(batch())
    slots = admit(admit(slots, pool, new(FIRST)), pool, new(SECOND))

    tokens, start, number = (np.zeros(shape, np.int32) for shape in ((SLOTS, PLACES), SLOTS, SLOTS))
    start[:] = PLACES
    for slot, prompt, own in (*FIRST, *SECOND):  # slot 4 has a second row
        start[slot], number[slot] = PLACES - len(PROMPTS[prompt]), own
        tokens[slot] = 0
        tokens[slot, start[slot] :] = PROMPTS[prompt]
    expected = decode.prefill_slots(
        model,
        Prompts(integers(tokens), integers(start), integers(number), SEED),
        None,
        max_new_tokens=BUDGET,
        stop=STOP,
        selection=SELECTION,
    )
    assert slots.rows.number.tolist() == number.tolist()
    assert slots.cache.prompt.start.tolist() == start.tolist()
    for one, other in zip(
        jax.tree.leaves(dataclasses.replace(slots.rows, number=None)),
        jax.tree.leaves(dataclasses.replace(expected.rows, number=None)),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    for name, axis in (("keys", -1), ("values", -2)):
        one, other = (
            np.moveaxis(np.asarray(getattr(x.cache.prompt, name)), axis, -1)
            for x in (slots, expected)
        )
        for slot in (0, 1, 3, 4, 5):
            mine, theirs = (x[:, slot, ..., start[slot] :] for x in (one, other))
            np.testing.assert_allclose(mine, theirs, atol=1e-5)
