"""The stages of a pipeline, and the driver that runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, final

from anyio import CancelScope, create_memory_object_stream, create_task_group, to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from streamnet.errors import DataError, TooManyRejectedError
from streamnet.features.encoder import Encoded, Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.keyed import KeyedEncoder
from streamnet.learning.joined_labels import JoiningEncoder
from streamnet.learning.label_delay import DelayedEncoder
from streamnet.learning.serving import ServingStage
from streamnet.learning.trainer import Job, Predicted, Trainer
from streamnet.pipeline.concurrency import INLINE_SECONDS, Worker, put, share_helpers
from streamnet.pipeline.control_messages import Barrier, Glance, select_pending
from streamnet.pipeline.reader import SplitBlock
from streamnet.pipeline.rejections import RejectionLimit, locate_rejected
from streamnet.samples import Block
from streamnet.selection.champion import Decision, export_decisions

CHANNEL_BLOCKS = 4  # blocks that may wait before a stage
_NUMBERS = 10_000  # weights, to estimate the work of copying them

T = TypeVar("T")


class Stage(ABC, Generic[T]):
    """Receives blocks from one channel and sends what it makes of them to the next.

    Subclasses implement the three methods below; `run` is the driver of all stages.
    """

    capacity = CHANNEL_BLOCKS  # items that may wait behind the stage
    _receive: MemoryObjectReceiveStream[Any] | None = None
    _send: MemoryObjectSendStream[Any]

    @abstractmethod
    async def process(self, block: T) -> None:
        """Process a block and send the result with `send`."""

    @abstractmethod
    async def on_barrier(self, barrier: Barrier) -> bool:
        """Add a copy of the stage's state; whether the barrier travels on."""

    async def on_glance(self, glance: Glance) -> bool:  # noqa: ARG002
        """Add what a model is made of; whether the glance travels on."""
        return True

    async def finish(self) -> None:
        """Send what is left after the last block."""

    async def aclose(self) -> None:
        """Clean up, also after an error or cancellation."""

    def close(self) -> None:
        """Clean up once all stages have ended."""

    async def send(self, item: object) -> None:
        """Send to the next stage."""
        await put(self._send, item)

    @property
    def waiting(self) -> int:
        """Number of items that wait before the stage."""
        return 0 if self._receive is None else self._receive.statistics().current_buffer_used

    @final
    async def run(
        self, receive: MemoryObjectReceiveStream[Any], send: MemoryObjectSendStream[Any]
    ) -> None:
        """Process everything that is received, in order."""
        self._receive, self._send = receive, send
        with receive, send:
            try:
                async for item in receive:
                    if isinstance(item, Barrier):
                        goes_on = await self.on_barrier(item)
                    elif isinstance(item, Glance):
                        goes_on = await self.on_glance(item)
                    else:
                        await self.process(item)
                        continue
                    if goes_on:
                        await put(send, item)
                    item = None  # else the copy of a whole model would stay until the next item
                await self.finish()
            finally:
                await self.aclose()


async def run_stages(
    read: Callable[[MemoryObjectSendStream[Any]], Coroutine[Any, Any, None]],
    stages: Sequence[Stage[Any]],
    keep: Callable[[MemoryObjectReceiveStream[Any]], Coroutine[Any, Any, None]],
) -> None:
    """Run stages, each in a task of its own, until the last one has processed everything.

    ``read`` sends to the first stage, ``keep`` receives what the last one sends. See `raise_cause`
    for the errors.
    """
    send, receive = create_memory_object_stream[Any](CHANNEL_BLOCKS)
    await run_chains([partial(read, send)], [(receive, stages)], keep)


async def run_chains(
    work: Sequence[Callable[[], Coroutine[Any, Any, None]]],
    chains: Sequence[tuple[MemoryObjectReceiveStream[Any], Sequence[Stage[Any]]]],
    keep: Callable[[MemoryObjectReceiveStream[Any]], Coroutine[Any, Any, None]],
) -> None:
    """Run chains of stages, each with where its first stage receives, into one last channel.

    ``work`` feeds them, ``keep`` receives what their last stages send.
    """
    with ExitStack() as ended:
        for _, stages in chains:
            for stage in stages:
                ended.callback(stage.close)
        async with create_task_group() as group:
            for task in work:
                group.start_soon(task)
            end, kept = create_memory_object_stream[Any](max(c[1][-1].capacity for c in chains))
            for receive, stages in chains:
                for stage in stages[:-1]:
                    send, following = create_memory_object_stream[Any](stage.capacity)
                    group.start_soon(stage.run, receive, send)
                    receive = following
                group.start_soon(stages[-1].run, receive, end.clone())
            end.close()
            group.start_soon(keep, kept)


