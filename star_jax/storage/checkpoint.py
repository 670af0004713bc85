"""Saves and restores arrays by name, with Orbax: every save is whole or absent.

A tree is stored as a flat mapping from the path of each leaf to its array, so a checkpoint can be
read without the code that wrote it, and a failed restore names the array that is missing or has
another shape.
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
    """Numbered checkpoints of one folder; all processes make the same calls.

    Args:
        folder: folder of the checkpoints; it is created when the first one is written.
        keep: number of newest checkpoints to keep; None keeps all.
        read_only: True to change nothing in the folder, which another run may be writing to.
    """

    def __init__(
        self, folder: epath.PathLike, keep: int | None = None, *, read_only: bool = False
    ) -> None:
        self.folder = epath.Path(folder).resolve()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=False,
            create=not read_only,
            cleanup_tmp_directories=not read_only,  # of killed saves
        )
        self._manager = ocp.CheckpointManager(
            self.folder, options=options, item_handlers=ocp.StandardCheckpointHandler()
        )

    def latest(self) -> int | None:
        """Returns the highest number saved, or None."""
        return multihost.on_primary(self._manager.latest_step)

    def has(self, number: int) -> bool:
        """Returns whether checkpoint `number` exists and is complete."""
        return multihost.on_primary(lambda: number in self._manager.all_steps())

    def save(self, number: int, tree: Any) -> None:
        """Writes `tree` as checkpoint `number`; returns when it is on disk.

        Raises:
            CheckpointError: the folder already has this number or a higher one.
        """
        if not self._manager.save(number, args=ocp.args.StandardSave(named(tree))):
            raise CheckpointError(f"{self.folder}: {number} is not above what is there; delete it")
        self._manager.wait_until_finished()

    def restore(self, number: int, abstract: Any) -> Any:
        """Reads checkpoint `number` onto the devices.

        Args:
            number: number of a checkpoint that exists.
            abstract: tree of jax.ShapeDtypeStruct, with the shardings to give to the arrays.

        Returns:
            The arrays, in a tree like `abstract`.

        Raises:
            CheckpointError: the checkpoint has other names or shapes than `abstract`.
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
        arrays = self._manager.restore(number, args=ocp.args.StandardRestore(wanted))
        return jax.tree.unflatten(jax.tree.structure(abstract), [arrays[name] for name in wanted])

    def keep_only(self, numbers: Collection[int]) -> None:
        """Deletes all checkpoints but those with these numbers."""
        for number in multihost.on_primary(lambda: list(self._manager.all_steps())):
            if number not in numbers:
                self._manager.delete(number)

    def close(self) -> None:
        """Waits for unfinished writes, and releases the manager."""
        self._manager.close()


def named(tree: Any) -> dict[str, Any]:
    """Returns {'blocks.attention.q.value': array, ...}, in the order of the tree's leaves."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
