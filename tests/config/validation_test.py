import dataclasses
import json
import math
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from star_jax.config import schema, validation
from star_jax.config.validation import Settings, SettingsError


def changed(**values: object) -> ConfigDict:
    """The defaults with values at paths, `train__clip` for 'train.clip', unchecked."""
    config = ConfigDict(validation.defaults().to_dict(), type_safe=False)
    for path, value in values.items():
        section, _, name = path.rpartition("__")
        holder: ConfigDict = getattr(config, section) if section else config
        setattr(holder, name, value)
    return config


def refusal(config: ConfigDict) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        validation.from_config(config)
    return str(caught.value).splitlines()


def test_defaults_are_valid():
    assert validation.from_config(validation.defaults()) == Settings()


def test_defaults_are_locked_and_type_safe():
    config = cast(Any, validation.defaults())
    with pytest.raises(AttributeError):
        config.train.cilp = 2.0
    with pytest.raises(TypeError):
        config.rounds.count = "many"
    config.train.clip = 2  # an int for a float is fine
    assert validation.from_config(config).train.clip == 2.0


def test_every_setting_is_described_and_allows_its_default():
    assert len(validation.SETTINGS) > 40
    for path, field in validation.SETTINGS.items():
        assert field.metadata["help"], path
        assert validation.problem(path, field.default) is None, path
    for section in validation.SECTIONS.values():
        assert section.__doc__ and not section.__doc__.startswith(section.__name__ + "(")


def test_what_is_left_out_keeps_its_default():
    assert validation.from_config(ConfigDict({"train": {"clip": 2}})) == dataclasses.replace(
        Settings(), train=schema.Train(clip=2.0)
    )


