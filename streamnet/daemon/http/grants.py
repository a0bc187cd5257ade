"""What a token allows."""

from __future__ import annotations

from typing import NamedTuple

from streamnet.client.operation import Scope


class Grant(NamedTuple):
    """What a token allows, and the name under which its use is logged."""

    scopes: frozenset[Scope]
    name: str = ""
    models: frozenset[str] | None = None  # None: all
    rate: float | None = None  # requests a second; None: as for everyone

    def allows(self, model: str) -> bool:
        """Whether it is for a model."""
        return self.models is None or model in self.models


NOTHING = Grant(frozenset())
EVERYTHING = Grant(frozenset(Scope))
