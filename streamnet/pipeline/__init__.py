"""The live pipeline: stages joined by bounded channels, checkpoints and outputs."""

from __future__ import annotations

from streamnet.pipeline.outputs import Champion, Predictions
from streamnet.pipeline.pipeline import Pipeline, Result
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.state import State
from streamnet.reporting.report import PipelineStatistics

__all__ = (
    "Champion",
    "Pipeline",
    "PipelineStatistics",
    "Predictions",
    "Rejections",
    "Result",
    "State",
)
