"""OnlineClassifier: names labels, and learns sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.features.categories import printable
from streamnet.modelfiles.model import Model
from streamnet.networks.candidate import CandidateSettings
from streamnet.online.estimator import OnlineEstimator
from streamnet.samples import Block
from streamnet.samples import Kind
from streamnet.samples import Sample
from streamnet.samples import Task
from streamnet.sources.frames import Samples
from streamnet.sources.kinds import WHITESPACE

__all__ = ("OnlineClassifier",)

TRUTHS = {"false": False, "true": True}  # by what the encoder calls them
DIGITS = frozenset("-0123456789")  # what the text of a finite number begins with


@final
class OnlineClassifier(OnlineEstimator):
    """A population of networks that names labels and learns sample by sample.

    Labels are what the user gave: texts, numbers, booleans. Two that are equal, such as 1, 1.0 and
    True, or have the same text, are the same label, and the one that came first is answered. In a
    model file labels are texts.

    >>> classifier = OnlineClassifier(seed=1)
    >>> for i in range(300):
    ...     classifier.learn_one({"x": i % 5, "colour": "red" if i % 2 else "blue"}, i % 2)
    >>> classifier.predict_one({"x": 3, "colour": "red"})
    1
    >>> sorted(classifier.predict_proba_one({"x": 3, "colour": "red"}))
    [0, 1]
    """

    _task = Task.CLASSIFICATION

    def __init__(
        self,
        candidates: Sequence[CandidateSettings] | None = None,
        *,
        seed: int = 0,
        kinds: Mapping[str, Kind] | None = None,
        start: Model | None = None,
        **learning: Any,
    ) -> None:
        super().__init__(candidates, seed=seed, kinds=kinds, start=start, **learning)
        self._classes: list[Any] = [] if start is None else list(start.labels)
        # By number what the encoder calls it, or the equal one that came first.
        self._firsts = _firsts(self._classes, self._classes)

    @property
    def classes_(self) -> list[Any]:
        """Labels in order of first appearance."""
        return self._classes.copy()

    def predict_one(self, x: Sample) -> Any:
        """The most likely label of the next sample of the stream.

        None before the first sample, or if no network is fit to answer.

        Raises:
            DataError: If a value can't be read.
        """
        shares = self._one(x)
        return None if shares is None else self._classes[shares.index(max(shares))]

    def predict_proba_one(self, x: Sample) -> dict[Any, float]:
        """The share of each label for the next sample; empty where `predict_one` is None.

        Raises:
            DataError: If a value can't be read.
        """
        shares = self._one(x)
        return {} if shares is None else dict(zip(self._classes, shares, strict=True))

    def predict(self, X: Samples) -> NDArray[Any]:
        """The label of each of some samples that may come from anywhere, shape=(n,).

        The array has the type of the labels if they all have the same, else it is one of objects.

        Raises:
            DataError: If a value can't be read.
        """
        shares = self.predict_proba(X)
        best = shares.argmax(axis=1) if self._classes else np.zeros(len(shares), np.intp)
        silent = np.isnan(shares).any(axis=1) if self._classes else np.ones(len(shares), np.bool_)
        if not silent.any():
            named: NDArray[Any] = _array(self._classes)[best]
            return named
        labels = [None if s else self._classes[b] for s, b in zip(silent, best, strict=True)]
        return np.array([*labels, None], object)[:-1]

    def predict_proba(self, X: Samples) -> NDArray[np.floating]:
        """The share of each label, in the order of `classes_`, shape=(n, labels).

        NaN if no network is fit to answer.

        Raises:
            DataError: If a value can't be read.
        """
        return self._many(X)[:, : len(self._classes)]

    def _named(self, targets: Sequence[Any]) -> Sequence[Any]:
        """Numbers that are equal as the one that came first: a column of them may become floats."""
        firsts, new = self._firsts, dict[Any, Any]()

        def named(y: object) -> object:
            value = _label(y, str(y))
            number = _number(value)
            if number is None:
                return y
            first = firsts.get(number, new.setdefault(number, y))
            return y if isinstance(value, str) else first

        return [named(y) for y in targets]

    def _note(self, block: Block, targets: Sequence[Any], first: int) -> None:
        """Keep the user's own object for each label that is new."""
        labels = self._learner.encoder.labels
        if len(labels) == len(self._classes) or block.target is None:
            return
        texts = [printable(text) for text in block.target.tolist()]  # as the encoder calls them
        before = len(self._classes)
        for label in labels[before:]:
            record = int(block.marks[texts.index(label), 1])
            self._classes.append(_label(targets[record - first], label))
        self._firsts = _firsts(self._classes[before:], labels[before:]) | self._firsts

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {**super().export_state(), "classes": self.classes_}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the classifier did whose state this is, and that was made with like settings."""
        super().restore_state(state)
        self._classes = list(state["classes"])
        self._firsts = _firsts(self._classes, self._learner.encoder.labels)


def _label(given: object, text: str) -> Any:
    """The label to answer: the user's own, unless it is of a kind that a state can't hold."""
    if isinstance(given, np.datetime64 | np.timedelta64):
        return text  # the finest of them would become numbers
    value = given.item() if isinstance(given, np.generic) else given
    return value if isinstance(value, str | int | float) else text


def _number(label: int | float | str) -> int | float | None:
    """The number that a label is, or whose text it is; None if it is neither."""
    if not isinstance(label, str):
        return label
    text = label.strip(WHITESPACE)
    if text[:1] in DIGITS:
        for kind in (int, float):
            with suppress(ValueError):
                number = kind(text)
                if repr(number) == text:
                    return number
    return TRUTHS.get(text)


def _firsts(labels: Sequence[Any], texts: Sequence[str]) -> dict[Any, str]:
    """By number the text of the first label that is equal, or is the number's text."""
    found: dict[Any, str] = {}
    for label, text in zip(labels, texts, strict=True):
        for number in (_number(label), _number(text)):
            if number is not None:
                found.setdefault(number, text)
    return found


def _array(labels: Sequence[Any]) -> NDArray[Any]:
    """Labels as an array of their own type if they have one in common, else of objects."""
    if len({type(label) for label in labels}) == 1:
        return np.array(labels)
    return np.array([*labels, None], object)[:-1]
