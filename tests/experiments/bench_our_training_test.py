"""Our side of the training benchmark (experiments/bench/our_training.py) on a model of bytes."""

import json
import pathlib

import pytest

import bench_toys
from experiments.bench import our_training, peer_training, workload
from experiments.bench.peer_training import Peer, Setting
from star_jax.data.tokenizer import HuggingFaceTokenizer


def test_both_sides_make_the_same_updates(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
):
    model, data = bench_toys.model(tmp_path), bench_toys.data(tmp_path)
    batch = workload.batch(HuggingFaceTokenizer.open(model), data, 2, 1024)
    peer_training.save(batch, tmp_path / "batch.npz")
    our_training.main([model, str(tmp_path / "batch.npz"), "--micro_batch=1", "--steps=3"])
    found = peer_training.Trained(**json.loads(capsys.readouterr().out.splitlines()[-1]))
    peer = Peer(pathlib.Path(model), Setting())
    theirs = [peer.update(batch) for _ in range(3)]
    assert found.losses == pytest.approx(theirs, rel=1e-5)
    half = our_training.Ours(model, batch, 1, "none", "bfloat16")
    assert half.update(batch) == pytest.approx(theirs[0], rel=1e-2)
    assert found.tokens == (batch.segments > 0).sum() and len(found.seconds) == 2
