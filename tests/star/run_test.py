import pathlib
from typing import Any

import pytest

from star_jax.config.validation import SettingsError
from star_jax.star.run import Run
from tests.star.build_test import made
from tests.star.generate_test import tiny

__all__ = ["tiny"]


def test_a_model_without_logits_ends_the_run(tiny: Run):
    with pytest.raises(SettingsError, match="logits are NaN or infinite at token 3"):
        tiny.text([70, 71, -1, 0, 0])


@pytest.mark.parametrize(
    ("changes", "rounds"),
    [
        ({}, []),
        ({"few_shot.examples": 2}, [0]),
        ({"few_shot.examples": 2, "few_shot.rounds": 2}, [0, 1]),
        ({"few_shot.examples": 2, "few_shot.rounds": 0}, []),
    ],
)
def test_examples_are_shown_in_the_first_rounds(
    tmp_path: pathlib.Path, changes: dict[str, Any], rounds: list[int]
):
    found = made(tmp_path, changes | {"model.context": 1024})
    assert [n for n in range(4) if found.shows_few_shot(n)] == rounds
    shown = found.tokenizer.decode(found.prompter.few_shot(False))
    hinted = found.tokenizer.decode(found.prompter.few_shot(True))
    count = 2 if rounds else 0
    assert shown.count("Target:\n") == count and hinted.count("Target: ") == count
    assert shown.count("</scratch>\n") == hinted.count("</scratch>\n") == count


def test_rounds_have_folders_that_sort(tmp_path: pathlib.Path):
    found = made(tmp_path)
    assert [found.round_folder(n).name for n in (0, 12)] == ["0000", "0012"]
