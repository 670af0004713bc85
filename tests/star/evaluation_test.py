import pathlib

import pytest
from etils import epath

import fakes
from star_jax import evaluate
from star_jax.config.validation import SettingsError
from star_jax.star import evaluation


def test_samples_that_would_be_the_same_are_refused(tmp_path: pathlib.Path):
    with pytest.raises(SettingsError, match="--samples=4: all would be the same"):
        evaluate.evaluate(fakes.tiny({"model.source": "a/b"}), str(tmp_path), samples=4)


def test_it_must_be_said_what_to_evaluate(tmp_path: pathlib.Path):
    with pytest.raises(SettingsError, match="--model: must say what to evaluate"):
        evaluate.evaluate(fakes.tiny(), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_data_without_answers_is_refused():
    without = {
        **{"model.source": "a/b", "task.name": "jsonl", "task.data": "x", "task.answer_field": ""},
        **{"labels.source": "majority", "sampler.max_new_tokens": 9},
        **{"sampler.samples": 3, "sampler.temperature": 1.0, "rationalize.enabled": False},
    }
    with pytest.raises(SettingsError, match="no answers to evaluate with; name the field"):
        evaluation.for_evaluation(fakes.tiny(without), 1)


@pytest.mark.parametrize(("samples", "says"), [(4, "holds no verifier"), (1, "makes one; set --s")])
def test_a_folder_without_a_verifier_and_a_single_sample_are_refused_at_once(
    tmp_path: pathlib.Path, samples: int, says: str
):
    settings = fakes.tiny({"model.source": "a/b", "sampler.temperature": 0.7})
    with pytest.raises(SettingsError, match=f"--verifier={tmp_path}: .*{says}"):
        evaluate.evaluate(settings, str(tmp_path / "run"), samples=samples, verifier=str(tmp_path))
    assert not (tmp_path / "run").exists()


def test_the_folder_of_another_evaluation_is_refused(tmp_path: pathlib.Path):
    of = epath.Path(tmp_path) / evaluation.OF
    evaluation._check_folder(of, "owner/name", "test", 4)
    evaluation._check_folder(of, "owner/name", "test", 4)
    for other in (("owner/name", "development", 4), ("owner/name", "test", 8), ("b/c", "test", 4)):
        with pytest.raises(SettingsError, match="holds the evaluation of .* choose another"):
            evaluation._check_folder(of, *other)
