"""Validation errors of a run file as messages: file, line, key, value and rule."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from streamnet.settings.toml import KeyPath, find_line, locate_keys

__all__ = ("Tables", "format_errors")

Tables = dict[KeyPath, type[BaseModel]]
"""The model of each table that a run file may have, by its path without places in lists."""

_RULES = {
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "enum": "must be {expected}",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be > {gt}",
    "greater_than_equal": "must be >= {ge}",
    "int_type": "must be a whole number",
    "less_than": "must be < {lt}",
    "less_than_equal": "must be <= {le}",
    "literal_error": "must be {expected}",
    "model_type": "must be a table",
    "string_too_long": "must be a single character",
    "string_too_short": "must not be empty",
    "string_type": "must be text in quotes",
    "string_unicode": "must be text in UTF-8",
    "tuple_type": "must be a list",
}


def format_errors(
    error: ValidationError, name: str, text: str, tables: Tables, called: Mapping[str, str]
) -> str:
    """One line for each thing that is wrong, in the order of the file.

    Args:
        error: What pydantic found.
        name: Name of the file, or of whatever the values came from; may be empty.
        text: The file's text, in order to tell lines; empty if there is none.
        tables: Where unknown keys may have been meant to be.
        called: What dotted keys are called by whoever gave the values.
    """
    lines = locate_keys(text)
    found = [_locate_error(details, tables, called) for details in error.errors(include_url=False)]
    numbered = sorted((find_line(path, lines), message) for path, message in found)
    place = f"{name}: " if name else ""
    return "\n".join(f"{name}:{line}: {m}" if line else f"{place}{m}" for line, m in numbered)


def _locate_error(
    error: ErrorDetails, tables: Tables, called: Mapping[str, str]
) -> tuple[KeyPath, str]:
    """Path of the key that is to be mended, and what to say about it."""
    path = error["loc"]
    if error["type"] == "extra_forbidden":
        return path, f"{_format_path(path)} is not a known key; {_suggest_key(path, tables)}"
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        # The message of a part's own constructor: it starts with the name of the key.
        message = str(context["error"])
        key = message.split(" ", 1)[0]
        path = path if path[-1:] == (key,) else (*path, *key.split("."))
        return path, f"{_display_name(path, called)}{message.removeprefix(key)}"
    context = {name: _format_bound(value) for name, value in context.items()}
    rule = _RULES[error["type"]].format(**context) if error["type"] in _RULES else error["msg"]
    return path, f"{_display_name(path, called)} is {_format_value(error['input'])}, but {rule}"


def _suggest_key(path: KeyPath, tables: Tables) -> str:
    """The key that was probably meant: of the same table, else the like of another one."""
    key = str(path[-1])
    table = tuple(part for part in path[:-1] if isinstance(part, str))
    if table not in tables:  # one of several that have a name of their own
        table = (*table[:1], "*", *table[2:])
    known = list(tables[table].model_fields)
    if close := get_close_matches(key, known, 1):
        return f"did you mean {close[0]!r}?"
    places = reversed(tables.items())  # the first of several is to win
    elsewhere = {name: place for place, model in places for name in model.model_fields}
    if close := get_close_matches(key, elsewhere, 1, cutoff=0.75):
        place = ("NAME" if part == "*" else part for part in elsewhere[close[0]])
        return f"did you mean {_format_path((*place, close[0]))}?"
    return f"known here: {', '.join(known)}"


def _format_bound(value: object) -> object:
    """A bound as it is written: 1 rather than 1.0, and all digits of a whole number."""
    return f"{value:g}" if isinstance(value, float) else value


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time):
        return value.isoformat()
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python prints
        return "a very large number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _display_name(path: KeyPath, called: Mapping[str, str]) -> str:
    """What the giver of the values calls a key, with what is inside it as a person writes it."""
    for n in range(len(path), 0, -1):
        if name := called.get(_format_path(path[:n])):
            inside = [part for part in path[n:] if isinstance(part, str)]
            return f"{name} ({_format_path(inside)})" if inside else name
    return _format_path(path)


def _format_path(path: Iterable[str | int]) -> str:
    """The path as a person writes it; places in lists are counted from 0."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[\w-]+", part, re.ASCII)
            quoted = part if bare else json.dumps(part, ensure_ascii=False)
            text += f".{quoted}" if text else quoted
    return text
