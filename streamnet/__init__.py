"""streamnet learns from a stream with a whole population of small neural networks at once.

`replay` learns files, and `replay_many` many of them with many settings; `OnlineClassifier` and
`OnlineRegressor` learn sample by sample or as estimators of scikit-learn, `KeyedClassifier` and
`KeyedRegressor` with a model for every key, a `Pipeline` learns any source under asyncio or trio,
and an `Engine` learns a set in epochs. What they leave is a `Model`, which answers and never
changes. All errors that they raise on purpose are in `streamnet.errors`, below `StreamnetError`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from streamnet.version import __version__

if TYPE_CHECKING:
    from streamnet.datasets import Sample, Set, kfold, split
    from streamnet.engine import Engine
    from streamnet.explanations import explain, partial_dependence, permutation_importance
    from streamnet.guests import Guest
    from streamnet.metrics import Evaluation, RegressionEvaluation
    from streamnet.modelfiles import Model
    from streamnet.networks import CandidateSettings, NeuralNetwork
    from streamnet.online import (
        AutoEncoder,
        ExplanationHistory,
        KeyedClassifier,
        KeyedRegressor,
        OnlineClassifier,
        OnlineRegressor,
    )
    from streamnet.pipeline import Callback, Champion, Pipeline, Result, State
    from streamnet.runs.fleet import FleetResult, replay_fleet
    from streamnet.runs.replay import replay
    from streamnet.runs.sweep import Sweep, replay_many
    from streamnet.samples import Kind, Task
    from streamnet.sources import IterableSource, open_files
    from streamnet.sources.brokers.kafka import KafkaSource
    from streamnet.sources.brokers.mqtt import MqttSource
    from streamnet.sources.brokers.nats import NatsSource
    from streamnet.sources.brokers.redis import RedisSource


__all__ = (
    "AutoEncoder",
    "Callback",
    "CandidateSettings",
    "Champion",
    "Engine",
    "Evaluation",
    "ExplanationHistory",
    "FleetResult",
    "Guest",
    "IterableSource",
    "KafkaSource",
    "KeyedClassifier",
    "KeyedRegressor",
    "Kind",
    "Model",
    "MqttSource",
    "NatsSource",
    "NeuralNetwork",
    "OnlineClassifier",
    "OnlineRegressor",
    "Pipeline",
    "RedisSource",
    "RegressionEvaluation",
    "Result",
    "Sample",
    "Set",
    "State",
    "Sweep",
    "Task",
    "__version__",
    "explain",
    "kfold",
    "open_files",
    "partial_dependence",
    "permutation_importance",
    "replay",
    "replay_fleet",
    "replay_many",
    "split",
)

# Names are imported when they are first used: `streamnet --help` must not wait for numba.
_HOMES = {
    "AutoEncoder": "streamnet.online",
    "Callback": "streamnet.pipeline",
    "CandidateSettings": "streamnet.networks",
    "Champion": "streamnet.pipeline",
    "Engine": "streamnet.engine",
    "Evaluation": "streamnet.metrics",
    "ExplanationHistory": "streamnet.online",
    "FleetResult": "streamnet.runs.fleet",
    "Guest": "streamnet.guests",
    "IterableSource": "streamnet.sources",
    "KafkaSource": "streamnet.sources.brokers.kafka",
    "KeyedClassifier": "streamnet.online",
    "KeyedRegressor": "streamnet.online",
    "Kind": "streamnet.samples",
    "Model": "streamnet.modelfiles",
    "MqttSource": "streamnet.sources.brokers.mqtt",
    "NatsSource": "streamnet.sources.brokers.nats",
    "NeuralNetwork": "streamnet.networks",
    "OnlineClassifier": "streamnet.online",
    "OnlineRegressor": "streamnet.online",
    "Pipeline": "streamnet.pipeline",
    "RedisSource": "streamnet.sources.brokers.redis",
    "RegressionEvaluation": "streamnet.metrics",
    "Result": "streamnet.pipeline",
    "Sample": "streamnet.datasets",
    "Set": "streamnet.datasets",
    "State": "streamnet.pipeline",
    "Sweep": "streamnet.runs.sweep",
    "Task": "streamnet.samples",
    "explain": "streamnet.explanations",
    "kfold": "streamnet.datasets",
    "open_files": "streamnet.sources",
    "partial_dependence": "streamnet.explanations",
    "permutation_importance": "streamnet.explanations",
    "replay": "streamnet.runs.replay",
    "replay_fleet": "streamnet.runs.fleet",
    "replay_many": "streamnet.runs.sweep",
    "split": "streamnet.datasets",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'streamnet' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
