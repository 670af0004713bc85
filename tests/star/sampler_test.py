"""Sampling in a few lines of Python, on a real model."""

import re
import subprocess
import sys

import pytest

import fakes
import smollm2
import toys
from star_jax.grading.grade import grade
from star_jax.inference.sampling import SamplingParams
from star_jax.star.sampler import Sampler
from star_jax.tasks import Problem
from star_jax.tasks.gsm8k import GSM8K

PROMPTS = ["The capital of France is", "1 2 3 4 5", "The capital of France is"]


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    return Sampler.open(
        str(smollm2.gguf()),
        max_new_tokens=12,
        prompt_length=48,
        rows=8,
        stop=".",
        mesh=toys.one_device(),
    )


def test_completions_come_in_the_order_of_the_prompts(sampler: Sampler):
    first, second, third = sampler(PROMPTS)
    assert first == third and first.startswith(" Paris") and "." not in first
    assert second.strip().startswith("6")
    assert sampler(PROMPTS[:1]) == [first] and sampler([]) == []


def test_a_completion_is_graded(sampler: Sampler):
    task, problem = GSM8K(""), Problem("1", "What is 2 + 2?", "4", "", "1")
    [text] = sampler([task.prompt(problem, hint=False)])
    right = grade(task, problem, text, truncated=False, rule="flexible")
    assert right.correct == (right.predicted == "4")


def test_a_prompt_that_is_too_long_is_named(sampler: Sampler):
    with pytest.raises(ValueError, match="row 1 has a prompt of .* tokens"):
        sampler(["short", "long " * 60])


def test_draws_follow_from_the_seed():
    drawn = Sampler.open(
        str(smollm2.gguf()),
        max_new_tokens=6,
        prompt_length=16,
        rows=8,
        params=SamplingParams(temperature=1.0),
        mesh=toys.one_device(),
    )
    first = drawn(["Once"] * 4, seed=1)
    assert first == drawn(["Once"] * 4, seed=1) != drawn(["Once"] * 4, seed=2)
    assert len(set(first)) > 1


def test_the_lines_of_the_readme_sample_and_grade():
    [code] = re.findall(r"```python\n(.*?)```", (fakes.ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code.replace("\n\n", "\n").splitlines()) == 8
    code = re.sub(r'open\("[^"]+"', f"open({str(smollm2.gguf())!r}", code)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=fakes.ROOT, capture_output=True, text=True, check=True,
        env=fakes.environment(),
    )  # fmt: skip
    assert done.stdout.rstrip().endswith(("True", "False"))
