"""Selection: which candidate answers."""

from __future__ import annotations

from streamnet.selection.criteria import CRITERIA
from streamnet.selection.criteria import Criterion
from streamnet.selection.criteria import Tally
from streamnet.selection.criteria import criterion
from streamnet.selection.selector import Selector
from streamnet.selection.selector import Switch

__all__ = ("CRITERIA", "Criterion", "Selector", "Switch", "Tally", "criterion")
