"""Selection: which candidate, or which combination of candidates, answers."""

from __future__ import annotations

from streamnet.selection.champion import Selector, Switch
from streamnet.selection.criteria import CRITERIA, Criterion, Tally, find_criterion

__all__ = ("CRITERIA", "Criterion", "Selector", "Switch", "Tally", "find_criterion")
