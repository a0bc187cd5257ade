"""Notices of a run's state, such as a full disk, on standard error."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from streamnet.cli.terminal import complain
from streamnet.cli.terminal import printable

__all__ = ("notices",)


@final
class _Complaints(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        complain(printable(record.getMessage()))


@contextmanager
def notices() -> Iterator[None]:
    """Say what becomes of the state while the block runs."""
    handler = _Complaints(logging.WARNING)
    logger = logging.getLogger("streamnet.durability")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
