"""A snapshot of an encoder, cheap to take at any moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np

from streamnet.features.forecasts.history import forget_targets
from streamnet.features.layout import ROWS
from streamnet.samples import Field


class EncoderStatistics(NamedTuple):
    """How much of each limit of an encoder is in use."""

    dense: int  # dense inputs
    rows: int  # assigned rows
    max_rows: int
    shared: int  # active entries so far that shared a row, since none was free
    truncated: int  # active entries so far left out, since a sample had too many
    classes: int
    categories: dict[str, int]  # distinct values by category field
    texts: dict[str, str]  # mode by text field
    dropped: list[str]  # fields of which an input is dropped as a duplicate


@final
@dataclass(frozen=True)
class EncoderSnapshot:
    """What an encoder had learned at one moment, while it goes on learning.

    Small arrays and the weights of an auto-encoder are copies. Whatever is only ever appended to is
    shared, and copied as far as it went when materialized.
    """

    settings: dict[str, Any]
    fields: tuple[Field, ...]
    classes: int
    parts: dict[str, Any]

    @property
    def rows(self) -> int:
        """Number of assigned rows."""
        return int(self.parts["counters"][ROWS])

    def materialize(self) -> dict[str, Any]:
        """Return the state that `Encoder.export_state` would have returned at that moment."""
        state: dict[str, Any] = {
            "settings": dict(self.settings),
            "fields": [[field.name, str(field.kind)] for field in self.fields],
        }
        return state | {name: _materialize(part) for name, part in self.parts.items()}

    def materialize_for_model(self) -> dict[str, Any]:
        """The state as models have it: they know no targets of the stream."""
        state = self.materialize()
        if "history" in state:
            state["history"] = forget_targets(state["history"])
        return state


def _materialize(part: Any) -> Any:
    if isinstance(part, list):
        return [_materialize(one) for one in part]
    if callable(part):
        part = part()
    return part.copy() if isinstance(part, np.ndarray) else part
