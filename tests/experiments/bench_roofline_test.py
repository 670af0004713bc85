"""The roofline of matrix products (experiments/bench/roofline.py), on small models."""

import dataclasses
import json
import pathlib

import pytest

import hugging_face
import toys
from experiments.bench import roofline
from star_jax.models.config import ModelConfig

SMOLLM2 = ModelConfig(
    layers=30, width=576, heads=9, kv_heads=3, head_dim=64, hidden=1536, rotary=64, vocab=49152,
    context=8192, gated=True, tied=True,
)  # fmt: skip


def test_the_work_of_a_token_is_known():
    assert roofline.flops(SMOLLM2) == 2 * (30 * (2 * 576**2 + 2 * 576 * 192 + 3 * 576 * 1536)
                                           + 576 * 49152)  # fmt: skip
    assert roofline.flops(SMOLLM2) / 1e9 == pytest.approx(0.269, abs=1e-3)
    assert roofline.flops(toys.SMALL) == 2 * (2 * (4 * 16 * 16 + 2 * 16 * 24) + 16 * 32)


@pytest.mark.parametrize("gated", [False, True])
def test_a_token_that_is_trained_on_takes_three_passes(gated: bool):
    products = roofline.Products(dataclasses.replace(toys.SMALL, gated=gated))
    one, three = products.measure(8, repeats=1), products.measure(8, repeats=1, passes=3)
    for speed, passes in ((one, 1), (three, 3)):
        assert speed.tokens_per_second == pytest.approx(8 / speed.seconds / passes)
        work = 8 * roofline.flops(products.config)
        assert speed.gflops == pytest.approx(work / speed.seconds / 1e9)


def test_the_command_shows_a_table_and_writes_a_file(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    hugging_face.write("llama-old", tmp_path / "model")
    found = tmp_path / "found.json"
    roofline.main(
        [f"--model={tmp_path / 'model'}", "--decode=4,8", "--train=16", f"--json={found}"]
    )
    written = json.loads(found.read_text())
    assert [line["rows"] for line in written["decode"]] == [4, 8]
    assert [line["rows"] for line in written["train"]] == [16]
    assert written["flops_per_token"] > 0
    assert "GFLOP a token forward" in capsys.readouterr().out
