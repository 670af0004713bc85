"""What custom tasks import by the names that modules had before they were grouped."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("before", "now", "name"),
    [
        ("data_set", "dataset", "DataSet"),
        ("commonsense_qa", "multiple_choice.commonsense_qa", "CommonsenseQA"),
        ("choice_rows", "multiple_choice.rows", "convert"),
        ("choices", "multiple_choice.text", "prompt"),
        ("multiple_choice", "multiple_choice.base", "MultipleChoice"),
        ("ai2_arc", "multiple_choice.science", "Ai2Arc"),
        ("openbookqa", "multiple_choice.science", "OpenBookQA"),
        ("math_qa", "multiple_choice.math_qa", "MathQA"),
        ("science", "multiple_choice.science", "WORKED"),
    ],
)
def test_a_former_name_is_the_module_of_today(before: str, now: str, name: str):
    modules = [importlib.import_module(f"star_jax.tasks.{path}") for path in (before, now)]
    assert getattr(modules[0], name) is getattr(modules[1], name)
