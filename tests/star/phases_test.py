"""Phases on fake devices: what goes to the devices, what comes into the folder, and going on."""

import dataclasses
import io
import pathlib
from typing import Any, cast, get_args

import pytest
from rich.console import Console

import fakes
from star_jax.config.validation import SettingsError
from star_jax.data import packing
from star_jax.data.sample import Sample
from star_jax.grading import ledger
from star_jax.grading.ledger import Kind
from star_jax.reporting import report
from star_jax.star import build, phases
from star_jax.star.build import Run
from star_jax.tasks import Problem
from star_jax.training.loop import TrainPlan

WEIGHTS = object()


def made(folder: pathlib.Path, changes: dict[str, Any] | None = None) -> Run:
    return build.make_run(fakes.tiny(changes), folder, Console(file=io.StringIO()))


def on(devices: fakes.Devices, context: Run) -> Run:
    return dataclasses.replace(context, programs=cast(Any, devices))


def gold(context: Run, problems: list[Problem]) -> dict[str, str]:
    """The right completion of every question."""
    complete = context.task.completion
    return {problem.question: complete(problem.rationale, problem.answer) for problem in problems}


def asked(prompt: str) -> str:
    return prompt.splitlines()[1]


def sample(
    context: Run, problems: list[Problem], kind: Kind = "samples", round_: int = 1
) -> list[Sample]:
    return phases.sample(context, round_, kind, WEIGHTS, problems)


@pytest.fixture
def tiny(tmp_path: pathlib.Path) -> Run:
    return made(tmp_path)


@pytest.fixture
def problems(tiny: Run) -> list[Problem]:
    return tiny.task.train(0, 1, 40)


def test_samples_come_in_the_order_of_the_problems(tiny: Run, problems: list[Problem]):
    right = gold(tiny, problems)
    devices = fakes.Devices(lambda prompt, number: right[asked(prompt)])
    samples = sample(on(devices, tiny), problems)
    assert [s.id for s in samples] == [problem.id for problem in problems]
    assert all(s.correct and s.wrong_step is False for s in samples)
    assert [s.prompt for s in samples] == [tiny.task.prompt(p, hint=False) for p in problems]
    assert [s.tokens for s in samples] == [
        len(tiny.tokenizer.encode(s.completion)) + 1 for s in samples
    ]


def test_the_last_chunk_is_smaller_and_not_dropped(tiny: Run, problems: list[Problem]):
    devices = fakes.Devices(lambda prompt, number: "")
    sample(on(devices, tiny), problems)
    assert [len(rows) for *_, rows in devices.calls] == [16, 16, 8]
    assert sorted(sum((rows for *_, rows in devices.calls), [])) == list(range(40))
    shards = sorted(path.name for path in tiny.round_folder(1).iterdir())
    assert shards == [f"samples-0000{index}.jsonl" for index in range(3)]


def test_what_hits_the_budget_is_never_kept(tiny: Run, problems: list[Problem]):
    # A right answer that goes on and on: where it breaks off, it still reads as right.
    right = gold(tiny, problems)
    devices = fakes.Devices(lambda prompt, number: right[asked(prompt)] + " " * 99 * (number % 2))
    for number, graded in enumerate(sample(on(devices, tiny), problems)):
        assert graded.predicted == graded.answer
        assert graded.kept == graded.correct == (number % 2 == 0)
        assert graded.reason == ("truncated" if number % 2 else "kept")


@pytest.mark.parametrize("lasts", [0, 1, 2])
def test_it_goes_on_at_the_chunk_where_it_stopped(tiny: Run, problems: list[Problem], lasts: int):
    def answer(prompt: str, number: int) -> str:
        return f"{prompt}{number}"

    broken = fakes.Devices(answer, lasts=lasts)
    with pytest.raises(KeyboardInterrupt):
        sample(on(broken, tiny), problems)
    mended = fakes.Devices(answer)
    samples = sample(on(mended, tiny), problems)
    whole = fakes.Devices(answer)
    elsewhere = dataclasses.replace(tiny, folder=tiny.folder / "elsewhere")
    assert samples == sample(on(whole, elsewhere), problems)
    assert broken.calls + mended.calls == whole.calls
    again = fakes.Devices(answer, lasts=0)
    assert samples == sample(on(again, tiny), problems), "what is done is only read"


