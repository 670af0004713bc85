"""The sampling benchmark (experiments/bench/sampling.py) on a model of bytes."""

import dataclasses
import json
import pathlib

import pytest

import bench_toys
import toys
from experiments.bench import peer_sampling, sampling, workload
from experiments.bench.peer_sampling import Peer, Setting
from star_jax.conversion import load
from star_jax.data.tokenizer import HuggingFaceTokenizer


def test_both_sides_write_the_same(tmp_path: pathlib.Path):
    model, data = bench_toys.model(tmp_path), bench_toys.data(tmp_path)
    work = workload.questions(HuggingFaceTokenizer.open(model), data, 5)
    work = dataclasses.replace(work, budget=24)
    ours = sampling.Ours(load.load(model, toys.one_device()), work, rows=4)
    tokens, seconds = ours.run()
    peer = Peer(pathlib.Path(model), Setting(batch=2))
    assert ours.rows == peer.run(work).rows and tokens == sum(map(len, ours.rows)) > 5
    assert sampling.differing(peer, work, ours.rows) == []
    assert seconds > 0 and ours.compile_seconds > 0 and 0.5 < ours.slots_occupied <= 1
    other = [list(row) for row in ours.rows]
    other[1][2] += 1  # a token that the peer did not choose
    [margin] = sampling.differing(peer, work, other)
    assert 0 < margin < float("inf")
    other[1] = ours.rows[1][:-1]
    assert sampling.differing(peer, work, other) == [float("inf")]


@pytest.mark.parametrize("named", [False, True])
def test_the_command_shows_a_table_and_writes_a_file(
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    named: bool,
):
    monkeypatch.setattr(workload, "FORCED", 4)
    settings = (Setting("dynamic"), Setting("static"))
    monkeypatch.setattr(peer_sampling, "SETTINGS", settings)
    found = tmp_path / "found.json"
    flags = ["--kinds=forced", "--questions=3", "--trial=2", "--repeats=1", "--rows=16"]
    flags += [f"--model={bench_toys.model(tmp_path)}", f"--data={bench_toys.data(tmp_path)}"]
    flags += [f"--peer={settings[1]}"] if named else []
    sampling.main([*flags, f"--json={found}"])
    written = json.loads(found.read_text())
    forced = written["forced"]
    assert forced["ours"] > 0 and forced["roofline"] > 0
    assert forced["ratio"] == pytest.approx(forced["ours"] / forced["peer"])
    assert forced["peer_setting"] in map(str, settings[named:])
    assert written["more"]["forced"]["compile_seconds"] > 0
    assert written["more"]["forced"]["differing"] == 0
    assert "3 texts are not the peer's" in capsys.readouterr().out
