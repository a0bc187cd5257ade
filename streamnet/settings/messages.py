"""Validation errors of run files as messages: file, line, key, value and rule."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from streamnet.settings.fields import RULES
from streamnet.settings.toml import KeyPath, find_line, locate_keys

Tables = dict[KeyPath, type[BaseModel]]

_RULES = {
    "bool_type": RULES["bool"],
    "dict_type": RULES["table"],
    "enum": "must be {expected}",
    "finite_number": RULES["finite"],
    "float_type": RULES["float"],
    "greater_than": RULES["gt"],
    "greater_than_equal": RULES["ge"],
    "int_type": RULES["int"],
    "less_than": RULES["lt"],
    "less_than_equal": RULES["le"],
    "literal_error": "must be {expected}",
    "mapping_type": RULES["table"],
    "model_type": RULES["table"],
    "string_too_long": "must be a single character",
    "string_too_short": RULES["min_length"],
    "string_type": RULES["str"],
    "string_unicode": "must be text in UTF-8",
    "too_long": RULES["max_length"],
    "tuple_type": RULES["list"],
}


def format_errors(
    error: ValidationError,
    model: type[BaseModel],
    values: Any,
    *,
    name: str,
    text: str,
    called: Mapping[str, str],
) -> str:
    """One line for each error, in the order of the file.

    Args:
        error: The errors that pydantic found.
        model: Class of the settings.
        values: The values that were validated.
        name: Name of the file, or of another origin of the values; may be empty.
        text: The file's text, for line numbers; empty without a file.
        called: Display names of dotted keys.
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
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        # A message of our own rules, which begins with the name of the key.
        message = str(context["error"])
        key = message.split(" ", 1)[0]
        path = path if key in path[-2:] else (*path, *key.split("."))
        return path, f"{_display_name(path, called)}{message.removeprefix(key)}"
    context = {name: _format_bound(value) for name, value in context.items()}
    rule = _RULES[error["type"]].format(**context) if error["type"] in _RULES else error["msg"]
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


def _suggest_key(path: KeyPath, tables: Tables) -> str:
    """The key that was probably meant: one of the same table, else one of another table."""
    key = str(path[-1])
    table = tuple(part for part in path[:-1] if isinstance(part, str))
    if table not in tables:  # one of several tables with names of their own
        table = (*table[:1], "*", *table[2:])
    known = list(tables[table].model_fields)
    if close := get_close_matches(key, known, 1):
        return f"did you mean {close[0]!r}?"
    places = reversed(tables.items())  # the first of several wins
    elsewhere = {name: place for place, model in places for name in model.model_fields}
    if close := get_close_matches(key, elsewhere, 1, cutoff=0.75):
        place = ("NAME" if part == "*" else part for part in elsewhere[close[0]])
        return f"did you mean {_format_path((*place, close[0]))}?"
    return f"known here: {', '.join(known)}"


def _format_bound(value: object) -> object:
    """A bound as people write it: 1 rather than 1.0, and all digits of an integer."""
    return f"{value:g}" if isinstance(value, float) else value


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
