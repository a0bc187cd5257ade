"""PendingTable: predictions that wait for their labels, bounded by number and age."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any
from typing import NamedTuple
from typing import final

from streamnet.daemon.answers import Answer
from streamnet.daemon.answers import Outcome
from streamnet.errors import ConfigurationError

__all__ = ("Pending", "PendingTable")


class Pending(NamedTuple):
    """A prediction that waits."""

    line: str  # the sample as JSON, without target
    answer: Answer
    time: float  # when it was made, in seconds


@final
class PendingTable:
    """Predictions by id, in the order in which they were made, and what became of earlier ones.

    What is older than ``max_age`` expires, and the oldest of too many. Of as many ids as there may
    be pending it is remembered what became of them.

    Args:
        max_pending: Predictions that may wait.
        max_age: Seconds that they may.

    Raises:
        ConfigurationError: If a number breaks its rule.

    >>> table = PendingTable(max_pending=2, max_age=60.0)
    >>> for number in range(3):
    ...     table.add(str(number), Pending("{}", Answer("a", None, 1), time=number))
    >>> table.join("0", "b")[0].value, table.join("1", "b")[0].value, table.join("1", "b")[0].value
    ('expired', 'joined', 'duplicate')
    >>> table.expire(62.0), len(table)
    (1, 0)
    """

    def __init__(self, *, max_pending: int, max_age: float) -> None:
        self.expired = 0
        self._waiting: OrderedDict[str, Pending] = OrderedDict()
        # The label that came, or a list of none if it expired.
        self._settled: OrderedDict[str, list[Any]] = OrderedDict()
        self.limit(max_pending, max_age)

    def limit(self, max_pending: int, max_age: float) -> None:
        """Use other limits from now on; what is too old for them expires with the time.

        Raises:
            ConfigurationError: If a number breaks its rule.
        """
        if max_pending < 1:
            raise ConfigurationError(f"max_pending is {max_pending}, but must be >= 1")
        if not max_age > 0:
            raise ConfigurationError(f"max_age is {max_age}, but must be > 0")
        self._max_pending = max_pending
        self._max_age = max_age
        while len(self._waiting) > max_pending:
            self._give_up(next(iter(self._waiting)))
        while len(self._settled) > max_pending:
            self._settled.popitem(last=False)

    def __len__(self) -> int:
        return len(self._waiting)

    def get(self, identity: str) -> Pending | None:
        """The prediction of an id, None if none waits."""
        return self._waiting.get(identity)

    def is_settled(self, identity: str) -> bool:
        """Whether the prediction of an id has got its label or was given up, not long ago."""
        return identity in self._settled

    def is_number(self, identity: str) -> bool:
        """Whether the label of an id is a number, as far as is known."""
        pending = self._waiting.get(identity)
        if pending is not None:
            return pending.answer.shares is None
        return any(isinstance(label, float) for label in self._settled.get(identity, ()))

    def add(self, identity: str, pending: Pending) -> None:
        """Add a prediction under an id that is not there; the oldest makes room if need be."""
        self._waiting[identity] = pending
        if len(self._waiting) > self._max_pending:
            self._give_up(next(iter(self._waiting)))

    def join(self, identity: str, label: Any) -> tuple[Outcome, Pending | None]:
        """What becomes of a label, and the prediction that it belongs to if it is joined.

        Args:
            identity: The prediction's id.
            label: Its label, as it is compared with another one.
        """
        settled = self._settled.get(identity)
        if settled is not None:
            if not settled:
                return Outcome.EXPIRED, None
            return (Outcome.DUPLICATE if settled == [label] else Outcome.CONTRADICTORY), None
        pending = self._waiting.pop(identity, None)
        if pending is None:
            return Outcome.UNKNOWN, None
        self._settle(identity, [label])
        return Outcome.JOINED, pending

    def is_due(self, now: float) -> bool:
        """Whether one is too old."""
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and oldest.time + self._max_age <= now

    def expire(self, now: float) -> int:
        """Give up what is too old; how many."""
        before = self.expired
        while self.is_due(now):
            self._give_up(next(iter(self._waiting)))
        return self.expired - before

    def _give_up(self, identity: str) -> None:
        del self._waiting[identity]
        self.expired += 1
        self._settle(identity, [])

    def _settle(self, identity: str, outcome: list[Any]) -> None:
        self._settled[identity] = outcome
        if len(self._settled) > self._max_pending:
            self._settled.popitem(last=False)

    def export_state(self) -> dict[str, Any]:
        """All of it, as JSON can hold it."""
        return {
            "waiting": list(self._waiting.items()),
            "settled": list(self._settled.items()),
            "expired": self.expired,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the table did whose state this is, within the limits of this one."""
        self._waiting = OrderedDict(
            (identity, Pending(line, Answer(*answer), time))
            for identity, (line, answer, time) in state["waiting"]
        )
        self._settled = OrderedDict((identity, outcome) for identity, outcome in state["settled"])
        self.expired = state["expired"]
        self.limit(self._max_pending, self._max_age)
