"""Selection: which candidate answers."""

from __future__ import annotations

from streamnet.selection.selector import Selector
from streamnet.selection.selector import Switch

__all__ = ("Selector", "Switch")
