"""streamnet learns from a stream with a whole population of small neural networks at once.

`replay` learns files, `OnlineClassifier` and `OnlineRegressor` learn sample by sample or as
estimators of scikit-learn, a `Pipeline` learns any source under asyncio or trio, and an `Engine`
learns a set in epochs. What they leave is a `Model`, which answers and never changes. All errors
that they raise on purpose are in `streamnet.errors`, below `StreamnetError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from streamnet.datasets import Sample
    from streamnet.datasets import Set
    from streamnet.datasets import kfold
    from streamnet.datasets import split
    from streamnet.engine import Engine
    from streamnet.evaluation import Evaluation
    from streamnet.evaluation import RegressionEvaluation
    from streamnet.modelfiles import Model
    from streamnet.networks import CandidateSettings
    from streamnet.networks import NeuralNetwork
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

    __version__: str

__all__ = (
    "AutoEncoder",
    "CandidateSettings",
    "Champion",
    "Engine",
    "Evaluation",
    "IterableSource",
    "Kind",
    "Model",
    "NeuralNetwork",
    "OnlineClassifier",
    "OnlineRegressor",
    "Pipeline",
    "RegressionEvaluation",
    "Result",
    "Sample",
    "Set",
    "State",
    "Task",
    "kfold",
    "open_files",
    "replay",
    "split",
)

# Names are imported when they are first used: `streamnet --help` must not wait for numba.
_HOMES = {
    "AutoEncoder": "streamnet.online",
    "CandidateSettings": "streamnet.networks",
    "Champion": "streamnet.pipeline",
    "Engine": "streamnet.engine",
    "Evaluation": "streamnet.evaluation",
    "IterableSource": "streamnet.sources",
    "Kind": "streamnet.samples",
    "Model": "streamnet.modelfiles",
    "NeuralNetwork": "streamnet.networks",
    "OnlineClassifier": "streamnet.online",
    "OnlineRegressor": "streamnet.online",
    "Pipeline": "streamnet.pipeline",
    "RegressionEvaluation": "streamnet.evaluation",
    "Result": "streamnet.pipeline",
    "Sample": "streamnet.datasets",
    "Set": "streamnet.datasets",
    "State": "streamnet.pipeline",
    "Task": "streamnet.samples",
    "kfold": "streamnet.datasets",
    "open_files": "streamnet.sources",
    "replay": "streamnet.replaying",
    "split": "streamnet.datasets",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            return import_module("importlib.metadata").version("streamnet")
        if name not in _HOMES:
            raise AttributeError(f"module 'streamnet' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
