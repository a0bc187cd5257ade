"""The training stage: the next block is submitted while the current one is being learned.

Between two blocks no training thread has to wait for the event loop.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from threading import get_native_id
from time import perf_counter
from typing import final

from anyio import CancelScope, create_memory_object_stream, to_thread

from streamnet.learning.trainer import Job, Predicted, Trainer
from streamnet.pipeline.concurrency import INLINE_SECONDS, Worker, put, spread_over_cpus
from streamnet.pipeline.control_messages import Barrier, Glance
from streamnet.pipeline.stages import CHANNEL_BLOCKS, EncodedBlock, Stage
from streamnet.selection.decisions import Decision


@final
class Train(Stage[EncodedBlock]):
    """Lets every candidate predict and learn; waits for the decision that a round needs.

    At most two blocks are on their way through the trainer: one is being learned, one comes next.

    Args:
        trainer: Used by this stage alone while it runs.
        threads: Maximum number of threads that learn at once.
        inline_seconds: See `Worker`.
    """

    def __init__(
        self, trainer: Trainer, threads: int, inline_seconds: float = INLINE_SECONDS
    ) -> None:
        self._trainer = trainer
        self._threads = min(threads, len(trainer.population.members))
        self._leader = ThreadPoolExecutor(1, "learning")
        self._thread_ids: list[int] = []  # native ones, of the threads of `_others`
        self._others = ThreadPoolExecutor(
            max(self._threads - 1, 1), "learning-too", initializer=self._note_thread
        )
        # Learning never waits for the event loop, so it leaves for a thread sooner than others.
        inline_seconds = min(inline_seconds, INLINE_SECONDS)
        self._before, self._worker, self._after = (Worker(inline_seconds) for _ in range(3))
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
        await to_thread.run_sync(glance.copy_networks, self._trainer)
        return True

    async def finish(self) -> None:
        """Wait for all that was submitted, and send it."""
        last, self._submitted = self._submitted, None
        await self._send_learned(last)

    async def aclose(self) -> None:
        """Finish the block that is being learned, and learn no more."""
        with CancelScope(shield=True):
            for executor in (self._leader, self._others):
                await to_thread.run_sync(partial(executor.shutdown, cancel_futures=True))

    @property
    def _awaits_decision(self) -> bool:
        """Whether the next block needs a decision that has not arrived yet."""
        return self._at_start and self._round >= 2 and not self._decided

    async def _learn_next(self, block: EncodedBlock) -> None:
        samples, ends = len(block.encoded.block), block.ends_round
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
        others = [self._others.submit(self._run, job) for _ in range(self._threads - 1)]
        spread_over_cpus(self._thread_ids)
        try:
            seconds = self._run(job)
        finally:
            wait(others)
        # The time of one thread: one of several may have found nothing left to do.
        seconds += sum(other.result() for other in others)
        self._worker.note(len(job.known), seconds)

    def _note_thread(self) -> None:
        self._thread_ids.append(get_native_id())

    def _run(self, job: Job) -> float:
        start = perf_counter()
        self._trainer.run(job)
        return perf_counter() - start
