"""The drift watch: detects and records rises in the loss of the served predictions."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.drift import DETECTORS, DriftDetector
from streamnet.errors import ConfigurationError

MAX_EVENTS = 100  # events kept


class DriftEvent(NamedTuple):
    """A rise in the loss of the served predictions."""

    number: int  # sample at which it was detected
    since: int  # sample at which it began, as the detector estimates
    before: float  # mean loss before ``since``, in [0, 1]
    after: float  # mean loss since then


@final
class DriftWatch:
    """Watches the loss of every scored sample for rises.

    Args:
        detector: Name of the drift detector, or "none".

    Raises:
        ConfigurationError: If the detector is unknown.

    >>> watch = DriftWatch("hddm_a")
    >>> watch.add(0, np.repeat([0.1, 0.9], 500))
    >>> watch.check()
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
        self.detections: int = 0  # including events no longer kept
        self._pending: list[tuple[int, NDArray[np.float64]]] = []  # not checked yet
        self._detector: DriftDetector | None = None
        if detector != "none":
            self._detector = DETECTORS[detector]()

    def add(self, first: int, losses: NDArray[np.float64]) -> None:
        """Add the losses of consecutive samples, which the next `check` will see.

        Args:
            first: Number of the first sample.
            losses: Losses in [0, 1], or NaN for samples that were not scored, shape=(n,).
        """
        if self._detector is not None:
            self._pending.append((first, losses))

    def check(self) -> bool:
        """Check the losses added since the last call, in order; return whether there was a rise."""
        numbers, losses = self._concatenate_pending()
        self._pending.clear()
        if self._detector is None or not losses.size:
            return False
        self._detector.update(losses)
        rises = [change for change in self._detector.changes if change.after > change.before]
        scored = numbers[np.isfinite(losses)]
        for change in rises:
            number = int(numbers[change.position])
            since = _find_first_recent(scored, number, change.age)
            self.events.append(DriftEvent(number, since, change.before, change.after))
        self.detections += len(rises)
        return bool(rises)

    def _concatenate_pending(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        numbers = [np.arange(first, first + len(part)) for first, part in self._pending]
        losses = [part for _, part in self._pending]
        return (
            np.concatenate((np.empty(0, np.int64), *numbers)),
            np.concatenate((np.empty(0), *losses)),
        )

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume, bit for bit."""
        numbers, losses = self._concatenate_pending()
        return {
            "numbers": numbers,
            "losses": losses,
            "events": np.array(self.events, np.float64).reshape(-1, 4),
            "detections": self.detections,
            "detector": None if self._detector is None else self._detector.export_state(),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        self._pending = [
            (int(number), np.array([loss]))
            for number, loss in zip(state["numbers"], state["losses"], strict=True)
        ]
        self.detections = state["detections"]
        self.events.clear()
        for number, since, before, after in state["events"].tolist():
            self.events.append(DriftEvent(int(number), int(since), before, after))
        if self._detector is not None:
            self._detector = type(self._detector).restore_state(state["detector"])


def _find_first_recent(scored: NDArray[np.int64], number: int, age: int) -> int:
    """Return the first of the last ``age`` scored samples up to ``number``.

    Which samples before the first of ``scored`` were scored is unknown: all are assumed to be.
    """
    place = int(np.searchsorted(scored, number)) - age + 1
    return int(scored[place]) if place >= 0 else max(int(scored[0]) + place, 0)
