"""Rounds of the fused step, whole: what is on disk, what is trained from what, and resuming."""

import dataclasses
import json
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
import pytest

import fakes
from star_jax import tasks
from star_jax.config.validation import SettingsError
from star_jax.data.sample import Sample
from star_jax.grading import filtering
from star_jax.grading import ledger as ledger_lib
from star_jax.reporting import result as results
from star_jax.reporting.metrics import METRICS
from star_jax.star import fused_round, rounds
from star_jax.star.fused_programs import FusedPrograms
from star_jax.tasks import Problem

pytestmark = pytest.mark.usefixtures("compiled_once")
FUSED: dict[str, Any] = {
    "mode": "fused",
    "pretrain.steps": 100,
    "sampler.rows": 16,
    "rationalize.rehearsal": 0.5,
    "train.save_every": 2,
    "train.micro_batch": 8,
}


@pytest.fixture(scope="module")
def frozen(compiled_once: None, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("frozen")
    rounds.run_rounds(fakes.tiny(FUSED), folder)
    return folder


def result(folder: pathlib.Path) -> dict[str, Any]:
    return json.loads((folder / results.RESULT).read_text())


def ledger(folder: pathlib.Path, number: int) -> tuple[list[Sample], list[Sample]]:
    place = folder / "rounds" / f"{number:04d}"
    found = (ledger_lib.read_shards(place, kind) for kind in ("samples", "rationalized"))
    generated, rationalized = (sorted(samples, key=lambda sample: sample.id) for samples in found)
    return generated, rationalized


def losses(folder: pathlib.Path) -> list[tuple[int, int, float]]:
    lines = map(json.loads, (folder / METRICS).read_text().splitlines())
    return [(m["round"], m["step"], m["loss"]) for m in lines if m["phase"] == "star_step"]


def test_a_round_is_a_pass_over_its_problems(frozen: pathlib.Path):
    for record in result(frozen)["rounds"][1:]:
        generated, rationalized = ledger(frozen, record["round"])
        assert len({sample.id for sample in generated}) == record["tried"] == 60
        assert [s.id for s in rationalized] == [s.id for s in generated if not s.correct]
        assert record["train_steps"] == 4, "60 problems in batches of 16"
        kept = ledger_lib.read_kept(frozen / "rounds" / f"{record['round']:04d}")
        assert len(kept) == record["kept"] > 0
        assert all(sample.correct for sample in kept)


def test_a_half_is_trained_on_with_its_hint_as_well(frozen: pathlib.Path):
    """Each round's last batch, tokens counted: of its 12 problems every second is rehearsed."""
    lines = map(json.loads, (frozen / METRICS).read_text().splitlines())
    metrics = {m["round"]: m for m in lines if m["phase"] == "star_step"}
    task, encode = tasks.make(fakes.tiny().task), fakes.TOKENIZER.encode
    for number, metric in metrics.items():
        place = frozen / "rounds" / f"{number:04d}"
        tries = {
            kind: json_lines(place / f"{kind}-00003.jsonl") for kind in ("samples", "rationalized")
        }
        problems = [sample["id"] for sample in tries["samples"]]
        kept = {s["id"]: s for samples in tries.values() for s in samples if s["kept"]}
        assert metric["step"] == 4 and metric["accepted"] == len(kept)
        assert any(name in kept for name in problems[1::2])
        wanted = 0
        for i, name in enumerate(problems):
            for hint in (False, True)[: 1 + i % 2] if name in kept else ():
                sample = kept[name]
                problem = Problem(name, sample["question"], sample["answer"], "", sample["group"])
                wanted += 1 + len(encode(task.prompt(problem, hint))) + sample["tokens"]
        assert metric["tokens"] == wanted


def json_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "changes",
    [{}, {"sampler.temperature": 0.7}, {"few_shot.examples": 1, "pretrain.shots": 3}],
    ids=["greedy", "drawn", "after a few-shot prompt"],
)
def test_a_frozen_policy_writes_what_the_rounds_mode_writes(
    frozen: pathlib.Path, tmp_path: pathlib.Path, changes: dict[str, Any]
):
    once = FUSED | {"rounds.count": 1, "pretrain.base": str(frozen)} | changes
    for mode in ("fused", "rounds"):
        rounds.run_rounds(fakes.tiny(once | {"mode": mode}), tmp_path / mode)
    (generated, again), (first, second) = (
        ledger(tmp_path / mode, 1) for mode in ("fused", "rounds")
    )
    assert generated == first
    assert [sample.id for sample in again] == [sample.id for sample in second]
    # a phase of its own numbers what it draws for anew
    assert (again == second) == ("sampler.temperature" not in changes)
    assert ((generated, again) == ledger(frozen, 1)) == (not changes)


