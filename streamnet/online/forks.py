"""Locks that a fork waits for, so that no other thread holds them in the child."""

from __future__ import annotations

import os
from threading import Lock, RLock
from typing import Any
from weakref import WeakValueDictionary

_locks: WeakValueDictionary[int, Any] = WeakValueDictionary()
_registry = Lock()
_held: list[Any] = []


def make_lock() -> RLock:
    """A lock that ``os.fork`` acquires before and releases after, in both processes.

    The child of a fork has only the thread that forked. Without this, a lock that another thread
    holds at that moment would never be released there, and what it protects might be half-changed.
    """
    lock = RLock()
    with _registry:
        _locks[id(lock)] = lock
    return lock


def _acquire_all() -> None:
    _registry.acquire()
    for _, lock in sorted(
        _locks.items()
    ):  # in one order, so that two forks cannot block each other
        lock.acquire()
        _held.append(lock)


def _release_all() -> None:
    while _held:
        _held.pop().release()
    _registry.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=_acquire_all, after_in_parent=_release_all, after_in_child=_release_all
    )
