import pathlib

import pytest
from etils import epath

import fakes
from star_jax.config import validation
from star_jax.config.validation import SettingsError
from star_jax.storage import files, run_dir


def test_a_new_folder_gets_the_settings(tmp_path: pathlib.Path):
    chosen = fakes.tiny()
    made = run_dir.open_folder(chosen, tmp_path / "a" / "run")
    assert files.read_json(made / "config.json") == validation.to_dict(chosen)


def test_the_same_settings_open_it_again(tmp_path: pathlib.Path):
    chosen = fakes.tiny()
    run_dir.open_folder(chosen, tmp_path)
    before = (tmp_path / "config.json").stat()
    assert run_dir.open_folder(chosen, tmp_path) == tmp_path
    assert (tmp_path / "config.json").stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("door", [run_dir.check, run_dir.open_folder])
def test_other_settings_are_refused_by_name(tmp_path: pathlib.Path, door):
    run_dir.open_folder(fakes.tiny(), tmp_path)
    with pytest.raises(SettingsError) as refused:
        door(fakes.tiny({"seed": 3, "rounds.count": 5}), tmp_path)
    first, *differences = str(refused.value).splitlines()
    assert str(tmp_path) in first and "--workdir" in first
    assert differences == ["seed: 0 in the folder, 3 now", "rounds.count: 2 in the folder, 5 now"]


def test_weights_tell_whose_they_are():
    run = pathlib.Path("/some/run")
    assert run_dir.run_of(pathlib.Path(run_dir.weights(run) / "3")) == run
    for other in (run, run / "checkpoints/rounds", run / "rounds/0003", "/rounds/x", "/x"):
        assert run_dir.run_of(pathlib.Path(other)) is None


