"""Drift detectors: whether the mean of a sequence has changed, where, and by how much."""

from __future__ import annotations

from streamnet.drift.adwin import ADWIN
from streamnet.drift.base import Change, DriftDetector
from streamnet.drift.ddm import DDM
from streamnet.drift.hddm_a import HDDMA
from streamnet.drift.hddm_w import HDDMW
from streamnet.drift.page_hinkley import PageHinkley
from streamnet.settings.drift import Direction

__all__ = ("ADWIN", "DDM", "HDDMA", "HDDMW", "Change", "Direction", "DriftDetector", "PageHinkley")