def test_whole_numbers_become_floats_where_floats_are_meant():
    clip = validation.from_config(changed(train__clip=2)).train.clip
    assert (clip, type(clip)) == (2.0, float)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"rounds__cuont": 3}, "config.rounds.cuont: no such setting; did you mean 'config.rounds.count'?"),
        ({"metod": "direct"}, "config.metod: no such setting; did you mean 'config.method'?"),
        ({"rounds__clip": 1.0}, "config.rounds.clip: no such setting; did you mean 'config.pretrain.clip' or 'config.train.clip'?"),
        ({"mesh__zzz": 1}, "config.mesh.zzz: no such setting; config.mesh has data, fsdp, tensor"),
        ({"mesh": 8}, "config.mesh = 8: is a section; set what is in it: data, fsdp, tensor"),
        ({"train__learning_rate": -1.0}, "config.train.learning_rate = -1.0: must be a number in (0, 10]"),
        ({"train__clip": math.nan}, "config.train.clip = nan: must be a number in (0, inf)"),
        ({"rounds__count": "many"}, "config.rounds.count = 'many': must be a whole number in [0, 1000]"),
        ({"rounds__count": 2.5}, "config.rounds.count = 2.5: must be a whole number in [0, 1000]"),
        ({"seed": True}, "config.seed = True: must be a whole number in [0, 2147483647]"),
        ({"rationalize__enabled": 1}, "config.rationalize.enabled = 1: must be true or false"),
        ({"model__dtype": "half"}, "config.model.dtype = 'half': must be 'float32' or 'bfloat16'"),
        ({"mesh__data": 0}, "config.mesh.data = 0: must be a whole number in [1, inf), or -1"),
        ({"task__min_digits": 6}, "config.task.min_digits = 6: must be at most task.max_digits = 5"),
        ({"task__ood_digits": 5}, "config.task.ood_digits = 5: must be 0 (none) or above task.max_digits = 5"),
        ({"task__ood_length": 2}, "config.task.ood_length = 2: must be 0 (none) or above task.length = 2"),
        ({"task__name": "coin_flip", "sampler__max_new_tokens": 64, "model__source": "a/b", "rounds__problems": 0}, "config.rounds.problems = 0: must be above 0: there is no end of the questions of coin_flip"),
        ({"model__width": 96}, "config.model.width = 96: must be model.heads x model.head_dim = 4 x 32"),
        ({"model__rotary": 15}, "config.model.rotary = 15: must be even"),
        ({"model__rotary": 34}, "config.model.rotary = 34: must be at most model.head_dim = 32"),
        ({"mesh__tensor": 3}, "config.model.heads = 4: must be a multiple of mesh.tensor = 3"),
        ({"mesh__fsdp": -1}, "config.mesh.data = -1: only one of mesh.data, mesh.fsdp, mesh.tensor can be -1"),
        ({"pretrain__steps": 9}, "config.pretrain.warmup_steps = 50: must be at most pretrain.steps = 9"),
        ({"model__source": "shipped:arithmetic", "model__width": 256}, "config.model.width = 256: changes nothing with model.source = 'shipped:arithmetic', a finished model; set that to '' to make one"),
        ({"model__source": "a/b", "pretrain__base": "runs/x"}, "config.pretrain.base = 'runs/x': changes nothing with model.source = 'a/b', a finished model; set that to '' to make one"),
        ({"pretrain__length": 2048}, "config.pretrain.length = 2048: must be at most model.context = 1024"),
        ({"train__length": 2048}, "config.train.length = 2048: must be at most model.context = 1024"),
        ({"train__max_steps": 9}, "config.train.first_steps = 40: must be at most train.max_steps = 9"),
        ({"train__micro_batch": -1}, "config.train.micro_batch = -1: must be a whole number in [0, 65536]"),
        ({"sampler__max_new_tokens": 2000}, "config.sampler.max_new_tokens = 2000: must be at most model.context = 1024"),
        ({"rounds__problems": 0}, "config.rounds.problems = 0: must be above 0: there is no end of the questions of arithmetic"),
        ({"evaluate__problems": 0}, "config.evaluate.problems = 0: must be above 0: there is no end of the questions of arithmetic"),
        ({"sampler__top_k": 40}, "config.sampler.top_k = 40: changes nothing at sampler.temperature = 0.0; set that above 0 as well"),
        ({"sampler__top_p": 0.9}, "config.sampler.top_p = 0.9: changes nothing at sampler.temperature = 0.0; set that above 0 as well"),
        ({"sampler__samples": 8}, "config.sampler.samples = 8: are all the same at sampler.temperature = 0.0; set that above 0, such as 0.7"),
        ({"labels__source": "majority", "rationalize__enabled": False}, "config.labels.source = 'majority': needs sampler.samples of at least 3 to vote, not 1"),
        ({"labels__source": "majority", "sampler__samples": 2, "sampler__temperature": 1.0, "rationalize__enabled": False}, "config.labels.source = 'majority': needs sampler.samples of at least 3 to vote, not 2"),
        ({"labels__source": "majority", "sampler__samples": 3, "sampler__temperature": 1.0}, "config.labels.source = 'majority': cannot go with rationalize.enabled = True: a question without a majority has no hint"),
        ({"labels__threshold": 0.5}, "config.labels.threshold = 0.5: changes nothing with labels.source = 'gold'"),
        ({"task__answer_field": "", "task__module": "mine.py"}, "config.task.answer_field = '': leaves no answers to grade by; set labels.source=majority too"),
        ({"filter__max_leak": 1.0}, "config.filter.max_leak = 1.0: needs the scores: set rationalize.score_leaks=true"),
        ({"rationalize__score_leaks": True, "rationalize__enabled": False}, "config.rationalize.score_leaks = True: scores rationalizations, and rationalize.enabled = False"),
        ({"method": "direct", "rounds__data": "all"}, "config.rounds.data = 'all': changes nothing with method = 'direct', which samples no rationales"),
        ({"method": "direct", "filter__cap": 2}, "config.filter.cap = 2: changes nothing with method = 'direct', which samples no rationales"),
        ({"method": "direct", "filter__dedupe": "text"}, "config.filter.dedupe = 'text': changes nothing with method = 'direct', which samples no rationales"),
        ({"method": "direct", "filter__wrong_steps": True}, "config.filter.wrong_steps = True: changes nothing with method = 'direct', which samples no rationales"),
        ({"method": "direct", "filter__unchecked": True}, "config.filter.unchecked = True: changes nothing with method = 'direct', which samples no rationales"),
        ({"few_shot__own_class": True}, "config.few_shot.own_class = True: changes nothing with few_shot.examples = 0"),
        ({"few_shot__own_class": True, "few_shot__examples": 2, "train__few_shot": True}, "config.few_shot.own_class = True: cannot go with train.few_shot = True, which has one few-shot prompt for all questions"),
        ({"few_shot__own_class": True, "few_shot__examples": 2, "rationalize__score_leaks": True}, "config.few_shot.own_class = True: cannot go with rationalize.score_leaks = True, which has one few-shot prompt for all questions"),
        ({"few_shot__own_class": True, "few_shot__examples": 2, "mode": "fused", "sampler__rows": 8}, "config.few_shot.own_class = True: must be False in mode 'fused': a step has one few-shot prompt"),
        ({"few_shot__own_class": True, "few_shot__examples": 2, "task__name": "last_letters", "sampler__max_new_tokens": 9, "model__source": "x"}, "config.few_shot.own_class = True: changes nothing for last_letters: its worked examples are of one class"),
        ({"method": "direct", "rationalize__score_leaks": True}, "config.rationalize.score_leaks = True: changes nothing with method = 'direct', which samples no rationales"),
        ({"task__answer_field": "", "labels__source": "majority", "sampler__samples": 3, "sampler__temperature": 1.0, "rationalize__enabled": False}, "config.task.answer_field = '': can be empty for jsonl only: arithmetic has answers; labels.source=majority alone ignores them"),
        ({"mode": "fused", "sampler__rows": 8, "rounds__data": "all"}, "config.rounds.data = 'all': must be 'round' in mode 'fused': it learns each batch once"),
        ({"mode": "fused", "sampler__rows": 8, "rounds__start": "previous"}, "config.rounds.start = 'previous': must be 'base' in mode 'fused': policy_refresh_every says where a round starts"),
        ({"mode": "fused", "sampler__rows": 8, "filter__cap": 2}, "config.filter.cap = 2: must be 0 in mode 'fused': a step decodes one rationale a question"),
        ({"mode": "fused", "sampler__rows": 8, "sampler__samples": 4, "sampler__temperature": 1.0}, "config.sampler.samples = 4: must be 1 in mode 'fused': a step decodes one rationale a question"),
        ({"rationalize__drop_leaks": True}, "config.rationalize.drop_leaks: no such setting; it is 'config.filter.leaks' now"),
        ({"mode": "fused", "rationalize__rehearsal": 0.2, "sampler__rows": 4}, "config.rationalize.rehearsal = 0.2: is none of the sampler.rows = 4 questions of a step in mode 'fused'"),
    ],
)  # fmt: skip
def test_refuses(values: dict[str, object], line: str):
    assert refusal(changed(**values)) == [line]


