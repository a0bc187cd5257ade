"""Settings that must be the same when a run goes on, and how a difference is told."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

__all__ = ("differences", "flat")


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted name; the tables of a list are numbered, and counted.

    >>> flat({"run": {"seed": 1, "threads": None}, "drop": ["a"]})
    {'run.seed': 1, 'run.threads': None, 'drop': ['a']}
    >>> flat({"candidates": [{"bias": True}]})
    {'candidates.count': 1, 'candidates.0.bias': True}
    """
    return dict(_walk(settings, ""))


def _walk(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _walk(entry, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
        yield f"{name}.count", len(value)
        for number, entry in enumerate(value):
            yield from _walk(entry, f"{name}.{number}")
    else:
        yield name, list(value) if isinstance(value, tuple) else value


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A phrase for each setting that is not as it was; one that is absent is not given.

    >>> differences({"seed": 1, "drop": ["a"], "kinds": None}, {"seed": 2, "kinds": {"a": "text"}})
    ['seed is 2, but was 1', "drop is not given, but was ['a']",
     'kinds.a is text, but was not given']
    """
    old, new = flat(before), flat(now)
    return [
        f"{name} is {_said(new.get(name))}, but was {_said(old.get(name))}"
        for name in {**old, **new}
        if new.get(name) != old.get(name)
    ]


def _said(value: Any) -> str:
    return "not given" if value is None else str(value)
