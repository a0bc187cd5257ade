"""Memory of the process: the C library must not keep what was freed."""

from __future__ import annotations

import ctypes
from typing import Any

from anyio import sleep, to_thread

_M_ARENA_MAX = -8  # of glibc's mallopt
_ARENAS = 1
_SECONDS = 30.0  # between two returns of what is free


def limit_arenas() -> bool:
    """Let all threads share an arena, so that what one frees another one uses.

    By default glibc gives each thread one of its own, up to eight for each processor, and what is
    freed in one stays there: with many models, twice what they need. Returns False where the C
    library has no such setting.

    >>> limit_arenas() in (True, False)
    True
    """
    set_option = _find("mallopt")
    return set_option is not None and set_option(_M_ARENA_MAX, _ARENAS) == 1


async def return_memory() -> None:
    """Return pages that nothing uses to the system, now and then, until cancelled.

    By itself glibc returns only those behind everything else: with many models, a sixth of what
    they need stays. It takes 6 ms for half a gigabyte.
    """
    trim = _find("malloc_trim")
    while trim is not None:
        await sleep(_SECONDS)
        await to_thread.run_sync(trim, 0)


def _find(name: str) -> Any:
    """A function of the C library; None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None)
