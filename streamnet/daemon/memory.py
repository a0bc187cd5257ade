"""Memory of the process: the C library must not keep what many threads have freed."""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # of glibc's mallopt
_ARENAS = 1


def limit_arenas() -> bool:
    """Let all threads share an arena, so that what one frees another one uses.

    By default glibc gives each thread one of its own, up to eight for each processor, and what is
    freed in one stays there: with many models, twice what they need. Returns False where the C
    library has no such setting.

    >>> limit_arenas() in (True, False)
    True
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    return set_option is not None and set_option(_M_ARENA_MAX, _ARENAS) == 1
