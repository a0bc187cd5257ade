"""How a run begins: with the state of an earlier one, or with one that is saved at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from anyio import to_thread

from streamnet.durability.tree import Tree
from streamnet.learning.compiling import Helper
from streamnet.learning.learner import Learner
from streamnet.learning.warmup import compile_ahead
from streamnet.learning.warmup import warm_up
from streamnet.pipeline.abandoning import abandonable
from streamnet.pipeline.barrier import Barrier
from streamnet.pipeline.reading import Reader
from streamnet.pipeline.recording import Recorder
from streamnet.samples import Field
from streamnet.samples import Task

__all__ = ("begin_outputs", "compiling_ahead", "first_cut", "restore_learning", "warming_up")


@asynccontextmanager
async def compiling_ahead(dtype: str) -> AsyncIterator[Helper | None]:
    """Let another process compile, if that is to be done, while the source is opened."""
    ahead = await to_thread.run_sync(compile_ahead, dtype)
    try:
        yield ahead
    finally:
        if ahead is not None:
            ahead.end()


def warming_up(
    task: Task,
    fields: Sequence[Field],
    dtype: str,
    encoder: dict[str, Any] | None,
    ahead: Helper | None,
) -> Callable[[], Awaitable[bool]]:
    """`warm_up` for these columns, with what `compiling_ahead` gave; it may be left alone."""
    kinds = [kind for _, kind in fields]
    work = partial(warm_up, task, dtype, encoder, kinds=kinds, ahead=ahead)
    return partial(abandonable, work)


def restore_learning(learner: Learner, recorder: Recorder, saved: Tree) -> None:
    """Let the stages know what they knew at a cut."""
    learner.restore_state(saved["learner"])
    recorder.rejections.limit.restore_state(saved["limit"])
    if recorder.ledger is not None:
        recorder.ledger.restore_state(saved["ledger"])


def begin_outputs(recorder: Recorder, saved: Tree | None) -> None:
    """Make the outputs, or take them back to where they were at a cut.

    Raises:
        StateError: If a file is not the same any more, or holds what no state knows of.
        ConfigurationError: If one can't be written.
    """
    for output in recorder.outputs:
        if saved is None:
            output.begin()
        elif output.name in saved["outputs"]:
            output.restore_state(saved["outputs"][output.name])
        else:
            output.begin_late()


def first_cut(reader: Reader, learner: Learner, recorder: Recorder) -> Barrier:
    """The cut before the first sample, while no stage is at work."""
    barrier = reader.barrier()
    barrier.encoder = learner.encoder.snapshot()
    barrier.parts = {
        "limit": recorder.rejections.limit.export_state(),
        "trainer": learner.trainer.export_state(),
        "evaluator": learner.evaluator.export_state(),
        "server": learner.server.export_state(),
        "emitted": 0,
    }
    recorder.complete(barrier)
    return barrier
