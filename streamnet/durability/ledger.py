"""Ledger: one hash of everything that happened to every sample, in order.

Two runs with the same ledger learned, served and rejected the same samples in the same order with
the same decisions: nothing was lost, doubled or reordered.
"""

from __future__ import annotations

import hashlib
from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = ("Ledger",)

_EVERY = 1024  # samples of a link: hashing in links lets the hash so far be kept as 32 bytes
_WIDTH = 4


@final
class Ledger:
    """Chains of SHA-256 over samples and over events; it does not show how blocks were cut.

    >>> one, two = Ledger(), Ledger()
    >>> marks = np.arange(12).reshape(4, 3)
    >>> one.add_samples(0, "a.csv", marks, np.zeros(4, np.int64))
    >>> two.add_samples(0, "a.csv", marks[:1], np.zeros(1, np.int64))
    >>> one.value() == two.value()
    False
    >>> two.add_samples(1, "a.csv", marks[1:], np.zeros(3, np.int64))
    >>> one.value() == two.value()
    True
    """

    def __init__(self) -> None:
        self.samples = 0
        self.events = 0
        self._links = bytes(32)  # of the samples in complete links
        self._open = np.empty((0, _WIDTH), np.int64)  # samples of the link that is not complete
        self._chain = bytes(32)  # of the events
        self._source: str | None = None
        self._next = 0

    def add_samples(
        self, first: int, source: str, marks: NDArray[np.int64], serials: NDArray[np.int64]
    ) -> None:
        """Note consecutive samples.

        Args:
            first: Number of the first one.
            source: Name of the file or stream.
            marks: shape=(n, 3): where each one starts.
            serials: shape=(n,): the candidate that answered each one.
        """
        if source != self._source or first != self._next:
            self.add_event("samples", first, source)
        rows = np.empty((len(marks), _WIDTH), np.int64)
        rows[:, :3] = marks
        rows[:, 3] = serials
        self.samples += len(marks)
        self._source, self._next = source, first + len(marks)
        rows = np.concatenate((self._open, rows)) if len(self._open) else rows
        whole = len(rows) - len(rows) % _EVERY
        for start in range(0, whole, _EVERY):
            link = rows[start : start + _EVERY].astype("<i8", copy=False).tobytes()
            self._links = hashlib.sha256(self._links + link).digest()
        self._open = rows[whole:].copy()

    def add_event(self, *words: object) -> None:
        """Note a rejected record, a decision or whatever else is not a sample."""
        self.events += 1
        text = "\0".join(str(word) for word in words).encode(errors="surrogatepass")
        self._chain = hashlib.sha256(self._chain + text).digest()

    def value(self) -> str:
        """The hash of all that was noted."""
        total = hashlib.sha256(self._links + self._open.astype("<i8").tobytes())
        total.update(self._chain + f"{self.samples} {self.events}".encode())
        return total.hexdigest()

    def export_state(self) -> dict[str, Any]:
        """All that is needed to go on."""
        return {
            "samples": self.samples,
            "events": self.events,
            "links": self._links.hex(),
            "open": self._open.copy(),
            "chain": self._chain.hex(),
            "source": self._source,
            "next": self._next,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the ledger did whose state this is."""
        self.samples = state["samples"]
        self.events = state["events"]
        self._links = bytes.fromhex(state["links"])
        self._open = np.array(state["open"], np.int64).reshape(-1, _WIDTH)
        self._chain = bytes.fromhex(state["chain"])
        self._source = state["source"]
        self._next = state["next"]
