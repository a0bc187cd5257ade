"""Keys: those under which the parts of a stream are kept, beside those that senders give."""

from __future__ import annotations

__all__ = ("earlier", "part_of", "shown")

_SEPARATOR = "\n"  # which no sender's key has: all its characters are visible
_EARLIER = "#"  # of earlier releases, which keys may have


def part_of(key: str, number: int) -> str:
    r"""The key of a part of the stream that was sent under a key.

    >>> part_of("monday", 0)
    'monday\n0'
    """
    return f"{key}{_SEPARATOR}{number}"


def shown(key: str) -> str:
    r"""The key as its sender gave it.

    >>> shown("monday\n0")
    'monday'
    """
    return key.partition(_SEPARATOR)[0]


def earlier(key: str) -> str | None:
    r"""The key under which earlier releases kept a part of a stream; None if it is of none.

    >>> earlier("monday\n0"), earlier("monday")
    ('monday#0', None)
    """
    return key.replace(_SEPARATOR, _EARLIER) if _SEPARATOR in key else None
