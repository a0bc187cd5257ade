"""Texts of C programs: literals, tables and identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

_WIDTH = 100
_KEYWORD = re.compile(
    "auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|"
    "inline|int|long|register|restrict|return|short|signed|sizeof|static|struct|switch|typedef|"
    "union|unsigned|void|volatile|while"
)
MAX_LITERAL = 4095  # bytes of a string that every compiler takes


def quote(text: str) -> str:
    r"""A string literal of the UTF-8 bytes of a text.

    >>> quote('tür "?')
    '"t\\303\\274r \\"\\?"'
    """
    plain = {*range(32, 127)} - {*b'"\\?'}  # two question marks might begin a trigraph
    parts = []
    for byte in text.encode(errors="backslashreplace"):
        if byte in b'"\\?':
            parts.append(f"\\{chr(byte)}")
        else:
            parts.append(chr(byte) if byte in plain else f"\\{byte:03o}")
    return f'"{"".join(parts)}"'


def comment(text: str) -> str:
    """A text that can be part of a comment."""
    text = "".join(character if character.isprintable() else " " for character in text)
    text = text.encode("ascii", "backslashreplace").decode()
    return text.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")


def number(value: float) -> str:
    """A double with all its digits.

    >>> number(0.1), number(3)
    ('0.1', '3.0')
    """
    return repr(float(value))


def table(kind: str, name: str, values: Iterable[Any]) -> str:
    """A constant array; an empty one has one element, since C has no empty arrays."""
    if isinstance(values, np.ndarray):
        suffix = "f" if values.dtype == np.float32 else ""
        entries = [f"{entry}{suffix}" for entry in values.ravel().astype(np.str_).tolist()]
    else:
        entries = [number(v) if isinstance(v, float) else str(v) for v in values]
    body = fill(", ".join(entries or ["0"]), _WIDTH, break_on_hyphens=False)
    return f"static const {kind} {name}[{max(len(entries), 1)}] = {{\n{body}\n}};\n"


def strings(name: str, texts: Sequence[str]) -> str:
    """A constant array of strings."""
    lines = "".join(f"    {quote(text)},\n" for text in texts)
    return f"static const char *const {name}[{len(texts)}] = {{\n{lines}}};\n"


@final
class Identifiers:
    """Names of members of a struct, each of which is used once.

    >>> names = Identifiers()
    >>> [names.make(wish) for wish in ("age", "capital-gain", "int", "2nd", "age")]
    ['age', 'capital_gain', 'int_', '_2nd', 'age_2']
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def make(self, wish: str) -> str:
        """A name like ``wish``."""
        name = re.sub(r"\W", "_", wish, flags=re.ASCII) or "column"
        name = f"_{name}" if name[0].isdigit() else name
        name = f"{name}_" if _KEYWORD.fullmatch(name) else name
        name = f"column{name}" if re.match("_[_A-Z]", name) else name  # those are the compiler's
        unique, count = name, 1
        while unique in self._taken:
            count += 1
            unique = f"{name}_{count}"
        self._taken.add(unique)
        return unique


def flatten(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """All arrays one after the other."""
    return np.concatenate([array.ravel() for array in arrays])
