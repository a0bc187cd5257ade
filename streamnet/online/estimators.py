"""OnlineClassifier and OnlineRegressor."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import compress
from math import isfinite
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.errors import ConfigurationError
from streamnet.features.columns.category import escape_surrogates, match_spelling
from streamnet.modelfiles.model import Model
from streamnet.online.base import OnlineEstimator
from streamnet.online.rejections import describe_rejection
from streamnet.online.scikit_learn import check_discrete, read_targets
from streamnet.samples import Block, ClassChange, Sample, Task
from streamnet.sources.frames import SamplesLike, to_target_list
from streamnet.sources.inference import to_number
from streamnet.sources.roles import check_weights


class OnlineRegressor(OnlineEstimator):
    """An online regressor: a population of neural networks that learns sample by sample.

    The target is standardized online, so it may have any range.

    >>> regressor = OnlineRegressor(seed=1)
    >>> for i in range(2000):
    ...     regressor.learn_one({"x": i % 10}, 3.0 * (i % 10))
    >>> abs(regressor.predict_one({"x": 4}) - 12.0) < 1.0
    True
    """

    _task = Task.REGRESSION

    def predict_one(self, x: Sample) -> float:
        """Predict the number of the next sample of the stream.

        Returns 0 before the first sample, and the mean if no network has a finite output.

        Args:
            x: Features by name.

        Raises:
            DataError: If a value cannot be read.
        """
        with self._lock:
            number = self._predict_next(x)
            return float(self._learner.encoder.scale[0] if number is None else number)

    def predict(self, X: SamplesLike) -> NDArray[np.float64]:
        """Predict the numbers of samples from anywhere, shape=(n,).

        Args:
            X: The samples.

        Raises:
            DataError: If a value cannot be read.
            NotReadyError: If nothing was learned yet.
        """
        with self._lock:
            self._check_fitted()
            numbers = self._predict_many(X)
            return np.where(np.isnan(numbers), self._learner.encoder.scale[0], numbers)

    def __call__(self, X: SamplesLike) -> NDArray[np.float64]:
        """The same as `predict`, for tools that take functions, such as ``shap.Explainer``.

        Args:
            X: The samples.
        """
        return self.predict(X)

    def predict_interval_one(self, x: Sample) -> tuple[float, float]:
        """Predict lower and upper bound of the number of the next sample of the stream.

        The bounds hold a fraction ``interval`` of the truths, also through drift. NaN as long as no
        error is known.

        Args:
            x: Features by name.

        Raises:
            ConfigurationError: If no ``interval`` is set.
            DataError: If a value cannot be read.
        """
        lower, upper = self._predict_next_interval(x).tolist()
        return lower, upper

    def predict_interval(self, X: SamplesLike) -> NDArray[np.float64]:
        """Predict lower and upper bounds of samples from anywhere, shape=(n, 2).

        Args:
            X: The samples.

        Raises:
            ConfigurationError: If no ``interval`` is set.
            DataError: If a value cannot be read.
        """
        return self._predict_intervals(X)

    def score(
        self, X: SamplesLike, y: Sequence[Any] | ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Compute R², the coefficient of determination, of `predict`.

        If all targets are equal it is 1 for exact predictions, else 0, as in scikit-learn.

        Args:
            X: The samples.
            y: Their targets, shape=(n,).
            sample_weight: How much each counts, shape=(n,); by default 1.

        Raises:
            ConfigurationError: If a weight is invalid.
            DataError: If a value cannot be read, or there are no samples.
        """
        answers = self.predict(X)
        truths = self._targets(read_targets(y, len(answers)))
        weight = 1.0 if sample_weight is None else check_weights(sample_weight, len(answers))
        mean = truths.mean() if sample_weight is None else np.average(truths, weights=weight)
        squares = (weight * np.square(truths - mean)).sum()
        errors = (weight * np.square(truths - answers)).sum()
        return float(1.0 - errors / squares) if squares else float(errors == 0.0)


_MOMENTS = np.datetime64, np.timedelta64
_LABELS = str, int, float
_NUMBERS = {int, float}


