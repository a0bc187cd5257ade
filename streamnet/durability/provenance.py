"""Provenance of a state: settings, lineage, and a ledger of everything that happened.

Runs with equal ledgers learned, served, and rejected the same samples in the same order with the
same decisions: nothing was lost, duplicated, or reordered.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray


def flatten_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted name; tables in a list are numbered and counted.

    >>> flatten_settings({"run": {"seed": 1, "threads": None}, "drop": ["a"]})
    {'run.seed': 1, 'run.threads': None, 'drop': ['a']}
    >>> flatten_settings({"candidates": [{"bias": True}]})
    {'candidates.count': 1, 'candidates.0.bias': True}
    """
    return dict(_iter_settings(settings, ""))


def _iter_settings(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _iter_settings(entry, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
        yield f"{name}.count", len(value)
        for number, entry in enumerate(value):
            yield from _iter_settings(entry, f"{name}.{number}")
    else:
        yield name, list(value) if isinstance(value, tuple) else value


def describe_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A phrase for each setting that has changed; an absent one counts as not given.

    >>> now = {"seed": 2, "kinds": {"a": "text"}}
    >>> describe_differences({"seed": 1, "drop": ["a"], "kinds": None}, now)
    ['seed is 2, but was 1', "drop is not given, but was ['a']",
     'kinds.a is text, but was not given']
    """
    old, new = flatten_settings(before), flatten_settings(now)
    return [
        f"{name} is {_format_setting(new.get(name))}, but was {_format_setting(old.get(name))}"
        for name in {**old, **new}
        if new.get(name) != old.get(name)
    ]


def _format_setting(value: Any) -> str:
    return "not given" if value is None else str(value)


_LINEAGE_LENGTH = 16


def root_lineage(identity: dict[str, Any]) -> str:
    """The lineage of a new run: equal for equal settings.

    >>> lineage = root_lineage({"seed": 1})
    >>> lineage == root_lineage({"seed": 1}), lineage == root_lineage({"seed": 2})
    (True, False)
    """
    return _hash_parts("root", json.dumps(identity, sort_keys=True, default=str))


def branch_lineage(parent: str, generation: int, made: int) -> str:
    """The lineage of a run that resumes from a generation other than the newest.

    It starts with generation ``made``, and ``parent`` is the lineage it branches off.
    """
    return _hash_parts("branch", parent, str(generation), str(made))


def _hash_parts(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_LINEAGE_LENGTH]


_LINK_SAMPLES = 1024  # hashing in links keeps the hash so far in 32 bytes
_ROW_WIDTH = 4


@final
class Ledger:
    """SHA-256 chains over samples and over events, independent of how blocks were cut.

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
        self.samples: int = 0
        self.events: int = 0
        self._links = bytes(32)  # of the samples in complete links
        self._open = np.empty((0, _ROW_WIDTH), np.int64)  # samples of the link that is not complete
        self._chain = bytes(32)  # of the events
        self._source: str | None = None
        self._next = 0

    def add_samples(
        self, first: int, source: str, marks: NDArray[np.int64], serials: NDArray[np.int64]
    ) -> None:
        """Add consecutive samples, the first of which has number ``first``.

        ``marks`` (n, 3) are where each sample starts, ``serials`` (n,) the candidates that served.
        """
        if source != self._source or first != self._next:
            self.add_event("samples", first, source)
        rows = np.empty((len(marks), _ROW_WIDTH), np.int64)
        rows[:, :3] = marks
        rows[:, 3] = serials
        self.samples += len(marks)
        self._source, self._next = source, first + len(marks)
        rows = np.concatenate((self._open, rows)) if len(self._open) else rows
        whole = len(rows) - len(rows) % _LINK_SAMPLES
        for start in range(0, whole, _LINK_SAMPLES):
            link = rows[start : start + _LINK_SAMPLES].astype("<i8", copy=False).tobytes()
            self._links = hashlib.sha256(self._links + link).digest()
        self._open = rows[whole:].copy()

    def add_event(self, *words: object) -> None:
        """Add a rejected record, a decision, or another event."""
        self.events += 1
        text = "\0".join(str(word) for word in words).encode(errors="surrogatepass")
        self._chain = hashlib.sha256(self._chain + text).digest()

    def value(self) -> str:
        """The hash of everything that was added."""
        total = hashlib.sha256(self._links + self._open.astype("<i8").tobytes())
        total.update(self._chain + f"{self.samples} {self.events}".encode())
        return total.hexdigest()

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume."""
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
        """Resume from an exported state."""
        self.samples = state["samples"]
        self.events = state["events"]
        self._links = bytes.fromhex(state["links"])
        self._open = np.array(state["open"], np.int64).reshape(-1, _ROW_WIDTH)
        self._chain = bytes.fromhex(state["chain"])
        self._source = state["source"]
        self._next = state["next"]
