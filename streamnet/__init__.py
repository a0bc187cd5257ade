"""streamnet learns from a stream with a whole population of small neural networks at once."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from streamnet.modelfiles import Model
    from streamnet.networks import CandidateSettings
    from streamnet.online import AutoEncoder
    from streamnet.online import OnlineClassifier
    from streamnet.online import OnlineRegressor
    from streamnet.pipeline import Champion
    from streamnet.pipeline import Pipeline
    from streamnet.pipeline import Result
    from streamnet.pipeline import State
    from streamnet.replaying import replay
    from streamnet.samples import Kind
    from streamnet.samples import Task
    from streamnet.sources import IterableSource
    from streamnet.sources import open_files

__all__ = (
    "AutoEncoder",
    "CandidateSettings",
    "Champion",
    "IterableSource",
    "Kind",
    "Model",
    "OnlineClassifier",
    "OnlineRegressor",
    "Pipeline",
    "Result",
    "State",
    "Task",
    "open_files",
    "replay",
)

# Names are imported when they are first used: `streamnet --help` must not wait for numba.
_HOMES = {
    "AutoEncoder": "streamnet.online",
    "CandidateSettings": "streamnet.networks",
    "Champion": "streamnet.pipeline",
    "IterableSource": "streamnet.sources",
    "Kind": "streamnet.samples",
    "Model": "streamnet.modelfiles",
    "OnlineClassifier": "streamnet.online",
    "OnlineRegressor": "streamnet.online",
    "Pipeline": "streamnet.pipeline",
    "Result": "streamnet.pipeline",
    "State": "streamnet.pipeline",
    "Task": "streamnet.samples",
    "open_files": "streamnet.sources",
    "replay": "streamnet.replaying",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'streamnet' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
