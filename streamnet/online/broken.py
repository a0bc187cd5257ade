"""Broken: stands where something was whose learning was broken off half-way."""

from __future__ import annotations

from typing import Never
from typing import final

from streamnet.errors import StateError

__all__ = ("Broken",)


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
