import dataclasses

import jax
import optax
import pytest

import toys
from star_jax.inference.buckets import Bucket
from star_jax.inference.programs import SamplingPrograms
from star_jax.inference.spec import SamplingSpec
from star_jax.inference.stop_rule import make_stop_rule
from star_jax.runtime.compile import Compiler
from star_jax.star.fused_programs import FusedPrograms, FusedSpec
from star_jax.tasks.answer_rule import AnswerRule
from star_jax.training.spec import UpdateSpec

SPEC = FusedSpec(Bucket(4, 8, 8), answer_bytes=4, rule=AnswerRule("last number"), eos=2)


def made(refresh_every: int, prefix_length: int = 0) -> tuple[Compiler, FusedPrograms]:
    compiler, vocab = Compiler(), toys.ONE_LAYER.vocab
    stop = make_stop_rule((2,), "", [b"a"] * vocab, vocab)
    spec = SamplingSpec((), stop, toys.GREEDY, prefix_length, bare=True)
    sampling = SamplingPrograms(compiler, toys.ONE_LAYER, toys.one_device(), spec)
    update = UpdateSpec(optax.identity(), 8, 13, 0)
    fused = dataclasses.replace(SPEC, refresh_every=refresh_every)
    return compiler, FusedPrograms(compiler, sampling, update, fused)


@pytest.mark.parametrize(("refresh_every", "own"), [(0, True), (1, False), (3, True)])
def test_the_state_has_a_policy_unless_that_is_always_the_learner(refresh_every: int, own: bool):
    _, programs = made(refresh_every)
    assert programs.has_policy == own == (programs.state.policy is not None)
    if own:
        weights = jax.tree.leaves(programs.state.params)
        assert [x.shape for x in jax.tree.leaves(programs.state.policy)] == [
            x.shape for x in weights
        ]


@pytest.mark.parametrize(("prefix_length", "steps"), [(0, 1), (8, 2)])
def test_there_is_a_step_with_the_few_shot_prompt_and_one_without(prefix_length: int, steps: int):
    compiler, _ = made(0, prefix_length)
    names = [program.name for program in compiler.programs]
    assert sum(name.startswith("star step") for name in names) == steps
