"""The programs of sampling, compiled: against full forward passes, and on every mesh."""

import dataclasses
import functools
import re
from collections.abc import Sequence

import jax
import numpy as np
import pytest

import reference
import toys
from star_jax.inference.buckets import Bucket
from star_jax.inference.sampling import SamplingParams
from star_jax.inference.scheduler import Completion, Request, draw_number, plan, run
from star_jax.inference.slot_batch import DeviceSlots
from star_jax.models.params import Params
from star_jax.runtime import sharding
from toys import BYTES, eight_devices

SHAPE = Bucket(max_new_tokens=6, prompt_length=10, rows=8)
PREFIX = [5, 9, 100, 3, 20]
ROWS = [
    Request(number, document.tokens.tolist(), SHAPE.max_new_tokens)
    for number, document in enumerate(toys.documents([3, 10, 7, 1, 5, 4, 2, 4, 9, 6, 5], 259))
]
SEED = (1, 2, 3)


@functools.cache
def made(devices: tuple[int, int, int], params: SamplingParams = toys.GREEDY) -> toys.Programs:
    grid = sharding.make_mesh(*devices, devices=jax.devices()[: int(np.prod(devices))])
    greedy = params == toys.GREEDY
    programs = toys.programs(
        grid,
        buckets=[SHAPE],
        prefix=16 if greedy else 0,
        params=params,
        spec=toys.UPDATE if greedy else None,
    )
    programs.compiler.finish()
    return programs


ONE = (1, 1, 1)


def start(programs: toys.Programs, seed: int = 0) -> Params:
    """The same weights on whatever devices: drawn by numpy."""
    layout = jax.tree.map(lambda x: x.sharding, programs.params)
    return jax.device_put(toys.params(BYTES, seed), layout)


def sample(
    programs: toys.Programs,
    params: Params,
    rows: list[Request],
    before: list[int] | None = None,
    seed: tuple[int, int, int] = SEED,
    greedy: bool = False,
) -> list[Completion]:
    sampling = programs.sampling
    policy = sampling.policy(sampling.lay_out(params), before or (), greedy=greedy)
    found = [
        dataclasses.replace(one, slot=0)
        for chunk in plan(rows, [SHAPE], refills=3)
        for one in toys.decode(sampling, policy, seed, chunk)
    ]
    return sorted(found, key=lambda one: one.number)


@pytest.mark.parametrize("before", [[], PREFIX], ids=["alone", "after a few-shot prompt"])
def test_greedy_samples_are_those_of_full_forward_passes(before: list[int]):
    programs = made(ONE)
    weights = reference.weights(toys.params(BYTES))
    for row, found in zip(ROWS, sample(programs, start(programs), ROWS, before), strict=True):
        expected = reference.greedy(
            BYTES, weights, before + list(row.tokens), row.max_new_tokens, toys.END, 259
        )
        assert found == Completion(row.number, expected, truncated=expected[-1] != toys.END, slot=0)


@eight_devices
@pytest.mark.parametrize("devices", [(8, 1, 1), (1, 8, 1), (2, 2, 2)], ids=str)
class TestMesh:
    @pytest.mark.parametrize("before", [[], PREFIX], ids=["alone", "after a few-shot prompt"])
    def test_samples_are_the_same(self, devices: tuple[int, int, int], before: list[int]):
        one, many = (sample(p, start(p), ROWS, before) for p in (made(ONE), made(devices)))
        assert one == many


class TestDraws:
    PROGRAMS = staticmethod(functools.partial(made, ONE, SamplingParams(1.0, top_k=50, top_p=0.99)))

    def test_follow_from_seed_and_number(self):
        programs = self.PROGRAMS()
        params = start(programs)
        found = sample(programs, params, ROWS)
        assert sample(programs, params, ROWS) == found
        some = sample(programs, params, ROWS[1::3])  # other neighbours, other chunks
        assert some == found[1::3]
        for seed in ((0, 2, 3), (1, 0, 3), (1, 2, 0)):
            assert sample(programs, params, ROWS, seed=seed) != found

    def test_differ_between_rows_of_one_prompt(self):
        programs = self.PROGRAMS()
        rows = [Request(number, [1, 50, 60], SHAPE.max_new_tokens) for number in range(8)]
        found = sample(programs, start(programs), rows)
        assert len({tuple(one.tokens) for one in found}) == 8

    def test_can_be_done_without(self):
        programs = self.PROGRAMS()
        params = start(programs)
        expected = sample(made(ONE), params, ROWS)
        assert sample(programs, params, ROWS, greedy=True) == expected
        assert sample(programs, params, ROWS) != expected


class Counting(DeviceSlots):
    """Slots that remember which prompts they have read."""

    read: list[int]

    def prefill(self, requests: Sequence[Request]) -> None:
        self.read = [*getattr(self, "read", []), *(request.number for request in requests)]
        super().prefill(requests)


@pytest.mark.parametrize("devices", [ONE, pytest.param((2, 2, 2), marks=eight_devices)], ids=str)
class TestSamples:
    """Several samples of a request: what separate requests write, from prompts read once."""

    PARAMS = SamplingParams(1.0, top_k=50)

    def decode(
        self, devices: tuple[int, int, int], rows: list[Request]
    ) -> tuple[list[Completion], list[int]]:
        programs = made(devices, self.PARAMS).sampling
        policy = programs.policy(programs.lay_out(start(made(devices, self.PARAMS))))
        completions, read = [], []
        for chunk in plan(rows, [SHAPE], refills=3):
            slots = Counting(programs, policy, SEED, chunk.bucket)
            completions += run(chunk, slots)[0]
            read += slots.read
        return completions, read

    @pytest.mark.parametrize("samples", [1, 3, 8, 11])  # of eight slots
    def test_are_those_of_separate_requests(self, devices: tuple[int, int, int], samples: int):
        rows = [dataclasses.replace(row, samples=samples) for row in reversed(ROWS)]
        found, read = self.decode(devices, rows)
        assert sorted(read) == sorted(row.number for row in ROWS)  # each prompt once
        apart = [
            dataclasses.replace(row, number=draw_number(row.number, sample))
            for row in ROWS
            for sample in range(samples)
        ]
        expected, read = self.decode(devices, apart)
        assert sorted(read) == sorted(row.number for row in apart)
        assert {draw_number(one.number, one.sample): one.tokens for one in found} == {
            one.number: one.tokens for one in expected
        }
        assert len(found) == len(expected) == samples * len(ROWS)
        if samples > 1:
            assert len({tuple(one.tokens) for one in found}) > len(found) * 0.8


@pytest.mark.parametrize("axes", [(1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("rows", [8, 32, 64])
def test_no_shard_needs_what_another_has_to_go_on_in_fewer_slots(
    axes: tuple[int, int, int], rows: int
):
    count = int(np.prod(axes))
    if len(jax.devices()) < count:
        pytest.skip("needs eight devices")
    grid = sharding.make_mesh(*axes, devices=jax.devices()[:count])
    programs = toys.programs(grid, buckets=[Bucket(80, 60, rows)], prefix=16, spec=None)
    shrinks = programs.sampling.shrink.values()
    assert bool(shrinks) == (rows > (8 if count == 1 else 32))
    for program in shrinks:
        text = program.lower().compile().as_text()
        assert "gather(" in text and not re.search(r"all-|collective|reduce-scatter", text)
