"""What all sinks have in common: numbered records, and a destination that holds them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streamnet.errors import StreamnetError


class Record(NamedTuple):
    """A record of an output."""

    number: int  # among the records of the output, from 0
    value: bytes  # a JSON object
    key: bytes | None = None


class End(NamedTuple):
    """Where a part of a destination ended when it was looked at last."""

    place: int  # behind its last record, such as an offset
    held: int  # number of the run's last record before that place; -1 if there is none


class DeliveryError(StreamnetError):
    """Raised by a destination that can't take records for a reason that may pass."""


class Destination(ABC):
    """Where the records of an output go, each once and in order. One thread at a time calls it.

    A run is named by a number, the milliseconds since 1970 when it began. A destination that can be
    read says itself what it holds of a run, so that nothing is sent twice after a crash.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name in messages and checkpoints, whatever the address of the server."""

    @abstractmethod
    def open(self, run: int, number: int, ends: Mapping[str, End]) -> int:
        """Connect, and find what it holds; records that it holds are skipped by `send`.

        Args:
            run: The run.
            number: Number of the first record that is not known to be held.
            ends: What `export_ends` returned at some time before; empty if it was never open.

        Returns:
            How many of the records before that number are gone from its end, where that is known.

        Raises:
            DeliveryError: If it can't be reached.
            ConfigurationError: If it does not exist, or may not be written to.
            OutputError: If somebody else writes to it.
        """

    @abstractmethod
    def send(self, records: Sequence[Record]) -> None:
        """Send records, and wait until all of them are held.

        Raises:
            DeliveryError: If it is unknown whether they are; it is opened again then.
            ConfigurationError: If it may not be written to.
            OutputError: If a record can't be accepted.
        """

    def export_ends(self) -> dict[str, End]:
        """Where its parts end, from where `open` looks for what follows."""
        return {}

    def interrupt(self) -> None:  # noqa: B027 - optional
        """Let `send` end soon. Any thread may call it."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect. Closing twice is allowed."""
