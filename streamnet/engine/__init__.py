"""The engine: sets learned in epochs by many networks at once, with a part held out."""

from __future__ import annotations

from streamnet.engine.engine import Engine
from streamnet.engine.engine import EngineProgress
from streamnet.engine.engine import Trained
from streamnet.engine.settings import EngineSettings
from streamnet.engine.winners import Improvement

__all__ = ("Engine", "EngineProgress", "EngineSettings", "Improvement", "Trained")
