"""Drift detectors: has the mean of a sequence of values changed, where, and by how much."""

from __future__ import annotations

from streamnet.evaluation.drift.adwin import ADWIN
from streamnet.evaluation.drift.ddm import DDM
from streamnet.evaluation.drift.detector import Change
from streamnet.evaluation.drift.detector import DriftDetector
from streamnet.evaluation.drift.hddm_a import HDDMA
from streamnet.evaluation.drift.hddm_w import HDDMW
from streamnet.evaluation.drift.page_hinkley import PageHinkley
from streamnet.evaluation.drift.settings import Direction

__all__ = ("ADWIN", "DDM", "HDDMA", "HDDMW", "Change", "Direction", "DriftDetector", "PageHinkley")
