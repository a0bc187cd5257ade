"""scikit-learn's ``partial_fit``, one sample at a time, with running scales; rates are tuned.

Its inputs and targets are standardized beforehand by what had been seen up to each sample; that is
not timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tests.benchmarks.peers.peer import BOTH, NO_ANSWER, Answers, Learn, Peer, Prepared
from tests.benchmarks.peers.rows import Rows
from tests.benchmarks.peers.scales import RunningScale, running_standardized
from tests.benchmarks.peers.tuning import tuned
from tests.benchmarks.peers.views import matrix

__all__ = ("PEERS",)

_WORDS = 1024  # inputs for a text
_HEAD = 2000  # it is slow


def _linear(rows: Rows, setting: str, seed: int) -> Any:
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    rate = {"learning_rate": "constant", "eta0": float(setting.rpartition(" ")[2])}
    if rows.classification:
        return SGDClassifier(loss="log_loss", random_state=seed, **rate)
    return SGDRegressor(random_state=seed, **rate)


def _network(rows: Rows, setting: str, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    kind = MLPClassifier if rows.classification else MLPRegressor
    rate = float(setting.rpartition(" ")[2])
    return kind(hidden_layer_sizes=(64,), learning_rate_init=rate, random_state=seed)


def _learn(rows: Rows, model: Any) -> Learn:
    inputs = matrix(rows, _WORDS)[0]
    inputs = inputs if rows.texts else running_standardized(inputs)
    if rows.classification:
        return _classify(model, inputs, rows)
    return _regress(model, inputs, rows)


def _classify(model: Any, inputs: np.ndarray, rows: Rows) -> Learn:
    classes = np.arange(len(rows.labels))

    def learn() -> Answers:
        answers = [NO_ANSWER]
        model.partial_fit(inputs[:1], rows.target[:1], classes=classes)
        for i in range(1, len(inputs)):
            answers.append(int(model.predict(inputs[i : i + 1])[0]))
            model.partial_fit(inputs[i : i + 1], rows.target[i : i + 1])
        return answers

    return learn


def _regress(model: Any, inputs: np.ndarray, rows: Rows) -> Learn:
    scale = RunningScale.of(rows.target)
    scaled = scale.scaled(rows.target)

    def learn() -> Answers:
        answers = [0.0]
        model.partial_fit(inputs[:1], scaled[:1])
        for i in range(1, len(inputs)):
            answers.append(float(model.predict(inputs[i : i + 1])[0]))
            model.partial_fit(inputs[i : i + 1], scaled[i : i + 1])
        return list(scale.restored(answers))

    return learn


def _prepare(
    make: Callable[[Rows, str, int], Any], settings: Iterable[str]
) -> Callable[[Rows, int], Prepared]:
    def prepare(rows: Rows, seed: int) -> Prepared:
        def learn(part: Rows, setting: str) -> Learn:
            return _learn(part, make(part, setting, seed))

        return tuned(rows, settings, learn, head=_HEAD)

    return prepare


_LINEAR = ("SGD 0.001", "SGD 0.01", "SGD 0.1")
_NETWORK = ("64, Adam 0.001", "64, Adam 0.005", "64, Adam 0.02")
PEERS = (
    Peer("sklearn-sgd", "scikit-learn", BOTH, random=True, prepare=_prepare(_linear, _LINEAR)),
    Peer("sklearn-mlp", "scikit-learn", BOTH, random=True, prepare=_prepare(_network, _NETWORK)),
)
