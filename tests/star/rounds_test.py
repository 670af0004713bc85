"""Whole runs in this process: what they leave, in which order they do it, and how they end."""

import dataclasses
import io
import os
import pathlib
import re
from collections import Counter
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath
from rich.console import Console

import fakes
from star_jax.config.validation import SettingsError
from star_jax.data.sample import Sample
from star_jax.grading import ledger
from star_jax.inference.programs import SamplingPrograms
from star_jax.reporting import metrics, plot
from star_jax.reporting.result import RESULT, deterministic
from star_jax.star import build, finetune, generate, rounds
from star_jax.storage import files, versions
from star_jax.storage.checkpoint import Checkpoints
from star_jax.tasks.arithmetic import Arithmetic
from star_jax.training.optimizer import steps_of_round

KINDS = ("samples", "rationalized", "evaluation", "hinted")
UNSEEN = {"task.ood_digits": 2, "evaluate.ood_problems": 5}


pytestmark = pytest.mark.usefixtures("compiled_once")


@dataclasses.dataclass
class Run:
    """A run that is done: its folder, its result, and what it did in order."""

    folder: pathlib.Path
    result: dict[str, Any]
    steps: list[tuple[Any, ...]]

    @property
    def rounds(self) -> list[dict[str, Any]]:
        return self.result["rounds"]

    def samples(self, number: int, kind: str) -> list[Sample]:
        return ledger.read_shards(self.folder / "rounds" / f"{number:04d}", kind)

    def kept(self, number: int) -> list[Sample]:
        return ledger.read_kept(self.folder / "rounds" / f"{number:04d}")


def fingerprint(params: Any) -> bytes:
    """The same for the same weights, in stacks or laid out for sampling."""
    every = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    return np.sort(every).tobytes()


def watched(folder: pathlib.Path, changes: dict[str, Any], base: Run | None = None) -> Run:
    """Runs the tiny experiment, and notes which weights each phase works with.

    With `base`, its base model is taken in place of pretraining.
    """
    if base:
        changes = changes | {"pretrain.base": str(base.folder)}
    steps: list[tuple[Any, ...]] = []
    prefixes: list[bool] = []
    sample, fine_tune, ready = generate.sample, finetune.fine_tune, SamplingPrograms.policy

    def ready_and_note(self, weights, few_shot=(), **how):
        prefixes.append(bool(few_shot))
        return ready(self, weights, few_shot, **how)

    def sample_and_note(run, number, phase, policy, problems, count=1):
        prefixes.clear()
        used = fingerprint(policy)
        samples = sample(run, number, phase, policy, problems, count)
        steps.append((number, phase.name, used, len(problems), any(prefixes)))
        return samples

    def fine_tune_and_note(run, number, base, examples, count):
        begun = fingerprint(params := base())  # training uses it up
        trained, loss = fine_tune(run, number, lambda: params, examples, count)
        steps.append((number, "train", begun, len(examples), count, fingerprint(trained)))
        return trained, loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "sample", sample_and_note)
        patch.setattr(finetune, "fine_tune", fine_tune_and_note)
        patch.setattr(SamplingPrograms, "policy", ready_and_note)
        return Run(folder, rounds.run_rounds(fakes.tiny(changes), folder), steps)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return watched(tmp_path_factory.mktemp("whole"), UNSEEN)


def test_the_weights_go_round_as_in_algorithm_1(whole: Run):
    (_, _, base, *_), hinted = whole.steps[:2]
    assert hinted[1:3] == ("hinted", base)
    policy = base
    rest = iter(whole.steps[2:])
    for number in (1, 2):
        generate, rationalize, train, evaluate = (next(rest) for _ in range(4))
        record = whole.rounds[number]
        assert generate[:4] == (number, "samples", policy, record["tried"])
        assert rationalize[:4] == (number, "rationalized", policy, record["hinted"])
        steps = steps_of_round(number, 10, 1.2, 8000)
        assert train[:5] == (number, "train", base, record["kept"], steps), "M is trained, not M_n"
        policy = train[5]
        assert policy != base
        assert evaluate[:3] == (number, "evaluation", policy)
    assert not list(rest)


def test_evaluation_is_greedy_where_rationales_are_drawn(whole: Run, tmp_path):
    changes = {"sampler.temperature": 1.0, "rounds.count": 1, "few_shot.examples": 0}
    run = watched(tmp_path, UNSEEN | changes, whole)
    for kind in ("evaluation", "hinted"):
        assert run.samples(0, kind) == whole.samples(0, kind)
    assert run.samples(1, "samples") != whole.samples(1, "samples")


