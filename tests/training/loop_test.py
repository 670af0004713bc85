import pathlib
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

import toys
from star_jax.config.validation import SettingsError
from star_jax.models.params import Params
from star_jax.reporting.meter import CompilationCount
from star_jax.star import finite
from star_jax.training.loop import TrainPlan, train
from star_jax.training.optimizer import constant
from star_jax.training.programs import UpdatePrograms
from toys import BYTES

EXAMPLES = toys.documents([24, 9, 13, 5, 17, 24, 20, 3, 11, 8, 22, 6, 2, 19, 24], BYTES.vocab)
SCHEDULE = constant(1e-2, 2)
START = toys.params(BYTES)


class Killed(Exception):
    """Ends the process, in a test."""


@dataclass
class Listener:
    """What `fit` says; it is killed at step `dies`."""

    dies: int = 0
    begun: list[int] = field(default_factory=list)
    heard: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def on_step(self, step: int, metrics: dict[str, float]) -> None:
        self.heard.append((step, metrics))
        if step == self.dies:
            raise Killed

    def fit(self, programs: UpdatePrograms, plan: TrainPlan) -> dict[str, bytes]:
        return contents(train(programs, start, plan, self.on_step, self.begun.append))


def start() -> Params:
    """Weights to use up."""
    return jax.tree.map(jnp.copy, START)


def contents(params: Params) -> dict[str, bytes]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {str(path): np.asarray(x).tobytes() for path, x in leaves}


@pytest.fixture(scope="module")
def programs() -> UpdatePrograms:
    made = toys.programs(toys.one_device())
    made.compiler.finish()
    return made.update


@pytest.fixture
def plan(tmp_path: pathlib.Path) -> TrainPlan:
    folder = epath.Path(tmp_path / "training")
    return TrainPlan(EXAMPLES, steps=10, seed=1, schedule=SCHEDULE, save_every=3, folder=folder)


@pytest.fixture(scope="module")
def whole(programs: UpdatePrograms, tmp_path_factory: pytest.TempPathFactory):
    """An uninterrupted run, without checkpoints: its metrics and its weights."""
    folder = epath.Path(tmp_path_factory.mktemp("whole"))
    listener = Listener()
    plan = TrainPlan(EXAMPLES, steps=10, seed=1, schedule=SCHEDULE, save_every=100, folder=folder)
    weights = listener.fit(programs, plan)
    assert listener.begun == [0] and not list(folder.iterdir())
    return listener.heard, weights


def test_every_step_is_heard_and_something_is_learned(whole):
    heard, weights = whole
    assert [step for step, _ in heard] == list(range(1, 11))
    assert heard[-1][1]["loss"] < heard[0][1]["loss"]
    assert set(heard[0][1]) == {
        "loss",
        "token_accuracy",
        "gradient_norm",
        "tokens",
        "learning_rate",
    }
    assert [m["learning_rate"] for _, m in heard[:4]] == pytest.approx([0, 5e-3, 1e-2, 1e-2])
    before = contents(START)
    assert all(weights[name] != before[name] for name in before)


@pytest.mark.parametrize(
    ("deaths", "begun"),
    [
        ([2], [0, 0]),  # before the first checkpoint
        ([3], [0, 0]),  # after step 3, before its checkpoint
        ([4], [0, 3]),
        ([10], [0, 9]),
        ([5, 5, 8], [0, 3, 3, 6]),
    ],
)
def test_killed_and_resumed_is_as_if_nothing_had_been(
    programs: UpdatePrograms, plan: TrainPlan, whole, deaths: list[int], begun: list[int]
):
    heard, weights = whole
    found = []
    for dies in deaths:
        listener = Listener(dies)
        with pytest.raises(Killed):
            listener.fit(programs, plan)
        found += listener.begun
    last = Listener()
    assert last.fit(programs, plan) == weights
    assert found + last.begun == begun
    assert last.heard == heard[begun[-1] :]


def test_the_newest_checkpoint_is_kept(programs: UpdatePrograms, plan: TrainPlan):
    Listener().fit(programs, plan)
    assert [path.name for path in plan.folder.iterdir()] == ["9"]


def test_every_fit_starts_with_a_fresh_optimizer(programs: UpdatePrograms, plan: TrainPlan, whole):
    # the released code goes on with the pretraining run's Adam moments
    other = replace(plan, seed=5, folder=plan.folder / "other")
    assert Listener().fit(programs, other) != whole[1]
    assert Listener().fit(programs, replace(plan, folder=plan.folder / "again")) == whole[1]


def test_nothing_is_compiled(programs: UpdatePrograms, plan: TrainPlan, whole):
    del whole
    compilations = CompilationCount()
    with pytest.raises(Killed):
        Listener(5).fit(programs, plan)
    Listener().fit(programs, plan)
    assert compilations.total == 0


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        ([], "nothing was kept to train on"),
        (toys.documents([4, 25], 99), "example 1 has 25 tokens"),
        (toys.documents([4, 24], 9000), "example 0 holds token [0-9]{3,}, and the model has rows"),
    ],
)
def test_what_cannot_be_trained_on_is_an_error(
    programs: UpdatePrograms, plan: TrainPlan, examples, says: str
):
    with pytest.raises(ValueError, match=says):
        Listener().fit(programs, replace(plan, examples=examples))


@pytest.mark.parametrize(
    ("damaged", "rate", "saved"),
    [
        (True, 1e-2, []),  # the loss of step 1 is NaN
        (False, np.nan, ["3"]),  # the fourth update makes the weights NaN
    ],
)
def test_nothing_of_a_training_that_diverged_is_saved(
    programs: UpdatePrograms, plan: TrainPlan, damaged: bool, rate: float, saved: list[str]
):
    def begin() -> Params:
        return jax.tree.map(lambda x: x * (jnp.nan if damaged else 1), START)

    def heard(step: int, metrics: dict[str, float]) -> None:
        finite.check_metrics(metrics, f"step {step}", "learning_rate", str(plan.folder))

    every = replace(plan, save_every=1, schedule=lambda step: rate if step == 3 else 1e-3)
    with pytest.raises(SettingsError, match=f"step {len(saved) and 4 or 1}: training has diverged"):
        train(programs, begin, every, heard, lambda step: None)
    assert [path.name for path in plan.folder.iterdir()] == saved
