"""A run as far as it has come: what is read of its folder without changing it."""

import dataclasses
import pathlib

from etils import epath
from ml_collections import ConfigDict

from star_jax import tasks
from star_jax.config import validation
from star_jax.config.validation import Settings, SettingsError
from star_jax.conversion import run_checkpoint
from star_jax.data import problems
from star_jax.data.prompts import Prompter
from star_jax.data.sample import Sample
from star_jax.data.tokenizer import HuggingFaceTokenizer
from star_jax.grading import ledger
from star_jax.reporting.result import RESULT
from star_jax.star.phase import GENERATE
from star_jax.storage import files, run_dir


@dataclasses.dataclass(frozen=True)
class PastRun:
    """A run with finished rounds, which may still go on.

    Attributes:
        folder: folder of the run.
        settings: settings of the run.
        rounds: number of finished rounds, the base model not counted.
        best_round: the finished round with the highest accuracy on the development questions.
    """

    folder: epath.Path
    settings: Settings
    rounds: int
    best_round: int

    @classmethod
    def open(cls, folder: str, flag: str = "--run") -> "PastRun":
        """Reads settings and rounds.

        Args:
            folder: folder of the run.
            flag: name of the flag that names the folder, for errors.

        Raises:
            SettingsError: the folder holds no run, or one without a finished round.
        """
        path = epath.Path(folder).expanduser()
        config, result = path / "config.json", path / RESULT
        if not config.exists():
            raise SettingsError(
                f"{flag}={folder}: holds no run (no config.json); name the --workdir of a run of "
                "star_jax.main"
            )
        values = files.read_json(config)
        if "verifier" in values:
            raise SettingsError(
                f"{flag}={folder}: holds a verifier; name the run that it was trained from"
            )
        settings = validation.from_config(ConfigDict(validation.upgrade(values)))
        found = files.read_json(result) if result.exists() else {"rounds": [], "best_round": 0}
        rounds = len(found["rounds"]) - 1
        if rounds < 1:
            raise SettingsError(
                f"{flag}={folder}: has no finished round yet; let the run finish its first"
            )
        return cls(path, settings, rounds, found["best_round"])

    def source(self, round_: int) -> str:
        """Returns the source of M_n, for `load.load`.

        Raises:
            SettingsError: there are no weights of that round.
        """
        model = self.settings.model
        if not round_ and model.source:
            number = files.read_json(self.folder / problems.FILE)["checkpoint"]
            return run_checkpoint.pinned(model.source, number)
        checkpoint = run_dir.weights(self.folder) / str(round_)
        if not checkpoint.exists():
            raise SettingsError(
                f"--round={round_}: {checkpoint} is not there; with rounds.keep_weights='best' "
                "only the best and the last round have weights"
            )
        return str(pathlib.Path(checkpoint))

    def samples(self, rounds: int) -> list[Sample]:
        """Returns all samples of rounds 1..n without a hint, and the rationalizations kept.

        The prompts of the rationalizations are those to train on, without the hint.

        Raises:
            SettingsError: the run has no samples.
        """
        found: list[Sample] = []
        for number in range(1, rounds + 1):
            folder = run_dir.ledger(self.folder, number)
            written = ledger.read_shards(folder, GENERATE.name)
            found += written
            found += (
                [sample for sample in ledger.read_kept(folder) if sample.hint] if written else []
            )
        if not found:
            raise SettingsError(
                f"--run={self.folder}: has no samples in {rounds} round(s), as a run with "
                "config.method='direct'; name one that writes rationales"
            )
        return found

    def prompter(self) -> Prompter:
        """Returns what writes the run's prompts, without few-shot examples."""
        return Prompter(
            HuggingFaceTokenizer.open(pathlib.Path(self.folder)),
            tasks.make(self.settings.task),
            direct=self.settings.method == "direct",
            chat=self.settings.model.chat,
        )
