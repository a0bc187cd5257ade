"""Sets of samples: loaded, split by class or quantile, and kept."""

from __future__ import annotations

from streamnet.datasets.sample import Sample
from streamnet.datasets.set import Set
from streamnet.datasets.splits import kfold
from streamnet.datasets.splits import split

__all__ = ("Sample", "Set", "kfold", "split")