def test_the_hint_is_given_to_what_failed_and_only_then(whole: Run):
    for number, kind, *_ in (step for step in whole.steps if step[1] != "train"):
        for sample in whole.samples(number, kind):
            told = f"Target: {' '.join(sample.answer)}\n" in sample.prompt
            assert sample.hint == told == (kind in ("rationalized", "hinted"))
    for number in (1, 2):
        failed = [s.id for s in whole.samples(number, "samples") if not s.correct]
        assert sorted(failed) == sorted(s.id for s in whole.samples(number, "rationalized"))


def test_every_problem_is_in_the_ledger_once(whole: Run):
    # 60 and 19 problems do not fill chunks of 16 rows: the last one is not dropped.
    task = Arithmetic(max_digits=1, ood_digits=2)
    held_out = [problem.id for problem in task.evaluation(0, 20, 5)]
    assert len(held_out) % 16
    for number in (1, 2):
        train = [problem.id for problem in task.train(0, number, 60)]
        assert Counter(s.id for s in whole.samples(number, "samples")) == Counter(train)
        assert Counter(s.id for s in whole.samples(number, "evaluation")) == Counter(held_out)
        assert set(held_out).isdisjoint(train)


def test_what_is_kept_is_right_whole_and_read_again_without_the_hint(whole: Run):
    for number in (1, 2):
        tried = whole.samples(number, "samples") + whole.samples(number, "rationalized")
        kept = whole.kept(number)
        assert {s.id for s in kept} == {s.id for s in tried if s.correct}
        assert {s.hint for s in kept} == {False, True}, "the tiny run keeps some of both"
        for sample in kept:
            assert sample.predicted == sample.answer and not sample.truncated
            assert sample.prompt.endswith("Target:\n")


def test_the_result_says_what_the_ledger_says(whole: Run):
    assert whole.result == files.read_json(whole.folder / RESULT)
    assert whole.result["base_accuracy"] == whole.rounds[0]["accuracy"]
    assert whole.result["accuracy"] == whole.rounds[-1]["accuracy"]
    for record in whole.rounds:
        number = record["round"]
        inside = [s for s in whole.samples(number, "evaluation") if s.group == "1"]
        unseen = [s for s in whole.samples(number, "evaluation") if s.group == "2"]
        assert record["accuracy"] == np.mean([s.correct for s in inside])
        assert record["accuracy_by_class"] == {"1": record["accuracy"]}
        assert record["out_of_distribution"] == {"2": np.mean([s.correct for s in unseen])}
        samples, hinted = whole.samples(number, "samples"), whole.samples(number, "rationalized")
        assert record["tried"] == len(samples)
        assert record["correct"] == sum(s.correct for s in samples)
        assert record["rationalized"] == sum(s.correct for s in hinted)
        assert record["kept"] == record["correct"] + record["rationalized"]
        assert record["wrong_step_share"].keys() == {"generated", "rationalized"}
        if number:
            wrong = [s.wrong_step is True for s in whole.kept(number) if s.hint]
            assert record["wrong_step_share"]["rationalized"] == np.mean(wrong)
            assert np.isfinite(record["train_loss"])


def test_round_0_is_the_base_model(whole: Run):
    base = whole.rounds[0]
    assert (base["round"], base["train_steps"], base["train_loss"]) == (0, 0, None)
    assert (base["tried"], base["kept"], base["correct"], base["rationalized"]) == (0, 0, 0, 0)
    hinted = whole.samples(0, "hinted")
    assert base["hinted_accuracy_by_class"] == {"1": np.mean([s.correct for s in hinted])}
    assert {s.group for s in hinted} == {"1"}
    assert all(record.keys() <= base.keys() for record in whole.rounds[1:])


def test_everything_is_compiled_before_round_1(whole: Run):
    first, *rest = (record["compilations"] for record in whole.rounds)
    made = build.make_run(fakes.tiny(UNSEEN), whole.folder, Console(file=io.StringIO()))
    assert first >= len(made.programs.compiler.programs)
    assert rest == [0, 0]


def test_seconds_are_told_apart_by_phase(whole: Run):
    base, *rest = (record["seconds"] for record in whole.rounds)
    assert base["compile"] > 0 and base["pretrain"] > 0 and base["evaluate"] > 0
    for seconds in rest:
        done = {"generate", "rationalize", "train", "evaluate"}
        assert seconds.keys() == done | {"total"}
        assert all(seconds[phase] > 0 for phase in done)
    for seconds in (base, *rest):
        total = seconds.pop("total")
        assert sum(seconds.values()) <= total + 0.01
        seconds["total"] = total
    for record in whole.rounds:
        assert 0 < record["host_share"] < 1


