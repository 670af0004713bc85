"""Saving and restoring arrays by name, with Orbax: every save is whole or absent.

A tree is stored as a flat mapping from the path of each leaf to its array, so a checkpoint can be
read without the code that wrote it, and restoring names what is missing or of another shape.
"""

from collections.abc import Collection
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from star_jax.runtime import multihost


class CheckpointError(ValueError):
    """A checkpoint that does not fit the model it is restored into."""


class Checkpoints:
    """Numbered checkpoints of one folder; all processes call all of it alike.

    Args:
        folder: is created when the first checkpoint is written.
        keep: how many of the newest to keep; None keeps all.
        read_only: changes nothing in the folder, which another run may be writing to.
    """

    def __init__(
        self, folder: epath.PathLike, keep: int | None = None, *, read_only: bool = False
    ) -> None:
        self.folder = epath.Path(folder).resolve()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=False,
            create=not read_only,
            cleanup_tmp_directories=not read_only,  # what a killed save left
        )
        self._manager = ocp.CheckpointManager(
            self.folder, options=options, item_handlers=ocp.StandardCheckpointHandler()
        )

    def latest(self) -> int | None:
        """The highest number saved, or None."""
        return multihost.on_primary(self._manager.latest_step)

    def has(self, number: int) -> bool:
        """Whether checkpoint `number` is there, complete."""
        return multihost.on_primary(lambda: number in self._manager.all_steps())

    def save(self, number: int, tree: Any) -> None:
        """Writes `tree` as checkpoint `number`; returns when it is on disk.

        Raises:
            CheckpointError: it, or one of a higher number, is there already.
        """
        if not self._manager.save(number, args=ocp.args.StandardSave(named(tree))):
            raise CheckpointError(f"{self.folder}: {number} is not above what is there; delete it")
        self._manager.wait_until_finished()

    def restore(self, number: int, abstract: Any) -> Any:
        """Reads checkpoint `number` onto the devices.

        Args:
            number: of a checkpoint that is there.
            abstract: a tree of jax.ShapeDtypeStruct with the shardings the arrays shall have.

        Raises:
            CheckpointError: the checkpoint's arrays are not those of `abstract`.
        """
        wanted = named(abstract)
        stored = self._manager.item_metadata(number).tree
        problems = [f"{name} is missing" for name in sorted(wanted.keys() - stored.keys())]
        problems += [
            f"{name} is not in the model" for name in sorted(stored.keys() - wanted.keys())
        ]
        problems += [
            f"{name} has shape {tuple(stored[name].shape)}, the model's {tuple(leaf.shape)}"
            for name, leaf in wanted.items()
            if name in stored and tuple(stored[name].shape) != tuple(leaf.shape)
        ]
        if problems:
            raise CheckpointError(f"{self.folder}/{number} is of another model: {problems[0]}")
        found = self._manager.restore(number, args=ocp.args.StandardRestore(wanted))
        return jax.tree.unflatten(jax.tree.structure(abstract), [found[name] for name in wanted])

    def keep_only(self, numbers: Collection[int]) -> None:
        """Deletes the other checkpoints."""
        for number in multihost.on_primary(lambda: list(self._manager.all_steps())):
            if number not in numbers:
                self._manager.delete(number)

    def close(self) -> None:
        """Waits for what is being written."""
        self._manager.close()


def named(tree: Any) -> dict[str, Any]:
    """{'blocks.attention.q.value': array, ...}, in the order of the tree's leaves."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
