"""Validation of arguments: numbers and flags as plain Python values, and installed extras."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from numbers import Integral, Real
from operator import index
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from streamnet.errors import ConfigurationError
from streamnet.version import install_command


def as_kernel_array(values: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """Convert to a C-ordered, writable array of ``dtype``; copied only if necessary.

    Any other array would make numba compile a kernel again. Values out of range become infinite
    without a warning, since placeholders of missing predictions may be any number.
    """
    if type(values) is np.ndarray and values.dtype == dtype and values.flags.carray:
        return values
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(values, dtype)
    return array if array.flags.writeable else array.copy()


def as_flags(values: ArrayLike | None, default: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert flags to uint8 in the shape of ``default``, which is used for None."""
    if values is None:
        return default
    array = as_kernel_array(values, np.uint8)
    if array.shape != default.shape:
        array = np.ascontiguousarray(np.broadcast_to(array, default.shape))
    return array


def check_integer(name: str, value: object) -> int:
    """Validate an integer of any type but bool.

    >>> import numpy as np
    >>> check_integer("units", np.uint8(3))
    3
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigurationError(f"{name} is {value!r}, but must be a whole number")
    return int(value)


def check_number(name: str, value: object) -> float:
    """Validate a number of any type but bool; an integer stays an integer."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigurationError(f"{name} is {value!r}, but must be a number")
    return int(value) if isinstance(value, Integral) else float(value)


def check_bool(name: str, value: object) -> bool:
    """Validate a bool, Python's or numpy's."""
    if not isinstance(value, bool | np.bool_):
        raise ConfigurationError(f"{name} is {value!r}, but must be True or False")
    return bool(value)


def check_array(name: str, given: ArrayLike) -> NDArray[np.float64]:
    """Convert numbers to an array of any shape."""
    try:
        return np.asarray(given, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{name} is {given!r:.80}, but must be numbers, as many in each row"
        ) from error


def to_builtins(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replace numpy numbers in settings by Python ones, and types by their names.

    >>> import numpy as np
    >>> to_builtins({"alpha": np.float64(0.5), "encoder": {"clip": np.int64(3)}})
    {'alpha': 0.5, 'encoder': {'clip': 3}}
    """
    return {name: to_builtin(value) for name, value in settings.items()}


def to_builtin(value: Any) -> Any:
    """A number of numpy as Python's own, a type as its name; other values as they are."""
    if isinstance(value, Mapping):
        return to_builtins(value)
    if isinstance(value, np.dtype | type):
        return np.dtype(value).name
    return value.item() if isinstance(value, np.generic) else value


def check_extra(extra: str, *packages: str) -> None:
    """Check that the packages of an extra are installed.

    >>> check_extra("serve", "json", "nowhere")
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: nowhere is not installed, but is needed for this:
    pip install 'streamnet-learn[serve]'
    """
    for package in packages:
        if find_spec(package) is None:
            raise ConfigurationError(
                f"{package} is not installed, but is needed for this: {install_command(extra)}"
            )


def check_seed(given: SupportsIndex) -> int:
    """Validate a seed, an integer of any type."""
    try:
        seed = index(given)
    except TypeError:
        seed = -1
    if not 0 <= seed < 1 << 64:
        raise ConfigurationError(
            f"seed is {given!r}, but must be a whole number from 0 to 2**64 - 1"
        )
    return seed


def to_signed_seed(given: SupportsIndex) -> int:
    """The signed integer with the same 64 bits as a seed, as kernels take it.

    >>> to_signed_seed(7), to_signed_seed(2**64 - 7)
    (7, -7)
    """
    seed = check_seed(given)
    return seed - (1 << 64) if seed >> 63 else seed
