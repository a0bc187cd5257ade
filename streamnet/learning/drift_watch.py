"""The drift watch: detects when the loss of the served answers rises, and records when."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.drift import DETECTORS, DriftDetector
from streamnet.errors import ConfigurationError

__all__ = ("MAX_EVENTS", "DriftEvent", "DriftWatch")

MAX_EVENTS = 100  # that are kept


class DriftEvent(NamedTuple):
    """A rise of the loss of what was served."""

    number: int  # of the sample at which it was noticed
    since: int  # number of the sample from which on the loss is higher, by the detector's estimate
    before: float  # mean loss, from 0 to 1, before that sample
    after: float  # and since


@final
class DriftWatch:
    """Looks at a loss between 0 and 1 of every scored sample.

    Args:
        detector: Name of the method, or "none".

    Raises:
        ConfigurationError: If there is no such detector.

    >>> watch = DriftWatch("hddm_a")
    >>> watch.add(0, np.repeat([0.1, 0.9], 500))
    >>> watch.look()
    True
    >>> (event,) = watch.events
    >>> 500 <= event.number < 520 and event.after > event.before
    True
    """

    def __init__(self, detector: str = "adwin") -> None:
        if detector != "none" and detector not in DETECTORS:
            raise ConfigurationError(
                f"drift is {detector!r}, but must be one of {', '.join((*DETECTORS, 'none'))}"
            )
        self.events: deque[DriftEvent] = deque(maxlen=MAX_EVENTS)
        self.noticed = 0  # how often, also events that are not kept any more
        self._waiting: list[tuple[int, NDArray[np.float64]]] = []  # that nobody has looked at
        self._detector: DriftDetector | None = None
        if detector != "none":
            self._detector = DETECTORS[detector]()

    def add(self, first: int, losses: NDArray[np.float64]) -> None:
        """Keep losses, from 0 to 1 or NaN, of consecutive samples until `look` is called.

        Args:
            first: Number of the first sample.
            losses: shape=(n,).
        """
        if self._detector is not None:
            self._waiting.append((first, losses))

    def look(self) -> bool:
        """Look at the losses that were kept, in order; whether a rise was noticed."""
        numbers, losses = self._together()
        self._waiting.clear()
        if self._detector is None or not losses.size:
            return False
        self._detector.update(losses)
        rises = [change for change in self._detector.changes if change.after > change.before]
        scored = numbers[np.isfinite(losses)]
        for change in rises:
            number = int(numbers[change.position])
            since = _find_first_recent(scored, number, change.age)
            self.events.append(DriftEvent(number, since, change.before, change.after))
        self.noticed += len(rises)
        return bool(rises)

    def _together(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The numbers of the samples that wait, and their losses."""
        numbers = [np.arange(first, first + len(part)) for first, part in self._waiting]
        losses = [part for _, part in self._waiting]
        return (
            np.concatenate((np.empty(0, np.int64), *numbers)),
            np.concatenate((np.empty(0), *losses)),
        )

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        numbers, losses = self._together()
        return {
            "numbers": numbers,
            "losses": losses,
            "events": np.array(self.events, np.float64).reshape(-1, 4),
            "noticed": self.noticed,
            "detector": None if self._detector is None else self._detector.export_state(),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the watch did whose state this is."""
        self._waiting = [
            (int(number), np.array([loss]))
            for number, loss in zip(state["numbers"], state["losses"], strict=True)
        ]
        self.noticed = state["noticed"]
        self.events.clear()
        for number, since, before, after in state["events"].tolist():
            self.events.append(DriftEvent(int(number), int(since), before, after))
        if self._detector is not None:
            self._detector = type(self._detector).restore_state(state["detector"])


def _find_first_recent(scored: NDArray[np.int64], number: int, age: int) -> int:
    """The first of the last ``age`` scored samples up to ``number``, as detectors count them.

    Those before the first of ``scored`` are not remembered: it is as if all of them were.
    """
    place = int(np.searchsorted(scored, number)) - age + 1
    return int(scored[place]) if place >= 0 else max(int(scored[0]) + place, 0)
