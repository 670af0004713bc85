"""Leak scores: which tokens are scored in which contexts, their numbers, and going on from the file."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, cast

import jax
import numpy as np
import pytest

import reference
import toys
from samples import gold
from star_jax.config.validation import SettingsError
from star_jax.data.packing import Example
from star_jax.data.sample import Sample
from star_jax.data.tokenizer import ByteTokenizer
from star_jax.grading import leak_scores
from star_jax.grading.leak_scores import LeakScore
from star_jax.models.params import Params
from star_jax.runtime.compile import Compiler
from star_jax.star import leak_score
from star_jax.star.run import Run
from tests.star.build_test import made

WEIGHTS = cast(Params, object())
FEW = {"few_shot.examples": 2, "few_shot.rounds": 2, "model.context": 1024}


class Scorer:
    """Stands in for `ScorePrograms`, and notes what it is asked.

    Token i of an example gets -i in the first call, -2 i in the next, and `first` in addition.
    """

    length = 128

    def __init__(self, first: float = 0.0) -> None:
        self.first = first
        self.calls: list[tuple[Any, list[Example], list[int]]] = []

    def score(
        self, weights: Any, examples: Sequence[Example], few_shot: Sequence[int], on_batch: Any
    ) -> list[np.ndarray]:
        self.calls.append((weights, list(examples), list(few_shot)))
        on_batch(len(examples))
        targets = [np.count_nonzero(example.weights) for example in examples]
        by = -len(self.calls)
        return [self.first + by * np.arange(count, dtype=np.float32) for count in targets]


def with_scorer(run: Run, scorer: Any) -> Run:
    return dataclasses.replace(run, programs=dataclasses.replace(run.programs, score=scorer))


def rationalizations(run: Run, count: int = 3) -> list[Sample]:
    return [gold(run.task, problem) for problem in run.task.train(0, 1, count)]


def target(example: Example) -> list[int]:
    return example.tokens[example.weights > 0].tolist()


def context(example: Example) -> list[int]:
    return example.tokens[example.weights == 0].tolist()


@pytest.mark.parametrize(("round_", "shown"), [(1, True), (2, True), (3, False)])
def test_contexts_are_those_of_sampling(tmp_path: pathlib.Path, round_: int, shown: bool):
    scorer = Scorer()
    run = with_scorer(made(tmp_path, FEW), scorer)
    samples = rationalizations(run)
    found = leak_score.score(run, round_, WEIGHTS, samples)
    assert [weights for weights, *_ in scorer.calls] == [WEIGHTS] * 2
    for (_, examples, few_shot), hint in zip(scorer.calls, (True, False), strict=True):
        assert few_shot == (run.prompter.few_shot(hint) if shown else [])
        for sample, example in zip(samples, examples, strict=True):
            assert context(example) == run.prompter.prompt_ids(sample.problem, hint, shown)
            ids = [*run.tokenizer.encode(sample.completion), run.prompter.end]
            assert target(example) == ids
    for one, example in zip(found, scorer.calls[0][1], strict=True):
        count = len(target(example))  # differences are 0, 1, 2, ...
        assert one == LeakScore((count - 1) / 2, count - 1)


class Spelling(ByteTokenizer):
    """After a hint it spells out what it has tokens for otherwise."""

    def encode(self, text: str) -> list[int]:
        return ByteTokenizer().encode(text) if "Target: " in text else super().encode(text)


def test_tokens_are_those_after_the_prompt_without_the_hint(tmp_path: pathlib.Path):
    run = made(tmp_path)
    tokenizer = Spelling(run.task.markup)
    prompter = dataclasses.replace(run.prompter, tokenizer=tokenizer)
    scorer = Scorer()
    run = with_scorer(dataclasses.replace(run, prompter=prompter), scorer)
    samples = rationalizations(run)
    leak_score.score(run, 1, WEIGHTS, samples)
    for sample, *pair in zip(samples, *(examples for _, examples, _ in scorer.calls), strict=True):
        ids = {hint: prompter.completion_ids(sample.problem, hint, sample.completion)
               for hint in (True, False)}  # fmt: skip
        assert len(ids[True]) > len(ids[False])
        assert [target(example) for example in pair] == [ids[False]] * 2


def test_tokens_without_room_are_not_scored(tmp_path: pathlib.Path):
    scorer = Scorer()
    run = with_scorer(made(tmp_path), scorer)
    samples = rationalizations(run, 1)
    prompt = len(run.prompter.prompt_ids(samples[0].problem, True))
    scorer.length = prompt + 3
    found = leak_score.score(run, 1, WEIGHTS, samples)
    with_hint, without = (examples[0] for _, examples, _ in scorer.calls)
    assert target(with_hint) == target(without) and len(target(without)) == 3
    assert found == [LeakScore(1.0, 2.0)]
    scorer.length = prompt
    with pytest.raises(ValueError, match="prompts of '.*' leave no room for a completion"):
        leak_score.score(run, 1, WEIGHTS, samples)


def test_is_the_difference_of_log_probabilities(tmp_path: pathlib.Path):
    """Compiled, by the formula in float64."""
    run = made(tmp_path, FEW | {"model.layers": 1})
    run = dataclasses.replace(run, mesh=toys.one_device())
    programs = leak_score.make_score_programs(
        compiler := Compiler(), run.model, run.mesh, run.settings, run.programs.sampling.spec
    )
    assert programs.prefix_length >= len(run.prompter.few_shot(True)) > 0
    compiler.finish()
    compiler.stop()
    samples = rationalizations(run, 2)
    params = toys.params(run.model)
    layout = jax.tree.map(lambda x: x.sharding, run.abstract_params)
    found = leak_score.score(with_scorer(run, programs), 1, jax.device_put(params, layout), samples)
    plain = reference.weights(params)
    for sample, one in zip(samples, found, strict=True):
        ids = [*run.tokenizer.encode(sample.completion), run.prompter.end]
        parts = []
        for hint in (True, False):
            before = run.prompter.few_shot(hint)
            before += run.prompter.prompt_ids(sample.problem, hint, True)
            logits = reference.logits(run.model, plain, [*before, *ids])
            probabilities = reference.softmax(logits)[len(before) - 1 : -1]
            parts.append(np.log(probabilities[np.arange(len(ids)), ids]))
        differences = parts[0] - parts[1]
        assert one.mean == pytest.approx(differences.mean(), abs=1e-4)
        assert one.worst == pytest.approx(differences.max(), abs=1e-4)


def test_what_is_no_number_ends_the_run(tmp_path: pathlib.Path):
    run = with_scorer(made(tmp_path), Scorer(first=float("nan")))
    with pytest.raises(SettingsError, match="log-probabilities of rationalization .* NaN"):
        leak_score.score_round(run, 1, lambda: WEIGHTS, rationalizations(run))
    assert not (run.round_folder(1) / leak_scores.FILE).exists()


def test_a_run_without_the_programs_is_refused(tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match="this run scores no leaks"):
        leak_score.score(made(tmp_path), 1, WEIGHTS, [])


def test_what_is_in_the_file_is_not_scored_again(tmp_path: pathlib.Path):
    scorer, loaded = Scorer(), []
    run = with_scorer(made(tmp_path), scorer)
    samples = rationalizations(run)

    def load() -> Params:
        loaded.append(1)
        return WEIGHTS

    first = leak_score.score_round(run, 1, load, samples)
    assert leak_score.score_round(run, 1, load, samples) == first
    assert len(loaded) == 1 and len(scorer.calls) == 2
    assert leak_scores.of_samples(run.round_folder(1), samples) == first
    with pytest.raises(ValueError, match="delete it to score them again"):
        leak_score.score_round(run, 1, load, samples[1:])


def test_without_rationalizations_nothing_runs(tmp_path: pathlib.Path):
    scorer = Scorer()
    run = with_scorer(made(tmp_path), scorer)
    assert leak_score.score_round(run, 1, lambda: WEIGHTS, []) == []
    assert not scorer.calls


def test_a_round_is_summed_up():
    scores = [LeakScore(0.5, 2.0), LeakScore(1.0, 5.0)]
    assert leak_score.summarize(scores) == {"scored": 2, "mean": 0.75, "worst": 3.5}
    assert leak_score.summarize([]) == {"scored": 0, "mean": None, "worst": None}
