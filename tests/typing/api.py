"""What types a user's program sees. mypy checks it with the tests; nothing here is ever called.

Each `type: ignore` is a test as well: mypy complains about one that hides no error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import streamnet
from streamnet import CandidateSettings
from streamnet import Champion
from streamnet import Kind
from streamnet import Model
from streamnet import OnlineClassifier
from streamnet import OnlineRegressor
from streamnet import Pipeline
from streamnet import Result
from streamnet import Task
from streamnet.pipeline import PipelineStatistics
from streamnet.sources import Columns
from streamnet.sources import Source

SAMPLE = {"hour": 8, "day": "mon", "wind": None}


def replaying() -> None:
    result = streamnet.replay("a.csv", Path("b.csv"), target="y", seed=1)
    assert_type(result, Result)
    assert_type(result.report, dict[str, Any])
    assert_type(result.model, Model)
    report, model = result
    assert_type(report, dict[str, Any])
    assert_type(model, Model)

    streamnet.replay(3)  # type: ignore[arg-type]
    streamnet.replay("a.csv", target=3)  # type: ignore[arg-type]


def settings() -> None:
    candidate = CandidateSettings(hidden=(64, 32), activation=("tanh", "relu"), rehearsal=4)
    assert_type(candidate.hidden, tuple[int, ...])
    assert_type(candidate.learning_rate, float)
    assert_type(candidate.describe(), str)
    assert_type(candidate.as_dict(), dict[str, Any])
    assert_type(CandidateSettings.from_dict({}), CandidateSettings)

    candidate.learning_rate = 0.1  # type: ignore[misc]
    CandidateSettings(hidden=32)  # type: ignore[arg-type]
    CandidateSettings(optimizer="adam")  # type: ignore[call-arg]


def classifying(matrix: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    classifier = OnlineClassifier([CandidateSettings()], seed=1, kinds={"day": Kind.CATEGORY})
    classifier.learn_one(SAMPLE, "busy")
    assert_type(classifier.predict_one(SAMPLE), Any)
    assert_type(classifier.predict_proba_one(SAMPLE), dict[Any, float])
    assert_type(classifier.partial_fit([SAMPLE, SAMPLE], ["busy", "quiet"]), OnlineClassifier)
    assert_type(classifier.partial_fit(matrix, labels), OnlineClassifier)
    assert_type(classifier.predict(matrix), NDArray[Any])
    assert_type(classifier.predict_proba([SAMPLE]), NDArray[np.floating])
    assert_type(classifier.classes_, list[Any])
    assert_type(classifier.served, dict[str, float])
    assert_type(classifier.champion, CandidateSettings | None)
    assert_type(classifier.model(), Model)
    assert_type(classifier.export_state(), dict[str, Any])

    OnlineClassifier(kinds={"day": "category"})  # type: ignore[dict-item]
    classifier.learn_one("busy", SAMPLE)  # type: ignore[arg-type]
    classifier.learn_one(SAMPLE)  # type: ignore[call-arg]


def regressing() -> None:
    regressor = OnlineRegressor()
    regressor.learn_one(SAMPLE, 2.5)
    assert_type(regressor.predict_one(SAMPLE), float)
    assert_type(regressor.partial_fit([SAMPLE], [2.5]), OnlineRegressor)
    assert_type(regressor.predict([SAMPLE]), NDArray[np.float64])
    assert_type(regressor.model(), Model)

    regressor.predict_proba([SAMPLE])  # type: ignore[attr-defined]


def saving(model: Model) -> None:
    model.save("model.json")
    model.save(Path("model.safetensors"))
    assert_type(Model.load("model.json"), Model)
    assert_type(model.predict(SAMPLE), NDArray[Any])
    assert_type(model.predict([SAMPLE, SAMPLE]), NDArray[Any])
    assert_type(model.predict_proba(SAMPLE), NDArray[np.float64])
    assert_type(model.outputs(SAMPLE), NDArray[np.float64])
    assert_type(model.task, Task)
    assert_type(model.labels, tuple[str, ...])
    assert_type(model.settings, CandidateSettings)
    assert_type(model.about, dict[str, Any])

    model.predict("model.json")  # type: ignore[arg-type]


async def sensor() -> AsyncIterator[dict[str, Any]]:
    yield {"temperature": 20, "alarm": "off"}


async def following() -> None:
    source = streamnet.IterableSource(sensor(), target="alarm", task=Task.CLASSIFICATION)
    async with Pipeline(source, candidates=[CandidateSettings()], seed=1) as pipeline:
        assert_type(pipeline, Pipeline)
        async for champion in pipeline.champions():
            assert_type(champion, Champion)
            assert_type(champion.model, Model)
            assert_type(champion.number, int)
            assert_type(champion.settings, CandidateSettings)
        assert_type(pipeline.statistics(), PipelineStatistics)
    assert_type(pipeline.report(), dict[str, Any])
    assert_type(pipeline.result(), Result)

    Pipeline(sensor())  # type: ignore[arg-type]


async def reading() -> None:
    plain: list[dict[str, int]] = [{"x": 1, "y": 2}]
    streamnet.IterableSource(plain, target="y")
    source = streamnet.open_files(["a.csv", Path("b.csv")], columns=Columns(target="y"))
    assert_type(source, Source)
    assert_type(await Pipeline(source).run(), Result)
    assert_type(source.progress(), float | None)

    streamnet.IterableSource(3)  # type: ignore[arg-type]
