"""Runs with several samples a question, votes, leak scores and other starts, on the tiny model."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
import pytest

import fakes
from star_jax.data.sample import Sample
from star_jax.grading import filtering, leak_scores, ledger
from star_jax.reporting.result import deterministic
from star_jax.star import bootstrap, finetune, rounds

pytestmark = pytest.mark.usefixtures("compiled_once")

DRAWN = {"sampler.temperature": 1.0, "rationalize.enabled": False}
FOUR = DRAWN | {"sampler.samples": 4, "rounds.problems": 20}


@dataclasses.dataclass
class Done:
    """A finished run."""

    folder: pathlib.Path
    result: dict[str, Any]

    def round(self, number: int) -> dict[str, Any]:
        return self.result["rounds"][number]

    def place(self, number: int) -> pathlib.Path:
        return self.folder / "rounds" / f"{number:04d}"

    def samples(self, number: int, kind: str = "samples") -> list[Sample]:
        return ledger.read_shards(self.place(number), kind)

    def kept(self, number: int) -> list[Sample]:
        return ledger.read_kept(self.place(number))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run that has made the base model, and nothing else."""
    folder = tmp_path_factory.mktemp("base") / "run"
    rounds.run_rounds(fakes.tiny({"rounds.count": 0}), folder)
    return folder


def run(base: pathlib.Path, folder: pathlib.Path, changes: dict[str, Any]) -> Done:
    settings = fakes.tiny({"pretrain.base": str(base)} | changes)
    return Done(folder, rounds.run_rounds(settings, folder))


