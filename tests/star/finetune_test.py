"""Training of a run with its updates faked: what is reported, what is planned, what is removed."""

import dataclasses
import io
import pathlib
from typing import Any

import pytest
from rich.console import Console

import fakes
from star_jax.config.validation import SettingsError
from star_jax.data import packing
from star_jax.grading import filtering
from star_jax.reporting import metrics
from star_jax.star import build, finetune
from star_jax.star.run import Run
from star_jax.training.loop import TrainPlan
from tests.star.generate_test import WEIGHTS, tiny

__all__ = ["tiny"]


@dataclasses.dataclass
class Fit:
    """Stands in for `train`: goes through the steps from `start`, and notes the plan."""

    start: int = 0
    plan: TrainPlan | None = None
    loss: float = 1.0

    def __call__(self, programs: Any, start: Any, plan: TrainPlan, heard: Any, resumed: Any) -> Any:
        self.plan = plan
        resumed(self.start)
        for step in range(self.start + 1, plan.steps + 1):
            heard(step, {"loss": self.loss / step})
        return start()


def train(tiny: Run, round_: int, steps: int) -> float:
    problem = tiny.task.train(0, 1, 1)[0]
    graded = filtering.make_sample(
        *(tiny.task, problem, 1, False, tiny.task.completion(problem.rationale, problem.answer)),
        truncated=False,
        tokens=1,
    )
    examples = [tiny.prompter.training_example(graded)]
    params, loss = finetune.fine_tune(tiny, round_, lambda: WEIGHTS, examples, steps)
    assert params is WEIGHTS
    return loss


def lines(tiny: Run) -> list[tuple[str, int, int]]:
    found = metrics.read_metrics(tiny.folder / metrics.METRICS)
    return [(line["phase"], line["round"], line["step"]) for line in found]


def test_texts_that_are_too_long_to_train_on_are_left_out(tmp_path: pathlib.Path):
    said = io.StringIO()
    tiny = build.make_run(fakes.tiny(), tmp_path, Console(file=said, width=200))
    short, long = (packing.example([1], [5] * size) for size in (127, 128))
    assert finetune.drop_too_long(tiny, 3, [short, long, short]) == [short, short]
    assert "round 3: 1 of 3 texts have more than the 128 tokens of train.length" in said.getvalue()
    said.truncate(0)
    assert finetune.drop_too_long(tiny, 3, [short]) == [short] and not said.getvalue().strip("\0")


def test_training_leaves_a_line_every_ten_steps_and_at_the_end(
    tiny: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(finetune, "train", Fit())
    assert train(tiny, 1, 12) == 1 / 12
    assert train(tiny, 2, 20) == 1 / 20
    first = [("train", 1, 10), ("train", 1, 12)]
    assert lines(tiny) == [*first, ("train", 2, 10), ("train", 2, 20)]


def test_training_that_diverges_ends_the_run_before_it_is_noted(
    tiny: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(finetune, "train", Fit(loss=float("nan")))
    says = r"round 1, step 1 of 12: .*diverged, loss not finite.*lower config\.train\.learning_rate"
    with pytest.raises(SettingsError, match=says):
        train(tiny, 1, 12)
    assert not (tiny.folder / metrics.METRICS).exists()


def test_going_on_drops_the_lines_of_steps_that_are_done_again(
    tiny: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(finetune, "train", Fit())
    train(tiny, 1, 12)
    train(tiny, 2, 30)
    expected = lines(tiny)
    for start in (0, 5, 10, 25):
        monkeypatch.setattr(finetune, "train", Fit(start))
        train(tiny, 2, 30)
        assert lines(tiny) == expected


def test_training_orders_its_examples_anew_every_round(tiny: Run, monkeypatch: pytest.MonkeyPatch):
    fits = [Fit(), Fit()]
    plans = []
    for round_, fit in enumerate(fits, 1):
        monkeypatch.setattr(finetune, "train", fit)
        train(tiny, round_, 5)
        assert fit.plan
        plans.append(fit.plan)
    assert plans[0].seed != plans[1].seed
    assert plans[0].folder != plans[1].folder
    assert (plans[0].steps, plans[0].save_every) == (5, 4)


def test_pretraining_learns_from_the_corpus_of_the_seed(tiny: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(finetune, "train", fit := Fit())
    assert finetune.pretrain(tiny, lambda: WEIGHTS) is WEIGHTS
    assert fit.plan
    assert (fit.plan.steps, len(fit.plan.examples)) == (200, 400)
    assert {line[:2] for line in lines(tiny)} == {("pretrain", 0)}


@pytest.mark.parametrize("round_", [0, 1])
def test_clear_removes_what_training_left_of_this_round_alone(
    tiny: Run, monkeypatch: pytest.MonkeyPatch, round_: int
):
    finetune.clear(tiny, round_)  # nothing to remove is fine
    folders = []
    for number in (0, 1):
        monkeypatch.setattr(finetune, "train", fit := Fit())
        _ = train(tiny, 1, 5) if number else finetune.pretrain(tiny, lambda: WEIGHTS)
        assert fit.plan
        (fit.plan.folder / "4").mkdir(parents=True)
        folders.append(fit.plan.folder)
    finetune.clear(tiny, round_)
    assert [folder.exists() for folder in folders] == [round_ == 1, round_ == 0]
