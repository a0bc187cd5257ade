"""Transformers by kind of column, and the encoders of targets.

Importing this package registers all transformers.
"""

from __future__ import annotations

from streamnet.features.columns.category import CategoryColumns
from streamnet.features.columns.identifier import IdentifierColumns
from streamnet.features.columns.number import NumberColumns
from streamnet.features.columns.text import TextColumns
from streamnet.features.columns.time import TimeColumns

__all__ = ("CategoryColumns", "IdentifierColumns", "NumberColumns", "TextColumns", "TimeColumns")
