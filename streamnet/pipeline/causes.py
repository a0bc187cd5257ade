"""What began it, when a stage breaks and takes the others with it."""

from __future__ import annotations

from collections.abc import Iterator

from anyio import BrokenResourceError
from anyio import ClosedResourceError
from anyio import EndOfStream

__all__ = ("first_cause", "raise_cause")

_CONSEQUENCES = (BrokenResourceError, ClosedResourceError, EndOfStream)


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that began it: a stage that breaks cancels the others, or closes their channels.

    >>> first_cause(BaseExceptionGroup("", [EndOfStream(), OSError("disk")]))
    OSError('disk')
    """
    errors = list(_single(group))
    causes = (error for error in errors if not isinstance(error, _CONSEQUENCES))
    return next(causes, errors[0])


def raise_cause(
    group: BaseExceptionGroup[BaseException], *, unless_of: BaseException | None = None
) -> None:
    """Raise the error that began it, with the cause and context that it has itself.

    Args:
        group: What a task group raised.
        unless_of: The error of the task group's own body, which may be a group: if it began it,
            nothing is raised, for it goes on as it is.
    """
    cause = first_cause(group)
    # A task group may have made another group of the body's own, with the same errors in it.
    if unless_of is not None and any(cause is error for error in _single(unless_of)):
        return
    context = cause.__context__
    try:
        raise cause
    finally:
        cause.__context__ = context


def _single(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for part in error.exceptions:
        yield from _single(part)
