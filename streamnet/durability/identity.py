"""Settings that must be the same when a run goes on, and how a difference is told."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

__all__ = ("differences", "flat")


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted name, without those that are None; lists are numbered.

    >>> flat({"run": {"seed": 1, "threads": None}, "drop": ["a"]})
    {'run.seed': 1, 'drop.0': 'a'}
    """
    return dict(_walk(settings, ""))


def _walk(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _walk(entry, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from _walk(entry, f"{name}.{number}")
    elif value is not None:
        yield name, value


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A phrase for each setting that is not as it was.

    >>> differences({"seed": 1, "drop": ["a"]}, {"seed": 2})
    ['seed is 2, but was 1', 'drop.0 is not given, but was a']
    """
    old, new = flat(before), flat(now)
    return [
        f"{name} is {_said(new, name)}, but was {_said(old, name)}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]


def _said(settings: dict[str, Any], name: str) -> str:
    return str(settings[name]) if name in settings else "not given"
