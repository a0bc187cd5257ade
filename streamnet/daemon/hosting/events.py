"""The event log of a model, and the monitor that turns counters into events and rates."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from time import monotonic, time
from typing import Any, final

from anyio import Event as Signal
from anyio import sleep, to_thread

from streamnet.client.schemas import Event
from streamnet.daemon.hosting.timeline import Timeline
from streamnet.daemon.journal.committer import Committer
from streamnet.daemon.journal.delayed_labels import now
from streamnet.errors import OutputError
from streamnet.learning.learner import Learner
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.state import State, StateStatistics


@final
class EventLog:
    """Keeps the last events for any number of readers, and never waits for one.

    A reader that is too slow gets an event of kind "gap" in place of all it missed. IDs start at a
    number that increases with time, so that those from before a restart are lower.

    >>> import anyio
    >>> log = EventLog(2, clock=lambda: 0.0)
    >>> for number in range(4):
    ...     log.add("checkpoint", number=number)
    >>> log.close()
    >>> async def main():
    ...     return [(event.id, event.kind, event.data) async for event in log.follow(after=1)]
    >>> anyio.run(main)
    [(2, 'gap', {'missed': 1}), (3, 'checkpoint', {'number': 2}), (4, 'checkpoint', {'number': 3})]
    """

    def __init__(self, most: int = 1000, *, clock: Callable[[], float] = time) -> None:
        self._kept: deque[Event] = deque(maxlen=most)
        self._clock = clock
        self._newest = self._first = int(clock() * 1e6)
        self._closed = False
        self._changed = Signal()

    def add(self, kind: str, **data: Any) -> None:
        """Add an event; to be called in the event loop."""
        self._newest += 1
        self._kept.append(Event(self._newest, kind, self._clock(), data))
        self._wake()

    def close(self) -> None:
        """Add no more events: readers end after the last one."""
        self._closed = True
        self._wake()

    def follow(self, after: int | None = None) -> AsyncIterator[Event]:
        """Iterate over the events after that of an ID; None: over future events."""
        return _Subscription(self, self._newest if after is None else min(after, self._newest))

    async def read_after(self, seen: int) -> Event | None:
        """Wait for the event after that of an ID; a gap if it is lost, None at the end."""
        while seen >= self._newest:
            if self._closed:
                return None
            await self._changed.wait()
        oldest = self._kept[0].id if self._kept else self._newest + 1
        if seen < oldest - 1:
            # How many there were before this log is unknown.
            missed = None if seen < self._first else oldest - 1 - seen
            return Event(oldest - 1, "gap", self._clock(), {"missed": missed})
        return self._kept[seen + 1 - oldest]

    def _wake(self) -> None:
        changed, self._changed = self._changed, Signal()
        changed.set()


@final
class _Subscription(AsyncIterator[Event]):
    """Not a generator, which would have to be closed when a loop over it ends early."""

    def __init__(self, log: EventLog, seen: int) -> None:
        self._log = log
        self._seen = seen

    async def __anext__(self) -> Event:
        event = await self._log.read_after(self._seen)
        if event is None:
            raise StopAsyncIteration
        self._seen = event.id
        return event


_HALF_LIFE = 5.0  # seconds after which growth counts half


@final
class Rate:
    """Growth of a count per second, exponentially weighted, however often it is updated.

    >>> clock = iter([0.0, 1.0, 6.0]).__next__
    >>> rate = Rate(clock=clock)
    >>> rate.update(100)
    >>> rate.value
    100.0
    >>> rate.update(100)
    >>> round(rate.value, 1)
    11.5
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self.value: float = 0.0
        self._weight = 0.0  # of the growth so far, from 0 to 1
        self._clock = clock
        self.restart(0)

    def restart(self, count: int) -> None:
        """Ignore the growth and the time since the last update."""
        self._time, self._count = self._clock(), count

    def update(self, count: int) -> None:
        """Update the rate with the current count."""
        before, since = self._count, self._time
        self.restart(count)
        passed = max(self._time - since, 1e-9)
        new = 1 - 0.5 ** (passed / _HALF_LIFE)
        self._weight += new * (1 - self._weight)
        self.value += new / self._weight * ((count - before) / passed - self.value)


_POLL_SECONDS = 0.5


