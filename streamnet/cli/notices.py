"""Notices of a run on standard error: of its state, such as a full disk, and of its files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from streamnet.cli.terminal import complain
from streamnet.cli.terminal import printable

__all__ = ("notices",)


STATE, FILES = "streamnet.durability", "streamnet.sources"


@final
class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        sentence = printable(record.getMessage())
        if record.name != FILES:
            complain(sentence)
        elif sentence not in self._said:  # a file may be looked at twice
            self._said.add(sentence)
            complain(sentence)


@contextmanager
def notices() -> Iterator[None]:
    """Say what becomes of the state, and what files are taken as, while the block runs."""
    handler = _Complaints()
    loggers = [logging.getLogger(name) for name in (STATE, FILES)]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
