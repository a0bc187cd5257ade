"""A daemon that hosts models which learn and predict over HTTP."""

from __future__ import annotations

__all__ = ()
