"""The dead letters of a state directory: read, shown, and written out again."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from streamnet.assembling import STATE_DEAD_LETTERS
from streamnet.cli.figures import plural
from streamnet.cli.headers import Headers
from streamnet.cli.headers import header_of
from streamnet.cli.terminal import Terminal
from streamnet.cli.terminal import complain
from streamnet.cli.terminal import printable
from streamnet.errors import ConfigurationError
from streamnet.errors import StateError
from streamnet.features.labels import TOO_MANY_CLASSES
from streamnet.pipeline.standing import standing_of
from streamnet.sources.reasons import Reason

__all__ = ("list_letters", "replay_letters", "show_letter")

RAW_LENGTH = 4096  # a record of so many characters was cut
_NONE = "no record was rejected"


def list_letters(folder: Path) -> None:
    """Print a line for each rejected record.

    Raises:
        StateError: If the directory holds no state, or its dead letters are damaged.
    """
    terminal = Terminal()
    count = 0
    for count, letter in enumerate(_letters(folder), start=1):
        terminal.say(
            printable(f"{count}  {_where(letter)}  {letter['reason']}  {letter['detail']}")
        )
    if not count:
        terminal.say(_NONE)


def show_letter(folder: Path, number: int | None) -> None:
    """Print all that is known of a rejected record.

    Raises:
        ConfigurationError: If there is none of that number.
        StateError: As for `list_letters`.
    """
    if number is None:
        raise ConfigurationError("NUMBER is missing: which record is to be shown?")
    count = 0
    for count, letter in enumerate(_letters(folder), start=1):
        if count == number:
            table = Table.grid(padding=(0, 2))
            for name, value in letter.items():
                table.add_row(name, Text(printable(str(value))))
            Terminal().print(table)
            return
    if not count:
        raise ConfigurationError(f"NUMBER is {number}, but {_NONE}")
    raise ConfigurationError(f"NUMBER is {number}, but must be from 1 to {count}")


def replay_letters(folder: Path, to: Path | None) -> None:
    """Write rejected records to a new file as they were, with a header if theirs had one.

    Where the columns of a later file stand in another order, its records are brought into that of
    the first one.

    Raises:
        ConfigurationError: If the file can't be made.
        StateError: As for `list_letters`, or if the header of a file can't be read any more.
    """
    if to is None:
        raise ConfigurationError("--to is missing: which file are the records to be written to?")
    letters = list(_letters(folder))
    records = [letter for letter in letters if letter["reason"] != Reason.GAP]
    texts = [letter for letter in records if letter["reason"] != TOO_MANY_CLASSES]
    whole = [letter | {"raw": _exactly(letter)} for letter in texts if _is_whole(letter)]
    header, lines = _under_one_header(folder, whole)
    try:
        with to.open("x", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(line + "\n" for line in [*header, *lines])
    except OSError as error:
        raise ConfigurationError(f"--to {to}: {error.strerror}") from error
    if len(records) < len(letters):
        gaps = plural(len(letters) - len(records), "gap")
        complain(f"{gaps} left out: of what was lost there, only a beginning is kept")
    if len(texts) < len(records):
        late = plural(len(records) - len(texts), "record")
        complain(f"{late} left out: of those with one label too many, only the label is kept")
    if len(whole) < len(texts):
        cut = plural(len(texts) - len(whole), "record")
        complain(f"{cut} left out: of long ones only the beginning is kept")
    if len(lines) < len(whole):
        odd = plural(len(whole) - len(lines), "record")
        complain(
            f"{odd} left out: the columns of their files stand in another order than those of the "
            "first, and which of them has which value can't be told"
        )
    Terminal().say(f"{plural(len(lines), 'record')} written to {printable(str(to))}")


def _is_whole(letter: dict[str, Any]) -> bool:
    return len(letter["raw"]) < RAW_LENGTH and letter["reason"] != Reason.TOO_LONG


def _exactly(letter: dict[str, Any]) -> str:
    """A record, its bytes that are not UTF-8 as surrogates. Earlier releases did not keep them."""
    given = letter.get("raw_base64")
    return str(
        letter["raw"] if given is None else b64decode(given).decode("utf-8", "surrogateescape")
    )


def _under_one_header(folder: Path, letters: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The header line, if there is one, and below it the text of rejected records."""
    tree = standing_of(folder).tree
    first = header_of(tree["reading"]["source"])
    if first is None:
        return [], [letter["raw"].rstrip("\r\n") for letter in letters]
    headers = Headers(first, tree["settings"].get("source", {}).get("files", ()))
    found = [headers.under_first(letter) for letter in letters]
    return [first.line], [line for line in found if line is not None]


def _letters(folder: Path) -> Iterator[dict[str, Any]]:
    """Those that the file holds, also of records that no checkpoint knows of.

    Such are the last ones of a run that broke off, and often are what it broke off for.

    Raises:
        StateError: If the file is gone or damaged.
    """
    tree = standing_of(folder).tree
    given = tree["settings"].get("output", {}).get("dead_letters")
    path = Path(given) if given else folder / STATE_DEAD_LETTERS
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):  # otherwise it is being written, or was torn
                    yield json.loads(line)
    except FileNotFoundError as error:
        # It is made at the first one.
        if kept := tree["outputs"]["rejections"]["length"]:
            raise StateError(
                f"{path} is not there, but {kept:,} bytes of rejected records went into it (a "
                "relative name counts from the working directory)"
            ) from error
    except (OSError, ValueError) as error:
        raise StateError(f"{path} can't be read: {error}") from error


def _where(letter: dict[str, Any]) -> str:
    place = f"line {letter['line']}" if letter["line"] else f"record at {letter['offset']}"
    return f"{letter['source']}, {place}"
