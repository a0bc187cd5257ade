"""Learning: what happens to a block, from its encoding to the champion's answer."""

from __future__ import annotations

from streamnet.learning.learner import Learner
from streamnet.learning.search import default_population

__all__ = ("Learner", "default_population")