class BlockEncoder(Protocol):
    """Turns blocks into inputs and targets."""

    def refused(self, block: Block) -> list[int]:
        """Rows of the samples that `encode` would reject."""

    def encode(self, block: Block) -> Encoded:
        """Inputs and targets of the next samples."""

    def snapshot(self) -> EncoderSnapshot:
        """A copy of its current state."""


class BlockEvaluator(Protocol):
    """Scores the candidates' predictions."""

    def evaluate(self, predicted: Predicted, /) -> Any:
        """Score a block."""

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume."""


class BlockServer(Protocol):
    """Chooses among the candidates."""

    def serve(self, scored: Any, /) -> Any:
        """Choose what is served of a block, and make a ``decision`` if it ends a round."""

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume."""


class Feed(Protocol):
    """Where the blocks come from."""

    @property
    def stopped(self) -> bool:
        """Whether reading was stopped."""

    @property
    def broken(self) -> DataError | None:
        """Why reading failed."""

    def give_up(self, error: DataError, block: Block, used: Block) -> None:
        """Stop reading because of an error in ``block``; only its part ``used`` was used."""

    def uncount(self, block: Block) -> None:
        """Count a block that was given, but not used, as not read."""


class EncodedBlock(NamedTuple):
    """An encoded block, with the encoder's state after it if it ends a round."""

    encoded: Encoded
    encoder_after: EncoderSnapshot | None

    @property
    def ends_round(self) -> bool:
        """Whether it is the last block of its round."""
        return self.encoder_after is not None


@final
class Encode(Stage[SplitBlock]):
    """Turns blocks into inputs and targets; ends the stream if too many records are rejected.

    A glance gets a copy of the encoder that it ``freezes``. Where keys have models of their own,
    ``keyed`` encodes the samples, at the encoder's bidding or as the encoder.
    """

    def __init__(
        self,
        encoder: BlockEncoder,
        reader: Feed,
        limit: RejectionLimit,
        inline_seconds: float = INLINE_SECONDS,
        *,
        freezes: Encoder | None = None,
        keyed: KeyedEncoder | None = None,
    ) -> None:
        self._encoder, self._reader, self._limit = encoder, reader, limit
        self._freezes, self._keyed = freezes, keyed
        self._worker = Worker(inline_seconds)
        self._has_given_up = False

    async def process(self, block: SplitBlock) -> None:
        """Encode a block up to the record that is rejected too much; nothing after it is used."""
        if self._has_given_up:
            self._reader.uncount(block.block)
            return
        rows = len(block.block)
        if block.block.arrivals is not None:
            rows += len(block.block.arrivals.before)
        encoded, error = await self._worker.run(rows, self._encode, block)
        await self.send(encoded)
        if error is not None:
            self._reader.give_up(error, block.block, encoded.encoded.block)
            self._has_given_up = True

    def _encode(self, arrival: SplitBlock) -> tuple[EncodedBlock, TooManyRejectedError | None]:
        # Everything that is encoded is learned, so the last record must be known before.
        refused = self._encoder.refused(arrival.block)
        block = self._limit.cut(arrival.block, refused)
        places = locate_rejected(block, refused)
        encoded = self._encoder.encode(block)
        ends_round = arrival.ends_round and block is arrival.block
        result = EncodedBlock(encoded, self._encoder.snapshot() if ends_round else None)
        if block.arrivals is not None or block.change is not None:  # which may be rejected as well
            return result, self._limit.count(encoded.block)
        return result, self._limit.count(encoded.block, places)

    async def on_barrier(self, barrier: Barrier) -> bool:
        """Add the encoder's state and the counts of rejected records."""
        barrier.encoder = self._encoder.snapshot()
        barrier.parts["pending"] = None
        if isinstance(self._encoder, DelayedEncoder | JoiningEncoder):
            barrier.parts["pending"] = self._encoder.export_state()
        barrier.parts["keyed"] = None if self._keyed is None else self._keyed.export_state()
        barrier.parts["limit"] = self._limit.export_state()
        return not self._has_given_up

    async def finish(self) -> None:
        """At the end of the source, let all labels arrive; a checkpoint was made before."""
        if isinstance(self._encoder, DelayedEncoder) and not self._reader.stopped:
            encoded = self._encoder.flush()
            if encoded is not None and self._reader.broken is None:
                await self.send(EncodedBlock(encoded, None))

    async def on_glance(self, glance: Glance) -> bool:
        """Add a copy of the encoder."""
        if self._freezes is not None:
            glance.freeze_encoder(self._freezes)
        return not self._has_given_up


