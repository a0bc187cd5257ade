"""How the text of an option is read, and how an option is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cyclopts import Group
from cyclopts import Parameter
from cyclopts import Token

__all__ = (
    "STANDARD_INPUT",
    "count",
    "counts",
    "numbers",
    "one",
    "pairs",
    "several",
    "text_of",
    "texts",
    "word",
)

# Stands for "-", which cyclopts would take for an option; a path of it is that of a file named so.
STANDARD_INPUT = ".//-"


def text_of(kind: Any, tokens: Sequence[Token]) -> str:  # noqa: ARG001 - cyclopts passes the type
    """A text that may be ``-``, such as the name of a file."""
    (token,) = tokens
    return _typed(token)


def texts(kind: Any, tokens: Sequence[Token]) -> tuple[str, ...]:  # noqa: ARG001
    """Values from texts with commas, such as ``--drop a,b --drop c``."""
    words = (word.strip() for token in tokens for word in _typed(token).split(","))
    return tuple(word for word in words if word)


def numbers(kind: Any, tokens: Sequence[Token]) -> tuple[float, ...]:
    """Numbers from texts with commas."""
    return tuple(_number(text, float, "a number") for text in texts(kind, tokens))


def counts(kind: Any, tokens: Sequence[Token]) -> tuple[int, ...]:
    """Whole numbers from texts with commas."""
    return tuple(_number(text, int, "a whole number") for text in texts(kind, tokens))


def _typed(token: Token) -> str:
    return "-" if token.value == STANDARD_INPUT else token.value


def _whole(kind: Any, tokens: Sequence[Token]) -> int:  # noqa: ARG001
    """A whole number as it stands: cyclopts would cut 1.5 down to 1."""
    (token,) = tokens
    return _number(token.value, int, "a whole number")  # type: ignore[no-any-return]


def _number(text: str, kind: type, what: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {what}") from None


def pairs(kind: Any, tokens: Sequence[Token]) -> tuple[tuple[str, str], ...]:  # noqa: ARG001
    """Names and values from texts such as ``--kind column=category --kind other=text``.

    A tuple, since cyclopts refuses to repeat an option that is a dict.
    """
    result: dict[str, str] = {}
    for token in tokens:
        name, sign, value = token.value.rpartition("=")
        if not sign:
            raise ValueError(f"{token.value!r} must have the form COLUMN=KIND")
        if result.setdefault(name, value) != value:
            raise ValueError(f"{name!r} can't be both {result[name]} and {value}")
    return tuple(result.items())


def several(converter: Any, metavar: str, text: str, group: Group | None = None) -> Parameter:
    """An option that takes texts with commas, and may be repeated."""
    placed: dict[str, Any] = {} if group is None else {"group": group}  # None itself would hide it
    return Parameter(
        converter=converter, n_tokens=1, negative="", metavar=metavar, help=text, **placed
    )


def one(metavar: str, text: str, name: str | None = None) -> Parameter:
    """An option of one value."""
    return Parameter(name=name, metavar=metavar, help=text)


def word(metavar: str, text: str) -> Parameter:
    """An option of one text, which may be ``-``."""
    return Parameter(converter=text_of, n_tokens=1, metavar=metavar, help=text)


def count(text: str, name: str | None = None, *, metavar: str = "N") -> Parameter:
    """An option of one whole number."""
    return Parameter(name=name, converter=_whole, n_tokens=1, metavar=metavar, help=text)
