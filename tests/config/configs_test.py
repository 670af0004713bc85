import importlib.util
import pathlib
from types import ModuleType

import pytest
from ml_collections import ConfigDict

from star_jax.config import methods, validation

ROOT = pathlib.Path(__file__).parents[2]
GIVEN = (("task", "data"), ("model", "source"))
CONFIGS = sorted((ROOT / "configs").glob("*.py"))


def load(path: pathlib.Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_configs():
    assert ROOT / "configs" / "arithmetic.py" in CONFIGS


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_valid_and_a_lab_note(path: pathlib.Path):
    module = load(path)
    config = module.get_config()
    assert isinstance(config, ConfigDict) and config.is_locked
    for section, setting in GIVEN if path.stem == "jsonl" else ():
        getattr(config, section)[setting] = "given on the command line"
    validation.from_config(config)
    lab_note = module.__doc__ or ""
    notes = ("command ", "hardware ", "time ", "expected ")
    assert all(f"\n{note}" in lab_note for note in notes)
    assert f"--config=configs/{path.name}" in lab_note


class TestArithmetic:
    @pytest.fixture
    def get_config(self):
        return load(ROOT / "configs" / "arithmetic.py").get_config

    @pytest.mark.parametrize(
        ("variant", "beyond"),
        [("demo", 7), ("scratch", 7), ("study", 10), ("fused", 7), ("online", 7)],
    )
    def test_variants_are_valid(self, get_config, variant: str, beyond: int):
        chosen = validation.from_config(get_config(variant))
        assert (chosen.task.min_digits, chosen.task.max_digits) == (1, 5)
        assert chosen.task.ood_digits == beyond

    def test_the_demo_is_what_a_config_without_a_variant_means(self, get_config):
        assert get_config() == get_config("demo")

    def test_the_base_model_comes_with_the_package_or_is_made(self, get_config):
        demo, scratch = (validation.from_config(get_config(v)) for v in ("demo", "scratch"))
        different = validation.differences(*map(validation.to_dict, (demo, scratch)))
        assert {line.partition(":")[0] for line in different} == {
            *("model.source", "pretrain.steps", "pretrain.hinted", "pretrain.save_every")
        }

    def test_the_fused_variants_start_from_the_demos_base(self, get_config):
        demo = get_config("demo")
        for variant in ("fused", "online"):
            other = get_config(variant)
            assert other.mode == "fused"
            for same in ("seed", "task", "model", "pretrain", "evaluate", "rationalize"):
                assert other[same] == demo[same]

    @pytest.mark.parametrize("variant", ["", "stduy", "1-3"])
    def test_refuses_other_variants(self, get_config, variant: str):
        with pytest.raises(
            ValueError, match="the variants are demo, scratch, study, smollm2, fused, online"
        ):
            get_config(variant)

    @pytest.mark.parametrize("method", methods.METHODS)
    def test_methods_have_the_demos_base_updates_and_number_of_rationales(
        self, get_config, method: str
    ):
        demo, chosen = (validation.from_config(get_config(v)) for v in ("demo", method))
        assert (chosen.model, chosen.pretrain, chosen.train) == (
            demo.model,
            demo.pretrain,
            demo.train,
        )
        rationales = chosen.rounds.problems * chosen.sampler.samples
        assert rationales == 2 * demo.rounds.problems


@pytest.mark.parametrize("name", ["gsm8k", "commonsense_qa"])
class TestPapers:
    def test_variants_differ_in_settings_that_have_names(self, name: str):
        module = load(ROOT / "configs" / f"{name}.py")
        chosen = {v: validation.from_config(module.get_config(v)) for v in module.VARIANTS}
        paper, released = (validation.to_dict(chosen[v]) for v in ("paper", "released_code"))
        assert chosen["paper"] == chosen["gpt_j"] == validation.from_config(module.get_config())
        differing = validation.differences(paper, released)
        named = {line.partition(":")[0] for line in differing}
        sampling = {"sampler.temperature", "sampler.top_p"}
        assert named == sampling | ({"few_shot.examples"} if name == "commonsense_qa" else set())

    def test_the_papers_schedule(self, name: str):
        chosen = validation.from_config(load(ROOT / "configs" / f"{name}.py").get_config()).train
        assert (chosen.first_steps, chosen.growth) == (40, 1.2)
        assert (chosen.batch_size, chosen.length) == (8, 1536)
        assert (chosen.learning_rate, chosen.warmup_steps) == (1e-6, 100)
        assert chosen.max_steps == 7912 or name == "commonsense_qa"
