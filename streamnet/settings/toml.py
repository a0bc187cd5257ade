"""TOML texts: read, parsed, and the line numbers of their keys.

The standard library's parser does not report them, so a text that it has accepted is scanned a
second time, for its tables and keys only.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from streamnet.errors import ConfigurationError

KeyPath = tuple[str | int, ...]
"""Names of tables and keys from the outside in; a number is an index in a list."""

# Strings and comments first: their content is not structure.
_LEXEME = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|\n"
    r"|[\[\]{}=.,]"
    r"|[^\s\[\]{}=.,\"'#]+",
    re.DOTALL,
)


def read_text(path: str | Path) -> str:
    """The text of a run file.

    Raises:
        ConfigurationError: If it cannot be read or is not text.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: byte {error.start} is not UTF-8 text") from error


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """The tables of a run file as plain values.

    Raises:
        ConfigurationError: If it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigurationError(f"{name}: lists or tables are nested too deeply") from error
    except ValueError as error:
        raise ConfigurationError(f"{name}:{format_syntax_error(text, str(error))}") from error


def locate_keys(text: str) -> dict[KeyPath, int]:
    """The 1-based line of each table and key of a valid TOML text, except within inline values.

    >>> locate_keys("run.seed = 1")
    {('run',): 1, ('run', 'seed'): 1}
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, lexemes in _statements(text):
        keys = _key_names(lexemes)
        if lexemes[0] == "[":
            is_list = lexemes[1] == "["
            table = _open_table(keys, counts, is_list=is_list)
            lines.setdefault(table, line)
        else:
            for n in range(1, len(keys) + 1):
                lines.setdefault((*table, *keys[:n]), line)
    return lines


def find_line(path: KeyPath, lines: Mapping[KeyPath, int]) -> int:
    """Line of a key, or of the innermost table around it that has one; 0 if there is none."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 0)


def format_syntax_error(text: str, message: str) -> str:
    """An error message of `tomllib` about ``text``, after ``line:column:`` if known.

    >>> format_syntax_error("a = ", "Invalid value (at end of document)")
    '1:5: not valid TOML: Invalid value'
    """
    if found := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL):
        return f"{found[2]}:{found[3]}: not valid TOML: {found[1]}"
    reason = message.removesuffix(" (at end of document)")
    if reason == message:
        return f" not valid TOML: {reason}"
    *before, last = text.split("\n")
    return f"{len(before) + 1}:{len(last) + 1}: not valid TOML: {reason}"


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """Lexemes of each table header or key with its value, and the line where it starts."""
    line, start, depth = 1, 1, 0
    lexemes: list[str] = []
    for match in _LEXEME.finditer(f"{text}\n"):
        lexeme = match[0]
        if lexeme[0] not in "#\n":
            start = start if lexemes else line
            lexemes.append(lexeme)
            depth += (lexeme in ("[", "{")) - (lexeme in ("]", "}"))
        elif lexeme == "\n" and depth == 0 and lexemes:
            yield start, lexemes
            lexemes = []
        line += lexeme.count("\n")


def _key_names(lexemes: list[str]) -> list[str]:
    """Names in a header, or before the equals sign."""
    stop = lexemes.index("=") if lexemes[0] != "[" else len(lexemes)
    names = (lexeme for lexeme in lexemes[:stop] if lexeme not in ("[", "]", "."))
    return [_unquote(name) for name in names]


def _unquote(name: str) -> str:
    return str(tomllib.loads(f"key = {name}")["key"]) if name[0] in "\"'" else name


def _open_table(keys: Iterable[str], counts: dict[KeyPath, int], *, is_list: bool) -> KeyPath:
    """Path of the table that a header opens; in a list of tables it is the last one."""
    *outer, last = keys
    table: KeyPath = ()
    for key in outer:
        table = _current_element((*table, key), counts)
    table = (*table, last)
    if is_list:
        counts[table] = counts.get(table, 0) + 1
    return _current_element(table, counts)


def _current_element(table: KeyPath, counts: Mapping[KeyPath, int]) -> KeyPath:
    return (*table, counts[table] - 1) if table in counts else table
