"""Predictions that wait for their labels, and labels that wait for their predictions."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic, time
from typing import Any, NamedTuple, final

from streamnet.client.schemas import Outcome
from streamnet.samples import Prediction, Task


class PendingPrediction(NamedTuple):
    """A prediction waiting for its label."""

    line: str  # the sample as JSON, without target
    prediction: Prediction
    time: float  # when it was made, in seconds
    record: int  # of the sample in the journal


class SentLabel(NamedTuple):
    """A label of a prediction as it was sent, or as it is stored."""

    identity: str
    label: Any
    weight: float | None = None  # of the sample, in place of its own


_DELAY_FADING = 0.99  # factor of the weight of earlier labels in the mean delay


@final
class PendingPredictions:
    """Pending predictions and early labels by ID, in order, and the fate of earlier ones.

    What is older than ``max_age`` expires, and so does the oldest of too many predictions or early
    labels. The labels of as many IDs as may be pending are remembered.

    >>> table = PendingPredictions(max_pending=2, max_age=60.0)
    >>> for number in range(3):
    ...     prediction = Prediction("a", None, 1)
    ...     forgotten = table.add(str(number), PendingPrediction("{}", prediction, number, number))
    >>> forgotten[0].record
    0
    >>> [table.join(SentLabel(one, "b"), 3.0)[0].value for one in ("0", "1", "1", "9")]
    ['expired', 'joined', 'duplicate', 'early']
    >>> table.take_early("9").label
    'b'
    >>> len(table.expire(62.0)), len(table)
    (1, 0)
    """

    def __init__(self, *, max_pending: int, max_age: float) -> None:
        self.expired: int = 0  # predictions
        self.delay: float | None = None  # seconds until a label comes, a fading mean
        self.unknown: int = 0  # early labels whose predictions never came
        self._waiting: OrderedDict[str, PendingPrediction] = OrderedDict()
        self._early: OrderedDict[str, tuple[SentLabel, float]] = OrderedDict()  # and their times
        # Lists of one label, or of none if the prediction expired.
        self._settled: OrderedDict[str, list[Any]] = OrderedDict()
        self.limit(max_pending, max_age)

    def limit(self, max_pending: int, max_age: float) -> list[PendingPrediction]:
        """Apply other bounds from now on; what is too old for them expires later.

        Returns:
            The predictions that expired, since there were too many.
        """
        self._max_pending = max_pending
        self._max_age = max_age
        forgotten = []
        while len(self._waiting) > max_pending:
            forgotten.append(self._expire_oldest())
        while len(self._early) > max_pending:
            self._drop_early()
        while len(self._settled) > max_pending:
            self._settled.popitem(last=False)
        return forgotten

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def early(self) -> int:
        """Number of labels that wait for their predictions."""
        return len(self._early)

    def get(self, identity: str) -> PendingPrediction | None:
        """The pending prediction of an ID; None if there is none."""
        return self._waiting.get(identity)

    def is_settled(self, identity: str) -> bool:
        """Whether the prediction of an ID got its label or expired, not long ago."""
        return identity in self._settled

    def is_labeled(self, identity: str) -> bool:
        """Whether the label of an ID has come, not long ago."""
        return bool(self._settled.get(identity)) or identity in self._early

    def is_known(self, identity: str) -> bool:
        """Whether an ID has its label, expired, or has an early label."""
        return identity in self._settled or identity in self._early

    def find_task(self, identity: str) -> Task | None:
        """Whether the label of an ID is a number; None if that is not known yet."""
        pending = self._waiting.get(identity)
        if pending is not None:
            return pending.prediction.task
        for label in self._settled.get(identity, ()):
            if isinstance(label, str):
                return Task.CLASSIFICATION
            return Task.REGRESSION if isinstance(label, float) else None
        return None

    def add(self, identity: str, pending: PendingPrediction) -> list[PendingPrediction]:
        """Add a prediction with a new ID; return the oldest one if it expires: one too many."""
        self._waiting[identity] = pending
        return [self._expire_oldest()] if len(self._waiting) > self._max_pending else []

    def take_early(self, identity: str) -> SentLabel | None:
        """Remove and return the label that came before a prediction; None if there is none."""
        sent, _ = self._early.pop(identity, (None, None))
        return sent

    def join(self, sent: SentLabel, time: float) -> tuple[Outcome, PendingPrediction | None]:
        """Join a label with its prediction, which is returned if that is the outcome.

        A label without a prediction waits for it.
        """
        identity, label, _ = sent
        settled = self._settled.get(identity)
        if identity in self._early:
            settled = [self._early[identity][0].label]
        if settled is not None:
            if not settled:
                return Outcome.EXPIRED, None
            same = settled == [label] and type(settled[0]) is type(label)  # True equals 1
            return (Outcome.DUPLICATE if same else Outcome.CONTRADICTORY), None
        pending = self._waiting.pop(identity, None)
        if pending is None:
            self._early[identity] = sent, time
            if len(self._early) > self._max_pending:
                self._drop_early()
            return Outcome.EARLY, None
        self.settle(identity, [label])
        self._add_delay(time - pending.time)
        return Outcome.JOINED, pending

    def _add_delay(self, seconds: float) -> None:
        before = seconds if self.delay is None else self.delay
        self.delay = before + (1.0 - _DELAY_FADING) * (seconds - before)

    def is_due(self, now: float) -> bool:
        """Whether a prediction or an early label is too old."""
        return self._is_waiting_due(now) or self._is_early_due(now)

    def _is_waiting_due(self, now: float) -> bool:
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and oldest.time + self._max_age <= now

    def _is_early_due(self, now: float) -> bool:
        oldest = next(iter(self._early.values()), None)
        return oldest is not None and oldest[1] + self._max_age <= now

    def expire(self, now: float) -> list[PendingPrediction]:
        """Expire what is old; return the predictions that did."""
        forgotten = []
        while self._is_waiting_due(now):
            forgotten.append(self._expire_oldest())
        while self._is_early_due(now):
            self._drop_early()
        return forgotten

    def _expire_oldest(self) -> PendingPrediction:
        identity, pending = self._waiting.popitem(last=False)
        self.expired += 1
        self.settle(identity, [])
        return pending

    def _drop_early(self) -> None:
        self._early.popitem(last=False)
        self.unknown += 1

    def settle(self, identity: str, outcome: list[Any]) -> None:
        """Remember the label of an ID, as a list of one, or of none if its prediction expired."""
        self._settled[identity] = outcome
        if len(self._settled) > self._max_pending:
            self._settled.popitem(last=False)

    def export_state(self) -> dict[str, Any]:
        """Export the state as JSON values."""
        return {
            "waiting": list(self._waiting.items()),
            "early": list(self._early.items()),
            "settled": list(self._settled.items()),
            "expired": self.expired,
            "unknown": self.unknown,
            "delay": self.delay,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore a state, within the current bounds."""
        self._waiting = OrderedDict(
            (identity, PendingPrediction(line, Prediction(*prediction), *others))
            for identity, (line, prediction, *others) in state["waiting"]
        )
        self._early = OrderedDict(
            (identity, (SentLabel(*sent), t)) for identity, (sent, t) in state["early"]
        )
        self._settled = OrderedDict((identity, outcome) for identity, outcome in state["settled"])
        self.expired, self.unknown = state["expired"], state["unknown"]
        self.delay = state["delay"]
        self.limit(self._max_pending, self._max_age)


_START = time() - monotonic()


def now() -> float:
    """Seconds since 1970, by the monotonic clock.

    The system time may be changed while a process runs, even by years. Predictions would then
    expire at once, or not for years.
    """
    return _START + monotonic()
