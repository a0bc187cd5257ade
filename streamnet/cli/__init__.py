"""The command line; the modules import heavy parts only when a command runs."""

from __future__ import annotations

__all__ = ()
