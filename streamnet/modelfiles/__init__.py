"""A trained model as a file: saved and loaded by suffix."""

from __future__ import annotations

from streamnet.modelfiles.model import Model

__all__ = ("Model",)
