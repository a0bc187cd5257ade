"""Warm-up: compile the kernels, or load them from the cache, before the first sample arrives.

On a cold cache a second process compiles the slowest kernel in parallel.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from threading import Lock, Thread
from typing import Any, final

import numpy as np

from streamnet.drift import ADWIN
from streamnet.jit import is_cached
from streamnet.learning.learner import Learner
from streamnet.networks.kernels.prequential import learn
from streamnet.networks.population import Population
from streamnet.samples import Block, Field, Inputs, Kind, Schema, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.encoder import has_raw_target

__all__ = (
    "CompileProcess",
    "count_processors",
    "end_with_parent",
    "needs_compiling",
    "start_compiling",
    "warm_up",
)


TIMEOUT = 60.0  # seconds after which a helper is not waited for any more
PROGRAM = """
import json, sys
sys.path[:] = {path}
from streamnet.learning.warmup import end_with_parent
end_with_parent()
from {module} import {name}
{name}(*json.loads({arguments}))
"""


def count_processors() -> int:
    """On how many this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@final
class CompileProcess:
    """Another process that calls a function, to fill the cache of kernels.

    Where it can't be started, or fails, they are compiled here, as they would have been without it.
    It ends when this process does, however that ends.

    Args:
        work: A function of a module.
        arguments: What it is called with: what JSON can hold.
    """

    def __init__(self, work: Callable[..., object], *arguments: object) -> None:
        self._process = _start_process(work, arguments)

    def wait(self) -> None:
        """Wait until it is done."""
        if self._process is not None:
            with suppress(TimeoutExpired):
                self._process.wait(TIMEOUT)

    def end(self) -> None:
        """End it, whatever it is at; to be called in any case, and no harm if it is again."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def _start_process(work: Callable[..., object], arguments: Sequence[object]) -> Popen[bytes] | None:
    if not Path(sys.executable or "").name.startswith("python"):
        return None  # a program that Python is a part of, and that would start once more
    try:
        program = PROGRAM.format(
            # What was imported here, and nothing that lies where the helper starts.
            path=sys.path,
            module=work.__module__,
            name=work.__name__,
            arguments=repr(json.dumps(arguments)),
        )
        command = [sys.executable, "-c", program]
        # This interpreter with a program of ours.
        return Popen(command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)  # noqa: S603
    except (OSError, TypeError):  # no room for another process, or a setting of a type of its own
        return None


def end_with_parent() -> None:
    """In a helper: end once nobody holds the other end of the pipe any more."""

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    Thread(target=wait, daemon=True).start()


_LOCK = Lock()  # several models of a daemon start at a time, and the first one compiles for all


def warm_up(
    task: Task,
    dtype: str = "float32",
    encoder: dict[str, Any] | None = None,
    *,
    kinds: Collection[Kind] = (),
    ahead: CompileProcess | None = None,
) -> bool:
    """Take a few made-up samples through every stage: seconds at first, then a fraction of one.

    The kernel that learns takes longer to compile than all others. The first time of all another
    process compiles it meanwhile, if there is a processor for it.

    Args:
        task: Classification or regression.
        dtype: Of the networks.
        encoder: Settings of the encoder.
        kinds: Of the columns, besides numbers and categories.
        ahead: What `start_compiling` began, whoever ends it.

    Returns:
        True: kernels are ready.
    """
    with _LOCK:
        helper = start_compiling(dtype) if ahead is None else ahead
        if helper is not None:
            try:
                _run_stages(task, dtype, encoder, kinds, learns=False)
                helper.wait()
            finally:
                if ahead is None:
                    helper.end()
        _run_stages(task, dtype, encoder, kinds, learns=True)
    return True


def start_compiling(dtype: str = "float32") -> CompileProcess | None:
    """Begin with the kernel that learns, in another process, while it is yet to be known what.

    None where it was compiled before, or where there is one processor alone.
    """
    return (
        CompileProcess(_compile_learning, dtype)
        if needs_compiling() and count_processors() > 1
        else None
    )


def needs_compiling() -> bool:
    """Whether the kernel that learns, which takes longest, is yet to be compiled."""
    return not is_cached(learn)


def _run_stages(
    task: Task,
    dtype: str,
    encoder: dict[str, Any] | None,
    kinds: Collection[Kind],
    *,
    learns: bool,
) -> None:
    """Take samples through every stage; without ``learns`` the answers are made up as well."""
    learner = Learner(task=task, candidates=_candidates(encoder), dtype=dtype, encoder=encoder)
    trainer = learner.trainer
    encoded = learner.encoder.encode(_block(task, kinds))
    job = trainer.begin(encoded)
    if learns:
        trainer.run(job)
    else:
        job.answers.outputs.fill(0.5)
        job.answers.alive.fill(1)
    scored = trainer.finish(encoded, job, learner.encoder.snapshot())
    learner.server.serve(learner.evaluator.evaluate(scored))
    learner.model()
    ADWIN().update(np.repeat([0.0, 1.0], 100))  # until it forgets


def _compile_learning(dtype: str) -> None:
    """Learn a sample without any of the other stages; kernels are the same for both tasks."""
    task = Task.CLASSIFICATION
    settings = [candidate.for_task(task) for candidate in _candidates(None)]
    population = Population(settings, task=task, dtype=dtype)
    one, nothing = np.zeros((1, 1)), np.zeros((1, 1), np.int32)
    inputs = Inputs(one.astype(np.float32), nothing, one.astype(np.float32), nothing[0], 1, 1)
    answers = population.prepare(0, inputs, nothing[0], one[0], 2)
    population.run(0, np.array([2], np.int32), answers)


def _candidates(encoder: dict[str, Any] | None) -> list[CandidateSettings]:
    transform = "none" if has_raw_target(encoder) else "log"
    return [
        # A layer that fills whole vectors, and one that does not: these are kernels of their own.
        CandidateSettings(hidden=(16,), lags=True),
        CandidateSettings(hidden=(4,), target_transform=transform),
    ]


def _block(task: Task, kinds: Collection[Kind]) -> Block:
    """Two samples with a column of each kind."""
    fields = [
        Field(str(kind), kind) for kind in dict.fromkeys((Kind.NUMBER, Kind.CATEGORY, *kinds))
    ]
    schema = Schema(tuple(fields), "y", task)
    target = np.array([0.0, 1.0]) if task is Task.REGRESSION else np.array(["a", "b"], object)
    return Block(
        schema,
        "warm-up",
        np.array([[0.0] * len(schema.numbers), [1.0] * len(schema.numbers)]),
        tuple(np.array(["u", "v"], object) for _ in schema.words),
        target,
        np.zeros((3, 3), np.int64),
    )
