"""The part of the scikit-learn estimator API that cloning, tuning and scoring need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import signature
from threading import RLock
from typing import Any, ClassVar, Self

from numpy.typing import ArrayLike

from streamnet.samples import Task
from streamnet.sources.frames import SamplesLike


class ScikitLearnEstimator(ABC):
    """Base class for estimators that follow the scikit-learn API.

    `sklearn.base.clone`, pipelines, cross-validation and searches accept such estimators
    (https://scikit-learn.org/stable/developers/develop.html). Does not need scikit-learn itself.

    Args:
        given: Settings by name, as given.
    """

    _task: ClassVar[Task]

    def __init__(self, **given: Any) -> None:
        self._params = self._read_defaults() | given
        self._lock = RLock()

    @classmethod
    def _read_defaults(cls) -> dict[str, Any]:
        return {name: known.default for name, known in signature(cls).parameters.items()}

    def __repr__(self) -> str:
        defaults = self._read_defaults()
        given = {n: v for n, v in self._params.items() if v is not defaults[n]}
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in given.items())})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - it has no parts
        """Return the settings as given.

        Args:
            deep: Ignored: there are no nested estimators.

        >>> from streamnet.online.regressor import OnlineRegressor
        >>> OnlineRegressor(seed=3).get_params()["seed"]
        3
        """
        return dict(self._params)

    def set_params(self, **params: Any) -> Self:
        """Change settings at once if nothing was learned yet, else for the next `fit`.

        Classes declared before the first sample have to be declared again.

        Args:
            params: Settings by name.

        Raises:
            ConfigurationError: If a setting is unknown or invalid; nothing is changed.
        """
        with self._lock:
            # A new instance validates the settings, and reads iterators only once.
            self._params = type(self)(**{**self._params, **params}).get_params()
            if not self._has_learned():
                self._begin()
        return self

    @abstractmethod
    def fit(self, X: SamplesLike, y: Sequence[Any] | ArrayLike) -> Self:
        """Reset the estimator, then learn samples.

        Args:
            X: The samples.
            y: Their targets, shape=(n,).
        """

    @abstractmethod
    def score(self, X: SamplesLike, y: Sequence[Any] | ArrayLike) -> float:
        """Score `predict`, 1 being perfect.

        Args:
            X: The samples.
            y: Their targets, shape=(n,).
        """

    @abstractmethod
    def _begin(self) -> None:
        """Start from scratch with the present settings."""

    @abstractmethod
    def _has_learned(self) -> bool:
        """Whether any sample was learned."""

    def __sklearn_is_fitted__(self) -> bool:
        return self._has_learned()

    def __sklearn_tags__(self) -> Any:
        # Only scikit-learn calls this, so it is installed.
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        labels = self._task is Task.CLASSIFICATION
        return Tags(
            estimator_type="classifier" if labels else "regressor",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if labels else None,
            regressor_tags=None if labels else RegressorTags(),
            input_tags=InputTags(string=True, dict=True, categorical=True, allow_nan=True),
        )