def test_training_starts_with_a_fresh_optimizer_at_step_1(whole: Run):
    lines = metrics.read_metrics(whole.folder / metrics.METRICS)
    assert [(x["phase"], x["round"], x["step"]) for x in lines if x["round"]] == [
        ("train", 1, 10),
        ("train", 2, 10),
        ("train", 2, 12),
    ]
    assert not (whole.folder / "checkpoints" / "training-0002").exists()


def test_a_run_that_is_done_is_only_shown_again(whole: Run, monkeypatch, capsys):
    (whole.folder / RESULT).unlink()
    (whole.folder / plot.PLOT).unlink()
    monkeypatch.setattr(rounds, "announce", lambda run: pytest.fail("compiles again"))
    assert rounds.run_rounds(fakes.tiny(UNSEEN), whole.folder) == whole.result
    assert files.read_json(whole.folder / RESULT) == whole.result
    assert (whole.folder / plot.PLOT).exists()
    assert "all rounds" in capsys.readouterr().out


def test_a_run_of_other_versions_goes_on_and_says_so(whole: Run, capsys):
    kept = whole.folder / versions.FILE
    earlier = versions.installed() | {"jax": "0.1.2"}
    for before, said in (([earlier], "jax 0.1.2 before"), ([], "")):
        files.write_json(kept, before) if before else kept.unlink()
        assert rounds.run_rounds(fakes.tiny(UNSEEN), whole.folder) == whole.result
        lines = [line for line in capsys.readouterr().out.splitlines() if "started with" in line]
        assert len(lines) == len(before) and said in "".join(lines)
        assert files.read_json(kept) == [*(before or [{}]), versions.installed()]


def test_other_settings_are_refused_and_change_nothing(whole: Run):
    with pytest.raises(SettingsError, match=r"seed: 0 in the folder, 5 now\ntrain.clip: 1.0 in"):
        rounds.run_rounds(fakes.tiny(UNSEEN | {"seed": 5, "train.clip": 0.5}), whole.folder)
    assert files.read_json(whole.folder / RESULT) == whole.result


class Killed(BaseException):
    """Stands for a kill that comes at a file operation."""


def test_killed_at_every_file_it_still_ends_the_same(whole: Run, tmp_path, monkeypatch, capsys):
    made = build.make_run(fakes.tiny(UNSEEN), whole.folder, Console(file=io.StringIO()))
    made.programs.compiler.finish()
    replace, seen = os.replace, set[tuple[str, str]]()

    def open_again(settings, workdir, console):
        files.sweep(workdir)
        return dataclasses.replace(made, folder=epath.Path(workdir))

    def replace_once(source, target):
        name = str(pathlib.Path(target).relative_to(tmp_path))
        for when in ("before", "after"):
            if when == "after":
                replace(source, target)
            if (name, when) not in seen and (when == "before" or name.endswith(".json")):
                seen.add((name, when))
                raise Killed

    monkeypatch.setattr(build, "make_run", open_again)
    monkeypatch.setattr(files.os, "replace", replace_once)
    result = None
    while result is None:
        try:
            result = rounds.run_rounds(fakes.tiny(UNSEEN), tmp_path)
        except Killed:
            capsys.readouterr()
    assert len(seen) > 40
    assert deterministic(result) == deterministic(whole.result)
    for path in (whole.folder / "rounds").rglob("*.jsonl"):
        copy = tmp_path / path.relative_to(whole.folder)
        assert copy.read_bytes() == path.read_bytes()
    assert (tmp_path / metrics.METRICS).read_bytes() == (
        whole.folder / metrics.METRICS
    ).read_bytes()
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_without_rationalization_only_what_was_generated_is_kept(whole: Run, tmp_path):
    run = watched(tmp_path, {"rationalize.enabled": False, "rounds.count": 1}, whole)
    record = run.rounds[1]
    assert [step[1] for step in run.steps] == [
        "evaluation",
        "samples",
        "train",
        "evaluation",
    ]
    assert record["kept"] == record["correct"] > 0
    assert record["rationalized"] == record["hinted"] == 0
    assert record["wrong_step_share"]["rationalized"] is None
    assert not list(tmp_path.rglob("rationalized-*"))


def test_direct_answers_are_learned_from_gold_without_sampling(whole: Run, tmp_path):
    run = watched(tmp_path, {"method": "direct", "rounds.count": 1}, whole)
    assert [step[:2] for step in run.steps] == [(0, "evaluation"), (1, "train"), (1, "evaluation")]
    assert run.steps[1][3] == run.rounds[1]["kept"] == 60
    assert run.rounds[1]["tried"] == 0
    for sample in run.samples(1, "evaluation"):
        assert "scratch" not in sample.completion
        assert sample.tokens <= len("1 8") + 1


