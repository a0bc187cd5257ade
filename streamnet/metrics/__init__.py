"""Prequential (test-then-train) metrics: overall, over a sliding window and with fading."""

from __future__ import annotations

from streamnet.metrics.baselines import ClassificationBaselines, RegressionBaselines
from streamnet.metrics.classification import ClassificationEvaluator
from streamnet.metrics.curve import Curve
from streamnet.metrics.evaluation import Evaluation, RegressionEvaluation
from streamnet.metrics.regression import RegressionEvaluator
from streamnet.metrics.windows import Horizon

__all__ = (
    "ClassificationBaselines",
    "ClassificationEvaluator",
    "Curve",
    "Evaluation",
    "Horizon",
    "RegressionBaselines",
    "RegressionEvaluation",
    "RegressionEvaluator",
)
