"""Interrupted learning: defers Ctrl-C until a change is complete, and marks broken estimators."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import threading
from types import FrameType
from typing import Any, Never, final

from streamnet.errors import StateError

__all__ = (
    "Broken",
    "Uninterrupted",
)


# The functions of `signal` are these, but for numbers that they make enumerations of: that takes
# ten times as long, and as long as a tenth of what learning a sample does.
SIGINT, getsignal, set_handler = _signal.SIGINT, _signal.getsignal, _signal.signal


@final
class Uninterrupted:
    """Within its block SIGINT is noted; behind it, what it was to do is done.

    Signals are handled in the main thread alone, so in any other one there is nothing to hold back.
    One that Python does not handle, or another program within the process does, is left alone.

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

    _handler: Any = None  # until it is entered, and where there is nothing to hold back
    _frame: FrameType | None = None
    _came = False

    def __enter__(self) -> None:
        if threading.get_ident() == threading.main_thread().ident:
            handler = getsignal(SIGINT)
            if isinstance(left := getattr(handler, "__self__", None), Uninterrupted):
                handler = left._handler  # by one whose end another signal's exception broke off
            if callable(handler):
                self._handler = handler
                try:
                    set_handler(SIGINT, self._note)
                except BaseException:  # of another signal
                    set_handler(SIGINT, handler)
                    raise

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            try:
                set_handler(SIGINT, self._handler)
            except BaseException:
                set_handler(SIGINT, self._handler)
                raise
            finally:
                if self._came:
                    self._handler(SIGINT, self._frame)

    def _note(self, _: int, frame: FrameType | None) -> None:
        self._came, self._frame = True, frame


@final
class Broken:
    """Says so to whoever asks it for anything: arrays of what it stands for may not fit together.

    Args:
        what: What it is a part of, in words.
        error: What broke it off.

    >>> Broken("the estimator", TimeoutError("too slow")).answer
    Traceback (most recent call last):
        ...
    streamnet.errors.StateError: the estimator was broken off while it learned, by
    TimeoutError('too slow'); go on with a copy or a model that was taken before
    """

    def __init__(self, what: str, error: BaseException) -> None:
        self._what = what
        self._error = error

    def __getattr__(self, name: str) -> Never:
        if name.startswith("__"):  # of Python's own protocols: it may be copied and pickled
            raise AttributeError(name)
        raise StateError(
            f"{self._what} was broken off while it learned, by {self._error!r}; go on with a copy "
            "or a model that was taken before"
        )
