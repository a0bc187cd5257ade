"""Models of other libraries behind one interface: predict a sample, then learn it."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import QUANTITIES, Inputs, Sample, Schema
from streamnet.sources.inference import to_number

Label = str | int | float


def read_label(text: str) -> Label:
    """A label as models are given it: a number or a boolean if its text is one.

    >>> [read_label(text) for text in ("7", "0.5", "true", "007", "yes")]
    [7, 0.5, True, '007', 'yes']
    """
    number = to_number(text)
    return text if number is None else number


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a keyword argument of this name, or any."""
    parameters = signature(function).parameters
    return name in parameters or any(
        one.kind is Parameter.VAR_KEYWORD for one in parameters.values()
    )


class GuestModel(ABC):
    """A model that predicts and learns one sample at a time.

    ``encoded`` tells whether samples are rows of numbers, see `encode`, instead of dicts; and
    ``decides``, whether the model may predict another label than the most probable one.
    """

    encoded: bool = False
    decides: bool = False

    def __init__(self, model: Any) -> None:
        self.model: Any = model

    def begin(self, schema: Schema, inputs: Inputs) -> None:
        """Settle what depends on the columns, before the first sample."""
        del schema, inputs

    def encode(self, inputs: Inputs, row: int) -> NDArray[np.float64]:
        """The numbers that the model is given for a sample, shape=(1, columns)."""
        raise NotImplementedError

    @abstractmethod
    def predict_label(self, x: Any) -> Mapping[Any, float] | None:
        """Predict probabilities by label, which need not add up to 1; none if the model does not.

        Of several most probable ones, the first one is predicted.
        """

    def decide(self, x: Any) -> Any:
        """Predict the label itself, if the model ``decides``."""
        raise NotImplementedError

    @abstractmethod
    def predict_number(self, x: Any) -> float | None:
        """Predict a number; None if the model does not."""

    @abstractmethod
    def learn(self, x: Any, y: Any, number: int, weight: float) -> None:
        """Learn a sample with its target, which for labels has a class number."""

    def export_state(self) -> dict[str, Any]:
        """What is known beside the model itself."""
        return {}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from an exported state."""
        del state


@final
class RiverModel(GuestModel):
    """A model with the methods of River."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        base = sys.modules.get("river.base")
        last = model
        while hasattr(last, "_last_step"):
            last = last._last_step
        kind = None if base is None else base.Classifier
        self._is_binary = (
            kind is not None and isinstance(last, kind) and not getattr(last, "_multiclass", True)
        )
        self._has_probabilities = hasattr(model, "predict_proba_one") and (
            kind is None or type(last).predict_proba_one is not kind.predict_proba_one
        )
        # River's own way to a label is the most probable one, which needs no second prediction.
        self.decides = self._has_probabilities and (
            kind is None or type(last).predict_one is not kind.predict_one
        )
        self._weight = next((n for n in ("w", "weight") if accepts(model.learn_one, n)), None)
        # Of a model that only knows False and True: which labels they are, and the reverse.
        self._names: dict[bool, Label] = {}
        self._keys: dict[Label, bool] = {}
        self._renames = False  # whether a label is another than its key

    def predict_label(self, x: Sample) -> Mapping[Any, float] | None:
        """Predict probabilities; none before the first label is learned."""
        if self._has_probabilities:
            try:
                found: Mapping[Any, float] = self.model.predict_proba_one(x)
            except NotImplementedError:  # a wrapper of a model without them
                self._has_probabilities = self.decides = False
                return self.predict_label(x)
        else:
            label = self.model.predict_one(x)
            found = {} if label is None else {label: 1.0}
        if self._renames:
            names = self._names
            return {names.get(key, key): value for key, value in found.items()}
        return found

    def decide(self, x: Sample) -> Any:
        """Predict the label."""
        label = self.model.predict_one(x)
        return self._names.get(label, label) if self._renames else label

    def predict_number(self, x: Sample) -> float | None:
        """Predict a number."""
        found = self.model.predict_one(x)
        return None if found is None else float(found)

    def learn(self, x: Sample, y: Any, number: int, weight: float) -> None:
        """Learn a sample."""
        if self._is_binary:
            y = self._to_bool(y, number)
        if weight == 1.0 or self._weight is None:
            self.model.learn_one(x, y)
        else:
            self.model.learn_one(x, y, **{self._weight: weight})

    def _to_bool(self, label: Label, number: int) -> bool:
        """Which of two labels it is."""
        if (known := self._keys.get(label)) is not None:
            return known
        if len(self._names) > 1:
            both = " and ".join(map(repr, self._keys))
            raise ValueError(
                f"{label!r} is a label, but the model is for two, which are {both}; "
                "river.multiclass has models that combine several"
            )
        if self._names:
            key = not next(iter(self._names))
        else:
            key = bool(label) if label in (0, 1) else number == 1
        self._names[key], self._keys[label] = label, key
        self._renames |= label != key
        return key

    def export_state(self) -> dict[str, Any]:
        """What False and True stand for."""
        return {"names": [[key, name] for key, name in self._names.items()]}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from an exported state."""
        self._names = dict(state["names"])
        self._keys = {name: key for key, name in self._names.items()}
        self._renames = any(name != key for key, name in self._names.items())


@final
class ScikitLearnModel(GuestModel):
    """A model with ``partial_fit``.

    Args:
        model: The model.
        classes: All labels, for a classifier that needs them in advance.
        frame: Whether it is given data frames instead of encoded numbers.
        buckets: Number of columns onto which inputs other than numbers are hashed.
    """

    def __init__(
        self, model: Any, classes: Sequence[Any] | None, *, frame: bool, buckets: int
    ) -> None:
        super().__init__(model)
        self.encoded = not frame
        self._buckets = buckets
        self._own = {_as_read(label): label for label in classes or ()}
        self._takes_weight = accepts(model.partial_fit, "sample_weight")
        self._takes_classes = classes is not None and accepts(model.partial_fit, "classes")
        # The rule by which scikit-learn tells whether an estimator is fitted.
        self._is_fitted = any(n.endswith("_") and not n.startswith("__") for n in vars(model))
        self._columns: list[str] | None = None
        self._dense, self._hashed = 0, False

    def begin(self, schema: Schema, inputs: Inputs) -> None:
        """Settle the columns."""
        if self._columns is None:
            self._columns = [field.name for field in schema.fields]
            self._dense = inputs.dense.shape[1]
            numeric = all(field.kind in QUANTITIES for field in schema.fields)
            self._hashed = not numeric or not schema.fields

    def encode(self, inputs: Inputs, row: int) -> NDArray[np.float64]:
        """Scaled numbers, then what is hashed, shape=(1, columns)."""
        dense, width = self._dense, self._dense + self._buckets * self._hashed
        x = np.zeros((1, max(width, 1)))
        given = inputs.dense[row, :dense]
        x[0, : len(given)] = given
        if self._hashed:
            used = max(int(inputs.count[row]) - inputs.lags, 0)
            places = dense + inputs.row[row, :used] % self._buckets
            np.add.at(x[0], places, inputs.value[row, :used])
        return x

    def _read(self, x: Any) -> Any:
        """One row as the model takes it."""
        if self.encoded:
            return x
        import pandas as pd

        assert self._columns is not None
        return pd.DataFrame([[x.get(name) for name in self._columns]], columns=self._columns)

    def predict_label(self, x: Any) -> Mapping[Any, float] | None:
        """Predict probabilities; none before the first sample is learned."""
        if not self._is_fitted:
            return None
        row = self._read(x)
        if not hasattr(self.model, "predict_proba"):
            return {_as_read(self.model.predict(row)[0]): 1.0}
        labels = map(_as_read, self.model.classes_)
        return dict(zip(labels, self.model.predict_proba(row)[0].tolist(), strict=True))

    def predict_number(self, x: Any) -> float | None:
        """Predict a number; None before the first sample is learned."""
        if not self._is_fitted:
            return None
        return float(np.asarray(self.model.predict(self._read(x))).ravel()[0])

    def learn(self, x: Any, y: Any, number: int, weight: float) -> None:
        """Learn a sample."""
        del number
        more: dict[str, Any] = {}
        if self._takes_weight and weight != 1.0:
            more["sample_weight"] = np.array([weight])
        if self._own:
            if y not in self._own:
                listed = ", ".join(map(repr, self._own.values()))
                raise ValueError(f"{y!r} is a label, but classes has only {listed}")
            y = self._own[y]
        if self._takes_classes and not self._is_fitted:
            more["classes"] = np.unique(list(self._own.values()))
        self.model.partial_fit(self._read(x), np.array([y]), **more)
        self._is_fitted = True

    def export_state(self) -> dict[str, Any]:
        """The columns, and whether anything was learned."""
        settled = self._columns, self._dense, self._hashed
        return {"columns": list(settled) if self._columns else None, "fitted": self._is_fitted}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from an exported state."""
        if state["columns"] is not None:
            self._columns, self._dense, self._hashed = state["columns"]
        self._is_fitted = state["fitted"]


def _as_read(label: Any) -> Any:
    """A label of the caller as it would be read from a stream."""
    value = label.item() if isinstance(label, np.generic) else label
    return read_label(value) if isinstance(value, str) else value
