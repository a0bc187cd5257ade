"""The batch engine: trains many networks for several epochs on a data set, with a holdout part."""

from __future__ import annotations

from streamnet.engine.engine import Engine, EngineProgress, Trained
from streamnet.engine.holdout import Improvement
from streamnet.settings.engine import EngineSettings

__all__ = ("Engine", "EngineProgress", "EngineSettings", "Improvement", "Trained")
