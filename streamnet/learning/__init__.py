"""Learning: from an encoded block to the served prediction, its score and the next decision."""

from __future__ import annotations

from streamnet.learning.learner import Learner
from streamnet.selection.search import default_population

__all__ = ("Learner", "default_population")