def test_both_ways_start_from_the_base_with_a_frozen_policy_and_go_on_with_a_live_one(
    frozen: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    begun: list[tuple[bytes, bytes]] = []
    learn = fused_round.learn

    def note(context: Any, round_: int, start: Any, policy: Any) -> Any:
        begun.append((fingerprint(start()), fingerprint(policy())))
        return learn(context, round_, start, policy)

    monkeypatch.setattr(fused_round, "learn", note)
    frozen_again = FUSED | {"pretrain.base": str(frozen)}
    rounds.run_rounds(fakes.tiny(frozen_again), tmp_path / "frozen")
    (first, policy), (second, later) = begun
    assert first == policy == second != later
    begun.clear()
    rounds.run_rounds(fakes.tiny(frozen_again | {"policy_refresh_every": 1}), tmp_path / "live")
    assert begun[0] == (first, first) and begun[1][0] == begun[1][1] != first
    assert losses(tmp_path / "frozen") == losses(frozen)
    assert losses(tmp_path / "live") != losses(frozen)


def fingerprint(params: Any) -> bytes:
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("refresh", [0, 2], ids=["frozen", "live"])
def test_killed_in_a_pass_it_goes_on_from_the_checkpoint(
    frozen: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, refresh: int
):
    changes = FUSED | {"pretrain.base": str(frozen), "policy_refresh_every": refresh}
    alone = frozen
    if refresh:
        alone = tmp_path / "alone"
        rounds.run_rounds(fakes.tiny(changes), alone)
    folder, write, steps = tmp_path / "run", fused_round._write, []

    def break_down(context: Any, round_: int, step: int, *rest: Any) -> None:
        write(context, round_, step, *rest)
        steps.append((round_, step))
        if (round_, step) == (2, 3) and steps.count((2, 3)) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fused_round, "_write", break_down)
    with pytest.raises(KeyboardInterrupt):
        rounds.run_rounds(fakes.tiny(changes), folder)
    rounds.run_rounds(fakes.tiny(changes), folder)
    assert steps == [(1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3), (2, 3), (2, 4)]
    assert results.deterministic(result(folder)) == results.deterministic(result(alone))
    assert losses(folder) == losses(alone) != []
    assert (folder / METRICS).read_text().count("star_step") == 2
    for number in (1, 2):
        assert ledger(folder, number) == ledger(alone, number)


def test_killed_before_the_first_step_of_a_pass_it_goes_on(
    frozen: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    changes = FUSED | {"pretrain.base": str(frozen)}
    with monkeypatch.context() as patch:
        patch.setattr(FusedPrograms, "step", _stop)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                rounds.run_rounds(fakes.tiny(changes), tmp_path)
    assert not (tmp_path / "rounds" / "0001").exists()
    rounds.run_rounds(fakes.tiny(changes), tmp_path)
    assert results.deterministic(result(tmp_path)) == results.deterministic(result(frozen))


def _stop(*given: Any) -> None:
    raise KeyboardInterrupt


def test_a_grader_that_errs_ends_the_run(
    frozen: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    grade = filtering.make_sample

    def contradict(*args: Any, **options: Any) -> Sample:
        sample = grade(*args, **options)
        return sample if not sample.correct else _wrong(sample)

    shutil.copytree(frozen, tmp_path / "base")
    monkeypatch.setattr("star_jax.star.fused_round.filtering.make_sample", contradict)
    with pytest.raises(ValueError, match=r"grading/grade\.py False: .*config\.mode='rounds'"):
        rounds.run_rounds(
            fakes.tiny(FUSED | {"pretrain.base": str(tmp_path / "base")}), tmp_path / "run"
        )


def _wrong(sample: Sample) -> Sample:
    return dataclasses.replace(sample, correct=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mode": "fused", "method": "direct"}, "config.method = 'direct': must be 'rationale'"),
        (
            {"mode": "fused", "rationalize.rehearsal": 0.02},
            "none of the sampler.rows = 16 questions",
        ),
        ({"policy_refresh_every": 5}, "policy_refresh_every = 5: must be 0 in mode 'rounds'"),
        ({"train.few_shot": True, "rationalize.rehearsal": 0.2}, "cannot go with"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(SettingsError, match=message):
        fakes.tiny(changes)