@final
class Evaluate(Stage[Predicted]):
    """Scores every candidate's predictions."""

    def __init__(self, evaluator: BlockEvaluator, inline_seconds: float = INLINE_SECONDS) -> None:
        self._evaluator = evaluator
        self._worker = Worker(inline_seconds)

    async def process(self, block: Predicted) -> None:
        """Score a block."""
        samples = len(block.encoded.inputs.count)
        await self.send(await self._worker.run(samples, self._evaluator.evaluate, block))

    async def on_barrier(self, barrier: Barrier) -> bool:
        """Add the evaluator's state."""
        barrier.parts["evaluator"] = await to_thread.run_sync(self._evaluator.export_state)
        return True


@final
class Serve(Stage[Any]):
    """Chooses what is served, scores it, and decides at the end of each round.

    ``latest`` are the last decisions before the first block, see `Trainer.decisions`; ``follow`` is
    called at the end of each round.
    """

    def __init__(
        self,
        server: BlockServer,
        decide: Callable[[Decision], Awaitable[None]],
        latest: Sequence[Decision] = (),
        inline_seconds: float = INLINE_SECONDS,
        follow: Callable[[], None] | None = None,
    ) -> None:
        self._server, self._decide, self._follow = server, decide, follow
        self._latest = deque(latest, maxlen=2)
        self._worker = Worker(inline_seconds)

    async def process(self, block: Any) -> None:
        """Serve a block."""
        samples = len(block.predicted.encoded.inputs.count)
        served = await self._worker.run(samples, self._server.serve, block)
        if served.decision is not None:
            self._latest.append(served.decision)
            if self._follow is not None:
                self._follow()
            await self._decide(served.decision)
        await self.send(served)

    async def on_barrier(self, barrier: Barrier) -> bool:
        """Add the server's state, and the decisions that the trainer has yet to apply."""
        trainer = barrier.parts["trainer"]
        trainer["decisions"] = export_decisions(select_pending(self._latest, trainer))
        barrier.parts["serving"] = await to_thread.run_sync(self._server.export_state)
        return True

    async def on_glance(self, glance: Glance) -> bool:
        """Choose the networks; the glance is complete."""
        if isinstance(self._server, ServingStage):
            glance.freeze_serving(self._server)
        glance.done.set()
        return False


