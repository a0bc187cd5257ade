"""Warm-up: compiles the kernels, or loads them from the cache, before the first sample arrives."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from threading import Lock, Thread
from typing import Any, final

import numpy as np
from msgspec.structs import replace

from streamnet.drift import ADWIN
from streamnet.experts import ScoringBatch
from streamnet.factorization.machine import FactorizationMachine
from streamnet.jit import is_cached
from streamnet.learning.learner import Learner
from streamnet.neighbors.memory import NeighborMemory
from streamnet.networks.kernels.prequential import learn
from streamnet.networks.population import Population
from streamnet.samples import Block, Field, Inputs, Kind, Schema, Task
from streamnet.series.forecasts import SeriesForecasts
from streamnet.settings.candidate import CandidateSettings, TargetTransform
from streamnet.settings.encoder import has_raw_target
from streamnet.settings.keywords import EncoderKeywords, LearningKeywords
from streamnet.trees.binning import bin_columns
from streamnet.trees.boosted_trees import BoostedTrees
from streamnet.trees.forest import Size
from streamnet.trees.growth import grow_forest
from streamnet.trees.prediction import predict_labels, predict_numbers

TIMEOUT = 60.0  # seconds to wait for a compile process
PROGRAM = """
import gc, json, sys
gc.disable()
sys.path[:] = {path}
from streamnet.learning.warmup import end_with_parent
end_with_parent()
from {module} import {name}
{name}(*json.loads({arguments}))
"""


def count_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@final
class CompileProcess:
    """A child process that calls a function of a module to fill the kernel cache.

    If it fails or cannot be started, this process compiles the kernels itself. It never outlives
    this process. The arguments must be JSON-serializable.
    """

    def __init__(self, work: Callable[..., object], *arguments: object) -> None:
        self._process = _start_process(work, arguments)

    def wait(self) -> None:
        """Wait until the process has finished, at most `TIMEOUT` seconds."""
        if self._process is not None:
            with suppress(TimeoutExpired):
                self._process.wait(TIMEOUT)

    def end(self) -> None:
        """Kill the process and release its resources; must be called, and may be repeatedly."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def _start_process(work: Callable[..., object], arguments: Sequence[object]) -> Popen[bytes] | None:
    if not Path(sys.executable or "").name.startswith("python"):
        return None  # Python is embedded in another program, which would start again
    try:
        program = PROGRAM.format(
            # The parent's path, without the directory that the child starts in.
            path=sys.path,
            module=work.__module__,
            name=work.__name__,
            arguments=repr(json.dumps(arguments)),
        )
        command = [sys.executable, "-c", program]
        # This interpreter, running a program of our own.
        return Popen(command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)  # noqa: S603
    except (OSError, TypeError):  # no more processes possible, or an argument is not JSON
        return None


def end_with_parent() -> None:
    """In a child process: exit when the parent closes its end of the pipe, or dies."""

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    Thread(target=wait, daemon=True).start()


_LOCK = Lock()  # if a daemon's models start at once, the first compiles for all of them
_WARMED: set[str] = set()  # arguments for which everything is compiled in this process


def warm_up(
    task: Task,
    dtype: str = "float32",
    encoder: EncoderKeywords | None = None,
    *,
    kinds: Collection[Kind] = (),
    background: CompileProcess | None = None,
) -> bool:
    """Run a few synthetic samples through every stage, so that all kernels are compiled.

    Takes seconds with a cold cache, then a fraction of a second. With a cold cache and a second
    processor, a child process compiles the kernels that train in parallel, ``background`` if the
    caller has started one; they take about half of the time. ``kinds`` are those of columns besides
    numbers and categories. Once done for some arguments, nothing is left to do for them. Returns
    True.
    """
    arguments = repr((task, dtype, encoder, sorted(set(kinds))))
    with _LOCK:
        if arguments in _WARMED:
            return True
        process = start_compiling(dtype) if background is None else background
        with _collector_paused():
            if process is not None:
                try:
                    _run_stages(task, dtype, encoder, kinds, trains=False)
                    process.wait()
                finally:
                    if background is None:
                        process.end()
            _run_stages(task, dtype, encoder, kinds, trains=True)
        _WARMED.add(arguments)
    return True


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Collect no garbage, which would take about a tenth of the time of compiling."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def start_compiling(dtype: str = "float32") -> CompileProcess | None:
    """Start compiling the kernels that train in a child process, before the task is known.

    Returns None if the kernel is cached, or if there is only one processor.
    """
    return (
        CompileProcess(_compile_learning, dtype)
        if needs_compiling() and count_processors() > 1
        else None
    )


