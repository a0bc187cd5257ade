"""The names of the drift detectors, as run files, command line and HTTP API accept them."""

from __future__ import annotations

from typing import Literal

__all__ = ("DriftMethod",)

DriftMethod = Literal["adwin", "page_hinkley", "ddm", "hddm_a", "hddm_w", "none"]
"""The names in `streamnet.drift.DETECTORS`, and "none"."""
