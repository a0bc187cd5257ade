"""Guest: a model of River, scikit-learn or your own, as a candidate beside the networks."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib.util import find_spec
from typing import Any, Literal, Protocol, final, get_args

from streamnet.errors import ConfigurationError
from streamnet.guests.models import GuestModel, RiverModel, ScikitLearnModel, accepts
from streamnet.samples import Task
from streamnet.validation import check_integer

Inputs = Literal["encoded", "columns"]


class Serializer(Protocol):
    """Turns a model into bytes and back, as the module `pickle` does."""

    def dumps(self, model: Any, /) -> bytes:
        """The model as bytes."""

    def loads(self, data: bytes, /) -> Any:
        """The model of the bytes."""


@final
class Guest:
    """A model of another library as a candidate: scored, ranked and part of the ensemble.

    It is any object with the methods of River (``learn_one``, ``predict_one``, and for labels
    ``predict_proba_one``) or of scikit-learn (``partial_fit``, ``predict``, ``predict_proba``). A
    copy of it is learned, so it stays as it was given; a copy of a trained one goes on from there.

    Models of River are given each sample as a dict of what was read: numbers as floats, times as
    seconds since 1970, categories and texts as strings; missing values are left out. Labels are
    whole numbers, floats or booleans if that is what their texts are, else strings. A classifier
    of River that only knows True and False is given the first label as False and the second one as
    True, unless these are booleans, or 0 and 1.

    Models of scikit-learn are given one row at a time, whose columns are settled by the first
    sample; see ``inputs``.

    Args:
        model: The model.
        classes: All labels that a classifier of scikit-learn will ever learn; ``partial_fit``
            demands them in advance. Another label ends its part in the competition.
        inputs: What a model of scikit-learn is given. "encoded" is a matrix: the inputs of the
            networks (scaled numbers) and, if there are columns other than numbers, ``buckets``
            more columns onto which categories, words and the like are hashed. "columns" is a
            pandas data frame of the columns as they were read.
        buckets: Number of these columns.
        serializer: Keeps the trained model in checkpoints: anything with ``dumps`` and ``loads``,
            such as the module ``pickle``. To resume, the same guest must be given again, and only
            then is ``loads`` called, on what a checkpoint holds: resume only from states that you
            trust. Without it, a resumed run starts again with the model as given.

    Raises:
        ConfigurationError: If an argument breaks its rule.

    >>> class Last:
    ...     y = None
    ...     def predict_one(self, x): return self.y
    ...     def learn_one(self, x, y): self.y = y
    >>> Guest(Last()).describe()
    'Last'
    """

    def __init__(
        self,
        model: Any,
        *,
        classes: Sequence[Any] | None = None,
        inputs: Inputs = "encoded",
        buckets: int = 64,
        serializer: Serializer | None = None,
    ) -> None:
        if isinstance(model, type) or not (
            _has_methods(model, "learn_one", "predict_one")
            or _has_methods(model, "partial_fit", "predict")
        ):
            raise ConfigurationError(
                f"model is {model!r}, but must have the methods learn_one and predict_one, or "
                "partial_fit and predict"
            )
        if inputs not in get_args(Inputs):
            listed = ", ".join(get_args(Inputs))
            raise ConfigurationError(f"inputs is {inputs!r}, but must be one of {listed}")
        if inputs == "columns" and find_spec("pandas") is None:
            raise ConfigurationError("inputs is 'columns', which needs pandas: pip install pandas")
        if check_integer("buckets", buckets) < 1:
            raise ConfigurationError(f"buckets is {buckets}, but must be >= 1")
        if serializer is not None and not _has_methods(serializer, "dumps", "loads"):
            raise ConfigurationError(
                f"serializer is {serializer!r}, but must have dumps and loads, as pickle does"
            )
        self.model: Any = model
        self.classes: tuple[Any, ...] | None = None if classes is None else tuple(classes)
        self.inputs: Inputs = inputs
        self.buckets: int = buckets
        # Functions, since a module such as pickle can't be copied or pickled itself.
        self._functions = None if serializer is None else (serializer.dumps, serializer.loads)

    def __repr__(self) -> str:
        return f"Guest({self.model!r})"

    def dump(self, model: Any) -> bytes | None:
        """The model as bytes; None without a serializer."""
        return None if self._functions is None else self._functions[0](model)

    def load(self, data: bytes) -> Any:
        """The model of the bytes; None without a serializer."""
        return None if self._functions is None else self._functions[1](data)

    def describe(self) -> str:
        """The type of the model; of a pipeline, those of its steps."""
        steps = getattr(self.model, "steps", None)
        if isinstance(steps, Mapping):
            return " | ".join(type(step).__name__ for step in steps.values())
        return type(self.model).__name__

    def build(self, name: str, task: Task) -> GuestModel:
        """A copy of the model for a task.

        Raises:
            ConfigurationError: If it is for the other task, lacks ``classes``, or can't be copied.
        """
        found = _find_task(self.model)
        if found not in (None, task):
            raise ConfigurationError(
                f"guests[{name!r}] is a model for {found}, but the task is {task}"
            )
        try:
            model = deepcopy(self.model)
        except Exception as error:
            raise ConfigurationError(f"guests[{name!r}] can't be copied: {error!r}") from error
        if _has_methods(model, "learn_one", "predict_one"):
            return RiverModel(model)
        labels = task is Task.CLASSIFICATION
        if labels and self.classes is None and accepts(model.partial_fit, "classes"):
            raise ConfigurationError(
                f"guests[{name!r}] needs all labels in advance: give it as "
                "Guest(model, classes=[...])"
            )
        return ScikitLearnModel(
            model,
            self.classes if labels else None,
            frame=self.inputs == "columns",
            buckets=self.buckets,
        )


def as_guests(given: Mapping[Any, Any] | None) -> dict[str, Guest]:
    """Guests by name, where each may be given as the model alone.

    Raises:
        ConfigurationError: If it is no mapping of names to models.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"guests is {given!r}, but must be a dict of models by name")
    guests = {}
    for name, model in given.items():
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"guests has the name {name!r}, but must have texts as names")
        try:
            guests[name] = model if isinstance(model, Guest) else Guest(model)
        except ConfigurationError as error:
            raise ConfigurationError(f"guests[{name!r}]: {error}") from error
    return guests


def _has_methods(model: Any, *names: str) -> bool:
    return all(callable(getattr(model, name, None)) for name in names)


def _find_task(model: Any) -> Task | None:
    """The task that a model says it is for; None if it does not say."""
    river: Any = sys.modules.get("river.base")
    sklearn: Any = sys.modules.get("sklearn.base")
    if river is not None:  # else nobody has made a model of it
        if isinstance(model, river.Classifier):
            return Task.CLASSIFICATION
        if isinstance(model, river.Regressor):
            return Task.REGRESSION
    if sklearn is not None and isinstance(model, sklearn.BaseEstimator):
        if sklearn.is_classifier(model):
            return Task.CLASSIFICATION
        if sklearn.is_regressor(model):
            return Task.REGRESSION
    return None
