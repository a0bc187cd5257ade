"""The types that users of the package see: mypy reads this file, nothing runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import streamnet
from streamnet.client import AsyncClient, Client, schemas
from streamnet.reporting import outcomes, report

# Asked for, not assigned: a name that were `Any` would pass every other check.
assert_type(streamnet.OnlineClassifier(seed=1), streamnet.OnlineClassifier)
assert_type(streamnet.OnlineRegressor(), streamnet.OnlineRegressor)


def estimators(X: NDArray[np.float64], y: NDArray[np.int64]) -> None:
    candidates = [streamnet.CandidateSettings(hidden=(8,), learning_rate=0.1)]
    classifier = streamnet.OnlineClassifier(candidates, kinds={"zip": streamnet.Kind.CATEGORY})
    classifier.learn_one({"x": 1, "zip": "8000", "gap": None}, True)
    assert_type(classifier.predict_proba_one({"x": 1}), dict[Any, float])
    assert_type(
        classifier.partial_fit(X, y).partial_fit(X.tolist(), y.tolist()).served, dict[str, float]
    )
    assert_type(classifier.predict_proba(X), NDArray[np.floating[Any]])
    assert_type(classifier.model(), streamnet.Model)
    regressor = streamnet.OnlineRegressor()
    assert_type(regressor.predict_one({"x": 1}), float)
    assert_type(regressor.predict([{"x": 1}]), NDArray[np.float64])
    coder = streamnet.AutoEncoder(8, hidden=(32,)).partial_fit(X)
    assert_type(coder.encode(X), NDArray[np.float32])
    assert_type(coder.score_and_learn(X), NDArray[np.float64])
    assert_type(coder.score_one({"x": 1}), float)
    assert_type(classifier.outlier_score_one({"x": 1}), float)


def files() -> None:
    result = streamnet.replay("a.csv", target="y", task="regression", candidates=4, model="m.json")
    assert_type(result, streamnet.Result)
    assert_type(result.report, dict[str, Any])
    assert_type(result.model.labels, tuple[str, ...])
    result.model.save("m.safetensors")
    assert_type(streamnet.Model.load("m.safetensors"), streamnet.Model)


def sets() -> None:
    made = streamnet.Set.load("a.csv", task="classification", rejected="collect")
    assert_type(made, streamnet.Set)
    assert_type(made[0], streamnet.Sample)
    assert_type(made[1:], streamnet.Set)
    training, test = streamnet.split(made.targets(), (0.7, 0.3), task=made.task)
    assert_type(made[training].vectors(), NDArray[np.float64])
    evaluation = streamnet.Evaluation.of(["a"], probabilities=[[1.0]], labels=made.labels)
    assert_type(evaluation.per_class(), dict[str, dict[str, float]])
    streamnet.Evaluation.of(made.targets(), streamnet.Model.load("m.json").predict(made.block()))
    assert_type(streamnet.RegressionEvaluation.of([1.0], [2.0]).measures(), dict[str, float])
    assert_type(test, NDArray[np.int64])


def network_by_hand(X: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    settings = streamnet.CandidateSettings.gopher(hidden=(16, 8), learning_rate=0.1)
    network = streamnet.NeuralNetwork(8, settings, labels=["R", "M"], seed=1, dtype="float32")
    assert_type(network.learn(X, y, rate=0.5), NDArray[np.floating[Any]])
    assert_type(network.calculate(X[0].tolist()), NDArray[np.floating[Any]])
    assert_type(network.calculate_labels(X[0]), dict[str, float])
    assert_type(network.winner_label(X[0]), str)
    network.weights = [matrix * 2 for matrix in network.copy().weights]
    model = streamnet.Model.of(network, names=list("abcdefgh"))
    assert_type(model.neural_network(), streamnet.NeuralNetwork)
    model.export("gopher.json")
    start = streamnet.Model.from_gopher("gopher.json", learning_rate=0.1)
    streamnet.OnlineClassifier(start=start, serve="champion").learn_one({"a": 1}, "R")


async def pipeline(rows: AsyncIterator[dict[str, Any]]) -> None:
    source = streamnet.IterableSource(rows, target="y", task=streamnet.Task.REGRESSION)
    async with streamnet.Pipeline(source, seed=1) as running:
        async for champion in running.champions():
            assert_type(champion, streamnet.Champion)
            assert_type(champion.model, streamnet.Model)
    assert_type(await streamnet.Pipeline(source).run(), streamnet.Result)


def engine() -> None:
    learner = streamnet.Engine("regression", tries=2)
    trained = learner.fit("a.csv", target="y")
    assert_type(trained.model, streamnet.Model)
    assert_type(trained.report, dict[str, Any])
    assert_type(learner.winner, streamnet.Model)


async def daemon() -> None:
    blocking, awaiting = Client(), AsyncClient()
    assert_type(blocking.predict("a", [{"x": 1}], ids=["b"]), schemas.Predictions)
    assert_type(blocking.leaders("a"), list[report.LeaderBoardRow])
    assert_type(await awaiting.confusion("a"), outcomes.Confusion | outcomes.Residuals)
    assert_type(await awaiting.delete("a"), None)
    awaiting.status(7)  # type: ignore[arg-type]
    blocking.learn("a", [], sure=True)  # type: ignore[call-arg]
