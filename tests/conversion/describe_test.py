"""What is said of a model before it is loaded."""

import dataclasses
import io
import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

import smollm2
from star_jax.conversion import describe, load
from star_jax.models.abstract_params import abstract_params
from star_jax.models.config import ModelConfig
from star_jax.models.params import count_params
from star_jax.runtime.sharding import without_devices
from tests.models.memory_test import SHAPES

GPTJ, LLAMA, GEMMA = SHAPES.values()


@pytest.fixture
def opened(monkeypatch) -> dict[str, ModelConfig]:
    """What `load.open_config` gives, by source; no source is read."""
    configs: dict[str, ModelConfig] = {}
    monkeypatch.setattr(load, "open_config", lambda source: configs[source])
    return configs


class TestParameters:
    def test_of_gptj(self):
        E, F, V = 512, 2048, 1000
        block = {"attention": 4 * E * E, "mlp": 2 * E * F + F + E, "norms": 2 * E}
        expected = {name: 3 * count for name, count in block.items()}
        expected["norms"] += 2 * E
        expected |= {"embedding": V * E, "head": V * E, "head_bias": V}
        assert describe.parameters(GPTJ) == expected

    def test_of_smollm2_is_what_its_authors_say(self):
        counts = describe.parameters(dataclasses.replace(LLAMA, layers=30))
        assert sum(counts.values()) == 134_515_008

    @pytest.mark.parametrize("config", [LLAMA, GPTJ, GEMMA])
    def test_are_all_that_the_decoder_has(self, config: ModelConfig):
        params = abstract_params(config, without_devices())
        assert sum(describe.parameters(config).values()) == count_params(params)

    def test_padding_does_not_count(self):
        padded = dataclasses.replace(GPTJ, vocab=1008, vocab_padding=8)
        assert describe.parameters(padded) == describe.parameters(GPTJ)


def printed(source: str, **arguments: Any) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    arguments.setdefault("mesh", without_devices())
    describe.report(console, source, **arguments)
    return console.export_text()


class TestReport:
    def test_shape(self, opened):
        opened["here"] = dataclasses.replace(GEMMA, rotary_base=1e6)
        text = printed("here")
        for line in (
            "4, attention and MLP one after the other",
            "8 heads of 64, 4 of keys; 3 layers see [32] tokens back",
            "1,536 silu, gated",
            "rms, epsilon 1e-05",
            "rotary, 64 of 64 dimensions, base 1e+06",
            "49,152 rows, also the head",
            "none: here: no such file or folder",
        ):
            assert line in text
        assert all(len(line) <= 80 for line in text.splitlines())

    def test_totals(self, opened):
        opened["here"] = GPTJ
        text = printed("here", mesh=without_devices(fsdp=2), batch=4, length=64, dtype="bfloat16")
        found = describe.estimate(
            GPTJ, without_devices(fsdp=2), batch=4, length=64, dtype="bfloat16"
        )
        assert "sampling, a device of data=1, fsdp=2, tensor=1: 4 rows of 64 tokens" in text
        for parts in (found.sampling, found.training):
            assert describe._bytes(sum(parts.values())) in text

    @pytest.mark.parametrize(
        ("count", "text"),
        [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (2**40, "1 TiB"),
            (5 * 2**50, "5120 TiB"),
        ],
    )
    def test_units(self, count: int, text: str):
        assert describe._bytes(count) == text


class TestTokenizer:
    def test_facts(self):
        facts = describe.tokenizer_facts(str(smollm2.gguf()), LLAMA)
        assert facts == {
            "ids": "49,152",
            "begins a document": "none",
            "end a text": "2 <|im_end|>",
            "padding": "2 <|im_end|>",
            "special": "17",
            "longest": facts["longest"],
            "bytes without a token": "21",
            "chat template": "replies end with 2 <|im_end|>",
        }

    def test_one_that_does_not_fit_is_shown(self):
        facts = describe.tokenizer_facts(str(smollm2.folder()), GPTJ)
        assert facts["ids"] == "49,152, MORE THAN THE MODEL'S 1,000 ROWS"


class TestCommand:
    def test_prints_what_is_asked_for(self, opened, capsys):
        opened["here"] = GPTJ
        describe.main(["here", "--mesh=fsdp=2,tensor=2", "--batch=6", "--length=32"])
        text = capsys.readouterr().out
        assert "a device of data=1, fsdp=2, tensor=2: 6 rows of 32 tokens" in text

    def test_has_defaults(self, opened, capsys):
        opened["here"] = dataclasses.replace(GPTJ, context=256)
        describe.main(["here", "--mesh=data=3"])
        text = capsys.readouterr().out
        assert "a device of data=3, fsdp=1, tensor=1: 3 rows of 256 tokens" in text

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "required: SOURCE"),
            (["here", "--mesh=tensr=2"], "'tensr=2': say how many devices each of data, fsdp,"),
            (["here", "--mesh=data=0"], "'data=0': say how many devices"),
            (["here", "--dtype=float16"], "invalid choice: 'float16'"),
            (["here", "--mesh=data=2", "--batch=3"], "--batch=3: must be a multiple of data x"),
            (["here", "--length=4096"], "--length=4096: must be 1 to 2048"),
        ],
    )
    def test_refuses_with_status_2(self, opened, capsys, arguments: list[str], message: str):
        opened["here"] = GPTJ
        with pytest.raises(SystemExit) as caught:
            describe.main(arguments)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err

    def test_a_model_that_cannot_be_read(self, tmp_path: pathlib.Path, capsys):
        config = {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(SystemExit) as caught:
            describe.main([str(tmp_path)])
        assert caught.value.code == 2
        error = capsys.readouterr().err
        assert f"{tmp_path}/config.json" in error
        assert "amba" in error

    def test_smollm2_from_its_file(self):
        command = [sys.executable, "-m", "star_jax.inspect_model", str(smollm2.gguf())]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "134,515,008 parameters" in done.stdout
        assert "2 <|im_end|>" in done.stdout
        assert not done.stderr
