"""A writer of checkpoints whose content tells its number, and what must be found after a crash."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamnet.durability.checkpoint import StateDict
from streamnet.durability.files import FileSystem
from streamnet.durability.state_directory import Generations

__all__ = ("FOLDER", "Writer", "found", "tree_of")

FOLDER = Path("/state")


def tree_of(step: int) -> StateDict:
    """A state of its own for each step, with more in it than would fit by accident."""
    return {"step": step, "weights": np.full(8, step, np.float32), "word": f"step {step}"}


class Writer:
    """Saves states one after the other; what its caller was told to be durable is `acknowledged`.

    Args:
        files: The file system.
        first: Number of its first state.
    """

    def __init__(self, files: FileSystem, folder: Path = FOLDER, first: int = 0) -> None:
        self.generations = Generations(folder, files=files)
        self.acknowledged = first - 1
        self.tried = first - 1

    def save(self) -> None:
        """Save the next state."""
        self.tried += 1
        self.generations.save(tree_of(self.tried))
        self.acknowledged = self.tried


def found(files: FileSystem, folder: Path = FOLDER) -> int:
    """The step that a process finds that goes on from a disk; -1 if there is nothing yet.

    It fails if the state is not exactly one that was written.
    """
    loaded = Generations(folder, files=files).newest()
    if loaded is None:
        return -1
    step = loaded.tree["step"]
    expected = tree_of(step)
    assert loaded.tree["word"] == expected["word"]
    assert loaded.tree["weights"].tobytes() == expected["weights"].tobytes()
    return int(step)
