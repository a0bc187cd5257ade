"""A frozen view of an encoder, taken in the time of a few copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.features.numbers import FIRST
from streamnet.samples import Field

__all__ = ("EncoderSnapshot", "Grown")


@final
@dataclass(frozen=True)
class Grown:
    """The first ``length`` entries of a list that is only ever appended to."""

    entries: list[str]
    length: int

    @classmethod
    def of(cls, entries: list[str]) -> Grown:
        """All entries that are there by now."""
        return cls(entries, len(entries))

    def names(self) -> list[str]:
        """These entries."""
        return self.entries[: self.length]


@final
@dataclass(frozen=True)
class EncoderSnapshot:
    """What an encoder had learned at one moment; the encoder may go on meanwhile.

    Small arrays and an auto-encoder's weights are copies; what is only ever appended to is shared,
    with its length.
    """

    settings: dict[str, Any]
    fields: tuple[Field, ...]
    moments: NDArray[np.float64]  # shape=(measures, 8), see `features.moments`
    distinct_count: NDArray[np.int64]  # shape=(measures,), -1 = never again a category
    tables: NDArray[np.int64]  # shape=(measures, ...), shared
    clocks: NDArray[np.int64]  # shape=(time fields,)
    vocabularies: tuple[Grown, ...]
    row_keys: NDArray[np.int64]  # shape=(max_rows,), shared
    counters: NDArray[np.int64]  # shape=(3,)
    squares: NDArray[np.float64]  # shape=(rows or 0, 2)
    labels: Grown
    inherited: list[int]  # labels, and categories by field, that an earlier stream brought
    target: NDArray[np.float64]  # shape=(2, 8): moments of the target and of its logarithm
    last: NDArray[np.float64]  # shape=(lags,): the last targets, the latest first
    optional: dict[str, Any]  # what is kept for settings that are not the default
    text_vocabularies: tuple[Grown, ...]
    autoencoder: dict[str, Any] | None = None  # state of the network, None without one

    def materialise(self) -> dict[str, Any]:
        """The state as `Encoder.export_state` gave it at the moment of the snapshot."""
        counts = self.distinct_count
        distinct = [
            self.tables[m, FIRST : FIRST + max(count, 0)].view(np.float64)
            for m, count in enumerate(counts)
        ]
        state = {
            "settings": dict(self.settings),
            "fields": [[field.name, str(field.kind)] for field in self.fields],
            "moments": self.moments.copy(),
            "distinct_count": counts.copy(),
            "distinct": np.concatenate((np.empty(0), *distinct)),
            "clocks": self.clocks.copy(),
            "vocabularies": [vocabulary.names() for vocabulary in self.vocabularies],
            "row_keys": self.row_keys[: self.counters[0]].copy(),
            "counters": self.counters.copy(),
            "squares": self.squares.copy(),
            "labels": self.labels.names(),
            "inherited": self.inherited,
            "target": self.target.copy(),
            "last": self.last.copy(),
            **self.optional,
        }
        if self.text_vocabularies:
            state["text_vocabularies"] = [known.names() for known in self.text_vocabularies]
        if self.autoencoder is not None:
            state["autoencoder"] = self.autoencoder
        return state
