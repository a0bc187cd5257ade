"""Workers share the kernels that they compile, which several would otherwise do at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

__all__ = ("compile_once",)


@contextmanager
def compile_once(path: Path) -> Iterator[None]:
    """Wait for a kernel that another process is compiling, then load it from the cache.

    All have the same file, of which each kernel has a byte to be locked.
    """
    load, compile_ = FunctionCache.load_overload, Dispatcher.compile
    held: list[int] = []  # by the kernels that this process is compiling, each for the one before

    def load_or_wait(self: Any, signature: Any, context: Any) -> Any:
        found, function = load(self, signature, context), self._py_func
        name = f"{function.__module__}.{function.__qualname__} {signature}"
        place = crc32(name.encode())
        if found is None and place not in held:
            fcntl.lockf(file, fcntl.LOCK_EX, 1, place)
            held.append(place)
            found = load(self, signature, context)
        return found

    def compile_and_release(self: Any, signature: Any) -> Any:
        with global_compiler_lock:  # other threads have to wait in any case
            before = len(held)
            try:
                return compile_(self, signature)
            finally:
                while len(held) > before:
                    fcntl.lockf(file, fcntl.LOCK_UN, 1, held.pop())

    with path.open("ab") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(FunctionCache, "load_overload", load_or_wait)
        patch.setattr(Dispatcher, "compile", compile_and_release)
        yield
