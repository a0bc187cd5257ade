"""What the owners of a fleet are doing, in a file of its state directory that anyone can read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from streamnet.durability.files import explain_write_errors, write_durably
from streamnet.errors import StateError
from streamnet.objects import is_url, read
from streamnet.runs.owner import PartitionStatus

NAME = "owners.json"


class OwnerStatus(NamedTuple):
    """An owner at one moment."""

    number: int  # from 1 on
    is_ready: bool
    replaced: int  # times
    partitions: tuple[PartitionStatus, ...]


class FleetStatus(msgspec.Struct, frozen=True):
    """All owners at one moment."""

    written: float  # seconds since 1970
    partitions: int
    owners: tuple[OwnerStatus, ...]


def write_status(folder: str, status: FleetStatus) -> None:
    """Replace the file of a state directory.

    Raises:
        OutputError: If it can't be written.
    """
    path = _find(folder)
    with explain_write_errors(f"status {path}"):
        if not is_url(path):
            Path(folder).mkdir(parents=True, exist_ok=True)
        write_durably(path, msgspec.json.encode(status))


def read_status(folder: str) -> FleetStatus | None:
    """The content of the file of a state directory; None if there is none.

    Raises:
        StateError: If it is no such file.
    """
    path = _find(folder)
    try:
        data = read(path) if is_url(path) else Path(path).read_bytes()
        return msgspec.json.decode(data, type=FleetStatus)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise StateError(f"{path} can't be read: {error}") from error


def _find(folder: str) -> str:
    return f"{folder.rstrip('/')}/{NAME}"