@final
class Train(Stage[EncodedBlock]):
    """Lets every candidate predict and learn; waits for the decision that a round needs.

    The trainer belongs to this stage alone while it runs. At most two blocks are on their way
    through it: one is being learned, one comes next.
    """

    def __init__(
        self, trainer: Trainer, threads: int, inline_seconds: float = INLINE_SECONDS
    ) -> None:
        self._trainer = trainer
        self._threads = min(threads, len(trainer.population.members))
        self._leader = ThreadPoolExecutor(1, "learning")
        self._helpers = share_helpers(self._threads - 1)
        # Learning never waits for the event loop, so it leaves for a thread sooner than others.
        inline_seconds = min(inline_seconds, INLINE_SECONDS)
        self._before, self._worker, self._after = (Worker(inline_seconds) for _ in range(3))
        self._copier = Worker(inline_seconds)
        self._submitted: Future[Predicted] | None = None  # not sent yet
        self._has_failed = False
        # State of the trainer once it has learned all that was submitted.
        self._round, self._at_start = trainer.round, trainer.at_start
        self._decided = len(trainer.decisions)
        self._decisions_send, self._decisions = create_memory_object_stream[Decision](
            CHANNEL_BLOCKS
        )

    async def decide(self, decision: Decision) -> None:
        """Send a decision to the stage; also possible after it has ended, until `close`."""
        await put(self._decisions_send, decision)

    def close(self) -> None:
        """Receive no more decisions."""
        self._decisions_send.close()
        self._decisions.close()

    async def process(self, block: EncodedBlock) -> None:
        """Learn a block: short work at once, longer work in threads behind the block before."""
        if self._awaits_decision:
            # It is on a round whose blocks were all sent before the current one.
            self._trainer.decide(await self._decisions.receive())
            self._decided += 1
        await self._learn_next(block)

    async def on_barrier(self, barrier: Barrier) -> bool:
        """Add the trainer's state."""
        await self.finish()
        barrier.parts["trainer"] = await to_thread.run_sync(self._trainer.export_state)
        return True

    async def on_glance(self, glance: Glance) -> bool:
        """Add copies of the networks."""
        await self.finish()
        numbers = self._trainer.population.size
        await self._copier.run(numbers / _NUMBERS, glance.freeze_networks, self._trainer)
        return True

    async def finish(self) -> None:
        """Wait for all that was submitted, and send it."""
        last, self._submitted = self._submitted, None
        await self._send_learned(last)

    async def aclose(self) -> None:
        """Finish the block that is being learned, and learn no more."""
        with CancelScope(shield=True):
            await to_thread.run_sync(partial(self._leader.shutdown, cancel_futures=True))

    @property
    def _awaits_decision(self) -> bool:
        """Whether the next block needs a decision that has not arrived yet."""
        return self._at_start and self._round >= 2 and not self._decided

    async def _learn_next(self, block: EncodedBlock) -> None:
        samples, ends = len(block.encoded.inputs.count), block.ends_round
        if self._at_start and (samples or ends):
            self._decided -= self._round >= 2
            self._at_start = False
        if ends:
            self._at_start = True
            self._round += 1
        if self._worker.runs_inline(samples):
            await self.finish()
            learn = partial(self._trainer.learn, block.encoded, block.encoder_after)
            await self.send(self._worker.measure(samples, learn))
            return
        if not self.waiting:  # then it is sent before the next one comes
            await self.finish()
            await self.send(await self._learn_alone(block))
            return
        before, self._submitted = self._submitted, self._leader.submit(self._learn, block)
        await self._send_learned(before)

    async def _send_learned(self, learned: Future[Predicted] | None) -> None:
        if learned is not None:
            await self.send(await to_thread.run_sync(learned.result))

    async def _learn_alone(self, block: EncodedBlock) -> Predicted:
        """Learn a block that none waits behind: threads do only the long work.

        At short work they would only take turns with the event loop.
        """
        arguments = block.encoded, self._threads, block.ends_round
        job = await self._before.run(1, self._trainer.begin, *arguments)
        await to_thread.run_sync(self._share, job)
        return await self._after.run(
            1, self._trainer.finish, block.encoded, job, block.encoder_after
        )

    def _learn(self, block: EncodedBlock) -> Predicted:
        """Learn a block with all threads."""
        if self._has_failed:
            raise RuntimeError("the previous block could not be learned")
        self._has_failed = True
        job = self._trainer.begin(block.encoded, self._threads, block.ends_round)
        self._share(job)
        predicted = self._trainer.finish(block.encoded, job, block.encoder_after)
        self._has_failed = False
        return predicted

    def _share(self, job: Job) -> None:
        """Let all threads learn."""
        others = self._helpers.submit(self._run, job)
        try:
            seconds = self._run(job)
        finally:
            # Nothing is left for those that are still busy with another model.
            others = [other for other in others if not other.cancel()]
            wait(others)
        # The time of one thread: one of several may have found nothing left to do.
        seconds += sum(other.result() for other in others)
        self._worker.note(len(job.known), seconds)

    def _run(self, job: Job) -> float:
        start = perf_counter()
        self._trainer.run(job)
        return perf_counter() - start
