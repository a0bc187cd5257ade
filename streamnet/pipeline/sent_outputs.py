"""Outputs that are sent to sinks: predictions, rejected records, emitted models, events."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, final

import msgspec

from streamnet.learning.serving import Served
from streamnet.pipeline.outputs import PredictionRows, ResumableSink
from streamnet.sinks.outbox import Outbox, OutboxStatus


class SentOutput(ResumableSink):
    """An output whose records are sent by an outbox.

    Each record is a JSON object, whose ``number`` counts the records of the output from 0. Records
    are the same whenever they are made again after a crash.

    Args:
        outbox: Sends them.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.name = outbox.name
        self._outbox = outbox

    def __call__(self, served: Served) -> None:
        """Queue the records of a block."""
        for values in self.make_records(served):
            number = self._outbox.number
            self._outbox.put(msgspec.json.encode({"number": number, **values}))

    @abstractmethod
    def make_records(self, served: Served) -> Iterable[dict[str, Any]]:
        """The records of a block."""

    @property
    def is_full(self) -> bool:
        """Whether so many records wait that no more should be added."""
        return self._outbox.is_full

    def wait_for_room(self) -> None:
        """Wait while too many records wait."""
        self._outbox.wait_for_room()

    def finish(self) -> None:
        """Wait until all records are delivered."""
        self._outbox.flush()

    def end(self) -> None:
        """Deliver no more."""
        self._outbox.close()

    def begin(self) -> None:
        """Connect."""
        self._outbox.begin()

    def export_state(self) -> dict[str, Any]:
        """What is needed to go on behind the records so far."""
        return self._outbox.export_state()

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on behind the records of a state, and those that the sink holds besides."""
        self._outbox.restore_state(state)

    def sync(self) -> None:
        """Wait until the records that were exported last are delivered."""
        self._outbox.sync()

    def status(self) -> OutboxStatus:
        """How many records wait, and why."""
        return self._outbox.status()


@final
class SentPredictions(SentOutput):
    """Every served prediction, see `PredictionRows`; ``generation`` counts the emitted models.

    Args:
        outbox: Sends them.
        rows: What is said of each.
    """

    def __init__(self, outbox: Outbox, rows: PredictionRows) -> None:
        super().__init__(outbox)
        self._rows = rows
        self._generation = 0  # models that were emitted before the next sample

    def make_records(self, served: Served) -> Iterator[dict[str, Any]]:
        """The predictions of a block."""
        emitted = served.emitted
        # A model may be emitted in front of a block or behind it, however blocks are cut.
        before = emitted is not None and emitted.number <= served.predicted.first
        self._generation += before
        for row in self._rows.list_rows(served):
            values = dict(zip(self._rows.columns, row, strict=True))
            if values["probabilities"] is None:
                del values["probabilities"]
            yield {**values, "generation": self._generation}
        self._generation += emitted is not None and not before

    def export_state(self) -> dict[str, Any]:
        """What is needed to go on behind the records so far."""
        return {**super().export_state(), "generation": self._generation}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on behind the records of a state."""
        self._generation = state["generation"]
        super().restore_state(state)
