"""A destination in memory, whose failures a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Event

from streamnet.sinks.base import DeliveryError, Destination, End, Record


class MemoryDestination(Destination):
    """Holds records; `failures` says how many of a batch are held before each next failure."""

    name = "memory"

    def __init__(self, *failures: int) -> None:
        self.held: list[Record] = []
        self.failures = list(failures)
        self.away = False
        self.opened = 0
        self.goes_on = Event()
        self.goes_on.set()

    def open(self, run: int, number: int, ends: Mapping[str, End]) -> int:
        if self.away:
            raise DeliveryError("it is away")
        self.opened += 1
        return max(0, number - len(self.held))

    def send(self, records: Sequence[Record]) -> None:
        assert self.goes_on.wait(60)
        new = [record for record in records if record.number >= len(self.held)]
        if self.away:
            raise DeliveryError("it is away")
        if self.failures:
            self.held += new[: self.failures.pop(0)]
            raise DeliveryError("the connection was lost")
        self.held += new

    def close(self) -> None:
        pass

    def numbers(self) -> list[int]:
        return [record.number for record in self.held]
