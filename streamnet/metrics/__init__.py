"""Prequential (test-then-train) metrics: overall, over a sliding window and with fading."""

from __future__ import annotations

from streamnet.metrics.classification import ClassificationBaselines, ClassificationEvaluator
from streamnet.metrics.evaluation import Evaluation, RegressionEvaluation
from streamnet.metrics.formulas import METRICS, Metric
from streamnet.metrics.ranking import ScoreHistograms
from streamnet.metrics.regression import RegressionBaselines, RegressionEvaluator
from streamnet.metrics.windows import Curve, Horizon

__all__ = (
    "METRICS",
    "ClassificationBaselines",
    "ClassificationEvaluator",
    "Curve",
    "Evaluation",
    "Horizon",
    "Metric",
    "RegressionBaselines",
    "RegressionEvaluation",
    "RegressionEvaluator",
    "ScoreHistograms",
)
