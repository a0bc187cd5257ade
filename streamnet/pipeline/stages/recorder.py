"""The recorder: passes served blocks to sinks, keeps the ledger and completes barriers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from streamnet.durability.provenance import Ledger
from streamnet.learning.serving import Served
from streamnet.pipeline.control_messages import Barrier
from streamnet.pipeline.outputs.rejections import Rejections
from streamnet.pipeline.outputs.sinks import ResumableSink, Sink
from streamnet.samples import DeadLetter

__all__ = ("Recorder", "check_records")

_NO_CANDIDATE = -2  # stands in the ledger for the candidate where nothing was served


@final
class Recorder:
    """Passes served blocks to sinks, and keeps the ledger of a run that has a state.

    Args:
        rejections: Where rejected records go.
        sinks: Called with every block in order; those that are an `ResumableSink` can be gone on
        with. ledger: Of all that happens; None keeps none.

    >>> Recorder(Rejections(), [], None).outputs[0].name
    'rejections'
    """

    def __init__(self, rejections: Rejections, sinks: list[Sink], ledger: Ledger | None) -> None:
        self.rejections = rejections
        self.sinks = sinks
        self.ledger = ledger

    @property
    def outputs(self) -> Sequence[ResumableSink]:
        """The sinks that can be gone on with."""
        return (self.rejections, *(sink for sink in self.sinks if isinstance(sink, ResumableSink)))

    def add(self, sinks: Sequence[Sink]) -> None:
        """Call more sinks."""
        self.sinks += sinks

    @property
    def is_busy(self) -> bool:
        """Whether good samples make work, too."""
        return bool(self.sinks) or self.ledger is not None

    @property
    def has_foreign_sinks(self) -> bool:
        """Whether a sink is none of ours: it may wait, also for what the event loop has to do."""
        return any(not isinstance(sink, ResumableSink) for sink in self.sinks)

    def write(self, served: Served) -> None:
        """Take a served block."""
        self.rejections(served)
        for sink in self.sinks:
            sink(served)
        if self.ledger is not None:
            self._note(self.ledger, served)

    def _note(self, ledger: Ledger, served: Served) -> None:
        block, first = served.predicted.encoded.block, served.predicted.first
        n = len(block)
        serials = served.serials if len(served.serials) else np.full(n, _NO_CANDIDATE, np.int64)
        # In the order of the stream, however its records are shared out among blocks: what was
        # rejected before the first sample may have come with the block before.
        leading = int(np.count_nonzero(block.places() == 0)) if block.rejected else 0
        self._note_rejected(ledger, block.rejected[:leading])
        if n:
            ledger.add_samples(first, block.source, block.marks[:-1], serials)
        for slot, member in served.predicted.joined:
            ledger.add_event("joined", first, slot, member.serial)
        if served.emitted is not None:
            ledger.add_event("emitted", served.emitted.number, served.emitted.member.serial)
        self._note_rejected(ledger, block.rejected[leading:])

    def _note_rejected(self, ledger: Ledger, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            ledger.add_event("rejected", letter.source, letter.offset, letter.line, letter.reason)

    def complete(self, barrier: Barrier) -> None:
        """Put the last copies into a barrier: now it holds a whole state.

        Raises:
            OSError: If an output can't be written out.
            RuntimeError: If a record was lost on the way.
        """
        check_records(
            read=barrier.reading["records"],
            learned=barrier.parts["trainer"]["number"],
            rejected=self.rejections.total,
        )
        barrier.parts["outputs"] = {o.name: o.export_state() for o in self.outputs}
        if self.ledger is not None:
            barrier.parts["ledger"] = {
                **self.ledger.export_state(),
                "value": self.ledger.value(),
            }
        barrier.outputs = self.outputs


def check_records(*, read: int, learned: int, rejected: int) -> None:
    """Every record that was read must have been learned or rejected.

    Raises:
        RuntimeError: If one was lost or doubled on the way.
    """
    if read != learned + rejected:
        raise RuntimeError(
            f"internal error: {read} records were read, but {learned} were learned and "
            f"{rejected} rejected"
        )
