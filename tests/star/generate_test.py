"""Sampling on fake devices: what goes to the devices, what comes into the folder, and going on."""

import dataclasses
import io
import pathlib
from typing import Any, cast

import pytest
from rich.console import Console

import fakes
from star_jax.data.sample import Sample
from star_jax.star import build, generate, phase
from star_jax.star.phase import Phase
from star_jax.star.run import Run
from star_jax.tasks import Problem

ALL = (
    *(phase.GENERATE, phase.RATIONALIZE, phase.EVALUATE),
    *(phase.EVALUATE_HINTED, phase.TEST, phase.VOTE),
)
WEIGHTS = object()


def made(folder: pathlib.Path, changes: dict[str, Any] | None = None) -> Run:
    return build.make_run(fakes.tiny(changes), folder, Console(file=io.StringIO()))


@pytest.fixture(autouse=True)
def _slots_of_the_fake_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_(programs: Any, policy: Any, seed: Any, bucket: Any) -> Any:
        return programs.open(policy, seed, bucket)

    monkeypatch.setattr(generate, "DeviceSlots", open_)


def on(devices: fakes.Devices, run: Run) -> Run:
    devices.spec = run.programs.sampling.spec
    return dataclasses.replace(run, programs=cast(Any, devices))


def gold(run: Run, problems: list[Problem]) -> dict[str, str]:
    """The right completion of every question."""
    complete = run.task.completion
    return {problem.question: complete(problem.rationale, problem.answer) for problem in problems}


def asked(prompt: str) -> str:
    return prompt.splitlines()[1]


def sample(
    run: Run, problems: list[Problem], phase_: Phase = phase.GENERATE, round_: int = 1
) -> list[Sample]:
    return generate.sample(run, round_, phase_, WEIGHTS, problems)


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
    for one in ALL:
        devices = fakes.Devices(lambda prompt, number: "")
        sample(on(devices, tiny), problems, one)
        assert all(weights is WEIGHTS for weights, *_ in devices.calls)
        assert devices.greedy == [one.name in ("evaluation", "hinted", "test")]
        seeds |= {seed for _, _, seed, *_ in devices.calls}
    assert len(seeds) == len(ALL) == 6
    assert {seed[:2] for seed in seeds} == {(0, 1)}, "the run's seed and the round"


@pytest.mark.parametrize("phase_", ALL, ids=lambda one: one.name)
def test_a_hint_gives_the_answer_away(tiny: Run, problems: list[Problem], phase_: Phase):
    hint = phase_.name in ("rationalized", "hinted")
    prompts: list[str] = []
    devices = fakes.Devices(lambda prompt, number: prompts.append(prompt) or "")
    samples = sample(on(devices, tiny), problems, phase_)
    assert sorted(prompts) == sorted(tiny.task.prompt(p, hint) for p in problems)
    assert {s.hint for s in samples} == {hint}


@pytest.mark.parametrize("phase_", [phase.GENERATE, phase.RATIONALIZE], ids=lambda one: one.name)
def test_the_few_shot_prompt_is_computed_once_and_only_where_it_is_needed(
    tmp_path: pathlib.Path, problems: list[Problem], phase_: Phase
):
    # By default the examples are shown until the first round's model is made.
    shown = made(tmp_path / "shown", {"few_shot.examples": 1})
    devices = fakes.Devices(lambda prompt, number: "")
    sample(on(devices, shown), problems, phase_)
    assert devices.prefixes == [shown.prompter.few_shot(phase_.hinted)]
    assert {prefix for _, prefix, *_ in devices.calls} == {"prefix"}
    sample(on(devices, shown), problems, phase_)
    assert len(devices.prefixes) == 1, "nothing is left to sample"
    sample(on(devices, shown), problems, phase.EVALUATE)
    sample(on(devices, shown), problems, phase_, round_=2)
    assert len(devices.prefixes) == 1
    assert {prefix for _, prefix, *_ in devices.calls[3:]} == {None}
    sample(on(devices, shown), problems, phase.EVALUATE, round_=0)
    assert devices.prefixes[1:] == [shown.prompter.few_shot(False)], "M_0 is evaluated as it writes"


def test_each_class_has_its_few_shot_prompt(tmp_path: pathlib.Path):
    changes = {"few_shot.examples": 1, "few_shot.own_class": True, "task.max_digits": 2}
    shown = made(tmp_path / "shown", changes)
    problems = shown.task.train(0, 1, 40)
    groups = list(dict.fromkeys(problem.group for problem in problems))
    assert len(groups) > 1
    right = gold(shown, problems)
    broken = fakes.Devices(lambda prompt, number: right[asked(prompt)], lasts=1)
    with pytest.raises(KeyboardInterrupt):
        sample(on(broken, shown), problems)
    mended = fakes.Devices(lambda prompt, number: right[asked(prompt)])
    samples = sample(on(mended, shown), problems)
    assert [s.id for s in samples] == [problem.id for problem in problems]
    assert all(s.correct for s in samples)
    prefixes = [shown.prompter.for_class(group).few_shot(False) for group in groups]
    assert (
        broken.prefixes[:1] == prefixes[:1] and mended.prefixes == prefixes[-len(mended.prefixes) :]
    )
    asked_first = [shown.prompter.for_class(p.group).examples[0].group == p.group for p in problems]
    assert all(asked_first)


def test_problems_that_the_programs_do_not_hold_are_left_out_and_told(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
    said = io.StringIO()
    changes = {"task.max_digits": 2, "rounds.problems": 40}
    tiny = build.make_run(fakes.tiny(changes), tmp_path, Console(file=said, width=200))
    everything = tiny.problems.train(2)
    assert generate.questions(tiny, 2) == everything and not said.getvalue()
    places = max(tiny.prompter.length(problem) for problem in everything) - 1
    sampling = tiny.programs.sampling
    bucket = dataclasses.replace(tiny.buckets[0], prompt_length=places)
    monkeypatch.setattr(sampling, "spec", dataclasses.replace(sampling.spec, buckets=(bucket,)))
    small = tiny
    found = generate.questions(small, 2)
    assert found == [p for p in everything if tiny.prompter.length(p) <= places] != []
    left = len(everything) - len(found)
    assert f"round 2: {left} of 40 problems are longer than those" in said.getvalue()


def test_samples_of_other_problems_are_refused(tiny: Run, problems: list[Problem]):
    devices = fakes.Devices(lambda prompt, number: "")
    sample(on(devices, tiny), problems, phase.EVALUATE)
    with pytest.raises(
        ValueError, match="evaluation line is sample 0 of problem .* has the data changed"
    ):
        sample(on(devices, tiny), problems[::-1], phase.EVALUATE)


def test_direct_answers_are_graded_as_such(tmp_path: pathlib.Path, problems: list[Problem]):
    direct = made(tmp_path / "direct", {"method": "direct"})
    answers = {problem.question: direct.task.direct(problem) for problem in problems}
    devices = fakes.Devices(lambda prompt, number: answers[asked(prompt)])
    assert all(s.correct for s in sample(on(devices, direct), problems))
