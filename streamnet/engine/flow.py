"""The flow of an engine: the stages of the pipeline, with parts that learn a set in epochs."""

from __future__ import annotations

from typing import Any

from anyio import create_memory_object_stream
from anyio import create_task_group
from anyio.streams.memory import MemoryObjectReceiveStream

from streamnet.engine.fitted import FittedEncoder
from streamnet.engine.holdout import Graded
from streamnet.engine.holdout import HoldoutEvaluator
from streamnet.engine.winners import Outcome
from streamnet.learning.trainer import Trainer
from streamnet.pipeline.causes import raise_cause
from streamnet.pipeline.limit import RejectionLimit
from streamnet.pipeline.parts import Chooser
from streamnet.pipeline.reading import Reader
from streamnet.pipeline.stages import encode
from streamnet.pipeline.stages import evaluate
from streamnet.pipeline.stages import serve
from streamnet.pipeline.training import train

__all__ = ("flow",)

_CHANNEL = 4  # blocks that may wait before a stage


async def flow(
    reader: Reader,
    encoder: FittedEncoder,
    trainer: Trainer,
    evaluator: HoldoutEvaluator,
    chooser: Chooser[Graded, Outcome],
    *,
    threads: int,
) -> None:
    """Let all candidates learn what the reader gives, until it ends or is stopped.

    Training goes on while the epoch before is judged: at most two epochs ahead, since the trainer
    waits for what was decided on the epoch before the last.

    Raises:
        StreamnetError: If a part fails.
    """
    channels = [create_memory_object_stream[Any](_CHANNEL) for _ in range(5)]
    decisions_send, decisions = create_memory_object_stream[Any](_CHANNEL)
    sends = [send for send, _ in channels]
    receives = [receive for _, receive in channels]
    limit = RejectionLimit(share=0.0, window=1)  # what can't be read was refused before
    await reader.open()
    try:
        # The last two decisions come when training has ended: their channel stays open so long.
        with decisions_send, decisions:
            async with create_task_group() as group:
                start = group.start_soon
                start(reader.read, sends[0])
                start(encode, encoder, reader, limit, receives[0], sends[1])
                start(train, trainer, threads, receives[1], sends[2], decisions)
                start(evaluate, evaluator, receives[2], sends[3])
                start(serve, chooser, (), receives[3], sends[4], decisions_send)
                start(_consume, receives[4])
    except BaseExceptionGroup as group:
        raise_cause(group)


async def _consume(receive: MemoryObjectReceiveStream[Outcome]) -> None:
    """Take what comes out at the end, so that nothing stops behind it."""
    with receive:
        async for _ in receive:
            pass
