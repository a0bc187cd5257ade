"""The training stage: the next block is submitted while the current one is being learned.

Between two blocks no training thread has to wait for the event loop.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import get_native_id
from time import perf_counter
from typing import final

from anyio import CancelScope, to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from streamnet.learning.trainer import Job, Predicted, Trainer
from streamnet.pipeline.concurrency import INLINE_SECONDS, Worker, put, spread_over_cpus
from streamnet.pipeline.control_messages import Barrier, Glance
from streamnet.pipeline.stages.driver import EncodedBlock
from streamnet.selection.decisions import Decision

__all__ = ("train",)


async def train(
    trainer: Trainer,
    threads: int,
    receive: MemoryObjectReceiveStream[EncodedBlock | Barrier | Glance],
    send: MemoryObjectSendStream[Predicted | Barrier | Glance],
    decisions: MemoryObjectReceiveStream[Decision],
    inline_seconds: float = INLINE_SECONDS,
) -> None:
    """Let every candidate answer and learn; wait for the decision that a round needs."""
    with receive, send:
        # Learning takes turns with nobody, so threads do it even where there is time for it here.
        learning = _DoubleBuffer(trainer, threads, send, min(inline_seconds, INLINE_SECONDS))
        try:
            async for coded in receive:
                if isinstance(coded, Glance):
                    await learning.drain()
                    await to_thread.run_sync(coded.copy_networks, trainer)
                    await put(send, coded)
                    continue
                if isinstance(coded, Barrier):
                    await learning.drain()
                    coded.parts["trainer"] = await to_thread.run_sync(trainer.export_state)
                    await put(send, coded)
                    continue
                if learning.awaits_decision:
                    # It is on a round all of which was passed on before the block in work.
                    learning.decide(await decisions.receive())
                await learning.take(coded, last=not receive.statistics().current_buffer_used)
            await learning.drain()
        finally:
            await learning.aclose()


@final
class _DoubleBuffer:
    """Blocks on their way through the trainer, at most two: one is learned, one comes next.

    Args:
        trainer: Nobody else may use it unless `drain` was awaited.
        threads: Most that learn at once.
        send: Where learned blocks go, in order.
        brief: Longest work, in seconds, that is done in the event loop.
    """

    def __init__(
        self,
        trainer: Trainer,
        threads: int,
        send: MemoryObjectSendStream[Predicted | Barrier | Glance],
        inline_seconds: float,
    ) -> None:
        self._trainer, self._send = trainer, send
        self._threads = min(threads, len(trainer.population.members))
        self._leader = ThreadPoolExecutor(1, "learning")
        self._numbers: list[int] = []  # native ones, of the threads of `_others`
        self._others = ThreadPoolExecutor(
            max(self._threads - 1, 1), "learning-too", initializer=self._note_thread
        )
        self._before, self._worker, self._after = (
            Worker(inline_seconds),
            Worker(inline_seconds),
            Worker(inline_seconds),
        )
        self._last: Future[Predicted] | None = None  # handed over, and not passed on yet
        self._broken = False
        # Where the trainer will be once it has learned all that was handed over.
        self._round, self._at_start = trainer.round, trainer.at_start
        self._decided = len(trainer.decisions)

    async def aclose(self) -> None:
        """Learn what is being learned to its end, whatever else went wrong, and nothing more."""
        with CancelScope(shield=True):
            for executor in (self._leader, self._others):
                await to_thread.run_sync(partial(executor.shutdown, cancel_futures=True))

    @property
    def awaits_decision(self) -> bool:
        """Whether the next block needs a decision that has not been told yet."""
        return self._at_start and self._round >= 2 and not self._decided

    def decide(self, decision: Decision) -> None:
        """Tell the decision that the next block, or a later one, needs."""
        self._trainer.decide(decision)
        self._decided += 1

    async def take(self, coded: EncodedBlock, *, last: bool) -> None:
        """Learn a block: a brief one at once, another one in threads, after the one before.

        Args:
            coded: The block.
            last: Whether none waits behind it; then it is passed on before this returns.
        """
        samples, ends = len(coded.encoded.block), coded.ends_round
        if self._at_start and (samples or ends):
            self._decided -= self._round >= 2
            self._at_start = False
        if ends:
            self._at_start = True
            self._round += 1
        if self._worker.runs_inline(samples):
            await self.drain()
            learn = partial(self._trainer.learn, coded.encoded, coded.encoder_after)
            await put(self._send, self._worker.measure(samples, learn))
            return
        if last:
            await self.drain()
            await put(self._send, await self._learn_alone(coded))
            return
        before, self._last = self._last, self._leader.submit(self._learn, coded)
        await self._pass(before)

    async def drain(self) -> None:
        """Wait for all that was handed over, and send it."""
        last, self._last = self._last, None
        await self._pass(last)

    async def _pass(self, learned: Future[Predicted] | None) -> None:
        if learned is not None:
            await put(self._send, await to_thread.run_sync(learned.result))

    async def _learn_alone(self, coded: EncodedBlock) -> Predicted:
        """Learn a block that none waits behind: threads do only what takes long.

        They would only take turns with the event loop at what is brief.
        """
        given = coded.encoded, self._threads, coded.ends_round
        job = await self._before.run(1, self._trainer.begin, *given)
        await to_thread.run_sync(self._share, job)
        return await self._after.run(
            1, self._trainer.finish, coded.encoded, job, coded.encoder_after
        )

    def _learn(self, coded: EncodedBlock) -> Predicted:
        """Learn a block with all threads."""
        if self._broken:
            raise RuntimeError("the block before could not be learned")
        self._broken = True
        job = self._trainer.begin(coded.encoded, self._threads, coded.ends_round)
        self._share(job)
        scored = self._trainer.finish(coded.encoded, job, coded.encoder_after)
        self._broken = False
        return scored

    def _share(self, job: Job) -> None:
        """Let all threads learn."""
        others = [self._others.submit(self._run, job) for _ in range(self._threads - 1)]
        spread_over_cpus(self._numbers)
        try:
            seconds = self._run(job)
        finally:
            wait(others)
        # What one thread would need: one of several may have found nothing left to do.
        seconds += sum(other.result() for other in others)
        self._worker.note(len(job.known), seconds)

    def _note_thread(self) -> None:
        self._numbers.append(get_native_id())

    def _run(self, job: Job) -> float:
        start = perf_counter()
        self._trainer.run(job)
        return perf_counter() - start