@pytest.fixture(scope="module")
def four(base: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A run of four samples a question, with every filter that a vote leaves."""
    folder = tmp_path_factory.mktemp("four") / "run"
    return run(base, folder, FOUR | {"filter.cap": 2, "filter.dedupe": "text"})


def by_question(samples: list[Sample]) -> dict[str, list[Sample]]:
    return filtering.by_question(samples)


def test_every_question_has_its_samples_in_order(four: Done):
    for number in (1, 2):
        questions = by_question(four.samples(number))
        assert len(questions) == 20
        for samples in questions.values():
            assert [s.sample for s in samples] == [0, 1, 2, 3]
            assert len({s.prompt for s in samples}) == 1
    assert any(len({s.completion for s in q}) > 1 for q in questions.values())


def test_the_first_sample_is_what_a_run_of_one_sample_draws(
    four: Done, base: pathlib.Path, tmp_path: pathlib.Path
):
    """A larger K adds samples and changes none."""
    alone = run(base, tmp_path / "one", DRAWN | {"rounds.problems": 20, "rounds.count": 1})
    first = {s.id: s.completion for s in alone.samples(1)}
    assert first == {s.id: s.completion for s in four.samples(1) if s.sample == 0}
    two = run(
        base, tmp_path / "two", FOUR | {"sampler.samples": 2, "rounds.count": 1, "sampler.rows": 32}
    )
    second = {(s.id, s.sample): s.completion for s in two.samples(1)}
    assert second == {(s.id, s.sample): s.completion for s in four.samples(1) if s.sample < 2}


def test_what_is_kept_is_distinct_and_at_most_the_cap(four: Done):
    for number in (1, 2):
        kept = by_question(four.kept(number))
        record = four.round(number)
        assert sum(map(len, kept.values())) == record["kept"] > 0
        for samples in kept.values():
            assert all(s.correct and s.kept for s in samples)
            assert len({s.completion.strip() for s in samples}) == len(samples) <= 2
        dropped = record["dropped"]["generated"]
        assert sum(dropped.values()) + record["kept"] == 80 == record["tried"]


def test_diversity_is_of_the_ledger(four: Done):
    measures = four.round(2)["diversity"]
    questions = by_question(four.samples(2)).values()
    assert measures["samples"] == 4
    rates = [sum(s.correct for s in q) for q in questions]
    assert measures["pass_rate"] == [rates.count(hits) for hits in range(5)]
    texts = [len({s.completion.strip() for s in q}) for q in questions]
    assert measures["distinct_rationales"] == pytest.approx(np.mean(texts))


def test_killed_in_the_middle_it_ends_the_same(
    four: Done, base: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    """Stopped after a shard of the first round, and again in the second round's training."""
    write, tune = ledger.write_shard, finetune.fine_tune

    def stop_at(folder, phase, index, samples):
        write(folder, phase, index, samples)
        if phase == "samples" and index == 1:
            raise KeyboardInterrupt

    def stop(*arguments: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    settings = fakes.tiny(
        {"pretrain.base": str(base)} | FOUR | {"filter.cap": 2, "filter.dedupe": "text"}
    )
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ledger, "write_shard", stop_at)
        rounds.run_rounds(settings, tmp_path / "run")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(finetune, "fine_tune", stop)
        rounds.run_rounds(settings, tmp_path / "run")
    assert finetune.fine_tune is tune
    outcome = rounds.run_rounds(settings, tmp_path / "run")
    assert deterministic(outcome) == deterministic(four.result)
    for path in sorted((four.folder / "rounds").rglob("*.jsonl")):
        assert (tmp_path / "run" / path.relative_to(four.folder)).read_bytes() == path.read_bytes()


def test_rationalization_tries_only_questions_without_a_right_sample(
    base: pathlib.Path, tmp_path: pathlib.Path
):
    changes = FOUR | {"rationalize.enabled": True, "rounds.count": 1, "filter.cap": 1}
    done = run(base, tmp_path / "run", changes)
    solved = {s.id for s in done.samples(1) if s.correct}
    retried = by_question(done.samples(1, "rationalized"))
    assert set(retried) == set(by_question(done.samples(1))) - solved
    assert all([s.sample for s in samples] == [0, 1, 2, 3] for samples in retried.values())
    kept = by_question(done.kept(1))
    assert all(len(samples) == 1 for samples in kept.values())
    assert {s.id for q in kept.values() for s in q if s.hint}.isdisjoint(solved)


def test_the_majority_is_trained_on_without_the_datas_answers(
    base: pathlib.Path, tmp_path: pathlib.Path
):
    done = run(base, tmp_path / "run", FOUR | {"labels.source": "majority", "rounds.count": 1})
    record = done.round(1)["labels"]
    labelled = 0
    for samples in by_question(done.samples(1)).values():
        label = filtering.vote(samples).label
        labelled += label is not None
        assert all(s.label == label for s in samples)
        assert all(
            s.kept == (label is not None and s.predicted == label)
            for s in samples
            if not s.truncated
        )
    assert record["labelled"] == labelled > 0
    assert record["labelled"] + record["tied"] + record["weak"] + record["unparsable"] == 20
    wrong = [s for s in done.kept(1) if not s.correct]
    assert wrong, "a majority of a weak model is sometimes wrong, and is believed"


def test_a_round_starts_from_the_one_before_and_learns_what_all_have_kept(
    base: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[tuple[bytes, bytes, int]] = []
    tune = finetune.fine_tune

    def note(run: Any, number: int, load: Any, examples: Any, steps: int) -> Any:
        begun = fingerprint(load())
        params, loss = tune(run, number, load, examples, steps)
        seen.append((begun, fingerprint(params), len(examples)))
        return params, loss

    monkeypatch.setattr(finetune, "fine_tune", note)
    changes = {"rounds.start": "previous", "rounds.data": "all"}
    done = run(base, tmp_path / "run", FOUR | changes)
    (_, first, _), (start, _, count) = seen
    assert start == first
    union = filtering.union(fakes.Arithmetic(), [done.kept(1), done.kept(2)], "none")
    assert count == len(union) == done.round(2)["learned"]
    assert done.round(1)["kept"] < len(union)


def fingerprint(params: Any) -> bytes:
    every = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    return np.sort(every).tobytes()


SCORED = {"rationalize.score_leaks": True, "rounds.count": 1}


def test_kept_rationalizations_are_scored_and_high_scores_dropped(
    base: pathlib.Path, tmp_path: pathlib.Path
):
    scored = run(base, tmp_path / "scored", SCORED)
    hinted = [s for s in scored.kept(1) if s.hint]
    scores = leak_scores.of_samples(scored.place(1), hinted)
    assert scored.round(1)["leak_scores"]["scored"] == len(scores) == len(hinted) > 1
    assert all(np.isfinite([one.mean, one.worst]).all() and one.worst >= one.mean for one in scores)

    middle = sorted(one.mean for one in scores)[len(scores) // 2]
    most = max(middle, 1e-6)
    strict = run(base, tmp_path / "strict", SCORED | {"filter.max_leak": most})
    passing = [s for s, one in zip(hinted, scores, strict=True) if one.mean <= most]
    assert [s for s in strict.kept(1) if s.hint] == passing
    record = strict.round(1)
    assert record["rationalized"] == len(passing)
    assert record["dropped"]["rationalized"][bootstrap.HIGH_LEAK] == len(hinted) - len(passing)


def test_one_sample_and_no_filter_is_the_run_it_always_was(
    base: pathlib.Path, tmp_path: pathlib.Path
):
    """Nothing new is written for it: neither a field of a line, nor an entry of a round."""
    plain = run(base, tmp_path / "plain", {"rounds.count": 1})
    for path in plain.place(1).glob("*.jsonl"):
        assert '"sample":' not in path.read_text() and '"label":' not in path.read_text()
    assert not {"diversity", "labels", "leak_scores", "learned"} & set(plain.round(1))
