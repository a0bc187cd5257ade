"""The last two stages: served blocks go to sinks and ledger, models and checkpoints to disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from anyio import CancelScope, EndOfStream, Event, move_on_after, to_thread
from anyio.streams.memory import MemoryObjectReceiveStream

from streamnet.durability.provenance import Ledger
from streamnet.learning.serving import Served
from streamnet.learning.trainer import Snapshot
from streamnet.pipeline.concurrency import INLINE_SECONDS, NEVER_INLINE, Worker, run_abandonable
from streamnet.pipeline.control_messages import Barrier
from streamnet.pipeline.outputs import EmittedModel, ResumableSink, Sink
from streamnet.pipeline.reader import count_records
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.sent_outputs import SentOutput
from streamnet.pipeline.stages import Stage
from streamnet.pipeline.state import State
from streamnet.reporting.insight import RecentSamples
from streamnet.samples import DeadLetter, change_to_list

_NO_CANDIDATE = -2  # stands in the ledger for the candidate where nothing was served


@final
class Record(Stage[Served]):
    """Passes served blocks to sinks, in order, and keeps the ledger of a run that has a state.

    ``publish`` is called with each emitted champion, and returns what is to be written of it.
    """

    capacity = 16  # emitted models and barriers that may wait to be written

    def __init__(
        self,
        rejections: Rejections,
        sinks: Sequence[Sink],
        ledger: Ledger | None = None,
        *,
        publish: Callable[[Snapshot], EmittedModel | None] = lambda _: None,
        state: State | None = None,
        part: str = "",
        inline_seconds: float = INLINE_SECONDS,
    ) -> None:
        self.rejections = rejections
        self.outputs: list[ResumableSink] = [rejections]  # the sinks that are part of checkpoints
        self.ledger = ledger
        self.outputs += (sink for sink in sinks if isinstance(sink, ResumableSink))
        self.sent: list[SentOutput] = [sink for sink in sinks if isinstance(sink, SentOutput)]
        self._sinks, self._publish, self._state = sinks, publish, state
        self._part = part
        self.next_block: Event = Event()  # set once another block is recorded
        # A foreign sink may block, perhaps until the event loop does something.
        is_foreign = any(not isinstance(sink, ResumableSink | RecentSamples) for sink in sinks)
        self._worker = Worker(NEVER_INLINE if is_foreign else inline_seconds)

    async def process(self, block: Served) -> None:
        """Record a block."""
        samples = block.predicted.encoded.block
        costs_per_sample = self._sinks or self.ledger is not None
        work = count_records(samples) if costs_per_sample else 1 + len(samples.rejected)
        await self._worker.run(work, self.write, block)
        self.next_block.set()
        self.next_block = Event()
        for output in self.sent:
            if output.is_full:
                await run_abandonable(output.wait_for_room)
        if block.emitted is not None and (model := self._publish(block.emitted)) is not None:
            await self.send(model)

    async def finish(self) -> None:
        """Wait until everything has arrived."""
        for output in self.sent:
            await run_abandonable(output.finish)

    async def aclose(self) -> None:
        """Wait for nothing any more."""
        with CancelScope(shield=True):
            for output in self.sent:
                await to_thread.run_sync(output.end)

    def write(self, served: Served) -> None:
        """Pass on a served block."""
        self.rejections(served)
        for sink in self._sinks:
            sink(served)
        if self.ledger is not None:
            self._note(self.ledger, served)

    def _note(self, ledger: Ledger, served: Served) -> None:
        block, first = served.predicted.encoded.block, served.predicted.first
        n = len(block)
        serials = served.serials if len(served.serials) else np.full(n, _NO_CANDIDATE, np.int64)
        # In the order of the stream, however it is cut into blocks: what was rejected before the
        # first sample may have come with the block before.
        leading = int(np.count_nonzero(block.places() == 0)) if block.rejected else 0
        _note_rejected(ledger, block.rejected[:leading])
        if n:
            ledger.add_samples(first, block.source, block.marks[:-1], serials)
        if block.change is not None:
            name, *values = change_to_list(block.change)
            ledger.add_event(name, first, *values)
        for slot, member in served.predicted.joined:
            ledger.add_event("joined", first, slot, member.serial)
        if served.emitted is not None:
            ledger.add_event("emitted", served.emitted.number, served.emitted.member.serial)
        _note_rejected(ledger, block.rejected[leading:])

    def complete(self, barrier: Barrier) -> None:
        """Add the state of outputs and ledger to a barrier, which is then complete."""
        check_records(
            read=barrier.reading["records"],
            learned=barrier.parts["trainer"]["number"] + barrier.parts["trainer"]["labels"],
            rejected=self.rejections.total,
        )
        barrier.parts["outputs"] = {o.name: o.export_state() for o in self.outputs}
        if self.ledger is not None:
            barrier.parts["ledger"] = {**self.ledger.export_state(), "value": self.ledger.value()}
        barrier.outputs = self.outputs

    async def on_barrier(self, barrier: Barrier) -> bool:
        """Complete the barrier; it ends here if an output can't be written."""
        assert self._state is not None
        try:
            await to_thread.run_sync(self.complete, barrier)
        except OSError as error:
            self._state.failed(error)
            return False
        barrier.parts["emitted"] = self._state.queues[self._part].emitted
        return True


def _note_rejected(ledger: Ledger, letters: Sequence[DeadLetter]) -> None:
    for letter in letters:
        ledger.add_event("rejected", letter.source, letter.offset, letter.line, letter.reason)


def check_records(*, read: int, learned: int, rejected: int) -> None:
    """Check that every record that was read was learned or rejected, once."""
    if read != learned + rejected:
        raise RuntimeError(
            f"internal error: {read} records were read, but {learned} were learned and "
            f"{rejected} rejected"
        )


async def keep(state: State, receive: MemoryObjectReceiveStream[EmittedModel | Barrier]) -> None:
    """Write models and checkpoints, in order, while the other stages go on."""
    with receive:
        while True:
            item = None
            with move_on_after(state.seconds_until_publish()):
                try:
                    item = await receive.receive()
                except EndOfStream:
                    break
            if item is None:
                await to_thread.run_sync(state.publish_waiting)
            elif isinstance(item, Barrier):
                whole = item.join()
                item = None
                if whole is not None:
                    await to_thread.run_sync(state.write, whole)
                del whole  # a copy of the whole model
            else:
                await to_thread.run_sync(state.publish, item)
        await to_thread.run_sync(state.publish_waiting)


async def discard(receive: MemoryObjectReceiveStream[Any]) -> None:
    """Drain blocks that are not needed, so that earlier stages are not blocked."""
    with receive:
        async for _ in receive:
            pass
