"""What is freed goes back to the system."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

import pytest
from anyio import create_task_group, fail_after, sleep

from streamnet.daemon import memory

PIECES, SIZE = 1000, 64 << 10  # less than what the C library takes from the system by itself


def read_resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(memory._find("malloc_trim") is None, reason="the C library has no malloc_trim")
@pytest.mark.anyio
async def test_freed_memory_between_what_is_in_use_is_returned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    pieces = [library.malloc(SIZE) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, SIZE)
    *unused, last = pieces
    for piece in unused:
        library.free(piece)
    before = read_resident()
    monkeypatch.setattr(memory, "_SECONDS", 0.001)
    with fail_after(20):
        async with create_task_group() as group:
            group.start_soon(memory.return_memory)
            while read_resident() > before - PIECES * SIZE // 2:  # noqa: ASYNC110 - of a thread
                await sleep(0.01)
            group.cancel_scope.cancel()
    library.free(last)
