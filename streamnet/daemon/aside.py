"""Aside: where a reset puts the state and the journal of a model that begins anew.

::

    old-000001/   state and journal as they were, of which the last three stay
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

__all__ = ("finish_moving", "move_aside")

_LOG = logging.getLogger("streamnet.daemon")
_KEPT = 3  # as there are generations of a state
_OLD = re.compile(r"old-[0-9]{6}")


def move_aside(folder: Path, *, keep: bool) -> None:
    """Take the state and the journal out of the way, in this order: one needs the other.

    Args:
        folder: Of the model, which must not be alive.
        keep: Whether they stay as the newest of the last three, instead of being deleted.

    Raises:
        OSError: If they can't be moved; then they are where they were.
    """
    found = [name for name in ("state", "journal") if (folder / name).exists()]
    if not found:
        return
    old = _old(folder)
    number = 1 + int(old[-1].name.removeprefix("old-")) if old else 1
    aside = folder / f"old-{number:06d}"
    aside.mkdir()
    try:
        for name in found:
            (folder / name).rename(aside / name)
    except OSError:
        for path in list(aside.iterdir()):
            path.rename(folder / path.name)
        aside.rmdir()
        raise
    if not keep:
        _remove(aside)
    _remove_oldest(folder)


def finish_moving(folder: Path) -> None:
    """Do what a crash kept `move_aside` from: without its state a journal is no beginning.

    Raises:
        OSError: If that can't be done.
    """
    aside = max(_old(folder), default=folder)
    was_moved = (aside / "state").exists() and not (aside / "journal").exists()
    if was_moved and not (folder / "state").exists() and (folder / "journal").exists():
        (folder / "journal").rename(aside / "journal")


def _old(folder: Path) -> list[Path]:
    """What resets moved aside, the oldest first; not what somebody gave another name to keep it."""
    return sorted(path for path in folder.glob("old-*") if _OLD.fullmatch(path.name))


def _remove_oldest(folder: Path) -> None:
    """Leave the last few that hold something: a crash may leave one that is empty."""
    old = [aside for aside in _old(folder) if any(aside.iterdir())]
    for aside in old[:-_KEPT]:
        _remove(aside)


def _remove(aside: Path) -> None:
    """Its state first: one that a crash left without its journal would be a move to finish.

    What can't be removed does no harm, and stays until a later reset.
    """
    try:
        if (aside / "state").exists():
            shutil.rmtree(aside / "state")
        shutil.rmtree(aside)
    except OSError as error:
        _LOG.warning("%s can't be removed: %s", aside, error.strerror)
