"""A small model for every key over the shared one: rows of flat arrays, and their store."""

from __future__ import annotations

from streamnet.keyed.encoder import KeyedEncoder
from streamnet.keyed.models import KeyedModels, KeyScores

__all__ = ("KeyScores", "KeyedEncoder", "KeyedModels")
