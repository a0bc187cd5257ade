"""Grids of candidate settings: every combination of lists of values."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from streamnet.errors import ConfigurationError
from streamnet.settings.candidate import CandidateSettings

__all__ = ("expand_grid", "parse_hidden")


def parse_hidden(text: str) -> tuple[int, ...]:
    """Hidden layers from a text such as ``64-32``, or ``linear`` for none.

    >>> parse_hidden("64-32"), parse_hidden("linear")
    ((64, 32), ())

    Raises:
        ConfigurationError: If it is something else.
    """
    if text in ("linear", "none"):
        return ()
    units = text.split("-")
    if not all(part.isascii() and part.isdigit() for part in units):
        raise ConfigurationError(f"hidden is {text!r}, but must be like 20, 64-32 or linear")
    return tuple(int(part) for part in units)


def expand_grid(candidates: int | None = None, **values: Sequence[Any]) -> list[CandidateSettings]:
    """Every combination of the values given for some settings; the others keep their defaults.

    Args:
        candidates: How many to make: fewer take the first combinations, more repeat them, which are
            then tries with other start weights. None makes each combination once.
        values: Lists of values by name of the setting.

    >>> [c.describe() for c in expand_grid(optimizer=["sgd"], learning_rate=[0.1, 0.2])]
    ['tanh 32, sgd 0.1', 'tanh 32, sgd 0.2']
    """
    combinations = [
        CandidateSettings(**dict(zip(values, combination, strict=True)))
        for combination in product(*values.values())
    ]
    count = len(combinations) if candidates is None else candidates
    return [combinations[i % len(combinations)] for i in range(count)]
