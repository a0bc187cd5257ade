"""Checked: numbers that are given as settings, as Python's own, which JSON and states can hold."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError

__all__ = ("flag", "native", "numbers", "real", "whole")


def whole(name: str, value: object) -> int:
    """A whole number, whichever type of whole number it has.

    Args:
        name: Of the setting.
        value: What was given.

    Raises:
        ConfigurationError: If it is none.

    >>> import numpy as np
    >>> whole("units", np.uint8(3))
    3
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigurationError(f"{name} is {value!r}, but must be a whole number")
    return int(value)


def real(name: str, value: object) -> float:
    """A number, whichever type it has; a whole one stays one.

    Args:
        name: Of the setting.
        value: What was given.

    Raises:
        ConfigurationError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigurationError(f"{name} is {value!r}, but must be a number")
    return int(value) if isinstance(value, Integral) else float(value)


def flag(name: str, value: object) -> bool:
    """True or False, also numpy's.

    Args:
        name: Of the setting.
        value: What was given.

    Raises:
        ConfigurationError: If it is something else.
    """
    if not isinstance(value, bool | np.bool_):
        raise ConfigurationError(f"{name} is {value!r}, but must be True or False")
    return bool(value)


def numbers(name: str, given: ArrayLike) -> NDArray[np.float64]:
    """Numbers as an array, whichever shape they have.

    Args:
        name: Of the argument.
        given: What was given.

    Raises:
        ConfigurationError: If one is none, or rows differ in length.

    >>> numbers("answers", [1, 2.5])
    array([1. , 2.5])
    """
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{name} is {given!r:.80}, but must be numbers, as many in each row"
        ) from error


def native(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name with Python's own numbers in place of numpy's, and types by their names.

    Args:
        settings: Values, and mappings of them.

    >>> import numpy as np
    >>> native({"alpha": np.float64(0.5), "encoder": {"clip": np.int64(3)}})
    {'alpha': 0.5, 'encoder': {'clip': 3}}
    """
    return {name: _native(value) for name, value in settings.items()}


def _native(value: Any) -> Any:
    if isinstance(value, Mapping):
        return native(value)
    if isinstance(value, np.dtype | type):
        return np.dtype(value).name
    return value.item() if isinstance(value, np.generic) else value
