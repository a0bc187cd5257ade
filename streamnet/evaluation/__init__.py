"""Prequential evaluation: how good, how lately, and against which baselines."""

from __future__ import annotations

from streamnet.evaluation.baselines import ClassificationBaselines
from streamnet.evaluation.baselines import RegressionBaselines
from streamnet.evaluation.classification import ClassificationEvaluator
from streamnet.evaluation.curve import Curve
from streamnet.evaluation.horizons import Horizon
from streamnet.evaluation.regression import RegressionEvaluator

__all__ = (
    "ClassificationBaselines",
    "ClassificationEvaluator",
    "Curve",
    "Horizon",
    "RegressionBaselines",
    "RegressionEvaluator",
)
