"""One typed report of a run, for files, terminal, page, daemon, and library."""

from __future__ import annotations

__all__ = ()
