"""Prequential evaluation: how good, how lately, against which baselines, and has it changed."""

from __future__ import annotations

from streamnet.evaluation.baselines import ClassificationBaselines
from streamnet.evaluation.baselines import RegressionBaselines
from streamnet.evaluation.classification import ClassificationEvaluator
from streamnet.evaluation.curve import Curve
from streamnet.evaluation.drift import ADWIN
from streamnet.evaluation.drift import DDM
from streamnet.evaluation.drift import HDDMA
from streamnet.evaluation.drift import HDDMW
from streamnet.evaluation.drift import Change
from streamnet.evaluation.drift import Direction
from streamnet.evaluation.drift import DriftDetector
from streamnet.evaluation.drift import PageHinkley
from streamnet.evaluation.evaluation import Evaluation
from streamnet.evaluation.horizons import Horizon
from streamnet.evaluation.regression import RegressionEvaluator
from streamnet.evaluation.regression_evaluation import RegressionEvaluation

__all__ = (
    "ADWIN",
    "DDM",
    "HDDMA",
    "HDDMW",
    "Change",
    "ClassificationBaselines",
    "ClassificationEvaluator",
    "Curve",
    "Direction",
    "DriftDetector",
    "Evaluation",
    "Horizon",
    "PageHinkley",
    "RegressionBaselines",
    "RegressionEvaluation",
    "RegressionEvaluator",
)
