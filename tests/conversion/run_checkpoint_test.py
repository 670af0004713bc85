import json
import pathlib
import shutil
from dataclasses import asdict

import jax
import pytest

import hugging_face
import toys
from star_jax.conversion import load, run_checkpoint
from star_jax.conversion.safetensors import LoadError
from star_jax.runtime import sharding
from star_jax.storage.checkpoint import Checkpoints

FIELDS = ("layers", "width", "heads", "head_dim", "hidden", "rotary", "context")


@pytest.fixture
def run(tmp_path: pathlib.Path) -> pathlib.Path:
    """A run's folder with the models of two rounds."""
    model = {name: value for name, value in asdict(toys.SMALL).items() if name in FIELDS}
    model |= {"source": "", "chat": False, "dtype": toys.SMALL.compute.dtype}
    (tmp_path / "config.json").write_text(json.dumps({"seed": 0, "model": model}))
    checkpoints = Checkpoints(tmp_path / "checkpoints" / "rounds")
    for number in (0, 2):
        checkpoints.save(number, toys.params(toys.SMALL, seed=number))
    checkpoints.close()
    return tmp_path


@pytest.mark.parametrize(("which", "seed"), [("", 2), ("checkpoints/rounds/0", 0)])
def test_a_run_is_read_from_its_newest_model_or_the_one_named(
    run: pathlib.Path, which: str, seed: int
):
    before = sorted(run.rglob("*"))
    loaded = load.load(str(run / which), sharding.make_mesh())
    assert load.open_config(str(run / which)) == toys.SMALL
    assert loaded.config == toys.replace(toys.SMALL, on_cpu=True)
    assert loaded.family.name == "gptj" and loaded.hf_config["eos_token_id"] == toys.END
    assert hugging_face.same(loaded.params, toys.params(toys.SMALL, seed=seed))
    assert sorted(run.rglob("*")) == before  # it may belong to a process that is running


def test_a_source_that_is_a_run_means_a_checkpoint(run: pathlib.Path):
    assert run_checkpoint.number(str(run)) == "2"
    assert run_checkpoint.number(str(run / "checkpoints/rounds/0")) == "0"
    assert run_checkpoint.number("owner/name") == run_checkpoint.number("") == ""
    assert run_checkpoint.pinned(str(run), "0") == str(run / "checkpoints/rounds/0")
    assert run_checkpoint.pinned("owner/name", "") == "owner/name"


def test_weights_come_in_the_type_and_layout_asked_for(run: pathlib.Path):
    made = sharding.make_mesh(1, -1, 1)
    loaded = load.load(str(run), made, param_dtype="bfloat16")
    assert {x.dtype.name for x in jax.tree.leaves(loaded.params)} == {"bfloat16"}
    assert all(x.sharding.mesh == made for x in jax.tree.leaves(loaded.params))


def cut(run: pathlib.Path) -> None:
    shutil.rmtree(run / "checkpoints/rounds/2/default")


def settings(run: pathlib.Path, **change: object) -> None:
    config = json.loads((run / "config.json").read_text())
    config["model"] |= change
    (run / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "rounds/2: not a whole checkpoint"),
        (lambda run: (run / "config.json").unlink(), "config.json: cannot be read"),
        (lambda run: settings(run, heads_of_a_new_kind=2), "config.model must say chat, "),
        (lambda run: settings(run, hidden=8), "has shape .*config.json says"),
        (
            lambda run: settings(run, layers=1),
            r"blocks.\S+ has shape \(2, .*config.json says \(1, ",
        ),
    ],
)
def test_bad_runs_are_refused(run: pathlib.Path, damage, message: str):
    damage(run)
    with pytest.raises(LoadError, match=message):
        load.load(str(run), toys.one_device())


def test_a_run_without_a_model(tmp_path: pathlib.Path):
    assert run_checkpoint.find(tmp_path) is None
    (tmp_path / "checkpoints" / "rounds").mkdir(parents=True)
    with pytest.raises(LoadError, match="holds no model yet; let the run finish"):
        run_checkpoint.find(tmp_path)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 2, 2)])
@toys.eight_devices
def test_a_run_that_started_from_a_pretrained_model(sizes: tuple, tmp_path: pathlib.Path):
    """Of Llama, with 43 tokens: a mesh of two tensor parts pads them to 44 rows."""
    hugging_face.write("llama", tmp_path / "base")
    grid = sharding.make_mesh(*sizes, devices=jax.devices()[: 8 if sizes[0] > 1 else 1])
    base = load.load(str(tmp_path / "base"), grid)
    trained = jax.tree.map(lambda x: x + 1, base.params)
    model = dict.fromkeys((*FIELDS, "dtype"), 0)
    model |= {"source": str(tmp_path / "base"), "chat": False}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"model": model}))
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints" / "rounds")
    checkpoints.save(1, trained)
    checkpoints.close()
    loaded = load.load(str(tmp_path / "run"), grid)
    assert (loaded.config, loaded.family) == (base.config, base.family)
    assert hugging_face.same(loaded.params, trained)
    whole = load.load(str(tmp_path / "run"), toys.one_device())
    here = toys.replace(base.config, on_cpu=whole.config.compute.on_cpu)
    assert whole.config == here, "padded rows stay where they do no harm"
