"""Options that several commands share, and how their text is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Literal

from cyclopts import Parameter
from cyclopts import Token

__all__ = (
    "Delimiter",
    "Drop",
    "Files",
    "Format",
    "Header",
    "Kinds",
    "Missing",
    "Numbers",
    "Words",
    "listed",
    "pairs",
)


def listed(kind: Any, tokens: Sequence[Token]) -> tuple[Any, ...]:
    """Values from texts with commas, such as ``--drop a,b --drop c``."""
    words = [word.strip() for token in tokens for word in token.value.split(",")]
    inner = next(iter(getattr(kind, "__args__", ())), str)
    return tuple(inner(word) if inner in (int, float) else word for word in words if word)


def pairs(kind: Any, tokens: Sequence[Token]) -> dict[str, str]:
    """A dict from texts such as ``--kind column=category``."""
    result = {}
    for token in tokens:
        name, sign, value = token.value.rpartition("=")
        if not sign:
            raise ValueError(f"{token.value!r} must have the form COLUMN=KIND")
        result[name] = value
    return result


Files = Annotated[
    tuple[str, ...],
    Parameter(help="Files in the order given, glob patterns, or - for standard input."),
]
Words = Annotated[
    tuple[str, ...] | None, Parameter(converter=listed, n_tokens=1, negative="")
]
Numbers = Annotated[
    tuple[float, ...] | None, Parameter(converter=listed, n_tokens=1, negative="")
]
Drop = Annotated[
    tuple[str, ...] | None,
    Parameter(converter=listed, n_tokens=1, negative="", help="Columns to leave out: a,b,c."),
]
Missing = Annotated[
    tuple[str, ...] | None,
    Parameter(
        converter=listed, n_tokens=1, negative="", help="Words that mean missing, besides empty."
    ),
]
Kinds = Annotated[
    dict[str, str] | None,
    Parameter(
        name="--kind",
        converter=pairs,
        n_tokens=1,
        negative="",
        help="COLUMN=number, category, time or text; overrides what is found out. May be repeated.",
    ),
]
Format = Annotated[
    Literal["csv", "tsv", "jsonl", "libsvm", "parquet", "arrow"] | None,
    Parameter(help="Format of the files, if their names don't tell."),
]
Delimiter = Annotated[str | None, Parameter(help="Between the fields of a CSV file.")]
Header = Annotated[
    bool | None, Parameter(help="Whether the first record of a CSV file names its columns.")
]
