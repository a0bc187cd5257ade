"""Watch: makes events and rates of the counters of a running pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from time import time
from typing import final

from anyio import sleep

from streamnet.daemon.committing import Committer
from streamnet.daemon.events import EventLog
from streamnet.errors import OutputError
from streamnet.learning.learner import Learner
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.state import State

__all__ = ("Watch",)

EVERY = 0.25
_HALF_LIFE = 5.0  # seconds after which a rate counts half


@final
class Watch:
    """Looks at a pipeline four times a second.

    Args:
        pipeline: What it looks at.
        state: Its checkpoints.
        committer: Whose journal loses segments that nobody needs, and whose pending predictions
            expire.
        events: Where it is told what happened.
        clock: Seconds that only ever grow.

    Attributes:
        rate: Samples learned a second of late.
        checkpoint: When the last checkpoint was seen, by the clock; None before the first.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        state: State,
        committer: Committer,
        events: EventLog,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.rate = 0.0
        self.checkpoint: float | None = None
        self._pipeline = pipeline
        self._state = state
        self._committer = committer
        self._events = events
        self._clock = clock
        self._time = clock()
        self._samples = 0
        self._reasons: Counter[str] = Counter()
        self._switches = self._drifts = self._quarantines = 0
        self._records: dict[int, int] = {}  # before the cut of a generation

    async def run(self) -> None:
        """Look until cancelled."""
        await self._pipeline.ready.wait()
        learner = self._pipeline.learner
        assert learner is not None
        self._begin(learner)
        while True:
            await sleep(EVERY)
            self._measure(learner)
            self._tell(learner)
            self._look_at_state()
            await self._expire()

    def _begin(self, learner: Learner) -> None:
        """What happened before is known already."""
        self._time = self._clock()
        self._samples = learner.trainer.number
        self._reasons = self._pipeline.rejections.reasons.copy()
        self._switches = learner.server.selector.switched
        self._drifts = learner.server.drift.noticed
        self._quarantines = learner.server.quarantines

    def _measure(self, learner: Learner) -> None:
        now, samples = self._clock(), learner.trainer.number
        passed = max(now - self._time, 1e-9)
        kept = 0.5 ** (passed / _HALF_LIFE)
        self.rate = kept * self.rate + (1 - kept) * (samples - self._samples) / passed
        self._time, self._samples = now, samples

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

    def _look_at_state(self) -> None:
        """Note a new checkpoint, and let go of what no kept one needs any more."""
        known = self._state.statistics()
        if known.generation is None or known.generation in self._records:
            return
        self._records[known.generation] = known.records
        self.checkpoint = self._clock()
        self._events.add("checkpoint", generation=known.generation, samples=known.samples)
        numbers = self._state.folder.generations.numbers()
        oldest = numbers[0] if numbers else known.generation
        # One that was not seen was cut behind those before it.
        needless = [number for number in self._records if number <= oldest]
        if needless:
            self._committer.journal.trim(self._records[max(needless)])
        for number in sorted(needless)[:-1]:
            del self._records[number]

    async def _expire(self) -> None:
        try:
            self._committer.check()
            await self._committer.commit(self._committer.intake.tick(time()), durable=False)
        except OutputError:
            return  # said by the committer; it is tried again at once
