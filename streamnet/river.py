"""Estimators for River's evaluators, pipelines, selections and ensembles; needs River.

>>> from river import datasets, evaluate, metrics
>>> import streamnet.river
>>> model = streamnet.river.Classifier(seed=1)
>>> score = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy(), delay=20)
>>> score.get() > 0.85
True
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from river import base

from streamnet.online import AutoEncoder, OnlineClassifier, OnlineRegressor
from streamnet.samples import Sample


class _Estimator:
    """What all share: one of our estimators, made from the settings of the constructor.

    River clones a model by its settings, reads them from the attributes of their names, and from
    ``settings`` those without a name of their own.
    """

    _kind: type[Any]

    def _start(self, **given: Any) -> None:
        for name, value in given.items():
            setattr(self, name, value)
        self._estimator = self._kind(**{**given.pop("settings"), **given})
        self._known: set[Any] = set()

    def _order(self, x: Mapping[Any, Any]) -> Sample:
        """The features, of which new ones come in an order that does not depend on the dict."""
        if x.keys() <= self._known:
            return x
        return {str(key): x[key] for key in sorted(x, key=str)}

    def _learn(self, x: Mapping[Any, Any], *target: Any) -> None:
        self._estimator.learn_one(self._order(x), *target)
        if not x.keys() <= self._known:
            self._known.update(key for key in x if isinstance(key, str))


class _Supervised(_Estimator):
    """What has a population of networks, and learns targets."""

    def __init__(self, candidates: Any = None, seed: int = 0, **settings: Any) -> None:
        self._start(candidates=candidates, seed=seed, settings=settings)

    def learn_one(self, x: Mapping[Any, Any], y: Any, w: float = 1.0) -> None:
        """Predict, score and then learn one sample.

        Args:
            x: Features by name.
            y: The label or number.
            w: How much the sample counts.
        """
        self._learn(x, y, w)


@final
class Classifier(_Supervised, base.Classifier):
    """`streamnet.OnlineClassifier` as a classifier of River.

    The order of a dict's keys changes nothing, and names of features may be any objects.

    Args:
        candidates: Settings of each network; None uses the default population.
        seed: Random seed.
        settings: More settings of `streamnet.OnlineClassifier`.

    Raises:
        ConfigurationError: If a setting is unknown; or if one is invalid, with the first sample.
    """

    _kind = OnlineClassifier

    @property
    def _multiclass(self) -> bool:
        return True

    def predict_one(self, x: Mapping[Any, Any]) -> Any:
        """Predict the label of the next sample; None before the first one.

        Args:
            x: Features by name.
        """
        return self._estimator.predict_one(self._order(x))

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[Any, float]:
        """Predict the probability of each label; empty before the first sample.

        Args:
            x: Features by name.
        """
        found: dict[Any, float] = self._estimator.predict_proba_one(self._order(x))
        return found


@final
class Regressor(_Supervised, base.Regressor):
    """`streamnet.OnlineRegressor` as a regressor of River.

    The order of a dict's keys changes nothing, and names of features may be any objects.

    Args:
        candidates: Settings of each network; None uses the default population.
        seed: Random seed.
        settings: More settings of `streamnet.OnlineRegressor`.

    Raises:
        ConfigurationError: If a setting is unknown; or if one is invalid, with the first sample.
    """

    _kind = OnlineRegressor

    def predict_one(self, x: Mapping[Any, Any]) -> float:
        """Predict the number of the next sample; 0 before the first one.

        Args:
            x: Features by name.
        """
        return float(self._estimator.predict_one(self._order(x)))


@final
class AnomalyDetector(_Estimator, base.AnomalyDetector):
    """`streamnet.AutoEncoder` as an anomaly detector of River.

    The order of a dict's keys changes nothing, and names of features may be any objects.

    Args:
        code: Length of the code.
        seed: Random seed.
        settings: More settings of `streamnet.AutoEncoder`.

    Raises:
        ConfigurationError: If a setting is unknown; or if one is invalid, with the first sample.
    """

    _kind = AutoEncoder

    def __init__(self, code: int = 16, seed: int = 0, **settings: Any) -> None:
        self._start(code=code, seed=seed, settings=settings)

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        """Learn one sample.

        Args:
            x: Features by name.
        """
        self._learn(x)

    def score_one(self, x: Mapping[Any, Any]) -> float:
        """Compute the outlier score of a sample: above 3 is rare; 0 before the first samples.

        Args:
            x: Features by name.
        """
        return float(self._estimator.score_one(self._order(x)))
