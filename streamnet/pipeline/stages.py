"""The stages of the pipeline after reading: each receives from one channel and sends to the next.

    read -> encode -> train -> evaluate -> serve -> record
                        ^                    |
                        +---- decisions -----+

A stage ends when the one before it has ended and all it sent is worked off; a bounded channel makes
a fast stage wait for a slow one.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from anyio import create_task_group
from anyio import to_thread
from anyio.streams.memory import MemoryObjectReceiveStream
from anyio.streams.memory import MemoryObjectSendStream

from streamnet.errors import TooManyRejectedError
from streamnet.features.encoded import Encoded
from streamnet.features.encoder import Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.learning.evaluator import Evaluator
from streamnet.learning.evaluator import Judged
from streamnet.learning.serving import Served
from streamnet.learning.serving import Server
from streamnet.learning.trainer import Decision
from streamnet.learning.trainer import Scored
from streamnet.learning.trainer import Snapshot
from streamnet.learning.trainer import Trainer
from streamnet.pipeline.cutting import Arrival
from streamnet.pipeline.limit import RejectionLimit
from streamnet.pipeline.reading import Reader
from streamnet.pipeline.reading import records_of
from streamnet.pipeline.threads import Worker

__all__ = ("Coded", "Sink", "encode", "evaluate", "record", "serve", "train")

Sink = Callable[[Served], None]
"""Takes every served block in order, in a worker thread; what it raises ends the run."""


class Coded(NamedTuple):
    """An encoded block, with what the encoder knew after it if it ends a round."""

    encoded: Encoded
    ending: EncoderSnapshot | None


async def encode(
    encoder: Encoder,
    reader: Reader,
    limit: RejectionLimit,
    receive: MemoryObjectReceiveStream[Arrival],
    send: MemoryObjectSendStream[Coded],
) -> None:
    """Turn blocks into inputs and targets; end the stream if too many records are rejected."""

    def work(arrival: Arrival) -> tuple[Coded, TooManyRejectedError | None]:
        block = limit.cut(arrival.block)
        encoded = encoder.encode(block)
        whole = arrival.ends_round and block is arrival.block
        coded = Coded(encoded, encoder.snapshot() if whole else None)
        return coded, limit.count(encoded.block)

    worker = Worker()
    with receive, send:
        async for arrival in receive:
            coded, error = await worker.run(len(arrival.block), work, arrival)
            await send.send(coded)
            if error is not None:
                reader.give_up(error, arrival.block, coded.encoded.block)
                async for unused in receive:
                    reader.take_back(unused.block)


async def train(
    trainer: Trainer,
    threads: int,
    receive: MemoryObjectReceiveStream[Coded],
    send: MemoryObjectSendStream[Scored],
    decisions: MemoryObjectReceiveStream[Decision],
) -> None:
    """Let every candidate answer and learn; wait for the decision that a round needs."""
    shards: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]] = ()
    before, worker, after = Worker(), Worker(), Worker()
    with receive, send:
        async for coded in receive:
            samples = len(coded.encoded.block)
            if trainer.awaits_decision:
                trainer.decide(await decisions.receive())
                shards = ()
            job = await before.run(1, trainer.begin, coded.encoded)
            shards = shards or trainer.population.shards(threads)
            if len(shards) == 1 or worker.is_brief(samples):
                await worker.run(samples, trainer.run_all, job)
            else:
                async with create_task_group() as group:
                    for shard in shards:
                        share = samples / len(shards)
                        group.start_soon(
                            to_thread.run_sync, worker.measure, share, trainer.run, shard, job
                        )
            scored = await after.run(1, trainer.finish, coded.encoded, job, coded.ending)
            await send.send(scored)


async def evaluate(
    evaluator: Evaluator,
    receive: MemoryObjectReceiveStream[Scored],
    send: MemoryObjectSendStream[Judged],
) -> None:
    """Score every candidate's answers."""
    worker = Worker()
    with receive, send:
        async for scored in receive:
            samples = len(scored.encoded.block)
            await send.send(await worker.run(samples, evaluator.evaluate, scored))


async def serve(
    server: Server,
    receive: MemoryObjectReceiveStream[Judged],
    send: MemoryObjectSendStream[Served],
    decisions: MemoryObjectSendStream[Decision],
) -> None:
    """Choose what is served, score it, and decide at each round's end."""
    worker = Worker()
    with receive, send:
        async for judged in receive:
            served = await worker.run(len(judged.scored.encoded.block), server.serve, judged)
            if served.decision is not None:
                await decisions.send(served.decision)
            await send.send(served)


async def record(
    rejections: Sink,
    sinks: Sequence[Sink],
    publish: Callable[[Snapshot], None],
    receive: MemoryObjectReceiveStream[Served],
) -> None:
    """Write down what was rejected and served, and publish emitted champions."""

    def write(served: Served) -> None:
        rejections(served)
        for sink in sinks:
            sink(served)

    worker = Worker()
    with receive:
        async for served in receive:
            block = served.scored.encoded.block
            work = records_of(block) if sinks else len(block.rejected)
            await worker.run(work, write, served)
            if served.emitted is not None:
                publish(served.emitted)
