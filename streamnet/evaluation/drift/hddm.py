"""HDDM: what the two tests of Frías-Blanco and others have in common."""

from __future__ import annotations

from streamnet.evaluation.drift.restarting import RestartingDetector
from streamnet.evaluation.drift.running import LARGEST
from streamnet.evaluation.drift.settings import check_confidences
from streamnet.evaluation.drift.settings import direction_named
from streamnet.evaluation.drift.settings import interval
from streamnet.evaluation.drift.settings import signs

__all__ = ("HDDM",)


class HDDM(RestartingDetector):
    """Tells averages apart by more than chance allows, at two levels of confidence.

    Frías-Blanco, del Campo-Ávila, Ramos-Jiménez, Morales-Bueno, Ortiz-Díaz and Caballero-Mota,
    "Online and Non-Parametric Drift Detection Methods Based on Hoeffding's Bounds", IEEE
    Transactions on Knowledge and Data Engineering 27, 2015.

    Args:
        drift_confidence: Probability of a false alarm in one comparison.
        warning_confidence: The same of a warning.
        low: Values below count as this.
        high: Values above count as this.
        direction: "up", "down" or "both".
    """

    def __init__(
        self,
        *,
        drift_confidence: float = 0.001,
        warning_confidence: float = 0.005,
        low: float = 0.0,
        high: float = 1.0,
        direction: str = "up",
    ) -> None:
        name = type(self).__name__
        check_confidences(name, drift_confidence, warning_confidence)
        low, high = interval(name, low, high, LARGEST)
        towards = direction_named(name, direction)
        self._signs = signs(towards)
        super().__init__(
            {
                "drift_confidence": float(drift_confidence),
                "warning_confidence": float(warning_confidence),
                "low": low,
                "high": high,
                "direction": str(towards),
            },
            low=low,
            high=high,
        )