def test_phases_draw_from_streams_of_their_own(tiny: Run, problems: list[Problem]):
    seeds = set()
    for kind in (kinds := get_args(Kind)):
        devices = fakes.Devices(lambda prompt, number: "")
        sample(on(devices, tiny), problems, kind)
        assert all(weights is WEIGHTS for weights, *_ in devices.calls)
        assert devices.greedy == [kind in ("evaluation", "hinted", "test")]
        seeds |= {seed for _, _, seed, *_ in devices.calls}
    assert len(seeds) == len(kinds) == 6
    assert {seed[:2] for seed in seeds} == {(0, 1)}, "the run's seed and the round"


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_hint_gives_the_answer_away(tiny: Run, problems: list[Problem], kind: Kind):
    hint = kind in ("rationalized", "hinted")
    prompts: list[str] = []
    devices = fakes.Devices(lambda prompt, number: prompts.append(prompt) or "")
    samples = sample(on(devices, tiny), problems, kind)
    assert sorted(prompts) == sorted(tiny.task.prompt(p, hint) for p in problems)
    assert {s.hint for s in samples} == {hint}


@pytest.mark.parametrize("kind", ["samples", "rationalized"])
def test_the_few_shot_prompt_is_computed_once_and_only_where_it_is_needed(
    tmp_path: pathlib.Path, problems: list[Problem], kind: Kind
):
    # By default the examples are shown until the first round's model is made.
    shown = made(tmp_path / "shown", {"few_shot.examples": 1})
    devices = fakes.Devices(lambda prompt, number: "")
    sample(on(devices, shown), problems, kind)
    assert devices.prefixes == [shown.prompter.few_shot(kind == "rationalized")]
    assert {prefix for _, prefix, *_ in devices.calls} == {"prefix"}
    sample(on(devices, shown), problems, kind)
    assert len(devices.prefixes) == 1, "nothing is left to sample"
    sample(on(devices, shown), problems, "evaluation")
    sample(on(devices, shown), problems, kind, round_=2)
    assert len(devices.prefixes) == 1
    assert {prefix for _, prefix, *_ in devices.calls[3:]} == {None}
    sample(on(devices, shown), problems, "evaluation", round_=0)
    assert devices.prefixes[1:] == [shown.prompter.few_shot(False)], "M_0 is evaluated as it writes"


def test_problems_that_the_programs_do_not_hold_are_left_out_and_told(tmp_path: pathlib.Path):
    said = io.StringIO()
    changes = {"task.max_digits": 2, "rounds.problems": 40}
    tiny = build.make_run(fakes.tiny(changes), tmp_path, Console(file=said, width=200))
    everything = tiny.problems.train(2)
    assert phases.questions(tiny, 2) == everything and not said.getvalue()
    places = max(tiny.prompter.length(problem) for problem in everything) - 1
    shape = dataclasses.replace(tiny.buckets[0], prompt=places)
    small = dataclasses.replace(tiny, shapes=(shape,))
    found = phases.questions(small, 2)
    assert found == [p for p in everything if tiny.prompter.length(p) <= places] != []
    left = len(everything) - len(found)
    assert f"round 2: {left} of 40 problems are longer than those" in said.getvalue()


def test_samples_of_other_problems_are_refused(tiny: Run, problems: list[Problem]):
    devices = fakes.Devices(lambda prompt, number: "")
    sample(on(devices, tiny), problems, "evaluation")
    with pytest.raises(ValueError, match="evaluation sample is of problem .* has the data changed"):
        sample(on(devices, tiny), problems[::-1], "evaluation")


def test_direct_answers_are_graded_as_such(tmp_path: pathlib.Path, problems: list[Problem]):
    direct = made(tmp_path / "direct", {"method": "direct"})
    answers = {problem.question: direct.task.direct(problem) for problem in problems}
    devices = fakes.Devices(lambda prompt, number: answers[asked(prompt)])
    assert all(s.correct for s in sample(on(devices, direct), problems))


