"""The live pipeline: stages joined by bounded channels, checkpoints and outputs."""

from __future__ import annotations

from streamnet.pipeline.callbacks import Callback
from streamnet.pipeline.outputs import Champion, Predictions
from streamnet.pipeline.part_run import PartRun
from streamnet.pipeline.parts import Part
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.state import State
from streamnet.reporting.report import PipelineStatistics
from streamnet.reporting.result import PartResult, Result

__all__ = (
    "Callback",
    "Champion",
    "Part",
    "PartResult",
    "PartRun",
    "Pipeline",
    "PipelineStatistics",
    "Predictions",
    "Rejections",
    "Result",
    "State",
)
