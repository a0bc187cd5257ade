"""Room: whether a model may take more to learn, and when a sender should come again."""

from __future__ import annotations

from streamnet.errors import BusyError

__all__ = ("check_room",)

_SOONEST, _UNKNOWN, _LATEST = 0.1, 1.0, 60.0  # seconds until a sender is asked to come again


def check_room(name: str, *, queued: int, most: int, pace: float) -> None:
    """Refuse more samples while too many wait.

    Args:
        name: Of the model.
        queued: Samples that wait to be learned.
        most: How many may.
        pace: Samples learned a second, of late; 0 if that is not known.

    Raises:
        BusyError: If so many wait. It tells when a tenth of the room should be free.

    >>> check_room("spam", queued=100, most=100, pace=20.0)
    Traceback (most recent call last):
    streamnet.errors.BusyError: model spam has 100 samples to learn, and may have 100
    """
    if queued >= most:
        seconds = (queued - 0.9 * most) / pace if pace else _UNKNOWN
        raise BusyError(
            f"model {name} has {queued:,} samples to learn, and may have {most:,}",
            min(max(seconds, _SOONEST), _LATEST),
        )
