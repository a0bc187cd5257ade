"""Output to the terminal or a pipe, and warnings and errors on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TextIO, final

from rich.console import Console

__all__ = (
    "Terminal",
    "escape_text",
    "log_to_stderr",
    "write_error",
)


PIPE_WIDTH = 100


@final
class Terminal(Console):
    r"""A console that shows texts as they are: no markup, no emoji names, no guessed colours.

    Where no one sees it (a pipe, a file), lines may be as long as they need to be.

    Args:
        file: Where it writes; otherwise standard output.
        pipe_width: Least width in columns of what goes elsewhere than to a terminal.

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
        """Whoever read our words has gone: tell the command, which knows what to do about it."""
        raise BrokenPipeError

    def say(self, text: str) -> None:
        """Print a line as it is, however long."""
        self.print(text, soft_wrap=True)

    @property
    def plain(self) -> bool:
        """Whether it can't show more than ASCII."""
        return not self.encoding.lower().startswith("utf")


def write_error(message: str) -> None:
    """Say what is wrong: a line on standard error for each line of the message."""
    if sys.stderr is None:  # closed by the caller; print would take standard output instead
        return
    for line in message.splitlines():
        print(f"streamnet: {line}", file=sys.stderr)


def escape_text(text: str) -> str:
    r"""A text from outside, with nothing in it that a terminal would obey.

    >>> escape_text("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


STATE, FILES = "streamnet.durability", "streamnet.sources"


@final
class _StderrHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        sentence = escape_text(record.getMessage())
        if record.name != FILES:
            write_error(sentence)
        elif sentence not in self._said:  # a file may be looked at twice
            self._said.add(sentence)
            write_error(sentence)


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Say what becomes of the state, and what files are taken as, while the block runs."""
    handler = _StderrHandler()
    loggers = [logging.getLogger(name) for name in (STATE, FILES)]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