def test_a_source_replaces_what_a_run_would_make():
    config = changed(model__width=256, model__heads=8, pretrain__steps=9, model__dtype="bfloat16")
    validation.set_source(config, "a/b")
    assert config == changed(model__source="a/b", model__dtype="bfloat16")
    validation.from_config(config)


@pytest.mark.parametrize(
    "values",
    [
        {"task__ood_digits": 0},
        {"pretrain__steps": 0},
        {"sampler__top_k": 40, "sampler__temperature": 0.7},
        {"mesh__data": 1, "mesh__fsdp": -1},
        {"mesh__tensor": -1, "mesh__data": 1, "model__heads": 3, "model__width": 96},
        {"rationalize__enabled": False, "method": "direct"},
        {"rounds__count": 0},
        {
            "sampler__samples": 8,
            "sampler__temperature": 0.7,
            "filter__cap": 4,
            "filter__dedupe": "steps",
        },
        {
            "labels__source": "majority",
            "labels__threshold": 0.5,
            "sampler__samples": 3,
            "sampler__temperature": 1.0,
            "rationalize__enabled": False,
            "rounds__data": "all",
            "rounds__start": "previous",
        },
        {"rationalize__score_leaks": True, "filter__max_leak": 0.5},
        {"mode": "fused", "rationalize__rehearsal": 0.25, "sampler__rows": 4},
    ],
)
def test_accepts(values: dict[str, object]):
    chosen = validation.to_dict(validation.from_config(changed(**values)))
    for path, value in values.items():
        section, _, name = path.rpartition("__")
        assert (chosen[section] if section else chosen)[name] == value


