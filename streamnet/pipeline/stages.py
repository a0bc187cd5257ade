"""The stages of the pipeline after reading: each receives from one channel and sends to the next.

    read -> encode -> train -> evaluate -> serve -> record -> keep
                        ^                    |
                        +---- decisions -----+

A stage ends when the one before it has ended and all it sent is worked off; a bounded channel makes
a fast stage wait for a slow one. A barrier that follows a block gets a copy of each stage's state;
a glance gets what a model is made of, and goes no further than to the serving stage. The one that
trains is in `training`. Work that takes no longer than ``brief``, in seconds, is done in the event
loop, see `threads`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple
from typing import TypeVar
from typing import cast

from anyio import EndOfStream
from anyio import move_on_after
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream
from anyio.streams.memory import MemoryObjectSendStream

from streamnet.errors import TooManyRejectedError
from streamnet.features.encoded import Encoded
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.learning.serving import Served
from streamnet.learning.serving import Server
from streamnet.learning.trainer import Decision
from streamnet.learning.trainer import Scored
from streamnet.learning.trainer import Snapshot
from streamnet.learning.trainer import plain_decisions
from streamnet.pipeline.barrier import Barrier
from streamnet.pipeline.barrier import pending
from streamnet.pipeline.channels import put
from streamnet.pipeline.cutting import Arrival
from streamnet.pipeline.glance import Glance
from streamnet.pipeline.limit import RejectionLimit
from streamnet.pipeline.limit import places_of
from streamnet.pipeline.parts import BlockEncoder
from streamnet.pipeline.parts import Chooser
from streamnet.pipeline.parts import Chosen
from streamnet.pipeline.parts import Judge
from streamnet.pipeline.parts import Judgement
from streamnet.pipeline.reading import Reader
from streamnet.pipeline.reading import records_of
from streamnet.pipeline.recording import Recorder
from streamnet.pipeline.state import Emission
from streamnet.pipeline.state import State
from streamnet.pipeline.threads import BRIEF
from streamnet.pipeline.threads import NEVER_BRIEF
from streamnet.pipeline.threads import Worker

__all__ = ("Coded", "encode", "evaluate", "keep", "record", "serve")

J = TypeVar("J", bound=Judgement)
C = TypeVar("C", bound=Chosen)


class Coded(NamedTuple):
    """An encoded block, with what the encoder knew after it if it ends a round."""

    encoded: Encoded
    ending: EncoderSnapshot | None

    @property
    def ends_round(self) -> bool:
        """Whether it is the last of its round."""
        return self.ending is not None


async def encode(
    encoder: BlockEncoder,
    reader: Reader,
    limit: RejectionLimit,
    receive: MemoryObjectReceiveStream[Arrival | Barrier | Glance],
    send: MemoryObjectSendStream[Coded | Barrier | Glance],
    brief: float = BRIEF,
) -> None:
    """Turn blocks into inputs and targets; end the stream if too many records are rejected."""

    def work(arrival: Arrival) -> tuple[Coded, TooManyRejectedError | None]:
        # What is encoded is learned, so the record at which to stop must be known before.
        refused = encoder.refused(arrival.block)
        block = limit.cut(arrival.block, refused)
        places = places_of(block, refused)
        encoded = encoder.encode(block)
        whole = arrival.ends_round and block is arrival.block
        coded = Coded(encoded, encoder.snapshot() if whole else None)
        return coded, limit.count(encoded.block, places)

    worker = Worker(brief)
    with receive, send:
        async for arrival in receive:
            if isinstance(arrival, Glance):
                arrival.encoder = encoder.snapshot()
                await put(send, arrival)
                continue
            if isinstance(arrival, Barrier):
                arrival.encoder = encoder.snapshot()
                arrival.parts["limit"] = limit.export_state()
                await put(send, arrival)
                continue
            coded, error = await worker.run(len(arrival.block), work, arrival)
            await put(send, coded)
            if error is not None:
                reader.give_up(error, arrival.block, coded.encoded.block)
                async for unused in receive:
                    if isinstance(unused, Arrival):
                        reader.take_back(unused.block)


async def evaluate(
    evaluator: Judge[J],
    receive: MemoryObjectReceiveStream[Scored | Barrier | Glance],
    send: MemoryObjectSendStream[J | Barrier | Glance],
    brief: float = BRIEF,
) -> None:
    """Score every candidate's answers."""
    worker = Worker(brief)
    with receive, send:
        async for scored in receive:
            if isinstance(scored, Glance):
                await put(send, scored)
                continue
            if isinstance(scored, Barrier):
                scored.parts["evaluator"] = await to_thread.run_sync(evaluator.export_state)
                await put(send, scored)
                continue
            samples = len(scored.encoded.block)
            await put(send, await worker.run(samples, evaluator.evaluate, scored))


async def serve(
    server: Chooser[J, C],
    undone: Sequence[Decision],
    receive: MemoryObjectReceiveStream[J | Barrier | Glance],
    send: MemoryObjectSendStream[C | Barrier],
    decisions: MemoryObjectSendStream[Decision],
    brief: float = BRIEF,
) -> None:
    """Choose what is served, score it, and decide at each round's end.

    ``undone`` are the decisions that the trainer knows already, but has not applied.
    """
    latest = deque(undone, maxlen=2)
    worker = Worker(brief)
    with receive, send:
        async for judged in receive:
            if isinstance(judged, Glance):
                judged.pass_server(cast("Server", server))  # nobody glances at a set's run
                judged.done.set()
                continue
            if isinstance(judged, Barrier):
                trainer = judged.parts["trainer"]
                trainer["decisions"] = plain_decisions(pending(latest, trainer))
                judged.parts["server"] = await to_thread.run_sync(server.export_state)
                await put(send, judged)
                continue
            served = await worker.run(len(judged.scored.encoded.block), server.serve, judged)
            if served.decision is not None:
                latest.append(served.decision)
                await put(decisions, served.decision)
            await put(send, served)


async def record(
    recorder: Recorder,
    publish: Callable[[Snapshot], Emission | None],
    state: State | None,
    receive: MemoryObjectReceiveStream[Served | Barrier],
    send: MemoryObjectSendStream[Emission | Barrier],
    brief: float = BRIEF,
) -> None:
    """Write down what was rejected and served, publish emitted champions, complete the cuts."""
    worker = Worker(NEVER_BRIEF if recorder.may_wait else brief)
    with receive, send:
        async for served in receive:
            if isinstance(served, Barrier):
                assert state is not None
                try:
                    await to_thread.run_sync(recorder.complete, served)
                except OSError as error:
                    state.failed(error)
                    continue
                served.parts["emitted"] = state.emitted
                await put(send, served)
                continue
            block = served.scored.encoded.block
            work = records_of(block) if recorder.is_busy else 1 + len(block.rejected)
            await worker.run(work, recorder.write, served)
            if served.emitted is not None:
                emission = publish(served.emitted)
                if emission is not None:
                    await put(send, emission)


async def keep(state: State, receive: MemoryObjectReceiveStream[Emission | Barrier]) -> None:
    """Write models and checkpoints, in order, while the other stages go on."""
    with receive:
        while True:
            item = None
            with move_on_after(state.seconds_to_wait()):
                try:
                    item = await receive.receive()
                except EndOfStream:
                    break
            if item is None:
                await to_thread.run_sync(state.publish_waiting)
            elif isinstance(item, Barrier):
                await to_thread.run_sync(state.write, item)
            else:
                await to_thread.run_sync(state.publish, item)
        await to_thread.run_sync(state.publish_waiting)
