"""Unknown settings are rejected by name, with a suggestion."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from streamnet.errors import ConfigurationError
from streamnet.online import AutoEncoder, OnlineClassifier, OnlineRegressor
from streamnet.pipeline import Pipeline
from streamnet.sources import IterableSource


def pipeline(**settings: Any) -> Pipeline:
    return Pipeline(IterableSource([], target="y"), **settings)


def use(kind: type[OnlineClassifier | OnlineRegressor], **settings: Any) -> None:
    """Make and use an estimator: its settings are checked then."""
    kind(**settings).predict_one({"x": 1})


LEARNERS = (partial(use, OnlineClassifier), partial(use, OnlineRegressor), pipeline)


@pytest.mark.parametrize("make", LEARNERS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"windw": 9}, r"windw is not a known setting of [A-Z]\w+; did you mean 'window'\?"),
        ({"task": "regression"}, "task is not a known setting"),
        (
            {"encoder": {"scalin": "rank"}},
            r"encoder\.scalin is not a known setting; did you mean 'scaling'\?",
        ),
        (
            {"evolution": {"evry": 1}},
            r"evolution\.evry is not a known setting; did you mean 'every'\?",
        ),
        ({"evolution": True}, "evolution is True, but must be a dict of settings by name"),
        ({"candidates": 8}, "candidates has 8, but must be a list of CandidateSettings"),
        ({"candidates": [{"hidden": (3,)}]}, r"candidates has \{'hidden': \(3,\)\}, but must be a"),
    ],
)
def test_an_unknown_setting_is_rejected(
    make: Callable[..., Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make(**settings)


@pytest.mark.parametrize("source", ["x.csv", [{"x": 1}]])
def test_a_pipeline_rejects_other_objects_than_sources(source: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"source is of type (str|list), but must be a So"):
        Pipeline(source)


@pytest.mark.parametrize("encoder", [{"scalin": "rank"}, {"autoencoder": {"code": 3}}])
def test_an_unknown_setting_of_an_auto_encoder_is_rejected(encoder: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"encoder\.\w+ is not a known setting; "):
        AutoEncoder(encoder=encoder).score_one({"x": 1})
    with pytest.raises(
        ConfigurationError, match="cod is not a known setting of AutoEncoder; did you mean 'code'"
    ):
        AutoEncoder(cod=3)  # type: ignore[call-arg]


def test_settings_of_an_estimator_and_of_its_learner_are_known() -> None:
    made = OnlineClassifier(seed=1, window=9, encoder={"clip": 4.0}, evolution={"every": 0})
    assert made.predict_one({"x": 1}) is None
    with pytest.raises(ConfigurationError, match=r"start is 'm\.json', but must be a Model"):
        OnlineClassifier(start="m.json").predict_one({"x": 1})  # type: ignore[arg-type]
