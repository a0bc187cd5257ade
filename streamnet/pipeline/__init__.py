"""The live pipeline: stages joined by bounded channels, checkpoints and outputs."""

from __future__ import annotations

from streamnet.pipeline.outputs.champions import Champion
from streamnet.pipeline.outputs.predictions import Predictions
from streamnet.pipeline.outputs.rejections import Rejections
from streamnet.pipeline.pipeline import Pipeline, Result
from streamnet.pipeline.state.store import State
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
