"""Models and model files; the suffix selects the format."""

from __future__ import annotations

from streamnet.modelfiles.model import Model

__all__ = ("Model",)
