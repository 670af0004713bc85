"""The table of leak scores against wrong steps (experiments/methods/leak_auc.py), of a made-up run."""

import importlib.util
import pathlib
import sys

import pytest

from samples import gold
from star_jax.data.sample import Sample
from star_jax.grading import leak_scores, ledger
from star_jax.grading.leak_scores import LeakScore
from star_jax.tasks.arithmetic import Arithmetic

PATH = pathlib.Path(__file__).parents[2] / "experiments/methods/leak_auc.py"
TASK = Arithmetic(max_digits=2, ood_digits=0)


@pytest.fixture(scope="module")
def leak_auc():
    spec = importlib.util.spec_from_file_location("leak_auc", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def write(
    run: pathlib.Path, number: int, rows: list[tuple[float, float, list[str], bool | None, bool]]
) -> list[Sample]:
    """A round's files: of each rationalization mean, worst, leaks, wrong_step and correct."""
    problems = TASK.train(0, number, len(rows) + 1)
    samples = [
        gold(TASK, problem, number, leaks=leaks, wrong_step=wrong, correct=correct)
        for problem, (_, _, leaks, wrong, correct) in zip(problems, rows, strict=False)
    ]
    more = gold(TASK, problems[-1], number)  # is not scored
    folder = run / "rounds" / f"{number:04d}"
    half = len(samples) // 2
    ledger.write_shard(folder, "rationalized", 0, samples[:half])
    ledger.write_shard(folder, "rationalized", 1, [*samples[half:], more])
    scores = [LeakScore(mean, worst) for mean, worst, *_ in rows]
    leak_scores.write(folder, samples, scores)
    return samples


@pytest.fixture
def run(tmp_path: pathlib.Path) -> pathlib.Path:
    first = [
        (0.9, 1.0, ["given"], True, True),
        (0.8, 5.0, [], True, True),
        (0.7, 2.0, ["mark"], False, True),
        (0.1, 3.0, [], False, True),
        (0.2, 4.0, [], False, True),
        (0.0, 0.0, [], None, True),  # the task cannot tell
        (9.9, 9.9, ["given"], True, False),  # a wrong answer, which is filtered anyway
    ]
    write(tmp_path / "one", 1, first)
    write(tmp_path / "one", 2, [(0.5, 0.5, [], False, True), (0.4, 0.4, ["given"], False, True)])
    return tmp_path / "one"


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def plain(cell: str) -> str:
    """A number without its interval."""
    return cell.partition(" ")[0]


def test_a_round_a_row_and_one_for_all(leak_auc, run: pathlib.Path):
    header, _, *rows = cells(leak_auc.table([run]))
    assert {len(row) for row in rows} == {len(header)} == {9}
    assert [list(map(plain, row)) for row in rows] == [
        # worst: 5 is above all three, 1 above none
        ["one", "1", "5", "2", "1.000", "0.500", "0.583", "50.0", "66.7"],
        ["one", "2", "2", "0", "–", "–", "–", "–", "50.0"],
        ["one", "all", "7", "2", "1.000", "0.700", "0.550", "50.0", "60.0"],
    ]
    assert rows[0][4].startswith("1.000 (0.") and rows[0][4].endswith("–1.000)")
    assert rows[0][7] == "50.0 (9.5–90.5)"


def test_only_some_rounds(leak_auc, run: pathlib.Path):
    assert [row[1] for row in cells(leak_auc.table([run], [2]))[2:]] == ["2"]


def test_scores_without_their_rationalization_are_refused(leak_auc, run: pathlib.Path):
    (run / "rounds/0001/rationalized-00001.jsonl").unlink()
    with pytest.raises(ValueError, match=r"leak_scores\.jsonl: scores .* is no rationalization"):
        leak_auc.load(run, 1)


def test_a_run_without_scores_is_refused(leak_auc, tmp_path: pathlib.Path):
    with pytest.raises(ValueError, match=r"no rounds/\*/leak_scores\.jsonl; give the folder"):
        leak_auc.rounds(tmp_path)


def test_the_command_prints_the_table(leak_auc, run: pathlib.Path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["leak_auc.py", str(run), "--rounds", "1", "2"])
    leak_auc.main()
    assert capsys.readouterr().out == leak_auc.table([run])
