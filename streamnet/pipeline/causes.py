"""What began it, when a stage breaks and takes the others with it."""

from __future__ import annotations

from collections.abc import Iterator

from anyio import BrokenResourceError
from anyio import ClosedResourceError
from anyio import EndOfStream

__all__ = ("first_cause",)

_CONSEQUENCES = (BrokenResourceError, ClosedResourceError, EndOfStream)


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that began it: a stage that breaks cancels the others, or closes their channels.

    >>> first_cause(BaseExceptionGroup("", [EndOfStream(), OSError("disk")]))
    OSError('disk')
    """
    errors = list(_single(group))
    causes = (error for error in errors if not isinstance(error, _CONSEQUENCES))
    return next(causes, errors[0])


def _single(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for part in error.exceptions:
        yield from _single(part)
