"""The live system: stages, channels, and what they leave."""

from __future__ import annotations

from streamnet.pipeline.champions import Champion
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.predictions import Predictions
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.report import Result
from streamnet.pipeline.state import State
from streamnet.pipeline.statistics import PipelineStatistics

__all__ = (
    "Champion",
    "Pipeline",
    "PipelineStatistics",
    "Predictions",
    "Rejections",
    "Result",
    "State",
)
