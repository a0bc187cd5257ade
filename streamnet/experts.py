"""Experts: candidates of the ensemble that are no networks, and what they have in common.

The literature calls whatever is combined by online-learned weights an expert (Cesa-Bianchi and
Lugosi 2006, Prediction, learning, and games). Here, an expert may have several columns: predictions
that the ensemble combines like those of as many networks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self, final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from streamnet.features.columns.label import ClassRedirects, MovedClass
from streamnet.features.forecasts.history import NO_FORECASTS
from streamnet.samples import Block, Field, Given, Inputs, Timeline
from streamnet.selection.ensemble.base import ABSENT

MAX_RATIO = 1.5  # of an expert's loss to the lowest one, beyond which it rests
REST = 7  # rounds


@final
class ScoringBatch(Struct, frozen=True, eq=False, gc=False):
    """Predictions for consecutive samples, with the targets needed to score them.

    Or for samples of which each might be the next one: then without targets, and ``known``,
    ``center`` and ``spread`` are the same for all.
    """

    first: int  # number of the first sample
    answers: NDArray[Any]  # probabilities (candidates, n, outputs), or numbers (candidates, n)
    alive: NDArray[np.uint8]  # shape=(candidates, n): 0 where a prediction is not finite
    truth: NDArray[Any]  # shape=(n,): class indices, -1 for none; or numbers, NaN for none
    known: NDArray[np.int32]  # this and the next two as in Encoded: empty for the other task
    center: NDArray[np.float64]
    spread: NDArray[np.float64]
    forecasts: NDArray[np.float64] = NO_FORECASTS  # shape=(n, forecasts), as in Encoded
    timeline: Timeline | None = None  # what the n rows are where labels arrive late
    weight: NDArray[np.float64] | None = None  # shape=(n,); None: all are 1
    given: Given | None = None  # answers that callers got, where these are known
    key: Sequence[str | None] | None = None  # of each sample, where keys have models of their own
    inputs: Inputs | None = None  # of the networks; None where the samples were joined to be scored
    redirects: ClassRedirects | None = None  # of merged and retired classes; None without any
    block: Block | None = None  # as it was read; None where the samples were joined to be scored
    labels: Sequence[str] = ()  # by class number, and perhaps of classes yet to come
    fields: Sequence[Field] = ()  # columns that are learned, of samples without targets

    @property
    def new(self) -> NDArray[np.bool_] | slice:
        """The rows of samples that are predicted, without those of labels that have arrived."""
        return slice(None) if self.timeline is None else ~self.timeline.late

    def count_unlabeled(self) -> int:
        """Number of samples without a target, and without one that is still to arrive."""
        known = self.truth >= 0 if self.truth.dtype == np.int32 else np.isfinite(self.truth)
        missing = ~known
        if self.timeline is not None:
            missing &= self.timeline.late | (self.timeline.place < 0)
        return int(np.count_nonzero(missing))

    @property
    def following(self) -> NDArray[np.int64] | None:
        """Number of the sample that is predicted next after each row; None: rows are samples."""
        timeline = self.timeline
        return None if timeline is None else timeline.number + ~timeline.late


class Answers(NamedTuple):
    """What an expert predicts of n samples."""

    answers: NDArray[Any]  # probabilities (columns, n, labels), or numbers (columns, n)
    alive: NDArray[np.uint8] | None = None  # shape=(columns, n): 1, or `ABSENT`; None: all are 1


def where_present(values: NDArray[Any], present: NDArray[np.bool_]) -> Answers:
    """Answers of an expert, which are absent of some samples in all of its columns."""
    alive = np.full(values.shape[:2], ABSENT, np.uint8)
    alive[:, present] = 1
    return Answers(values, alive)


class Expert(ABC):
    """Candidates of the ensemble that are no networks; models to take home are without them."""

    name: ClassVar[str]  # of its state
    # Whether what it predicted of a sample is kept until its label arrives; else it does so itself.
    kept: ClassVar[bool] = True
    starts: ClassVar[bool] = True  # whether it has weight before its predictions are scored

    def __len__(self) -> int:
        """Number of its columns."""
        return 1

    @abstractmethod
    def predict_then_learn(self, batch: ScoringBatch) -> Answers:
        """Predict samples in order, each before it is learned."""

    @abstractmethod
    def predict(self, batch: ScoringBatch) -> Answers:
        """Predict samples of which each might be the next one; changes nothing.

        Safe to call from several threads, unless one of them learns.
        """

    def move_class(self, moved: MovedClass) -> None:  # noqa: B027 - few kinds know classes
        """Go on without a class that is merged or retired."""

    def end_round(  # noqa: B027 - few kinds rest
        self, losses: NDArray[np.float64], lowest: float
    ) -> None:
        """Learn at a round's end the faded mean loss of each column, and the lowest one of all."""

    @abstractmethod
    def freeze(self) -> Self | None:
        """A copy that predicts as this one does now, while this one learns; it must not learn.

        None if there is no such copy: then it does not predict there.
        """

    @abstractmethod
    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, bit for bit."""

    @abstractmethod
    def restore_state(self, state: Mapping[str, Any]) -> Sequence[int]:
        """Continue from an exported state; return the columns that start again, without weight.

        Raises:
            StateError: If it does not fit.
        """


@final
class Rest:
    """When an expert that is much worse than others neither predicts nor learns.

    Args:
        longest: Rounds of the longest rest: each is about twice as long as the one before it, until
            the expert is good enough at the end of one.

    >>> rest = Rest(longest=15)
    >>> rest.end_round(2.0, 1.0), rest.rounds
    (None, 7)
    """

    def __init__(self, longest: int = REST) -> None:
        self._longest = longest
        self.rounds: int = 0  # to come
        self.next: int = REST  # rounds of the next rest

    def __bool__(self) -> bool:
        return self.rounds > 0

    def end_round(self, loss: float, lowest: float) -> None:
        """Decide at the end of a round, by the expert's own loss and the lowest one."""
        if self.rounds:
            self.rounds -= 1
        elif loss > MAX_RATIO * lowest:
            self.rounds, self.next = self.next, min(2 * self.next + 1, self._longest)
        else:
            self.next = REST

    def export_state(self) -> dict[str, int]:
        """Everything needed to resume."""
        return {"resting": self.rounds, "rest": self.next}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of which an exported one is a part."""
        self.rounds, self.next = int(state["resting"]), int(state.get("rest", REST))
