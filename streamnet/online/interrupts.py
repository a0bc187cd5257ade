"""Interrupted learning: defers Ctrl-C until a change is complete, and marks broken estimators."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import threading
from types import FrameType
from typing import Any, Never, final

from streamnet.errors import StateError

# `signal` wraps these functions to convert numbers to enumerations, which takes ten times as long:
# a tenth of the time to learn a sample.
_SIGINT, _getsignal, _set_handler = _signal.SIGINT, _signal.getsignal, _signal.signal


@final
class Uninterrupted:
    """Context manager that defers SIGINT to the end of its block.

    Python handles signals in the main thread, so in other threads there is nothing to defer.
    Handlers that are not Python functions are left alone.

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

    _handler: Any = None  # None if there is nothing to defer
    _frame: FrameType | None = None
    _pending = False

    def __enter__(self) -> None:
        if threading.get_ident() == threading.main_thread().ident:
            handler = _getsignal(_SIGINT)
            # One may be left whose exit was interrupted by an exception of another signal.
            if isinstance(left := getattr(handler, "__self__", None), Uninterrupted):
                handler = left._handler
            if callable(handler):
                self._handler = handler
                try:
                    _set_handler(_SIGINT, self._record)
                except BaseException:  # raised by the handler of another signal
                    _set_handler(_SIGINT, handler)
                    raise

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            try:
                _set_handler(_SIGINT, self._handler)
            except BaseException:
                _set_handler(_SIGINT, self._handler)
                raise
            finally:
                if self._pending:
                    self._handler(_SIGINT, self._frame)

    def _record(self, _: int, frame: FrameType | None) -> None:
        self._pending, self._frame = True, frame


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
