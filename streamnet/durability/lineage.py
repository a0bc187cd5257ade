"""Lineage: which history a state belongs to, told by an identifier without any chance in it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ("branch", "root")

_LENGTH = 16


def root(identity: dict[str, Any]) -> str:
    """The lineage of a run that begins: the same for the same settings.

    >>> root({"seed": 1}) == root({"seed": 1}), root({"seed": 1}) == root({"seed": 2})
    (True, False)
    """
    return _digest("root", json.dumps(identity, sort_keys=True, default=str))


def branch(parent: str, generation: int, made: int) -> str:
    """The lineage of what goes on from an earlier generation than the newest.

    Args:
        parent: Lineage of the generation that it goes on from.
        generation: Number of that generation.
        made: Number of the generation that begins the new lineage.
    """
    return _digest("branch", parent, str(generation), str(made))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_LENGTH]
