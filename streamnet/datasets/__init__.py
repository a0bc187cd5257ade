"""Data sets that are held in memory: loading, saving and splitting."""

from __future__ import annotations

from streamnet.datasets.set import Sample, Set
from streamnet.datasets.splits import kfold, split

__all__ = ("Sample", "Set", "kfold", "split")
