"""Work that can't be interrupted, such as compiling, in a thread that need not be waited for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

from anyio import Event
from anyio import RunFinishedError
from anyio import from_thread
from anyio.lowlevel import current_token

__all__ = ("abandonable",)

T = TypeVar("T")


async def abandonable(function: Callable[[], T]) -> T:
    """What ``function`` returns or raises; cancelled, it goes on alone, and nobody hears of it.

    Its thread is a daemon, unlike those of `anyio.to_thread`, for whose end the interpreter waits.

    >>> import anyio
    >>> anyio.run(abandonable, lambda: 6 * 7)
    42
    """
    done, token = Event(), current_token()
    returned: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            returned.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            raised.append(error)
        with suppress(RunFinishedError):  # it was abandoned, and the event loop has ended since
            from_thread.run_sync(done.set, token=token)

    Thread(target=work, daemon=True).start()
    await done.wait()
    if raised:
        raise raised[0]
    return returned[0]
