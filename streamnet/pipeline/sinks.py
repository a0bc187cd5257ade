"""Sink: what takes served blocks."""

from __future__ import annotations

from collections.abc import Callable

from streamnet.learning.serving import Served

__all__ = ("Sink",)

Sink = Callable[[Served], None]
"""Takes every served block in order, in a worker thread; what it raises ends the run."""
