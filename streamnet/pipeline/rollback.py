"""Rolling a state directory back to an earlier generation."""

from __future__ import annotations

import hashlib
from pathlib import Path

from streamnet.durability.files import DISK
from streamnet.durability.files import Files
from streamnet.durability.folder import StateFolder
from streamnet.durability.generations import FEWEST
from streamnet.durability.lineage import branch
from streamnet.durability.publisher import Published
from streamnet.durability.tree import Tree
from streamnet.errors import StateError
from streamnet.modelfiles import as_safetensors

__all__ = ("roll_back",)


def roll_back(path: Path, generation: int, *, files: Files = DISK) -> int:
    """Let the next run go on from an earlier generation, under a new lineage.

    Nothing is removed: the earlier generation is written again as the newest. When the run goes on,
    the generations between the two are removed, and files that it writes are cut to their earlier
    lengths. `current.json` names the model that was the newest at that time, if it is still there.

    Returns:
        The number of the new generation.

    Raises:
        StateError: If another process writes there, or there is no such generation.
        DamagedStateError: If the generation is damaged.
    """
    there = len(files.names(path / "checkpoints"))
    if not there:
        raise StateError(f"{path} is not a state directory")
    # Enough of them are kept that none goes away.
    folder = StateFolder(path, generations=max(FEWEST, there + 1), files=files)
    folder.open()
    try:
        tree = folder.generations.load(generation)
        number = folder.generations.numbers()[-1] + 1
        before = _published(folder, tree)
        tree["rolled_back_to"] = min(generation, tree.get("rolled_back_to", generation))
        tree["lineage"] = branch(tree["lineage"], generation, number)
        folder.publisher.point(before)
        return folder.generations.save(tree)
    except OSError as error:
        raise StateError(f"state {path}: {error.strerror}") from error
    finally:
        folder.close()


def _published(folder: StateFolder, tree: Tree) -> Published | None:
    """The model that was emitted last before a cut."""
    name = f"{tree['emitted']:012d}-{tree['lineage']}.safetensors"
    if name not in folder.publisher.names():
        return None
    file = folder.publisher.folder / name
    data = folder.files.read(file)
    samples = int(as_safetensors.decode(data, str(file))["about"]["samples"])
    checksum = hashlib.sha256(data).hexdigest()
    return Published(name, tree["emitted"], tree["lineage"], samples, checksum)
