"""Drift detectors: detect changes in the mean of a sequence, when they happened and how large."""

from __future__ import annotations

from streamnet.drift.adwin import ADWIN
from streamnet.drift.base import DETECTORS, Change, Direction, DriftDetector
from streamnet.drift.ddm import DDM
from streamnet.drift.hddm import HDDMA, HDDMW
from streamnet.drift.page_hinkley import PageHinkley

__all__ = (
    "ADWIN",
    "DDM",
    "DETECTORS",
    "HDDMA",
    "HDDMW",
    "Change",
    "Direction",
    "DriftDetector",
    "PageHinkley",
)
