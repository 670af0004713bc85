"""The comparison with lm-eval (experiments/peers/lm_eval_gsm8k.py), with lm-eval stood in for."""

import json
import pathlib
from collections.abc import Callable

import pytest

import bench_toys
from experiments.peers import lm_eval_gsm8k as peers

ALIKE, OTHER = " I add.\n#### 5", " I add.\n#### $5"
SITE = "lib/python3.11/site-packages"


@pytest.fixture
def ask(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict]:
    """The command, asked two questions: lm-eval writes what it is given, and ours always ALIKE."""
    own = tmp_path / "venv" / SITE
    for name in ("lm_eval-0.4.13.dist-info/RECORD", "lm_eval/tasks/gsm8k/gsm8k.yaml"):
        (own / name).parent.mkdir(parents=True)
        (own / name).touch()
    seen = {}

    class Sampler:
        def __init__(self, loaded, asked, batch):
            assert batch == 16
            self.rows = [asked.tokenizer.encode(ALIKE + asked.stop) for _ in asked.problems]

        def run(self):
            pass

    def run(command: list, check: bool, env: dict[str, str]):
        where, out = (command[command.index(f"--{x}") + 1] for x in ("include_path", "output_path"))
        seen["task"] = task = json.loads((where / "task.yaml").read_text())
        seen["environment"] = env
        rows = pathlib.Path(task["dataset_kwargs"]["data_files"]["test"]).read_text().splitlines()
        seen["rows"] = [json.loads(row) for row in rows]
        (out / "model").mkdir(parents=True)
        with open(out / "model/samples_x.jsonl", "w") as file:
            for name, number in (("strict-match", "[invalid]"), ("flexible-extract", "5")):
                for at in reversed(range(len(rows))):
                    line = {"doc_id": at, "resps": [[seen["texts"][at]]], "filter": name}
                    line |= {"filtered_resps": [number], "exact_match": 0.0}
                    file.write(json.dumps(line) + "\n")

    monkeypatch.setattr(peers.sampling, "Ours", Sampler)
    monkeypatch.setattr(peers.subprocess, "run", run)
    model, data = bench_toys.model(tmp_path), bench_toys.data(tmp_path)

    def command(*texts: str) -> dict:
        seen["texts"] = texts
        flags = [f"--data={data}", f"--model={model}", f"--venv={tmp_path / 'venv'}"]
        peers.main([*flags, "--questions=2", f"--json={tmp_path / 'new/found.json'}"])
        return {**seen, "found": json.loads((tmp_path / "new/found.json").read_text())}

    return command


def test_both_get_the_same_prompts_and_rules_are_compared_on_texts_alike(ask, capsys):
    seen = ask(ALIKE, OTHER)
    said = capsys.readouterr().out
    assert seen["found"]["identical"] == 1 and "1 of 2 texts are identical" in said
    assert seen["found"]["ids"] == ["test-1", "test-2"]
    assert seen["found"]["differences"] == {
        "exact, strict-match": ["read by ours alone"],
        "flexible, flexible-extract": [""],
        "exact, GSM8K's own": ["", ""],
    }
    assert "test-2: two texts" in said and "test-1: two texts" not in said
    assert repr(OTHER) in said
    first, second = (row["prompt"] for row in seen["rows"])
    assert first.count("\nA:") == second.count("\nA:") == 7 and first.endswith("\nA:")
    assert first.rpartition("Q:")[0] == second.rpartition("Q:")[0]
    assert all("#### " in row["answer"] for row in seen["rows"])


def test_lm_eval_has_its_own_filters_with_our_stop_and_budget_and_stays_offline(ask):
    seen = ask(ALIKE, ALIKE)
    assert seen["task"]["include"].endswith("lm_eval/tasks/gsm8k/gsm8k.yaml")
    assert not {"filter_list", "metric_list"} & seen["task"].keys()
    assert seen["task"]["generation_kwargs"] == {
        **{"until": ["\n\n"], "do_sample": False, "max_gen_toks": 256}
    }
    assert (
        seen["environment"]["HF_HUB_OFFLINE"] == seen["environment"]["HF_DATASETS_OFFLINE"] == "1"
    )
