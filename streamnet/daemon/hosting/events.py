"""The event log of a model, and the monitor that turns counters into events and rates."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from time import monotonic, time
from typing import Any, NamedTuple, final

from anyio import Event as Signal
from anyio import sleep

from streamnet.daemon.journal.committer import Committer
from streamnet.daemon.journal.delayed_labels import now
from streamnet.errors import ConfigurationError, OutputError
from streamnet.learning.learner import Learner
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.state import State, StateStatistics

__all__ = (
    "Event",
    "EventLog",
    "Monitor",
    "Rate",
)


class Event(NamedTuple):
    """Something that happened."""

    id: int  # grows by one each time; a gap has that of the last event that is lost
    kind: str  # champion, checkpoint, drift, gap, quarantine, rejected or state
    time: float  # seconds since 1970
    data: dict[str, Any]


@final
class EventLog:
    """Keeps the last events and tells them to any number of readers; nobody waits for a reader.

    A reader that is too late for an event gets one of kind "gap" in the place of all it missed.
    Ids begin at a number that grows with time, so that one from before a restart is an early one.

    Args:
        most: Events to keep.
        clock: Seconds since 1970.

    Raises:
        ConfigurationError: If ``most`` is below 1.

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
        if most < 1:
            raise ConfigurationError(f"events is {most}, but must be >= 1")
        self._kept: deque[Event] = deque(maxlen=most)
        self._clock = clock
        self._newest = self._begin = int(clock() * 1e6)
        self._closed = False
        self._changed = Signal()

    @property
    def newest(self) -> int:
        """Id of the last event; that of a new log's first one is greater by one."""
        return self._newest

    def add(self, kind: str, **data: Any) -> None:
        """Note an event; in the event loop."""
        self._newest += 1
        self._kept.append(Event(self._newest, kind, self._clock(), data))
        self._wake()

    def close(self) -> None:
        """Say that none will follow: readers end when they have read the last one."""
        self._closed = True
        self._wake()

    def last(self, count: int) -> list[Event]:
        """The last events, the oldest first."""
        return list(self._kept)[-count:] if count > 0 else []

    def follow(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events behind the one of that id; None: those that are still to come."""
        return _Subscription(self, self._newest if after is None else min(after, self._newest))

    async def read_after(self, seen: int) -> Event | None:
        """The event behind the one of that id, or a gap; None at the end."""
        while seen >= self._newest:
            if self._closed:
                return None
            await self._changed.wait()
        oldest = self._kept[0].id if self._kept else self._newest + 1
        if seen < oldest - 1:
            # How many there were before this log, nobody knows.
            missed = None if seen < self._begin else oldest - 1 - seen
            return Event(oldest - 1, "gap", self._clock(), {"missed": missed})
        return self._kept[seen + 1 - oldest]

    def _wake(self) -> None:
        changed, self._changed = self._changed, Signal()
        changed.set()


@final
class _Subscription(AsyncIterator[Event]):
    """No generator, which would have to be closed by who leaves the loop over it early."""

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
    """Growth of a count a second; what was earlier counts the less, however often it is looked at.

    Args:
        clock: Seconds that only ever grow.

    Attributes:
        value: What it was at the last look; 0 before the first.

    >>> clock = iter([0.0, 1.0, 6.0]).__next__
    >>> rate = Rate(clock=clock)
    >>> rate.look(100)
    >>> rate.value
    100.0
    >>> rate.look(100)
    >>> round(rate.value, 1)
    11.5
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self.value = 0.0
        self._weight = 0.0  # of what was measured so far, from 0 to 1
        self._clock = clock
        self.begin(0)

    def begin(self, count: int) -> None:
        """Leave out what it has grown since the last look, and the time."""
        self._time, self._count = self._clock(), count

    def look(self, count: int) -> None:
        """Take in how far the count has come."""
        before, since = self._count, self._time
        self.begin(count)
        passed = max(self._time - since, 1e-9)
        new = 1 - 0.5 ** (passed / _HALF_LIFE)
        self._weight += new * (1 - self._weight)
        self.value += new / self._weight * ((count - before) / passed - self.value)


POLL_SECONDS = 0.25


@final
class Monitor:
    """Looks at a pipeline four times a second.

    Args:
        pipeline: What it looks at.
        state: Its checkpoints.
        committer: Whose journal loses segments that nobody needs, and whose pending predictions
            expire.
        events: Where it is told what happened.
        answered: Tells how many samples were answered so far.
        queued: Tells how many wait to be learned.
        clock: Seconds that only ever grow.

    Attributes:
        learning: Samples learned a second, of late.
        answering: Samples answered a second, of late.
        pace: Samples learned a second, of late, while some waited; 0 before that is known.
        checkpoint: When the last checkpoint was seen, by the clock; None before the first.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        state: State,
        committer: Committer,
        events: EventLog,
        *,
        answered: Callable[[], int],
        queued: Callable[[], int],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.learning = Rate(clock=clock)
        self.answering = Rate(clock=clock)
        self.pace = Rate(clock=clock)
        self.checkpoint: float | None = None
        self._pipeline = pipeline
        self._state = state
        self._committer = committer
        self._events = events
        self._answered = answered
        self._queued = queued
        self._waited = False  # whether some samples did at the last look
        self._clock = clock
        self._reasons: Counter[str] = Counter()
        self._switches = self._drifts = self._quarantines = 0
        self._records: dict[int, int] = {}  # before the cut of a generation
        self._needed = 0  # records before the oldest cut that is kept
        self._asked: set[int] = set()  # newest generations when another one was asked for
        self._requested_at = -1  # samples in the journal then

    async def run(self) -> None:
        """Look until cancelled."""
        await self._pipeline.ready.wait()
        learner = self._pipeline.learner
        assert learner is not None
        self._begin(learner)
        while True:
            await sleep(POLL_SECONDS)
            self._measure(learner.trainer.number)
            self._tell(learner)
            self._look_at_state(learner.trainer.number)
            await self._expire()

    def _begin(self, learner: Learner) -> None:
        """What happened before is known already."""
        self.learning.begin(learner.trainer.number)
        self.answering.begin(self._answered())
        self.pace.begin(learner.trainer.number)
        self._reasons = self._pipeline.rejections.reasons.copy()
        self._switches = learner.serving.selector.switched
        self._drifts = learner.serving.drift.detections
        self._quarantines = learner.serving.quarantines

    def _measure(self, learned: int) -> None:
        self.learning.look(learned)
        self.answering.look(self._answered())
        waits, self._waited = self._waited, self._queued() > 0
        if waits and self._waited:
            self.pace.look(learned)
        else:  # while nothing waits, senders make the rate
            self.pace.begin(learned)

    def _tell(self, learner: Learner) -> None:
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
        reasons = self._pipeline.rejections.reasons.copy()
        if reasons != self._reasons:
            events.add("rejected", reasons=dict(reasons - self._reasons))
            self._reasons = reasons

    def _look_at_state(self, learned: int) -> None:
        """Note a new checkpoint, and let go of what no kept one needs any more."""
        known = self._state.statistics()
        if known.generation is None:
            return
        if known.generation not in self._records:
            self._note(known)
        self._committer.journal.trim(self._needed)
        journal = self._committer.journal
        if known.samples != learned or self._queued():
            return  # the next checkpoint will come by itself
        if journal.can_trim(journal.samples):
            self._request_checkpoint(known.generation, journal.samples)

    def _note(self, known: StateStatistics) -> None:
        assert known.generation is not None
        self._records[known.generation] = known.records
        self.checkpoint = self._clock()
        self._events.add("checkpoint", generation=known.generation, samples=known.samples)
        numbers = self._state.folder.generations.numbers()
        oldest = numbers[0] if numbers else known.generation
        # One that was not seen was cut behind those before it.
        needless = [number for number in self._records if number <= oldest]
        if needless:
            self._needed = self._records[max(needless)]
        for number in sorted(needless)[:-1]:
            del self._records[number]

    def _request_checkpoint(self, generation: int, samples: int) -> None:
        """Let a checkpoint be made though nothing is learned, since the journal grows all the same.

        Predictions go into it as well. Old checkpoints need all that came behind them, so it takes
        as many new ones as are kept until they need no more than the newest one.
        """
        if samples != self._requested_at:
            self._requested_at = samples
            self._asked.clear()
        if len(self._asked) < self._state.folder.generations.keep and generation not in self._asked:
            self._asked.add(generation)
            self._pipeline.checkpoint()

    async def _expire(self) -> None:
        try:
            self._committer.check()
            await self._committer.commit(self._committer.intake.tick(now()), durable=False)
        except OutputError:
            return  # said by the committer; it is tried again at once
