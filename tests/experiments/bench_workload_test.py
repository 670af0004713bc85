"""The common workload of the speed benchmarks (experiments/bench/workload.py)."""

import argparse
import pathlib

import numpy as np
import pytest

import bench_toys
import hugging_face
from experiments.bench import workload
from star_jax.data.tokenizer import ByteTokenizer

BYTES = ByteTokenizer()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return bench_toys.data(tmp_path_factory.mktemp("gsm8k"))


def test_questions_come_behind_six_examples_and_end_with_a_blank_line(data: str):
    asked = workload.questions(BYTES, data, 20)
    examples = BYTES.decode(asked.prefix)
    assert asked.prefix[0] == BYTES.bos_id and examples.count("Q: ") == examples.count("#### ") == 6
    assert examples.startswith("Q: ") and examples.endswith(asked.stop)
    assert len(asked.problems) == 20
    for row in asked.encode():
        text = BYTES.decode(row)
        assert text.startswith("Q: ") and text.endswith("\nA:") and text not in examples
    assert (asked.stop, asked.ends, asked.budget) == ("\n\n", BYTES.eos_ids, 192)


def test_forced_questions_do_not_end(data: str):
    asked, forced = (workload.questions(BYTES, data, 5, forced=x) for x in (False, True))
    assert forced.problems == asked.problems and forced.prefix == asked.prefix
    assert (forced.stop, forced.ends, forced.budget) == ("", (), 128)


def test_a_batch_is_full_of_whole_solutions(data: str):
    batch = workload.batch(BYTES, data, rows=4, length=1024)
    assert batch.tokens.shape == (4, 1024)
    assert (batch.segments > 0).mean() > 0.8
    for tokens, segments in zip(batch.tokens, batch.segments, strict=True):
        for segment in range(1, segments.max() + 1):
            document = tokens[segments == segment]
            assert (document[0], document[-1]) == (BYTES.bos_id, BYTES.eos_id)
            text = BYTES.decode(document)
            assert text.startswith("Q: ") and "\nA: " in text and "\n#### " in text
    ends = (batch.tokens == BYTES.eos_id) & (batch.segments > 0)
    np.testing.assert_array_equal(batch.weights[ends], 1)


def test_the_peers_get_the_same_weights(tmp_path: pathlib.Path):
    torch, transformers = hugging_face.torch_and_transformers()
    model = hugging_face.make("llama-old", tmp_path / "model")
    BYTES.save(tmp_path / "model")
    folder = workload.export(str(tmp_path / "model"), tmp_path / "export")
    opened = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs = dict(opened.named_parameters())
    assert all(torch.equal(x, theirs[name]) for name, x in model.named_parameters())


def test_the_command_line_in_common():
    parser = argparse.ArgumentParser()
    workload.add_arguments(parser)
    given = parser.parse_args(["--model=m", "--data=d", "--json=j"])
    assert (given.model, given.data, given.json) == ("m", "d", pathlib.Path("j"))