def test_few_shot_examples_are_shown_in_the_first_rounds_only(whole: Run, tmp_path):
    changes = {"few_shot.examples": 1, "few_shot.rounds": 1, "train.few_shot": True}
    run = watched(tmp_path, changes, whole)
    shown = {(step[0], step[1]): step[-1] for step in run.steps if step[1] != "train"}
    assert shown == {
        (0, "evaluation"): True,
        (0, "hinted"): True,
        (1, "samples"): True,
        (1, "rationalized"): True,
        (1, "evaluation"): False,
        (2, "samples"): False,
        (2, "rationalized"): False,
        (2, "evaluation"): False,
    }
    for sample in run.samples(1, "samples"):
        assert sample.prompt.count("Input:") == 1
    assert [record["compilations"] for record in run.rounds[1:]] == [0, 0]


def test_the_test_set_is_for_the_model_of_the_best_round(whole: Run, tmp_path, monkeypatch):
    score, held_out = rounds._score, iter((0.1, 0.2, 0.9, 0.5))  # so that it is round 2
    monkeypatch.setattr(
        rounds,
        "_score",
        lambda *given: (found := score(*given)) | {"accuracy": next(held_out, found["accuracy"])},
    )
    module = tmp_path / "tested.py"
    module.write_text(
        "from star_jax.tasks.arithmetic import Arithmetic\n\n\n"
        "class Tested(Arithmetic):\n"
        "    def test(self, count):\n"
        "        return self.evaluation(1, 12, 0)\n"
    )
    changes = {"task.module": str(module), "rounds.count": 3, "rounds.keep_weights": "best"}
    run = watched(tmp_path / "run", changes, whole)
    best, tested = run.result["best_round"], run.steps[-1]
    trained = {step[0]: step[5] for step in run.steps if step[1] == "train"}
    assert len({*trained.values()}) == 3
    assert tested[:3] == (best, "test", trained[best]) and best == 2
    told = [sample.correct for sample in run.samples(best, "test")]
    assert run.result["test"]["round"] == best
    assert run.result["test"]["accuracy"] == sum(told) / len(told)
    assert run.result["test"]["evaluated"] == len(told) == tested[3]


def test_rounds_that_keep_nothing_are_survived_and_patience_ends_them(tmp_path, capsys):
    changes = {"pretrain.steps": 0, "rounds.count": 5, "rounds.patience": 2}
    changes["few_shot.examples"] = 1
    run = watched(tmp_path, changes)
    assert [record["round"] for record in run.rounds] == [0, 1, 2]
    assert [record["kept"] for record in run.rounds] == [0, 0, 0]
    assert [record["train_steps"] for record in run.rounds] == [0, 0, 0]
    assert [record["train_loss"] for record in run.rounds] == [None] * 3
    said = " ".join(capsys.readouterr().out.split())
    why = r"round 1: nothing was kept to train on \((\d+ [a-z ]+(, )?)+\); M_1 is the base model"
    told = re.search(why, said)
    assert told and said[told.end() :].startswith(", from now on without its few-shot prompt;")
    assert said.count("from now on") == 1
    dropped = run.rounds[1]["dropped"]
    assert sum(sum(reasons.values()) for reasons in dropped.values()) > 0
    weights = Checkpoints(tmp_path / "checkpoints" / "rounds")
    made = build.make_run(fakes.tiny(changes), tmp_path, Console(file=io.StringIO()))
    found = [fingerprint(weights.restore(n, made.abstract_params)) for n in (0, 1, 2)]
    assert found[0] == found[1] == found[2]
    for sample in run.samples(1, "samples"):
        assert sample.reason == ("truncated" if sample.truncated else "no answer")
    assert any(sample.truncated for sample in run.samples(1, "samples")), "it rarely stops"
    assert rounds.run_rounds(fakes.tiny(changes), tmp_path) == run.result, (
        "and does not go on later"
    )


@pytest.mark.parametrize(
    ("accuracies", "patience", "last"),
    [
        ([], 0, 9),
        ([], 1, 9),
        ([0.5], 1, 9),
        ([0.5, 0.5], 0, 9),
        ([0.5, 0.5], 1, 1),
        ([0.5, 0.6], 1, 9),
        ([0.5, 0.6, 0.6], 1, 2),
        ([0.5, 0.4, 0.6], 2, 9),
        ([0.5, 0.6, 0.5, 0.6], 2, 3),
        ([0.5, 0.6, 0.5, 0.7], 2, 9),
        ([0.0] * 10, 9, 9),
    ],
)
def test_the_last_round(accuracies: list[float], patience: int, last: int):
    settings = fakes.tiny({"rounds.count": 9, "rounds.patience": patience})
    assert rounds._last(settings, [{"accuracy": accuracy} for accuracy in accuracies]) == last
