"""The whole path on a real model: SmolLM2, 16 of GSM8K's questions, one round with rationalization."""

import json
import pathlib
import subprocess
import sys

import fakes
import smollm2
import texts
from star_jax.tasks.gsm8k import GSM8K


def test_sixteen_questions_of_gsm8k(tmp_path: pathlib.Path):
    data = texts.GSM8K.parent
    if not texts.GSM8K.exists():
        data = tmp_path / "data"
        data.mkdir()
        lines = [
            json.dumps({"question": question, "answer": answer}) + "\n"
            for question, answer in zip(texts.questions(308), texts.solutions(308), strict=True)
        ]
        for split, rows in (("train", lines[8:]), ("test", lines[:8])):
            (data / f"{split}.jsonl").write_text("".join(rows))
    run = tmp_path / "run"
    command = [sys.executable, "-m", "star_jax.main", "--config=configs/gsm8k.py:smollm2"]
    command += [f"--workdir={run}", f"--config.task.data={data}"]
    command += [f"--config.model.source={smollm2.gguf()}", "--config.few_shot.examples=3"]
    sizes = {
        "rounds.count": 1,
        "rounds.problems": 16,
        "evaluate.problems": 8,
        "evaluate.test_problems": 8,
        "sampler.rows": 16,
        "sampler.max_new_tokens": 64,
        "train.first_steps": 2,
        "train.warmup_steps": 1,
        "train.batch_size": 2,
        "train.length": 384,
    }
    command += [f"--config.{name}={value}" for name, value in sizes.items()]
    environment = fakes.environment(optimized=True)
    subprocess.run(command, env=environment, cwd=fakes.ROOT, check=True)
    result = json.loads((run / "result.json").read_text())
    record = result["rounds"][1]
    assert (record["tried"], record["compilations"]) == (16, 0)
    assert result["test"]["evaluated"] == 8 and result["test"]["round"] == result["best_round"]
    kept = [json.loads(line) for line in (run / "rounds/0001/kept.jsonl").read_text().splitlines()]
    assert len(kept) == record["kept"] > 0
    dropped = sum(sum(reasons.values()) for reasons in record["dropped"].values())
    assert dropped + record["kept"] == record["tried"] + record["hinted"]
    task = GSM8K(str(data))
    for sample in kept:
        assert len(sample["completion"].split()) > 3 and "####" in sample["completion"]
        assert task.answer(sample["completion"]) == sample["answer"]
        assert f"({sample['answer']})" not in sample["prompt"], "trained on without the hint"
    tried = [
        json.loads(line)
        for path in sorted((run / "rounds/0001").glob("samples-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert len(tried) == 16 and not any("\n\n" in sample["completion"] for sample in tried)
    assert sum("####" in sample["completion"] for sample in tried) > 8, "the examples' format"