@dataclasses.dataclass
class Fit:
    """Stands in for `fit`: goes through the steps from `start`, and notes the plan."""

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
    graded = ledger.make_sample(
        *(tiny.task, problem, 1, False, tiny.task.completion(problem.rationale, problem.answer)),
        truncated=False,
        tokens=1,
    )
    examples = [tiny.prompter.training_example(graded)]
    params, loss = phases.fine_tune(tiny, round_, lambda: WEIGHTS, examples, steps)
    assert params is WEIGHTS
    return loss


def lines(tiny: Run) -> list[tuple[str, int, int]]:
    metrics = report.read_metrics(tiny.folder / report.METRICS)
    return [(line["phase"], line["round"], line["step"]) for line in metrics]


def test_texts_that_are_too_long_to_train_on_are_left_out(tmp_path: pathlib.Path):
    said = io.StringIO()
    tiny = build.make_run(fakes.tiny(), tmp_path, Console(file=said, width=200))
    short, long = (packing.example([1], [5] * size) for size in (127, 128))
    assert phases.drop_too_long(tiny, 3, [short, long, short]) == [short, short]
    assert "round 3: 1 of 3 texts have more than the 128 tokens of train.length" in said.getvalue()
    said.truncate(0)
    assert phases.drop_too_long(tiny, 3, [short]) == [short] and not said.getvalue().strip("\0")


def test_training_leaves_a_line_every_ten_steps_and_at_the_end(
    tiny: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(phases, "fit", Fit())
    assert train(tiny, 1, 12) == 1 / 12
    assert train(tiny, 2, 20) == 1 / 20
    first = [("train", 1, 10), ("train", 1, 12)]
    assert lines(tiny) == [*first, ("train", 2, 10), ("train", 2, 20)]


def test_training_that_diverges_ends_the_run_before_it_is_noted(
    tiny: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(phases, "fit", Fit(loss=float("nan")))
    says = r"round 1, step 1 of 12: .*diverged, loss not finite.*lower config\.train\.learning_rate"
    with pytest.raises(SettingsError, match=says):
        train(tiny, 1, 12)
    assert not (tiny.folder / report.METRICS).exists()


def test_a_model_without_logits_ends_the_run(tiny: Run):
    with pytest.raises(SettingsError, match="logits are NaN or infinite at token 3"):
        tiny.text([70, 71, -1, 0, 0])


def test_going_on_drops_the_lines_of_steps_that_are_done_again(
    tiny: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(phases, "fit", Fit())
    train(tiny, 1, 12)
    train(tiny, 2, 30)
    expected = lines(tiny)
    for start in (0, 5, 10, 25):
        monkeypatch.setattr(phases, "fit", Fit(start))
        train(tiny, 2, 30)
        assert lines(tiny) == expected


def test_training_orders_its_examples_anew_every_round(tiny: Run, monkeypatch: pytest.MonkeyPatch):
    fits = [Fit(), Fit()]
    plans = []
    for round_, fit in enumerate(fits, 1):
        monkeypatch.setattr(phases, "fit", fit)
        train(tiny, round_, 5)
        assert fit.plan
        plans.append(fit.plan)
    assert plans[0].seed != plans[1].seed
    assert plans[0].folder != plans[1].folder
    assert (plans[0].kind, plans[0].steps, plans[0].save_every) == ("train", 5, 4)


def test_pretraining_learns_from_the_corpus_of_the_seed(tiny: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(phases, "fit", fit := Fit())
    assert phases.pretrain(tiny, lambda: WEIGHTS) is WEIGHTS
    assert fit.plan
    assert (fit.plan.kind, fit.plan.steps, len(fit.plan.examples)) == ("pretrain", 200, 400)
    assert {line[:2] for line in lines(tiny)} == {("pretrain", 0)}


@pytest.mark.parametrize("round_", [0, 1])
def test_clear_removes_what_training_left_of_this_round_alone(
    tiny: Run, monkeypatch: pytest.MonkeyPatch, round_: int
):
    phases.clear(tiny, round_)  # nothing to remove is fine
    folders = []
    for number in (0, 1):
        monkeypatch.setattr(phases, "fit", fit := Fit())
        _ = train(tiny, 1, 5) if number else phases.pretrain(tiny, lambda: WEIGHTS)
        assert fit.plan
        (fit.plan.folder / "4").mkdir(parents=True)
        folders.append(fit.plan.folder)
    phases.clear(tiny, round_)
    assert [folder.exists() for folder in folders] == [round_ == 1, round_ == 0]
