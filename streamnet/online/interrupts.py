"""Interrupted learning: defers signals until a change is complete, and marks broken estimators."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import threading
from collections.abc import Mapping, Sequence
from types import FrameType, MappingProxyType
from typing import Any, ClassVar, Never, final

from streamnet.errors import StateError

# `signal` wraps these functions to convert numbers to enumerations, which takes ten times as long:
# a tenth of the time to learn a sample.
_getsignal, _set_handler = _signal.getsignal, _signal.signal
# Whose handlers may raise: those of the keyboard, of timers, of the user and of a process manager.
_DEFERRED = tuple(
    getattr(_signal, name)
    for name in ("SIGINT", "SIGALRM", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    if hasattr(_signal, name)
)


@final
class Uninterrupted:
    """Context manager that defers signals with a handler to the end of its block.

    These are Ctrl-C, SIGALRM, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2. Python handles signals
    in the main thread, so in other threads there is nothing to defer. Handlers that are not Python
    functions are left alone.

    >>> import signal
    >>> try:
    ...     with Uninterrupted():
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("whole")
    ... except KeyboardInterrupt:
    ...     print("then interrupted")
    whole
    then interrupted
    """

    _handlers: Mapping[int, Any] = MappingProxyType({})  # to restore, by signal
    _pending: tuple[tuple[int, FrameType | None], ...] = ()
    # All handlers as last seen, and those to defer: they hardly ever change.
    _seen: ClassVar[list[Any]] = []
    _found: ClassVar[dict[int, Any]] = {}

    def __enter__(self) -> None:
        if threading.get_ident() != threading.main_thread().ident:
            return
        seen = list(map(_getsignal, _DEFERRED))
        if seen != Uninterrupted._seen:
            Uninterrupted._found = _find_handlers(seen)
            Uninterrupted._seen = seen
        self._handlers = Uninterrupted._found
        try:
            for number in self._handlers:
                _set_handler(number, self._record)
        except BaseException:  # raised by a handler that was not yet replaced
            self._restore()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self._restore()
        except BaseException:  # raised by a handler that is back
            self._restore()
            raise
        finally:
            if self._pending:
                self._handle_pending()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            _set_handler(number, handler)

    def _handle_pending(self) -> None:
        """Call the handlers of what came meanwhile, all of them even if one raises."""
        (number, frame), *more = self._pending
        self._pending = tuple(more)
        try:
            self._handlers[number](number, frame)
        finally:
            if self._pending:
                self._handle_pending()

    def _record(self, number: int, frame: FrameType | None) -> None:
        if all(number != other for other, _ in self._pending):
            self._pending = (*self._pending, (number, frame))


def _find_handlers(seen: Sequence[Any]) -> dict[int, Any]:
    """The handlers that are Python functions, by signal."""
    found = {}
    for number, handler in zip(_DEFERRED, seen, strict=True):
        # One may be left whose exit was interrupted by an exception of another signal.
        if isinstance(left := getattr(handler, "__self__", None), Uninterrupted):
            handler = left._handlers[number]
        if callable(handler):
            found[number] = handler
    return found


@final
class Broken:
    """Replaces an object whose change was interrupted; every access raises `StateError`.

    >>> Broken("the estimator", TimeoutError("too slow")).model
    Traceback (most recent call last):
        ...
    streamnet.errors.StateError: the estimator was interrupted while it learned, by
    TimeoutError('too slow'); continue with an earlier copy or model
    """

    def __init__(self, what: str, error: BaseException) -> None:
        self._what = what
        self._error = error

    def __getattr__(self, name: str) -> Never:
        if name.startswith("__"):  # Python's protocols, such as pickling, must not fail strangely
            raise AttributeError(name)
        raise StateError(
            f"{self._what} was interrupted while it learned, by {self._error!r}; continue with an "
            "earlier copy or model"
        )