class OnlineClassifier(OnlineEstimator):
    """An online classifier: a population of neural networks that learns sample by sample.

    Labels may be strings, numbers or booleans. Labels that are equal, such as 1, 1.0 and True, or
    have the same text ("1" for 1.0 as well) are the same label; predictions return the one that
    came first. A `model` predicts them, too.

    >>> classifier = OnlineClassifier(seed=1)
    >>> for i in range(300):
    ...     classifier.learn_one({"x": i % 5, "colour": "red" if i % 2 else "blue"}, i % 2)
    >>> classifier.predict_one({"x": 3, "colour": "red"})
    1
    >>> sorted(classifier.predict_proba_one({"x": 3, "colour": "red"}))
    [0, 1]
    """

    _task = Task.CLASSIFICATION

    _made_by_begin = OnlineEstimator._made_by_begin | {"_classes", "_awaited", "_firsts"}

    def _begin(self) -> None:
        super()._begin()
        texts, start = list(self._learner.encoder.labels), self._settings["start"]
        self._classes: list[Any] = texts if start is None else list(start.classes)
        self._awaited: dict[str, Any] = {}  # late labels that are not known yet, by their text
        # Numbers, with the encoder's text of the label that equals them.
        self._firsts = _index_first_labels(self._classes, texts)

    @property
    def classes_(self) -> NDArray[Any]:
        """Labels in order of appearance, shape=(labels,).

        An array of the labels' type if they all have the same, else an object array.
        """
        with self._lock:
            return _to_array(self._classes)

    def partial_fit(
        self,
        X: SamplesLike,
        y: Sequence[Any] | ArrayLike,
        classes: Sequence[Any] | ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        progress: bool = False,
    ) -> Self:
        """Predict, score and learn samples one after the other, in the given order.

        Args:
            X: The samples.
            y: Their labels, shape=(n,); None or NaN where unknown, see `learn_one`.
            classes: Labels to make known before the first sample, in this order. Optional: labels
                become known with their first sample, and others may still appear.
            sample_weight: How much each sample counts in learning and in the metrics, shape=(n,),
                from 0 to 1e9; by default 1. Those of weight 0 are neither learned nor scored.
            progress: Whether to show a progress bar; it needs tqdm (extra ``progress``).

        Raises:
            ConfigurationError: If a class cannot be a label, there are too many, or new ones come
                after the first sample; or if a weight is invalid.
            DataError: If a value cannot be read; the samples before it were learned.
        """
        with self._lock:
            if classes is not None:
                self._expect(to_target_list(classes, "classes"), strict=True)
            return super().partial_fit(X, y, sample_weight=sample_weight, progress=progress)

    def merge_class(self, label: Any, into: Any) -> None:
        """Read a label as another one from the next sample on.

        The probability of its class is added to the other one's. Both stay in `classes_`, and what
        was scored stays as it was.

        Args:
            label: Label of the class that is merged.
            into: Label of another class.

        Raises:
            ConfigurationError: If there are no such classes, or one was merged or retired before.
        """
        self._change_classes(label, into)

    def retire_class(self, label: Any) -> None:
        """Give a class no probability from the next sample on, and refuse to learn its label.

        Args:
            label: Label of the class.

        Raises:
            ConfigurationError: If there is no such class, it was merged or retired before, or it is
                the last one.
        """
        self._change_classes(label)

    def _change_classes(self, *labels: Any) -> None:
        with self._lock:
            texts = []
            for name, label in zip(("label", "into"), self._named(labels), strict=False):
                block = self._read_targets([label])
                if block.rejected or block.target is None:
                    raise ConfigurationError(f"{name} is {label!r}, but must be a label")
                texts.append(str(block.target[0]))
            change = ClassChange(*texts)
            self._scored_learner().check_change(change)
            with self._whole():
                self._learner.change_classes(change)

    def model(self) -> Model:
        """Build an immutable model of the networks behind `predict`.

        Raises:
            NoCandidateError: If nothing was learned yet, or no network is finite.
        """
        with self._lock:
            return super().model().with_classes(self._classes)

    def predict_one(self, x: Sample) -> Any:
        """Predict the label of the next sample of the stream.

        Returns None before the first sample, or if no network has a finite output.

        Args:
            x: Features by name.

        Raises:
            DataError: If a value cannot be read.
        """
        with self._lock:
            probabilities = self._predict_next(x)
            if probabilities is None:
                return None
            if self._learner.balances:
                return self._classes[int(self._learner.decide(np.array([probabilities]))[0])]
            return self._classes[probabilities.index(max(probabilities))]

    def predict_proba_one(self, x: Sample) -> dict[Any, float]:
        """Predict the probability of each label of the next sample; empty if `predict_one` is None.

        Args:
            x: Features by name.

        Raises:
            DataError: If a value cannot be read.
        """
        with self._lock:
            probabilities = self._predict_next(x)
            return dict(zip(self._classes, probabilities, strict=True)) if probabilities else {}

    def predict(self, X: SamplesLike) -> NDArray[Any]:
        """Predict the labels of samples from anywhere, shape=(n,).

        Returns an array of the labels' type if they all have the same, else an object array.

        Args:
            X: The samples.

        Raises:
            DataError: If a value cannot be read.
            NotReadyError: If nothing was learned yet.
        """
        with self._lock:
            probabilities, known = self.predict_proba(X), self._classes.copy()
            if not known:
                return np.full(len(probabilities), None, object)
            best, silent = self._learner.decide(probabilities), np.isnan(probabilities).any(axis=1)
        if not silent.any():
            named: NDArray[Any] = _to_array(known)[best]
            return named
        labels = [None if s else known[b] for s, b in zip(silent, best, strict=True)]
        return np.array([*labels, None], object)[:-1]

    def predict_proba(self, X: SamplesLike) -> NDArray[np.floating]:
        """Predict the probability of each label, in the order of `classes_`, shape=(n, labels).

        NaN if no network has a finite output.

        Args:
            X: The samples.

        Raises:
            DataError: If a value cannot be read.
            NotReadyError: If nothing was learned yet.
        """
        with self._lock:
            self._check_fitted()
            return self._predict_many(X)[:, : len(self._classes)]

    def __call__(self, X: SamplesLike) -> NDArray[np.floating]:
        """The same as `predict_proba`, for tools that take functions, such as ``shap.Explainer``.

        Args:
            X: The samples.
        """
        return self.predict_proba(X)

    def predict_set_one(self, x: Sample) -> set[Any]:
        """Predict the set of likely labels of the next sample of the stream.

        The sets hold a fraction ``interval`` of the truths, also through drift. They are the
        smallest that do, and may be empty where predictions are right more often than that.

        Args:
            x: Features by name.

        Raises:
            ConfigurationError: If no ``interval`` is set.
            DataError: If a value cannot be read.
        """
        with self._lock:
            return set(compress(self._classes, self._predict_next_interval(x).tolist()))

    def predict_set(self, X: SamplesLike) -> list[set[Any]]:
        """Predict the sets of likely labels of samples from anywhere.

        Args:
            X: The samples.

        Raises:
            ConfigurationError: If no ``interval`` is set.
            DataError: If a value cannot be read.
        """
        with self._lock:
            rows = self._predict_intervals(X).tolist()
            return [set(compress(self._classes, row)) for row in rows]

    def score(
        self, X: SamplesLike, y: Sequence[Any] | ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Compute the accuracy of `predict`.

        Args:
            X: The samples.
            y: Their labels, shape=(n,).
            sample_weight: How much each counts, shape=(n,); by default 1.

        Raises:
            ConfigurationError: If a weight is invalid.
            DataError: If a value cannot be read, or there are no samples.
        """
        with self._lock:
            probabilities = self.predict_proba(X)
            truths = self._targets(read_targets(y, len(probabilities)))
            count = len(probabilities)
            weight = None if sample_weight is None else check_weights(sample_weight, count)
            numbers = self._learner.encoder.label_numbers
            if not numbers.names:
                return 0.0
            predicted = self._learner.decide(probabilities)
            truth = [
                numbers.get(match_spelling(escape_surrogates(text), numbers), -1)
                for text in truths.tolist()
            ]
        named = ~np.isnan(probabilities).any(axis=1)
        return float(np.average(named & (predicted == truth), weights=weight))

    def _check_targets(self, targets: Sequence[Any]) -> None:
        check_discrete(targets)

    def _expect_all(self, targets: Sequence[Any]) -> None:
        """Make all labels known in advance, sorted if possible, as scikit-learn's scorers expect.

        Invalid labels are rejected later, with their sample. A start model has its own order.
        """
        if self._learner.ready:
            return
        labels = list({repr(y): y for y in targets}.values())
        with suppress(TypeError, ValueError, ArithmeticError):  # the last of huge whole numbers
            labels.sort()
        self._expect(labels, strict=False)

    def _expect(self, labels: Sequence[Any], *, strict: bool) -> None:
        """Make labels known in advance; unless ``strict``, skip invalid ones."""
        if not labels:
            return
        encoder = self._learner.encoder
        block = self._read_targets(self._named(labels))
        fitting = encoder.accepted(block)
        for letter in (*block.rejected, *fitting.rejected) if strict else ():
            what = describe_rejection(letter)
            raise ConfigurationError(f"classes[{letter.offset}] can't be a label: {what}")
        if self._learner.ready:
            # Untrained outputs of new labels would distort the predictions.
            assert block.target is not None
            known = set(encoder.labels)
            for text in block.target.tolist():
                if match_spelling(escape_surrogates(text), known) not in known:
                    raise ConfigurationError(
                        f"classes has {text!r}, but must have no new label once samples were "
                        "learned: each becomes known with its first sample"
                    )
            return
        with self._whole():
            encoder.expect(fitting)
            self._note(fitting, labels, 0)

    def _named(self, targets: Sequence[Any]) -> Sequence[Any]:
        """Return equal numbers as the one that came first: a column of them may become floats."""
        firsts = self._firsts
        if len(targets) == 1 and type(only := targets[0]) in _NUMBERS and only in firsts:
            return (firsts[only],)  # fast path for single samples
        new = dict[Any, Any]()

        def named(y: Any) -> object:
            if type(y) in _NUMBERS:
                return firsts.get(y, new.setdefault(y, y))
            value = _to_label(y, str(y))
            number = to_number(value)
            if number is None:
                return y
            first = firsts.get(number, new.setdefault(number, y))
            return y if isinstance(value, str) else first

        return [named(y) for y in targets]

    def _list_labels(self) -> Sequence[Any]:
        return self._classes

    def _note(self, block: Block, targets: Sequence[Any], first: int) -> None:
        """Keep the user's own object for each new label, also while the label is late."""
        labels, before = self._learner.encoder.labels, len(self._classes)
        is_late = self._learner.delayed is not None
        if block.target is None or (len(labels) == before and not is_late):
            return
        # As the encoder calls them; samples of weight 0 have none.
        texts = [text and escape_surrogates(text) for text in block.target.tolist()]
        known, awaited = self._learner.encoder.label_numbers, len(self._awaited)
        for text in dict.fromkeys(texts) if is_late else labels[before:]:
            if text is None or text in self._awaited or known.get(text, before) < before:
                continue
            record = int(block.marks[texts.index(text), 1])
            self._awaited[text] = _to_label(targets[record - first], text)
        self._classes += [self._awaited.pop(label) for label in labels[before:]]
        if len(labels) > before or len(self._awaited) > awaited:
            self._firsts = self._index_firsts()

    def _index_firsts(self) -> dict[Any, str]:
        texts = [*self._learner.encoder.labels, *self._awaited]
        return _index_first_labels([*self._classes, *self._awaited.values()], texts)

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume, bit for bit."""
        with self._lock:
            own = {"classes": list(self._classes), "awaited": dict(self._awaited)}
            return {**super().export_state(), **own}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        self._classes, self._awaited = list(state["classes"]), dict(state.get("awaited", {}))
        self._firsts = self._index_firsts()


def _to_label(given: object, text: str) -> Any:
    """Return the user's own label, or its text if a file cannot hold it."""
    if isinstance(given, _MOMENTS):
        return text  # those in nanoseconds would become integers
    value = given.item() if isinstance(given, np.generic) else given
    if isinstance(value, float) and not isfinite(value):
        return text  # no JSON file can hold it
    return value if isinstance(value, _LABELS) else text


def _index_first_labels(labels: Sequence[Any], texts: Sequence[str]) -> dict[Any, str]:
    """Map numbers to the text of the first label that equals them or their text."""
    found: dict[Any, str] = {}
    for label, text in zip(labels, texts, strict=True):
        for number in (to_number(label), to_number(text)):
            if number is not None:
                found.setdefault(number, text)
    return found


def _to_array(labels: Sequence[Any]) -> NDArray[Any]:
    """Convert labels to an array of their common type, else to an object array."""
    if len({type(label) for label in labels}) == 1:
        array = np.array(labels)
        if array.tolist() == list(labels):  # no type of numpy has all large whole numbers
            return array
    return np.array([*labels, None], object)[:-1]