def test_refuses_everything_at_once_and_blames_nothing_twice():
    lines = refusal(changed(seed=-1, train__micro_batch=-1, rounds__cuont=3, model__rotary=33))
    assert [line.split(" = ")[0].split(":")[0] for line in sorted(lines)] == [
        "config.model.rotary",
        "config.model.rotary",
        "config.rounds.cuont",
        "config.seed",
        "config.train.micro_batch",
    ]


def test_what_older_versions_let_be_set_beside_a_source_changed_nothing():
    plain = validation.to_dict(validation.from_config(changed(model__source="a/b")))
    stored = {**plain, "pretrain": {**plain["pretrain"], "hinted": 0.45, "steps": 1700}}
    stored["model"] = {**plain["model"], "width": 256}
    assert validation.upgrade(stored) == plain
    without = {**stored, "model": {**stored["model"], "source": ""}}
    assert validation.upgrade(without) == without


def test_settings_of_an_older_folder_are_read_as_they_were_meant():
    stored = validation.to_dict(Settings())
    del stored["filter"], stored["labels"], stored["sampler"]["samples"]
    stored["rationalize"] = {"enabled": False, "drop_leaks": True}
    upgraded = validation.upgrade(stored)
    assert upgraded == validation.to_dict(
        dataclasses.replace(
            Settings(),
            rationalize=schema.Rationalize(enabled=False),
            filter=schema.Filter(leaks=True),
        )
    )
    same = validation.to_dict(Settings())
    assert validation.differences(validation.upgrade(same | {"gone": 3}), same) == [
        "gone: 3 in the folder, absent now"
    ]


def test_refuses_what_is_no_config():
    with pytest.raises(SettingsError, match="None, not a ConfigDict"):
        validation.from_config(None)  # pyright: ignore[reportArgumentType]


NUMBERS = {
    path: field.metadata["allowed"]
    for path, field in validation.SETTINGS.items()
    if field.metadata["allowed"].interval
}


@hypothesis_settings(deadline=None)
@given(st.sampled_from(sorted(NUMBERS)), st.integers(-(10**7), 10**7) | st.floats())
def test_a_number_is_refused_just_where_its_interval_ends(path: str, value: float):
    low, high = (float(bound) for bound in NUMBERS[path].interval[1:-1].split(","))
    inside = low <= value <= high and math.isfinite(value)
    inside &= value != low or NUMBERS[path].interval[0] == "["
    inside &= value != high or NUMBERS[path].interval[-1] == "]"
    inside |= value == NUMBERS[path].also
    inside &= NUMBERS[path].kind is float or isinstance(value, int)
    assert (validation.problem(path, value) is None) == inside


# Names this long leave no doubt which one was meant; 'top_k' and 'top_p' do.
LONG_NAMES = [path for path in validation.SETTINGS if len(path.rpartition(".")[2]) > 5]


@pytest.mark.parametrize("path", LONG_NAMES)
def test_two_letters_swapped_still_point_to_the_setting(path: str):
    start = path.rfind(".") + 1
    for at in range(start, len(path) - 1):
        slip = path[:at] + path[at + 1] + path[at] + path[at + 2 :]
        if slip != path:
            assert f"did you mean 'config.{path}'?" in (validation.problem(slip, 1) or "")


def test_to_dict_survives_json():
    config = changed(train__learning_rate=3e-4, seed=7)
    chosen = validation.from_config(config)
    stored = json.loads(json.dumps(validation.to_dict(chosen), allow_nan=False))
    assert validation.from_config(ConfigDict(stored)) == chosen
    assert validation.differences(stored, validation.to_dict(chosen)) == []


def test_differences():
    a = validation.to_dict(Settings())
    b = validation.to_dict(Settings(seed=1, train=schema.Train(clip=2.0)))
    del b["mesh"]["fsdp"]
    b["mesh"]["depth"] = 2
    assert validation.differences(a, b) == [
        "seed: 0 in the folder, 1 now",
        "train.clip: 1.0 in the folder, 2.0 now",
        "mesh.fsdp: 1 in the folder, absent now",
        "mesh.depth: absent in the folder, 2 now",
    ]


def test_settings_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().train.clip = 2.0  # pyright: ignore[reportAttributeAccessIssue]
