"""Horizons of forecasts: how far ahead of a sample the target that it predicts lies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, Self, final

from streamnet.errors import ConfigurationError
from streamnet.settings.fields import Check, Converted, Text

MAX_HORIZON = 100_000  # samples
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_SECONDS)})")
_RULE = (
    f"must be a number of samples from 1 to {MAX_HORIZON:,}, or a duration such as 30min, 24h or 7d"
)


def parse_duration(text: str) -> float | None:
    """Seconds of a duration such as ``2h``; None if it is none.

    >>> parse_duration("90min"), parse_duration("1.5 h"), parse_duration("soon")
    (5400.0, 5400.0, None)
    """
    found = _DURATION.fullmatch(text.strip())
    return None if found is None else float(found[1]) * _SECONDS[found[2]]


@final
class Horizon(NamedTuple):
    """How far ahead a target is predicted: a number of samples, or a time span.

    >>> Horizon.parse(24), Horizon.parse("24h")
    (Horizon(samples=24, seconds=None), Horizon(samples=0, seconds=86400.0))
    """

    samples: int = 0
    seconds: float | None = None

    @classmethod
    def parse(cls, given: int | str) -> Self:
        """The horizon of a setting.

        Raises:
            ConfigurationError: If it is neither a number of samples nor a duration.
        """
        if str(given).strip().isdecimal():
            if 1 <= (samples := int(given)) <= MAX_HORIZON:
                return cls(samples)
        elif isinstance(given, str) and (seconds := parse_duration(given)):
            return cls(0, seconds)
        raise ConfigurationError(f"horizon is {given!r}, but {_RULE}")


def list_horizons(given: Any) -> tuple[int | str, ...]:
    """The horizons of a setting, each a number of samples or a duration; empty for none.

    >>> list_horizons("1, 24, 7d"), list_horizons([24]), list_horizons(None)
    ((1, 24, '7d'), (24,), ())

    Raises:
        ConfigurationError: If one is invalid or given twice.
    """
    if given is None:
        return ()
    if isinstance(given, str):
        given = given.split(",")
    found: list[int | str] = []
    for one in given if isinstance(given, Sequence) else [given]:
        text = str(one).strip()
        Horizon.parse(text if isinstance(one, str) else one)
        value = int(text) if text.isdecimal() else text.replace(" ", "")
        if value in found:
            raise ConfigurationError(f"horizon has {value!r} twice, but each must be another one")
        found.append(value)
    if not found:
        raise ConfigurationError(f"horizon is {given!r}, but {_RULE}")
    return tuple(found)


def describe_horizon(given: int | str) -> str:
    """A horizon in words.

    >>> describe_horizon(1), describe_horizon(24), describe_horizon("24h")
    ('1 sample', '24 samples', '24h')
    """
    return f"{given} sample{'' if given == 1 else 's'}" if isinstance(given, int) else given


def describe_target(target: str, horizon: int | str | None) -> str:
    """What is predicted, in words.

    >>> describe_target("cnt", None), describe_target("cnt", 24)
    ('cnt', 'cnt, 24 samples ahead')
    """
    return target if horizon is None else f"{target}, {describe_horizon(horizon)} ahead"


def check_horizons(given: Any) -> int | str | tuple[int | str, ...]:
    """The only horizon of a setting, or all of several.

    >>> check_horizons("24"), check_horizons("1,24h")
    (24, (1, '24h'))
    """
    found = list_horizons(given)
    return found[0] if len(found) == 1 else found


Horizons = Annotated[
    Text | int | tuple[Text | int, ...], Converted(check_horizons), Check(check_horizons)
]
"""One horizon or several; a text may list them."""
