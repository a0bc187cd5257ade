"""The daemon: models that learn and answer over HTTP, for months."""

from __future__ import annotations

__all__ = ()