def test_a_check_writes_nothing(tmp_path: pathlib.Path):
    run_dir.check(fakes.tiny(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_opening_removes_what_a_killed_writer_left_and_nothing_else(tmp_path: pathlib.Path):
    kept = [
        tmp_path / "rounds" / "0001" / "samples-00000.jsonl",
        tmp_path / "metrics.jsonl",
        tmp_path / "notes.tmp-mine",
        tmp_path / "checkpoints" / "rounds" / "1.orbax-checkpoint-tmp" / "default",  # Orbax's own
    ]
    left = [kept[0].with_name("samples-00001.jsonl.tmp-77"), tmp_path / "result.json.tmp-1"]
    for path in kept + left:
        files.write_atomic(path, "text")
    run_dir.open_folder(fakes.tiny(), tmp_path)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in left)


def base(workdir: pathlib.Path, changes: dict | None = None) -> pathlib.Path:
    """A run's folder that holds a base model."""
    run_dir.open_folder(fakes.tiny(changes), workdir)
    files.write_atomic(run_dir.weights(workdir) / "0" / "default", "weights")
    return workdir


def test_a_base_of_the_same_model_will_do_whatever_its_run_was_like(tmp_path: pathlib.Path):
    made = base(tmp_path / "base", {"seed": 5, "rounds.count": 0, "task.max_digits": 3})
    run_dir.check(fakes.tiny({"pretrain.base": str(made)}), tmp_path / "run")


def test_a_base_may_lie_at_home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
    base(tmp_path / "base")
    monkeypatch.setenv("HOME", str(tmp_path))
    run_dir.check(fakes.tiny({"pretrain.base": "~/base"}), tmp_path / "run")
    assert run_dir.weights("~/base") == run_dir.weights(tmp_path / "base")


@pytest.mark.parametrize("left", ["", "config.json"])
def test_a_folder_without_a_base_is_refused_and_told_how_to_make_one(
    tmp_path: pathlib.Path, left: str
):
    made = base(tmp_path / "base")
    for path in (made / "config.json", run_dir.weights(made)):
        if path.name != left:
            epath.Path(path).rmtree() if path.is_dir() else path.unlink()
    with pytest.raises(SettingsError) as refused:
        run_dir.check(fakes.tiny({"pretrain.base": str(made)}), tmp_path / "run")
    assert str(refused.value) == (
        f"config.pretrain.base = {str(made)!r}: holds no base model; make one by a run with "
        f"--workdir={made} --config.rounds.count=0"
    )


def test_a_base_of_another_shape_is_refused_by_name(tmp_path: pathlib.Path):
    made = base(tmp_path / "base", {"model.layers": 3})
    with pytest.raises(SettingsError) as refused:
        run_dir.check(fakes.tiny({"pretrain.base": str(made)}), tmp_path / "run")
    assert str(refused.value).splitlines() == [
        f"config.pretrain.base = {str(made)!r}: is another kind of model:",
        "model.layers: 3 in the folder, 2 now",
    ]


@pytest.mark.parametrize("samples", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_round_whose_folder_is_gone_is_not_begun_before_what_came_of_it(
    tmp_path: pathlib.Path, number: int, samples: bool
):
    made = [
        *(f"rounds/{n:04d}" for n in range(4)),
        *(f"checkpoints/rounds/{n}" for n in range(4)),
        *(f"checkpoints/training-{n:04d}" for n in range(4)),
        "checkpoints/rounds/descriptor",
    ]
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    for n in range(4):  # a step that training goes on from
        (tmp_path / f"checkpoints/training-{n:04d}" / "2").mkdir()
    files.write_json(tmp_path / "test.json", {})
    run_dir.check_round(tmp_path, number)  # it goes on
    (tmp_path / f"rounds/{number:04d}").rmdir()
    with pytest.raises(SettingsError, match=f"rounds/{number:04d} is not there") as refused:
        run_dir.check_round(tmp_path, number, samples=samples)
    later = {
        *(f"rounds/{n:04d}" for n in range(number + 1, 4)),
        *(f"checkpoints/rounds/{n}" for n in range(max(number, 1), 4)),
        *(f"checkpoints/training-{n:04d}" for n in range(number + 1, 4)),
        "test.json",
    }
    if number and samples:
        later.add(f"checkpoints/training-{number:04d}")
    named = str(refused.value).splitlines()[1:]
    assert {str(pathlib.Path(path).relative_to(tmp_path)) for path in named} == later
    for path in sorted(named, reverse=True):
        (tmp_path / path).unlink() if path.endswith("json") else epath.Path(path).rmtree()
    run_dir.check_round(tmp_path, number, samples=samples)


def test_a_round_to_do_again_is_one_whose_model_before_it_was_kept(tmp_path: pathlib.Path):
    for name in (*(f"rounds/{n:04d}" for n in (0, 1, 2, 3, 5)), "checkpoints/training-0005/1"):
        (tmp_path / name).mkdir(parents=True)
    for kept in (0, 2, 5):  # the base, the best and the last
        (tmp_path / f"checkpoints/rounds/{kept}").mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"\(nor \S+rounds/3\) .*round 3 again") as no:
        run_dir.check_round(tmp_path, 4)
    named = {
        str(pathlib.Path(path).relative_to(tmp_path)) for path in str(no.value).split("\n")[1:]
    }
    assert named == {
        "rounds/0003",
        "rounds/0005",
        "checkpoints/rounds/5",
        "checkpoints/training-0005",
    }
    with pytest.raises(SettingsError, match="to do round 4 again and all after it:"):
        run_dir.check_round(tmp_path, 4, samples=False)  # which begins with the base


def test_a_pass_that_was_opened_and_no_more_is_begun_again(tmp_path: pathlib.Path):
    (tmp_path / "checkpoints/rounds/0").mkdir(parents=True)
    (opened := tmp_path / "checkpoints/training-0001").mkdir()
    run_dir.check_round(tmp_path, 1)
    (opened / "2").mkdir()  # its ledger was there before
    with pytest.raises(SettingsError, match=r"rounds/0001 is not there(.|\n)*training-0001"):
        run_dir.check_round(tmp_path, 1)


def test_a_base_is_not_looked_for_once_it_is_in_the_run(tmp_path: pathlib.Path):
    chosen = fakes.tiny({"pretrain.base": str(tmp_path / "gone")})
    with pytest.raises(SettingsError, match="holds no base model"):
        run_dir.check(chosen, tmp_path / "run")
    (run_dir.weights(tmp_path / "run") / "0").mkdir(parents=True)
    run_dir.check(chosen, tmp_path / "run")


def test_a_new_run_begins_with_any_round_that_is_due(tmp_path: pathlib.Path):
    run_dir.check_round(tmp_path / "none", 0)
    (tmp_path / "checkpoints" / "rounds" / "0").mkdir(parents=True)
    (tmp_path / "checkpoints" / "training-0000").mkdir()
    run_dir.check_round(tmp_path, 0)  # the base model was made
    (tmp_path / "rounds" / "0000").mkdir(parents=True)
    run_dir.check_round(tmp_path, 1)
