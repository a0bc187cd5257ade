"""The terminal, or whatever else our words go to: what can be shown there, and how."""

from __future__ import annotations

import sys
from typing import NoReturn
from typing import TextIO
from typing import final

from rich.console import Console

__all__ = ("Terminal", "complain", "printable")

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


def complain(message: str) -> None:
    """Say what is wrong: a line on standard error for each line of the message."""
    if sys.stderr is None:  # closed by the caller; print would take standard output instead
        return
    for line in message.splitlines():
        print(f"streamnet: {line}", file=sys.stderr)


def printable(text: str) -> str:
    r"""A text from outside, with nothing in it that a terminal would obey.

    >>> printable("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
