"""The stages of the pipeline: each receives from one channel and sends to the next.

    read -> encode -> train -> evaluate -> serve -> record
                        ^                    |
                        +---- decisions -----+

A stage ends when the one before it has ended and all it sent is worked off; a bounded channel makes
a fast stage wait for a slow one.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from anyio import create_task_group
from anyio.abc import ObjectReceiveStream
from anyio.abc import ObjectSendStream

from streamnet.errors import DataError
from streamnet.features.encoded import Encoded
from streamnet.features.encoder import Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.learning.evaluator import Evaluator
from streamnet.learning.evaluator import Judged
from streamnet.learning.serving import Served
from streamnet.learning.serving import Server
from streamnet.learning.trainer import Decision
from streamnet.learning.trainer import Job
from streamnet.learning.trainer import Scored
from streamnet.learning.trainer import Trainer
from streamnet.pipeline.cutting import Arrival
from streamnet.pipeline.cutting import Cutter
from streamnet.pipeline.threads import SHORT
from streamnet.pipeline.threads import compute
from streamnet.sources.base import Source

__all__ = ("Coded", "Sink", "encode", "evaluate", "read", "record", "serve", "train")

logger = logging.getLogger("streamnet.pipeline")

Sink = Callable[[Served], None]
"""Takes every served block in order, in a worker thread; what it raises ends the run."""


class Coded(NamedTuple):
    """An encoded block, with what the encoder knew after it if it ends a round."""

    encoded: Encoded
    ending: EncoderSnapshot | None


async def read(
    source: Source,
    cutter: Cutter,
    send: ObjectSendStream[Arrival],
    stopped: Callable[[], bool],
) -> DataError | None:
    """Send what the source gives until it ends, breaks off (the error is returned) or is stopped."""
    async with send:
        try:
            while not stopped() and (block := await source.receive()) is not None:
                for arrival in cutter.cut(block):
                    await send.send(arrival)
                    if stopped():
                        break
        except DataError as error:
            logger.error("the source broke off: %s", error)
            return error
    return None


async def encode(
    encoder: Encoder, receive: ObjectReceiveStream[Arrival], send: ObjectSendStream[Coded]
) -> None:
    """Turn blocks into inputs and targets."""

    def work(arrival: Arrival) -> Coded:
        encoded = encoder.encode(arrival.block)
        return Coded(encoded, encoder.snapshot() if arrival.ends_round else None)

    async with receive, send:
        async for arrival in receive:
            await send.send(await compute(len(arrival.block), work, arrival))


async def train(
    trainer: Trainer,
    threads: int,
    receive: ObjectReceiveStream[Coded],
    send: ObjectSendStream[Scored],
    decisions: ObjectReceiveStream[Decision],
) -> None:
    """Let every candidate answer and learn; wait for the decision that a round needs."""
    shards: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]] = ()
    async with receive, send:
        async for coded in receive:
            samples = len(coded.encoded.block)
            if trainer.awaits_decision:
                trainer.decide(await decisions.receive())
                shards = ()
            job = await compute(samples, trainer.begin, coded.encoded)
            shards = shards or trainer.population.shards(threads)
            await _learn(trainer, job, shards, samples)
            finish = (trainer.finish, coded.encoded, job, coded.ending)
            await send.send(await compute(samples if coded.ending else 0, *finish))


async def _learn(
    trainer: Trainer,
    job: Job,
    shards: Sequence[np.ndarray[tuple[int], np.dtype[np.int64]]],
    samples: int,
) -> None:
    if samples <= SHORT or len(shards) == 1:
        for shard in shards:
            await compute(samples, trainer.run, shard, job)
        return
    async with create_task_group() as group:
        for shard in shards:
            group.start_soon(compute, samples, trainer.run, shard, job)


async def evaluate(
    evaluator: Evaluator, receive: ObjectReceiveStream[Scored], send: ObjectSendStream[Judged]
) -> None:
    """Score every candidate's answers."""
    async with receive, send:
        async for scored in receive:
            samples = len(scored.encoded.block)
            await send.send(await compute(samples, evaluator.evaluate, scored))


async def serve(
    server: Server,
    receive: ObjectReceiveStream[Judged],
    send: ObjectSendStream[Served],
    decisions: ObjectSendStream[Decision],
) -> None:
    """Choose what is served, score it, and decide at each round's end."""
    async with receive, send:
        async for judged in receive:
            served = await compute(len(judged.scored.encoded.block), server.serve, judged)
            if served.decision is not None:
                await decisions.send(served.decision)
            await send.send(served)


async def record(
    sinks: Sequence[Sink],
    publish: Callable[[Served], Awaitable[None]],
    receive: ObjectReceiveStream[Served],
) -> None:
    """Write down what was served and publish emitted champions."""

    def write(served: Served) -> None:
        for sink in sinks:
            sink(served)

    async with receive:
        async for served in receive:
            if sinks:
                await compute(len(served.serials), write, served)
            await publish(served)
