"""KeyedClassifier and KeyedRegressor: estimators with a model for every key."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import ClassVar, final

from streamnet.errors import ConfigurationError, DataError
from streamnet.keyed import KeyScores
from streamnet.keyed.encoder import join_key
from streamnet.keyed.models import KeyedModels
from streamnet.modelfiles.model import Model
from streamnet.online.base import OnlineEstimator
from streamnet.online.estimators import OnlineClassifier, OnlineRegressor
from streamnet.samples import Kind
from streamnet.settings.fields import with_settings
from streamnet.settings.learning import KeySettings

Key = str | Sequence[str]
"""A key as a text, or as the texts of its columns."""


class _KeyedEstimator(OnlineEstimator):
    """What both estimators with a model for every key share."""

    _without_lags: ClassVar[bool] = False  # all are predicted as the next of their key

    def _begin(self) -> None:
        key = self._params["key"]
        columns = [key] if isinstance(key, str) else list(key)
        if not columns:
            raise ConfigurationError("key is not given, but must name columns, such as 'device'")
        # Keys are compared as texts, even if all are numbers.
        self._key_kinds = dict.fromkeys(map(str, columns), Kind.CATEGORY)
        super()._begin()

    def list_keys(self) -> list[str]:
        r"""All keys so far, in alphabetical order.

        Those of several columns are joined by ``|``; a ``|`` within a part becomes ``\|``.
        """
        with self._lock:
            return sorted(self._models().rows.list_keys())

    def key_scores(self, key: Key) -> KeyScores:
        """Return what is known about the model of a key: its losses, drifts and parts.

        Args:
            key: The key.

        Raises:
            DataError: If there is no such key.
        """
        with self._lock:
            text = join_key(key)
            scores = self._models().describe(text)
            if scores is None:
                raise DataError(self._describe_unknown(text))
            return scores

    def worst_keys(self, count: int = 10) -> list[KeyScores]:
        """The keys of the highest mean loss, of those with at least 10 samples; the worst first.

        Args:
            count: How many at most.
        """
        with self._lock:
            return self._models().rank(count, worst=True)

    def best_keys(self, count: int = 10) -> list[KeyScores]:
        """The keys of the lowest mean loss, of those with at least 10 samples; the best first.

        Args:
            count: How many at most.
        """
        with self._lock:
            return self._models().rank(count, worst=False)

    def forget_key(self, key: Key) -> None:
        """Delete the model of a key and its last targets; if it comes again, it is new.

        What the shared model has learned from it stays.

        Args:
            key: The key.

        Raises:
            DataError: If there is no such key.
        """
        with self._lock:
            text = join_key(key)
            if not self._scored_learner().forget_key(text):
                raise DataError(self._describe_unknown(text))

    def key_model(self, key: Key) -> Model:
        """Build an immutable model of one key, which predicts each sample as its next one.

        It holds the shared model as `model` exports it, the model of the key, and the last targets
        of the key. Where candidates have lags, the estimator itself predicts with them, so its
        predictions differ.

        Args:
            key: The key.

        Raises:
            DataError: If there is no such key.
            NoCandidateError: If no network is finite.
        """
        with self._lock:
            text, learner = join_key(key), self._scored_learner()
            if self._models().describe(text) is None:
                raise DataError(self._describe_unknown(text))
            return learner.key_model(text)

    def _models(self) -> KeyedModels:
        models = self._scored_learner().serving.contenders.keyed
        assert models is not None
        return models

    def _describe_unknown(self, key: str) -> str:
        few = sorted(islice(self._models().rows.list_keys(), 5))
        known = f"; some are {', '.join(map(repr, few))}" if few else ": nothing was learned yet"
        return f"there is no key {key!r}{known}"


@final
@with_settings(KeySettings)
class KeyedRegressor(_KeyedEstimator, OnlineRegressor):
    """An online regressor with a small model for every key, such as a device, over a shared one.

    The shared model is an `OnlineRegressor`, with 10 candidates unless others are given, that also
    sees the last three targets of a sample's key and their mean. The model of a key sees its
    prediction and says by how much it is wrong for this key, from the key's last targets and
    errors, two recursive least squares (one forgets fast) and a small network over the first 24
    numeric inputs, scaled by the key's own moments. Its parts are weighted by their recent losses,
    at first by those of other keys of the same age. So a new key starts with what is best for new
    keys, and one that behaves differently departs from the shared model.

    ``predict`` and ``predict_one`` predict each sample as the next one of its key. A sample without
    a key is predicted by the shared model alone, and so is a key that was never learned. `model`
    exports the shared model, and `key_model` that of a key.

    >>> from random import Random
    >>> draw, regressor = Random(1), KeyedRegressor(key="device", seed=1)
    >>> for i in range(900):
    ...     device, load = i % 3, draw.random()
    ...     regressor.learn_one({"device": device, "load": load}, 50.0 * device + load)
    >>> abs(regressor.predict_one({"device": 1, "load": 0.5}) - 50.5) < 0.5
    True
    >>> regressor.list_keys(), regressor.key_scores("1").samples
    (['0', '1', '2'], 300)
    """


@final
@with_settings(KeySettings)
class KeyedClassifier(_KeyedEstimator, OnlineClassifier):
    """An online classifier with a small model for every key, such as a user, over a shared one.

    The shared model is an `OnlineClassifier` that also sees the last two labels of a sample's key.
    The model of a key sees its probabilities and corrects those of the first 32 labels: by the
    labels' frequencies for this key, its last label, and the same least squares and network as in
    a `KeyedRegressor`, whose docstring describes how these parts are weighted, how new keys start,
    and which model predicts.

    >>> from random import Random
    >>> draw, classifier = Random(1), KeyedClassifier(key="user", seed=1)
    >>> for i in range(900):
    ...     user, hour = "ab"[i % 2], draw.randrange(24)
    ...     classifier.learn_one({"user": user, "hour": hour}, (hour > 12) == (user == "a"))
    >>> [classifier.predict_one({"user": user, "hour": 20}) for user in "ab"]
    [True, False]
    """

    def key_model(self, key: Key) -> Model:
        """Build an immutable model of one key, see `KeyedRegressor.key_model`.

        Args:
            key: The key.

        Raises:
            DataError: If there is no such key.
            NoCandidateError: If no network is finite.
        """
        with self._lock:
            return super().key_model(key).with_classes(self._classes)
