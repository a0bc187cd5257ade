"""Callbacks: methods of the caller's objects that are called while a pipeline learns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from math import inf
from threading import Lock
from typing import Any, NamedTuple, final

from anyio import CancelScope, to_thread
from msgspec.structs import replace

from streamnet.errors import ConfigurationError, NoCandidateError
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.learning.trainer import Snapshot
from streamnet.pipeline.concurrency import first_cause
from streamnet.pipeline.outputs import Champion
from streamnet.pipeline.state import StateStatistics
from streamnet.reporting.builder import build_status
from streamnet.reporting.report import Drift, LearningStatus
from streamnet.reporting.result import Result
from streamnet.samples import Task


class Callback:
    """Base class of objects that follow a run; override the methods that you need.

    Methods are called in worker threads, never two at a time. What happens to the samples of one
    part is called in their order, the same in every run; learning goes on meanwhile, and waits only
    if a callback falls far behind. An exception ends the run as one of a sink does. A run that
    resumes calls only for what comes after its checkpoint.

    An estimator calls them in the thread that learns, once the block in which it happened is
    learned, at most 1,024 samples; an exception leaves it usable. `on_start` comes before the first
    sample that is learned with the callbacks, `on_end` and `on_error` only from ``fit``.

    Most runs have one part, whose name is empty; with several targets or horizons, `part` is a name
    such as ``"cnt+24"``.
    """

    def on_start(self, settings: Mapping[str, Any]) -> None:
        """Learning begins.

        Args:
            settings: Those that are written into the report: the sections of a run file.
        """

    def on_round(self, status: LearningStatus, part: str) -> None:
        """A round of samples has ended; the population was just decided about.

        Args:
            status: Counts and scores after its last sample, whose number is ``status.learned``.
            part: Part of the run.
        """

    def on_improvement(self, status: LearningStatus, part: str) -> None:
        """A round ended with the best sliding score so far, ``status.sliding.served``.

        Only full windows count.

        Args:
            status: As for `on_round`.
            part: Part of the run.
        """

    def on_champion(self, champion: Champion) -> None:
        """A new champion was emitted.

        Args:
            champion: The champion; ``champion.model`` builds its model.
        """

    def on_drift(self, drift: Drift, part: str) -> None:
        """The loss of what is served has risen.

        Args:
            drift: When, and by how much.
            part: Part of the run.
        """

    def on_checkpoint(self, statistics: StateStatistics) -> None:
        """A checkpoint is on disk.

        Args:
            statistics: What it holds.
        """

    def on_end(self, result: Result) -> None:
        """The run has ended as planned, or was stopped after it had learned something.

        Args:
            result: Report and model.
        """

    def on_error(self, error: BaseException) -> None:
        """The run has failed or was cancelled.

        Args:
            error: Why.
        """


@final
class Callbacks:
    """Calls several callbacks, never two at a time.

    Raises:
        ConfigurationError: If one is no `Callback`.
    """

    def __init__(self, given: Iterable[Callback] = ()) -> None:
        rule = "instances of streamnet.Callback"
        if not isinstance(given, Iterable):
            raise ConfigurationError(f"callbacks is {given!r}, but must be a list of {rule}")
        self._all: list[Callback] = list(given)
        for one in self._all:
            if not isinstance(one, Callback):
                raise ConfigurationError(f"callbacks has {one!r}, but must have {rule}")
        self._lock = Lock()

    def __bool__(self) -> bool:
        return bool(self._all)

    def call(self, method: Callable[[Callback], None]) -> None:
        """Call a method of each, in this thread."""
        with self._lock:
            for one in self._all:
                method(one)

    async def end(self, build_result: Callable[[], Result]) -> None:
        """Call `Callback.on_end`, or `on_error` if the run has learned nothing."""
        try:
            result = await to_thread.run_sync(build_result)
        except NoCandidateError as error:
            await self.fail(error)
        else:
            await self._call_in_thread(lambda one: one.on_end(result))

    async def fail(self, error: BaseException) -> None:
        """Call `Callback.on_error`."""
        cause = first_cause(error) if isinstance(error, BaseExceptionGroup) else error
        await self._call_in_thread(lambda one: one.on_error(cause))

    async def _call_in_thread(self, method: Callable[[Callback], None]) -> None:
        """Call a method of each in a worker thread, and wait for it even if cancelled."""
        if self._all:
            with CancelScope(shield=True):
                await to_thread.run_sync(self.call, method)


class _Round(NamedTuple):
    """What was known when a round ended."""

    status: LearningStatus
    drifts: list[Drift]


@final
class PartFollower:
    """Calls callbacks for what happens in a part of a run.

    Serving is ahead of the sinks, so the status at the end of a round is recorded there, and
    callbacks are called once the block that ended the round has passed the other sinks.

    Args:
        callbacks: The callbacks.
        learner: Learner of the part.
        part: Name of the part.
        make_champion: Makes the champion of a snapshot.
    """

    def __init__(
        self,
        callbacks: Callbacks,
        learner: Learner,
        part: str,
        make_champion: Callable[[Snapshot], Champion],
    ) -> None:
        self._callbacks, self._learner, self._part = callbacks, learner, part
        self._make_champion = make_champion
        self._drifts = learner.serving.drift.detections  # detected in earlier rounds
        self._rounds: deque[_Round] = deque()
        self._best = inf  # sliding score so far; the smaller, the better

    def note_round(self) -> None:
        """Note the status at the end of a round, before more is served."""
        drift = self._learner.serving.drift
        new, self._drifts = drift.detections - self._drifts, drift.detections
        events = list(drift.events)[-new:] if new else []
        self._rounds.append(
            _Round(build_status(self._learner), [Drift(*event) for event in events])
        )

    def __call__(self, served: Served) -> None:
        """Call callbacks for the champion that a block emits and the round that it ends."""
        if served.emitted is not None:
            champion = self._make_champion(served.emitted)
            self._callbacks.call(lambda one: one.on_champion(champion))
        if served.decision is not None:
            predicted = served.predicted
            number = predicted.first + len(predicted.encoded.block)
            self._end_round(number, self._rounds.popleft())

    def _end_round(self, number: int, ended: _Round) -> None:
        status, part = replace(ended.status, learned=number), self._part

        def report_drifts(one: Callback) -> None:
            for drift in ended.drifts:
                one.on_drift(drift, part)

        self._callbacks.call(report_drifts)
        self._callbacks.call(lambda one: one.on_round(status, part))
        if self._has_improved(status):
            self._callbacks.call(lambda one: one.on_improvement(status, part))

    def _has_improved(self, status: LearningStatus) -> bool:
        sliding = status.sliding
        # The window is full once a scored sample has left it.
        if sliding is None or sliding.served is None or status.scored <= sliding.samples:
            return False
        loss = -sliding.served if status.task is Task.CLASSIFICATION else sliding.served
        if loss >= self._best:
            return False
        self._best = loss
        return True
