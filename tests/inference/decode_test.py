import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
import toys
from star_jax.inference import buckets
from star_jax.inference.decode import Generated, Prompts, decode
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.stop_rule import make_stop_rule
from star_jax.models import kv_cache
from star_jax.models.params import Params
from toys import END, SMALL, Scripted

REAL = 24  # tokens of the vocabulary that are no padding
BUDGET = 80
PLACES = 12
SIZES = [12, 1, 5, 8, 11, 3]  # tokens of the prompts
PREFIX = [5, 9, 3, 3, 20, 7, 11]
PROMPTS = [one.tokens.tolist() for one in toys.documents(SIZES, REAL)]
SEED = jnp.asarray([7, 0, 0], jnp.uint32)
NO_TEXT = make_stop_rule((END,), "", [b""] * REAL, SMALL.vocab)


def weights() -> Params:
    """Padded tokens would be drawn if they could, and the end comes within the budget to some."""
    params = toys.params(SMALL, seed=2)
    bias = params["head_bias"]
    bias[...] = bias[...].at[REAL:].add(50.0).at[END].add(0.5)
    return params


PARAMS = weights()


@functools.partial(jax.jit, static_argnames=("max_new_tokens", "selection"))
def run(
    params: Params,
    prompts: Prompts,
    prefix: kv_cache.Prefix | None,
    *,
    max_new_tokens: int,
    selection: SamplingParams,
) -> Generated:
    model = nnx.merge(toys.graph(SMALL), params)
    return decode(
        model, prompts, prefix, max_new_tokens=max_new_tokens, stop=NO_TEXT, selection=selection
    )


@jax.jit
def make_prefix(params: Params, tokens: jax.Array, length: Any) -> kv_cache.Prefix:
    return kv_cache.make_prefix(nnx.merge(toys.graph(SMALL), params), tokens, length)


def padded(prompts: list[list[int]], numbers: list[int], places: int, rows: int) -> Prompts:
    """Rows of prompts, left-padded; rows without one are empty."""
    tokens = np.zeros((rows, places), np.int32)
    start = np.full(rows, places, np.int32)
    for row, prompt in enumerate(prompts):
        start[row] = places - len(prompt)
        tokens[row, start[row] :] = prompt
    number = jnp.asarray(numbers + [0] * (rows - len(numbers)), jnp.int32)
    return Prompts(jnp.asarray(tokens), jnp.asarray(start), number, SEED)


def texts(out: Generated, rows: int) -> list[list[int]]:
    tokens, length = np.asarray(out.tokens), np.asarray(out.length)
    for row in range(len(tokens)):
        assert not tokens[row, length[row] :].any()
    return [tokens[row, : length[row]].tolist() for row in range(rows)]


class TestGreedy:
    @pytest.mark.parametrize("before", [[], PREFIX], ids=["alone", "after a few-shot prompt"])
    def test_is_token_for_token_what_full_forward_passes_give(self, before: list[int]):
        prefix = None
        if before:  # its places are more than its tokens
            tokens = jnp.asarray(before + [13] * 3, jnp.int32)
            prefix = make_prefix(PARAMS, tokens, jnp.int32(len(before)))
        prompts = padded(PROMPTS, list(range(6)), PLACES, 8)
        out = run(PARAMS, prompts, prefix, max_new_tokens=BUDGET, selection=SamplingParams())
        plain = reference.weights(PARAMS)
        expected = [
            reference.greedy(SMALL, plain, before + prompt, BUDGET, END, REAL) for prompt in PROMPTS
        ]
        assert texts(out, 6) == expected
        assert out.finished.tolist() == [one[-1] == END for one in expected] + [True] * 2
        assert out.length[6:].tolist() == [0, 0]  # empty rows write nothing
        lengths = {len(one) for one in expected}  # it was a test of stops, blocks and budget
        assert min(lengths) < buckets.page_ring(BUDGET).page_length < max(lengths) == BUDGET
        assert max(len(set(one)) for one in expected) > 4


