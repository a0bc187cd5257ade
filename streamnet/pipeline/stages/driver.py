"""The stage coroutines after reading: each receives from one channel and sends to the next.

    read -> encode -> train -> evaluate -> serve -> record -> keep
                        ^                    |
                        +---- decisions -----+

A stage ends once the previous one has ended and all its blocks are processed; bounded channels
provide backpressure. The protocols say what a stage requires of the part it drives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from anyio import EndOfStream, move_on_after, to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from streamnet.errors import TooManyRejectedError
from streamnet.features.encoder import Encoded, EncoderSnapshot
from streamnet.learning.serving import Served, ServingStage
from streamnet.learning.trainer import Predicted, Snapshot
from streamnet.pipeline.concurrency import INLINE_SECONDS, NEVER_INLINE, Worker, put
from streamnet.pipeline.control_messages import Barrier, Glance, pending
from streamnet.pipeline.outputs.rejections import RejectionLimit, locate_rejected
from streamnet.pipeline.stages.reader import Reader, SplitBlock, count_records
from streamnet.pipeline.stages.recorder import Recorder
from streamnet.pipeline.state.store import EmittedModel, State
from streamnet.samples import Block
from streamnet.selection.decisions import Decision, export_decisions

__all__ = (
    "BlockEncoder",
    "BlockScorer",
    "BlockServer",
    "EncodedBlock",
    "ScoredLike",
    "ServedLike",
    "Stateless",
    "encode",
    "evaluate",
    "keep",
    "record",
    "serve",
)


class ScoredLike(Protocol):
    """A block with what an evaluator found."""

    @property
    def predicted(self) -> Predicted:
        """The block."""


class ServedLike(Protocol):
    """What a chooser made of a block."""

    @property
    def decision(self) -> Decision | None:
        """If the block ends a round, what the trainer shall do."""


J_co = TypeVar("J_co", bound=ScoredLike, covariant=True)
J_contra = TypeVar("J_contra", bound=ScoredLike, contravariant=True)
C_co = TypeVar("C_co", bound=ServedLike, covariant=True)


class BlockEncoder(Protocol):
    """Turns blocks into inputs and targets."""

    def refused(self, block: Block) -> list[int]:
        """The samples, by row, that `encode` would refuse."""

    def encode(self, block: Block) -> Encoded:
        """Inputs and targets of the next samples."""

    def snapshot(self) -> EncoderSnapshot:
        """What it knows now."""


class BlockScorer(Protocol[J_co]):
    """Scores what the candidates answered."""

    def evaluate(self, scored: Predicted) -> J_co:
        """Score a block."""

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on."""


class BlockServer(Protocol[J_contra, C_co]):
    """Follows the scores and chooses among the candidates."""

    def serve(self, judged: J_contra) -> C_co:
        """Choose, and decide if the block ends a round."""

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on."""


class Stateless:
    """A part of a run without checkpoints."""

    def export_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}


J = TypeVar("J", bound=ScoredLike)
C = TypeVar("C", bound=ServedLike)


class EncodedBlock(NamedTuple):
    """An encoded block, with what the encoder knew after it if it ends a round."""

    encoded: Encoded
    encoder_after: EncoderSnapshot | None

    @property
    def ends_round(self) -> bool:
        """Whether it is the last of its round."""
        return self.encoder_after is not None


async def encode(
    encoder: BlockEncoder,
    reader: Reader,
    limit: RejectionLimit,
    receive: MemoryObjectReceiveStream[SplitBlock | Barrier | Glance],
    send: MemoryObjectSendStream[EncodedBlock | Barrier | Glance],
    inline_seconds: float = INLINE_SECONDS,
) -> None:
    """Turn blocks into inputs and targets; end the stream if too many records are rejected."""

    def work(arrival: SplitBlock) -> tuple[EncodedBlock, TooManyRejectedError | None]:
        # What is encoded is learned, so the record at which to stop must be known before.
        refused = encoder.refused(arrival.block)
        block = limit.cut(arrival.block, refused)
        places = locate_rejected(block, refused)
        encoded = encoder.encode(block)
        whole = arrival.ends_round and block is arrival.block
        coded = EncodedBlock(encoded, encoder.snapshot() if whole else None)
        return coded, limit.count(encoded.block, places)

    worker = Worker(inline_seconds)
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
                    if isinstance(unused, SplitBlock):
                        reader.uncount(unused.block)


async def evaluate(
    evaluator: BlockScorer[J],
    receive: MemoryObjectReceiveStream[Predicted | Barrier | Glance],
    send: MemoryObjectSendStream[J | Barrier | Glance],
    inline_seconds: float = INLINE_SECONDS,
) -> None:
    """Score every candidate's answers."""
    worker = Worker(inline_seconds)
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
    server: BlockServer[J, C],
    undone: Sequence[Decision],
    receive: MemoryObjectReceiveStream[J | Barrier | Glance],
    send: MemoryObjectSendStream[C | Barrier],
    decisions: MemoryObjectSendStream[Decision],
    inline_seconds: float = INLINE_SECONDS,
) -> None:
    """Choose what is served, score it, and decide at each round's end.

    ``undone`` are the decisions that the trainer knows already, but has not applied.
    """
    latest = deque(undone, maxlen=2)
    worker = Worker(inline_seconds)
    with receive, send:
        async for judged in receive:
            if isinstance(judged, Glance):
                judged.select_served(cast("ServingStage", server))  # nobody glances at a set's run
                judged.done.set()
                continue
            if isinstance(judged, Barrier):
                trainer = judged.parts["trainer"]
                trainer["decisions"] = export_decisions(pending(latest, trainer))
                judged.parts["serving"] = await to_thread.run_sync(server.export_state)
                await put(send, judged)
                continue
            served = await worker.run(len(judged.predicted.encoded.block), server.serve, judged)
            if served.decision is not None:
                latest.append(served.decision)
                await put(decisions, served.decision)
            await put(send, served)


async def record(
    recorder: Recorder,
    publish: Callable[[Snapshot], EmittedModel | None],
    state: State | None,
    receive: MemoryObjectReceiveStream[Served | Barrier],
    send: MemoryObjectSendStream[EmittedModel | Barrier],
    inline_seconds: float = INLINE_SECONDS,
) -> None:
    """Write down what was rejected and served, publish emitted champions, complete the cuts."""
    worker = Worker(NEVER_INLINE if recorder.has_foreign_sinks else inline_seconds)
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
            block = served.predicted.encoded.block
            work = count_records(block) if recorder.is_busy else 1 + len(block.rejected)
            await worker.run(work, recorder.write, served)
            if served.emitted is not None:
                emission = publish(served.emitted)
                if emission is not None:
                    await put(send, emission)


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
                await to_thread.run_sync(state.write, item)
            else:
                await to_thread.run_sync(state.publish, item)
        await to_thread.run_sync(state.publish_waiting)
