"""The part of the scikit-learn estimator API that cloning, tuning and scoring need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import Any, ClassVar, Self

from numpy.typing import ArrayLike

from streamnet.samples import Task
from streamnet.sources.frames import SamplesLike

__all__ = ("ScikitLearnEstimator",)


class ScikitLearnEstimator(ABC):
    """Settings that can be asked and changed, and a fit that begins anew.

    With these, `sklearn.base.clone`, pipelines, cross-validation and searches take an estimator as
    one of theirs (https://scikit-learn.org/stable/developers/develop.html). Nothing of scikit-learn
    is needed for it.

    Args:
        params: Settings by name, as they were given.
    """

    _task: ClassVar[Task]

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = dict(params)
        self._lock = RLock()

    def __repr__(self) -> str:
        given = {name: value for name, value in self._params.items() if value is not None}
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in given.items())})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 - it has no parts
        """The settings, as they were given.

        Args:
            deep: For scikit-learn, which asks so for those of estimators within; there are none.

        >>> from streamnet.online.regressor import OnlineRegressor
        >>> OnlineRegressor(seed=3).get_params()["seed"]
        3
        """
        return dict(self._params)

    def set_params(self, **params: Any) -> Self:
        """Change settings: for the first sample, or for the next `fit` if some were learned.

        Classes that were told before the first sample have to be told again.

        Raises:
            ConfigurationError: If a setting is unknown or breaks its rule; nothing changes then.
        """
        with self._lock:
            # Another one refuses what must not be, and reads what can be read only once.
            self._params = type(self)(**{**self._params, **params}).get_params()
            if not self._has_learned():
                self._begin()
        return self

    @abstractmethod
    def fit(self, X: SamplesLike, y: Sequence[Any] | ArrayLike) -> Self:
        """Forget everything, then learn samples."""

    @abstractmethod
    def score(self, X: SamplesLike, y: Sequence[Any] | ArrayLike) -> float:
        """How well `predict` does, 1 being perfect."""

    @abstractmethod
    def _begin(self) -> None:
        """Know nothing yet, with the present settings."""

    @abstractmethod
    def _has_learned(self) -> bool:
        """Whether there is anything to forget."""

    def __sklearn_is_fitted__(self) -> bool:
        return self._has_learned()

    def __sklearn_tags__(self) -> Any:
        # Only scikit-learn asks this, so it is there.
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        labels = self._task is Task.CLASSIFICATION
        return Tags(
            estimator_type="classifier" if labels else "regressor",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if labels else None,
            regressor_tags=None if labels else RegressorTags(),
            input_tags=InputTags(string=True, dict=True, categorical=True, allow_nan=True),
        )
