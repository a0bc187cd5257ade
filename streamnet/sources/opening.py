"""Opening: a source is open or closed, also when that goes wrong half-way."""

from __future__ import annotations

from anyio import CancelScope

from streamnet.samples import Position
from streamnet.samples import Schema
from streamnet.sources.base import Source

__all__ = ("opened",)


async def opened(source: Source, after: Position | None = None) -> Schema:
    """Open a source; if that fails or is cancelled, close it, since no source is opened twice."""
    try:
        return await source.open(after)
    except BaseException:
        with CancelScope(shield=True):
            await source.aclose()
        raise
