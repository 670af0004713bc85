"""The worked examples can be shown to a model: right by the task's rule, and without a leak."""

import pytest

from star_jax.tasks import leaks
from star_jax.tasks.multiple_choice import math_qa, science, text
from star_jax.tasks.task import Problem

EVERY = pytest.mark.parametrize("example", [*science.WORKED, *math_qa.WORKED])


@EVERY
def test_its_completion_is_right(example: Problem):
    completion = text.completion(example.rationale, example.answer)
    assert text.answer(completion) == example.answer
    assert completion.endswith(
        f" Therefore, the answer is {text.text_of(example)} ({example.answer})."
    )
    assert text.flexible(example, completion.partition(" Therefore")[2]) == example.answer


@EVERY
def test_it_reasons_before_it_answers(example: Problem):
    answers = (text.text_of(example), f"({example.answer})")
    assert leaks.leaks(example.rationale, marks=[text.MARK], answers=answers) == []
    assert len(example.rationale.partition(text.CUE)[0].split()) >= 10


@pytest.mark.parametrize("examples", [science.WORKED, math_qa.WORKED])
def test_they_differ(examples: tuple[Problem, ...]):
    for values in ("id", "question", "rationale"):
        assert len({getattr(example, values) for example in examples}) == len(examples)
    assert len({example.answer for example in examples}) >= 3


def test_the_rationale_concludes_with_the_words_of_the_letter():
    example = science.worked("1", "what", "What?", ("yes", "no"), "b", "Because.")
    assert example.rationale == "Because. Therefore, the answer is no"
