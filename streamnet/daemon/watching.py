"""Watch: makes events and rates of the counters of a running pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import final

from anyio import sleep

from streamnet.daemon.clock import now
from streamnet.daemon.committing import Committer
from streamnet.daemon.events import EventLog
from streamnet.daemon.rate import Rate
from streamnet.errors import OutputError
from streamnet.learning.learner import Learner
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.state import State
from streamnet.pipeline.state import StateStatistics

__all__ = ("Watch",)

EVERY = 0.25


@final
class Watch:
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
        self._asked_at = -1  # samples in the journal then

    async def run(self) -> None:
        """Look until cancelled."""
        await self._pipeline.ready.wait()
        learner = self._pipeline.learner
        assert learner is not None
        self._begin(learner)
        while True:
            await sleep(EVERY)
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
        self._switches = learner.server.selector.switched
        self._drifts = learner.server.drift.noticed
        self._quarantines = learner.server.quarantines

    def _measure(self, learned: int) -> None:
        self.learning.look(learned)
        self.answering.look(self._answered())
        waits, self._waited = self._waited, self._queued() > 0
        if waits and self._waited:
            self.pace.look(learned)
        else:  # while nothing waits, senders make the rate
            self.pace.begin(learned)

    def _tell(self, learner: Learner) -> None:
        server, events = learner.server, self._events
        new = server.selector.switched - self._switches
        self._switches += new
        for change in list(server.changes)[-new:] if new else ():
            before = None if change.before is None else change.before.settings.describe()
            after = change.after.settings.describe()
            events.add("champion", number=change.number, before=before, after=after)
        new = server.drift.noticed - self._drifts
        self._drifts += new
        for drift in list(server.drift.events)[-new:] if new else ():
            events.add("drift", **drift._asdict())
        new = server.quarantines - self._quarantines
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
        if journal.may_trim(journal.samples):
            self._ask_for_another(known.generation, journal.samples)

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

    def _ask_for_another(self, generation: int, samples: int) -> None:
        """Let a checkpoint be made though nothing is learned, since the journal grows all the same.

        Predictions go into it as well. Old checkpoints need all that came behind them, so it takes
        as many new ones as are kept until they need no more than the newest one.
        """
        if samples != self._asked_at:
            self._asked_at = samples
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