def needs_compiling() -> bool:
    """Whether the training kernel, the slowest to compile, is missing from the cache."""
    return not is_cached(learn)


def _run_stages(
    task: Task,
    dtype: str,
    encoder: EncoderKeywords | None,
    kinds: Collection[Kind],
    *,
    trains: bool,
) -> None:
    """Run samples through every stage; without ``trains``, nothing but the ensemble learns."""
    encoder = EncoderKeywords(**(encoder or {}))
    encoder.pop("classes", None)  # the labels below are others
    others = LearningKeywords(
        neighbors=int(trains), factors=int(trains), trees=int(trains), series=int(trains)
    )
    candidates = _candidates(encoder)
    learner = Learner(task=task, candidates=candidates, dtype=dtype, encoder=encoder, **others)
    trainer = learner.trainer
    encoded = learner.encoder.encode(_block(task, kinds))
    job = trainer.begin(encoded)
    if trains:
        trainer.run(job)
    else:
        job.answers.outputs.fill(0.5)
        job.answers.alive.fill(1)
    predicted = trainer.finish(encoded, job, learner.encoder.snapshot())
    learner.serving.serve(learner.evaluator.evaluate(predicted))
    learner.model()
    if trains:
        _compile_trees()
    ADWIN().update(np.repeat([0.0, 1.0], 100))  # until it drops part of its window


def _compile_learning(dtype: str) -> None:
    """Compile what trains all kinds of candidates, without other stages, for both tasks."""
    task = Task.CLASSIFICATION
    settings = [candidate.for_task(task) for candidate in _candidates(None)]
    population = Population(settings, task=task, dtype=dtype)
    # No sample at all: storing one takes kernels that the other process compiles.
    population.run(0, np.zeros(0, np.int32), population.new_outputs(0))
    one, nothing = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.int32)
    inputs, known = Inputs(one, nothing, one, nothing[0], 0), np.array([2], np.int32)
    alive, none = np.ones((1, 1), np.uint8), np.empty(0)
    said = np.zeros((1, 1, 2), np.float32), alive
    batch = ScoringBatch(0, *said, nothing[0], known, none, none, inputs=inputs)
    for expert in (FactorizationMachine(1), NeighborMemory(1), BoostedTrees(1, numeric=False)):
        expert.predict_then_learn(batch)
    series = SeriesForecasts(1)
    series.predict_then_learn(replace(batch, truth=np.zeros(1), spread=np.ones(1)))
    series.restore_state(series.export_state())
    _compile_trees()


def _compile_trees() -> None:
    """Grow a tree; both tasks use the same kernels."""
    numbers, size, none = np.array([[0.0], [1.0]]), Size(1, 2, 1.0), np.empty(0)
    samples = *bin_columns(numbers), numbers[:, 0], np.ones(2), np.zeros(1)
    forest = grow_forest(*samples, size, numeric=True)
    known, outputs = np.array([2, 2], np.int32), np.empty((2, 2))
    columns, scratch = (numbers, 0, 0, none), (np.empty(1), np.empty(2))
    labels: Any = *columns, *forest[:5], known, 0.5, outputs, *scratch
    predict_labels(*labels)
    lesson = none, none, none
    values: Any = *columns, *forest, *lesson, outputs, np.empty(1, np.int32)
    predict_numbers(*values)


def _candidates(encoder: EncoderKeywords | None) -> list[CandidateSettings]:
    transform: TargetTransform = "none" if has_raw_target(encoder) else "log"
    return [
        # One layer that fills whole vectors and one that does not: they use different kernels.
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