@final
class Monitor:
    """Watches a pipeline: logs events, measures rates, trims the journal, expires predictions.

    ``predicted`` and ``queued`` return the numbers of samples predicted so far, and waiting to be
    learned.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        state: State,
        committer: Committer,
        events: EventLog,
        *,
        predicted: Callable[[], int],
        queued: Callable[[], int],
        timeline: Timeline | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.learning: Rate = Rate(clock=clock)
        self.predicting: Rate = Rate(clock=clock)
        self.rejecting: Rate = Rate(clock=clock)
        self.pace: Rate = Rate(clock=clock)  # of learning while samples waited; 0 before that
        self.checkpoint: float | None = None  # time of the last one by the clock
        self.timeline: Timeline = Timeline() if timeline is None else timeline
        self._pipeline = pipeline
        self._state = state
        self._committer = committer
        self._events = events
        self._predicted = predicted
        self._queued = queued
        self._was_waiting = False  # whether samples waited at the last check
        self._clock = clock
        self._reasons: Counter[str] = Counter()
        self._switches = self._drifts = self._quarantines = self._class_changes = 0
        self._records: dict[int, int] = {}  # of the journal, by checkpoint
        self._needed = 0  # records before the oldest kept checkpoint
        self._requested: set[int] = set()  # newest checkpoints when another one was requested
        self._requested_samples = -1  # samples in the journal then

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._pipeline.ready.wait()
        learner = self._pipeline.learner
        assert learner is not None
        self._skip_past(learner)
        try:
            await self._watch(learner)
        finally:
            self.timeline.save()

    async def _watch(self, learner: Learner) -> None:
        while True:
            await sleep(_POLL_SECONDS)
            self._measure(learner.trainer.learned)
            self.timeline.record(learner.serving.scored, lambda: learner.serving.errors)
            self._log_events(learner)
            self._check_checkpoints(learner.trainer.number)
            await self._expire_predictions()
            if self.timeline.is_unsaved:
                await to_thread.run_sync(self.timeline.save)

    def _skip_past(self, learner: Learner) -> None:
        """Ignore what happened before this run."""
        self.learning.restart(learner.trainer.learned)
        self.predicting.restart(self._predicted())
        self.rejecting.restart(self._pipeline.rejections.total)
        self.pace.restart(learner.trainer.learned)
        self._reasons = self._pipeline.rejections.reasons.copy()
        self._switches = learner.serving.selector.switched
        self._drifts = learner.serving.drift.detections
        self._quarantines = learner.serving.quarantines
        self._class_changes = len(learner.serving.class_changes)

    def _measure(self, learned: int) -> None:
        self.learning.update(learned)
        self.predicting.update(self._predicted())
        self.rejecting.update(self._pipeline.rejections.total)
        was_waiting, self._was_waiting = self._was_waiting, self._queued() > 0
        if was_waiting and self._was_waiting:
            self.pace.update(learned)
        else:  # while nothing waits, the senders determine the rate
            self.pace.restart(learned)

    def _log_events(self, learner: Learner) -> None:
        serving, events = learner.serving, self._events
        new = serving.selector.switched - self._switches
        self._switches += new
        for change in list(serving.changes)[-new:] if new else ():
            before = None if change.before is None else change.before.settings.describe()
            after = change.after.settings.describe()
            events.add("champion", number=change.number, before=before, after=after)
        new = serving.drift.detections - self._drifts
        self._drifts += new
        for drift in list(serving.drift.events)[-new:] if new else ():
            events.add("drift", **drift._asdict())
        new = serving.quarantines - self._quarantines
        self._quarantines += new
        if new:
            events.add("quarantine", count=new, number=learner.trainer.number)
        for number, made in serving.class_changes[self._class_changes :]:
            self._class_changes += 1
            events.add("classes", number=number, **made._asdict())
        reasons = self._pipeline.rejections.reasons.copy()
        if reasons != self._reasons:
            events.add("rejected", reasons=dict(reasons - self._reasons))
            self._reasons = reasons

    def _check_checkpoints(self, learned: int) -> None:
        """Log a new checkpoint, and trim the journal of what no kept one needs."""
        known = self._state.statistics()
        if known.generation is None:
            return
        if known.generation not in self._records:
            self._log_checkpoint(known)
        self._committer.journal.trim(self._needed)
        journal = self._committer.journal
        if known.samples != learned or self._queued():
            return  # the next checkpoint will be written anyway
        if journal.can_trim(journal.samples):
            self._request_checkpoint(known.generation, journal.samples)

    def _log_checkpoint(self, known: StateStatistics) -> None:
        assert known.generation is not None
        self._records[known.generation] = known.records
        self.checkpoint = self._clock()
        self._events.add("checkpoint", generation=known.generation, samples=known.samples)
        numbers = self._state.folder.generations.numbers()
        oldest = numbers[0] if numbers else known.generation
        # A checkpoint that was not seen is later than those before it.
        outdated = [number for number in self._records if number <= oldest]
        if outdated:
            self._needed = self._records[max(outdated)]
        for number in sorted(outdated)[:-1]:
            del self._records[number]

    def _request_checkpoint(self, generation: int, samples: int) -> None:
        """Request a checkpoint even if nothing is learned: predictions make the journal grow.

        Old checkpoints need everything after them, so it takes as many new ones as are kept until
        the journal can be trimmed.
        """
        if samples != self._requested_samples:
            self._requested_samples = samples
            self._requested.clear()
        if (
            len(self._requested) < self._state.folder.generations.keep
            and generation not in self._requested
        ):
            self._requested.add(generation)
            self._pipeline.checkpoint()

    async def _expire_predictions(self) -> None:
        try:
            self._committer.check()
            await self._committer.commit(self._committer.intake.tick(now()), durable=False)
        except OutputError:
            return  # logged by the committer; the next check tries again
