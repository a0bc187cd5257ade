"""Output to the terminal or a pipe, and warnings and errors on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO, final

from rich.console import Console

PIPE_WIDTH = 100


@final
class Terminal(Console):
    r"""A console that prints text verbatim: no markup, no emoji names, no highlighting.

    Output that does not go to a terminal is at least ``pipe_width`` columns wide.

    >>> import io
    >>> terminal = Terminal(io.StringIO())
    >>> terminal.print("[b] :smile:")
    >>> terminal.file.getvalue()
    '[b] :smile:\n'
    """

    def __init__(self, file: TextIO | None = None, *, pipe_width: int = PIPE_WIDTH) -> None:
        super().__init__(file=file, highlight=False, markup=False, emoji=False)
        if not self.is_terminal:
            self.width = max(self.width, pipe_width)

    def on_broken_pipe(self) -> NoReturn:
        """Raise the error that `streamnet.cli.app.run` handles, instead of exiting."""
        raise BrokenPipeError

    def say(self, text: str) -> None:
        """Print a line without wrapping it."""
        self.print(text, soft_wrap=True)

    @property
    def plain(self) -> bool:
        """Whether it can show only ASCII."""
        return not self.encoding.lower().startswith("utf")


def write_error(message: str) -> None:
    """Print each line of a message to standard error."""
    if sys.stderr is None:  # closed by the caller; print would use standard output instead
        return
    for line in message.splitlines():
        print(f"streamnet: {line}", file=sys.stderr)


def escape_text(text: str) -> str:
    r"""Escape characters that a terminal would interpret.

    >>> escape_text("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


_STATE_LOGGER, _SOURCES_LOGGER = "streamnet.durability", "streamnet.sources"
_SINKS_LOGGER, _RUNS_LOGGER = "streamnet.sinks", "streamnet.runs"


@final
class _StderrHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = escape_text(record.getMessage())
        if record.name != _SOURCES_LOGGER:
            write_error(message)
        elif message not in self._printed:  # a file may be inspected twice
            self._printed.add(message)
            write_error(message)


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Print warnings about state, sources and sinks to standard error while the block runs."""
    handler = _StderrHandler()
    names = (_STATE_LOGGER, _SOURCES_LOGGER, _SINKS_LOGGER, _RUNS_LOGGER)
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
