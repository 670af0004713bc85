import json

import pytest

from star_jax.reporting import metrics


def test_metrics_come_back_as_they_were_appended(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert metrics.read_metrics(path) == []
    records = [{"step": 1, "loss": 0.5}, {"step": 2, "note": "é\n"}]
    for record in records:
        metrics.append_metrics(path, record)
    assert metrics.read_metrics(path) == records


def test_a_write_torn_at_any_byte_costs_only_its_own_record(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first, second = (json.dumps({"step": n, "loss": 1.5}) + "\n" for n in (1, 2))
    for end in range(len(second)):
        path.write_text(first + second[:end])
        metrics.truncate_metrics(path, lambda record: True)
        # All but the newline is the whole record.
        assert path.read_text() == (first + second if end == len(second) - 1 else first)
        metrics.append_metrics(path, {"step": 9})
        assert metrics.read_metrics(path)[-1] == {"step": 9}


def test_truncating_drops_the_records_that_are_to_be_redone(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics.truncate_metrics(path, lambda record: True)
    assert not path.exists()
    for step in range(5):
        metrics.append_metrics(path, {"step": step})
    metrics.truncate_metrics(path, lambda record: record["step"] < 3)
    assert [record["step"] for record in metrics.read_metrics(path)] == [0, 1, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("bad", ['{"step": ', "17", "\ufffd"])
def test_a_bad_line_before_the_last_is_an_error_that_names_it(tmp_path, bad):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{bad}\n{{"step": 3}}\n')
    with pytest.raises(ValueError, match="metrics.jsonl line 2: "):
        metrics.truncate_metrics(path, lambda record: True)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_refused_and_nothing_is_written(tmp_path, value):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(ValueError, match="not finite.*loss"):
        metrics.append_metrics(path, {"step": 1, "loss": value})
    assert not path.exists()
