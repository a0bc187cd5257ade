"""Sample: one vector of numbers with its label or its value."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any
from typing import final

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError

__all__ = ("Sample", "check_text")


@final
@dataclass(frozen=True, slots=True, eq=False, init=False)
class Sample:
    """One observation of a `Set`, which never changes.

    Equal samples have the same vector, label and value; they hash alike.

    Args:
        vector: The inputs, shape (d,) with d >= 1; a read-only float64 copy is kept.
        label: The class, where it is one of a classification.
        value: The number to predict, where it is one of a regression.

    Raises:
        ConfigurationError: If the vector is empty, has another shape, or anything is no finite
            number.

    >>> Sample([1, 0.5], label="rock") == Sample([1.0, 0.5], label="rock")
    True
    >>> Sample([float("nan")], value=1.0)
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: vector has nan as number 0, but must be finite
    """

    vector: NDArray[np.float64]
    label: str | None
    value: float | None

    def __init__(
        self, vector: ArrayLike, label: str | None = None, value: float | None = None
    ) -> None:
        if label is not None:
            check_text("label", label)
        try:
            finite = value is None or isfinite(value)
        except (TypeError, OverflowError):
            raise ConfigurationError(f"value is {value!r:.80}, but must be a number") from None
        if not finite:
            raise ConfigurationError(f"value is {value}, but must be finite")
        # The fields of a frozen class can only be set this way.
        object.__setattr__(self, "vector", _vector(vector))
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "value", None if value is None else float(value))

    def __reduce__(self) -> tuple[Any, ...]:
        # Through `__init__`: an array of numpy comes back from a pickle as one that can be changed.
        return Sample, (self.vector, self.label, self.value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sample):
            return NotImplemented
        same = self.label == other.label and self.value == other.value
        return same and np.array_equal(self.vector, other.vector)

    def __hash__(self) -> int:
        return hash((self.vector.tobytes(), self.label, self.value))


def check_text(what: str, text: object) -> None:
    """Refuse a name that no file could hold.

    Raises:
        ConfigurationError: If it is no text, or has lone surrogates, which UTF-8 does not have.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"{what} is {text!r}, but must be a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{what} is {text!r}, but must be valid Unicode") from error


def _vector(given: ArrayLike) -> NDArray[np.float64]:
    try:
        vector = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"vector is {given!r}, but must be numbers") from error
    if vector.ndim != 1 or not vector.size:
        raise ConfigurationError(f"vector has shape {vector.shape}, but must have one axis of >= 1")
    if not np.isfinite(vector).all():
        at = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise ConfigurationError(f"vector has {vector[at]} as number {at}, but must be finite")
    vector += 0.0  # no negative zero, so that equal vectors have equal bytes
    vector.flags.writeable = False
    return vector
