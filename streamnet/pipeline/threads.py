"""Where computing runs: long work in worker threads, short work at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import to_thread

__all__ = ("SHORT", "compute")

T = TypeVar("T")

# Samples that are worked off sooner than a thread could be reached (about 0.1 ms).
SHORT = 8


async def compute(samples: int, function: Callable[..., T], *arguments: object) -> T:
    """Run ``function`` with nothing else waiting for it; never cancelled half-way."""
    if samples <= SHORT:
        return function(*arguments)
    return await to_thread.run_sync(function, *arguments)