class TestSampling:
    SELECTION = SamplingParams(1.0, top_k=12, top_p=0.95)

    @functools.cached_property
    def alone(self) -> dict[int, list[int]]:
        prompts = padded(PROMPTS, list(range(6)), PLACES, 8)
        out = run(PARAMS, prompts, None, max_new_tokens=8, selection=self.SELECTION)
        return dict(enumerate(texts(out, 6)))

    @pytest.mark.parametrize(
        ("numbers", "places", "rows"),
        [
            ([3, 1, 5, 0, 2, 4], PLACES, 8),  # other places in the chunk
            ([4], PLACES, 8),  # other neighbours: none
            ([1, 1, 1, 2, 1], PLACES, 8),
            ([2, 0, 5], 20, 3),  # another shape
        ],
    )
    def test_a_row_does_not_depend_on_its_chunk(self, numbers: list[int], places: int, rows: int):
        prompts = padded([PROMPTS[n] for n in numbers], numbers, places, rows)
        out = run(PARAMS, prompts, None, max_new_tokens=8, selection=self.SELECTION)
        assert texts(out, len(numbers)) == [self.alone[n] for n in numbers]

    def test_a_row_depends_on_its_number(self):
        prompts = padded([PROMPTS[0]] * 6, [0, 1, 2, 3, 4, 0], PLACES, 8)
        out = texts(run(PARAMS, prompts, None, max_new_tokens=8, selection=self.SELECTION), 6)
        assert out[0] == out[5] == self.alone[0]
        assert len(set(map(tuple, out[:5]))) == 5

    def test_every_step_draws_anew_and_never_from_the_padding(self):
        rows, budget = 256, 32
        prompts = padded([[1]] * rows, list(range(rows)), 1, rows)
        never = make_stop_rule((), "", [b""] * REAL, SMALL.vocab)
        script = jnp.full((rows, budget), -1)  # all tokens equally likely

        @jax.jit
        def flat() -> Generated:
            model = Scripted(script, SMALL.vocab).decoder()
            return decode(
                model,
                prompts,
                None,
                max_new_tokens=budget,
                stop=never,
                selection=SamplingParams(0.3),
            )

        tokens = np.asarray(flat().tokens)
        counts = np.bincount(tokens.ravel(), minlength=SMALL.vocab) / tokens.size
        assert not counts[REAL:].any()
        assert np.abs(counts[:REAL] - 1 / REAL).max() < 4 * np.sqrt(1 / REAL / tokens.size)
        for same in (tokens[:, 1:] == tokens[:, :-1], tokens[1:] == tokens[:-1]):
            assert same.mean() == pytest.approx(1 / REAL, rel=0.2)


class TestStop:
    """Scripts of pieces of several bytes: the stop string begins, ends and hides inside them."""

    PIECES = [
        b"",
        b"",
        b"",
        b"a",
        b"b",
        b"ab",
        b"ba",
        b"aab",
        b"abab",
        b"b\n",
        b"\xc3",
        b"\xa9",
        b"\xc3\xa9a",
    ]
    ROWS, BUDGET = 4, 12
    TOKENS = st.lists(
        st.integers(2, len(PIECES) - 1), min_size=ROWS * BUDGET, max_size=ROWS * BUDGET
    )

    @staticmethod
    @functools.cache
    def program(text: str) -> Any:
        stop = make_stop_rule((END,), text, TestStop.PIECES, 16)

        def written(script: jax.Array) -> Generated:
            prompts = padded([[1]] * TestStop.ROWS, [0] * TestStop.ROWS, 1, TestStop.ROWS)
            model = Scripted(script, 16).decoder()
            return decode(
                model,
                prompts,
                None,
                max_new_tokens=TestStop.BUDGET,
                stop=stop,
                selection=SamplingParams(),
            )

        return jax.jit(written)

    @pytest.mark.parametrize("text", ["", "a", "abab", "bb", "éa", "a\0"])
    @settings(deadline=None)
    @given(tokens=TOKENS)
    def test_is_exact_wherever_the_tokens_are_cut(self, text: str, tokens: list[int]):
        script = np.array(tokens, np.int32).reshape(self.ROWS, self.BUDGET)
        out = self.program(text)(script)
        expected = [
            reference.stopped(self.PIECES, row, END, text.encode(), self.BUDGET)
            for row in script.tolist()
        ]
        assert texts(out, self.ROWS) == [written for written, _ in expected]
        assert out.finished.tolist() == [finished for _, finished in expected]

    @pytest.mark.parametrize(
        ("script", "length", "finished"),
        [
            ([3] * 12, 12, False),  # the budget ends it
            ([3] * 11 + [END], 12, True),  # its end is its last token
            ([END] * 12, 1, True),
            ([3, 3, END] + [3] * 9, 3, True),
            ([3] * 10 + [4, 4], 12, True),  # the stop string ends with the budget
            ([3, 4, 3, 4, 4, 3, 3, 3, 3, 3, 3, 3], 5, True),
            ([3, 4, 9, 3, 3, 3, 3, 3, 3, 3, 3, 3], 3, True),  # it ends inside "b\n"
        ],
    )
    def test_cases(self, script: list[int], length: int, finished: bool):
        out = self.program("bb")(jnp.asarray([script] * self.ROWS))
        assert out.length.tolist() == [length] * self.ROWS
        assert out.finished.tolist() == [finished] * self.ROWS
        assert texts(out, 1) == [script[:length]]


def test_a_row_without_numbers_ends_there_and_is_told():
    class Damaged(Scripted):
        """Token 7 of a script stands for logits that are NaN."""

        def logits(self, x_BxT: jax.Array) -> jax.Array:
            token = jnp.take_along_axis(self._script, x_BxT, axis=1)
            return jnp.where(token[..., None] == 7, jnp.nan, super().logits(x_BxT))

    script = jnp.asarray([[3, 7, 3, 3], [7, 3, END, 3], [3, 3, END, 7], [3, 3, 3, 7]])
    stop = make_stop_rule((END,), "", TestStop.PIECES, 16)
    prompts = padded([[1]] * 4, [0] * 4, 1, 4)
    model = Damaged(script, 16).decoder()
    out = decode(model, prompts, None, max_new_tokens=4, stop=stop, selection=SamplingParams())
    assert out.tokens.tolist() == [[3, -1, 0, 0], [-1, 0, 0, 0], [3, 3, END, 0], [3, 3, 3, -1]]
    assert out.length.tolist() == [4, 4, 3, 4]
    assert out.finished.tolist() == [False, False, True, False]
