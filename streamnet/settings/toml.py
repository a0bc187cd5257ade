"""TOML files: parsing with line numbers, and messages that say where a value breaks a rule."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from streamnet.errors import ConfigurationError
from streamnet.settings.fields import RULES, format_bound

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
    """The text of a run file."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: byte {error.start} is not UTF-8 text") from error


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """The tables of a run file as plain values."""
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


Tables = dict[KeyPath, type[BaseModel]]


def format_errors(
    error: ValidationError,
    model: type[BaseModel],
    values: Any,
    *,
    name: str,
    text: str,
    called: Mapping[str, str],
) -> str:
    """One line for each error that pydantic found, in the order of the file.

    Line numbers are those of ``text``, which may be empty, as may ``name``; ``called`` has display
    names of dotted keys.
    """
    lines, tables = locate_keys(text), _list_tables(model)
    found = [
        _locate_error(details, values, tables, called)
        for details in error.errors(include_url=False)
    ]
    numbered = sorted((find_line(path, lines), message) for path, message in found)
    place = f"{name}: " if name else ""
    return "\n".join(f"{name}:{line}: {m}" if line else f"{place}{m}" for line, m in numbered)


def _list_tables(model: type[BaseModel]) -> Tables:
    """The tables of a model by path, without indices; ``*`` stands for any name."""
    found: Tables = {(): model}
    inner: Tables = {}
    for name, field in model.model_fields.items():
        path: tuple[str, ...] = (name,)
        hint: Any = field.annotation
        if get_origin(hint) is dict:
            path, hint = (name, "*"), get_args(hint)[1]
        for option in (hint, *get_args(hint)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                for below, table in _list_tables(option).items():
                    (inner if below else found)[*path, *below] = table
    return found | inner


def _locate_error(
    error: ErrorDetails, values: Any, tables: Tables, called: Mapping[str, str]
) -> tuple[KeyPath, str]:
    """Path of the key that is wrong, and the message."""
    path = _drop_implied_indices(error["loc"], values)
    if error["type"] == "extra_forbidden":
        return path, f"{_format_path(path)} is not a known key; {_suggest_key(path, tables)}"
    if error["type"] == "missing":
        return path, f"{_display_name(path, called)} is not given, but must be"
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        # A message of our own rules, which begins with the name of the key.
        message = str(context["error"])
        key = message.split(" ", 1)[0]
        path = path if key in path[-2:] else (*path, *key.split("."))
        return path, f"{_display_name(path, called)}{message.removeprefix(key)}"
    context = {name: format_bound(value) for name, value in context.items()}
    rule = RULES[error["type"]].format(**context) if error["type"] in RULES else error["msg"]
    return path, f"{_display_name(path, called)} is {_format_value(error['input'])}, but {rule}"


def _drop_implied_indices(path: KeyPath, values: Any) -> KeyPath:
    """The path without the index 0 of a single value that stands for a list."""
    kept: list[str | int] = []
    for part in path:
        if isinstance(part, int):
            if not isinstance(values, list | tuple):
                continue
            values = values[part] if part < len(values) else None
        else:
            values = values.get(part) if isinstance(values, Mapping) else None
        kept.append(part)
    return tuple(kept)


def _matches_place(place: KeyPath, table: KeyPath) -> bool:
    """Whether a path of a table, in which ``*`` stands for any name, is that of a table."""
    return len(place) == len(table) and all(
        part in ("*", name) for part, name in zip(place, table, strict=True)
    )


def _suggest_key(path: KeyPath, tables: Tables) -> str:
    """The key that was probably meant: one of the same table, else one of another table."""
    key = str(path[-1])
    given = tuple(part for part in path[:-1] if isinstance(part, str))
    table = next(place for place in tables if _matches_place(place, given))
    known = list(tables[table].model_fields)
    if close := get_close_matches(key, known, 1):
        return f"did you mean {close[0]!r}?"
    places = reversed(tables.items())  # the first of several wins
    elsewhere = {name: place for place, model in places for name in model.model_fields}
    if close := get_close_matches(key, elsewhere, 1, cutoff=0.75):
        place = ("NAME" if part == "*" else part for part in elsewhere[close[0]])
        return f"did you mean {_format_path((*place, close[0]))}?"
    return f"known here: {', '.join(known)}"


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time):
        return value.isoformat()
    try:
        text = repr(value)
    except ValueError:  # an integer with more digits than Python prints
        return "a very large number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _display_name(path: KeyPath, called: Mapping[str, str]) -> str:
    """Name under which the key was given, followed by the path inside it."""
    for n in range(len(path), 0, -1):
        if name := called.get(_format_path(path[:n])):
            inside = [part for part in path[n:] if isinstance(part, str)]
            return f"{name} ({_format_path(inside)})" if inside else name
    return _format_path(path)


def _format_path(path: Iterable[str | int]) -> str:
    """The path as people write it; indices count from 0."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[\w-]+", part, re.ASCII)
            quoted = part if bare else json.dumps(part, ensure_ascii=False)
            text += f".{quoted}" if text else quoted
    return text
