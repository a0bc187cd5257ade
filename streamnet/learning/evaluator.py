"""Scoring of predictions, and the watch for drift in the losses of what is served."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.drift import DETECTORS, DriftDetector
from streamnet.errors import ConfigurationError
from streamnet.experts import ScoringBatch
from streamnet.features.columns.label import RETIRED, MovedClass
from streamnet.features.encoder import Encoded
from streamnet.learning.pending import PendingTable
from streamnet.learning.trainer import Predicted
from streamnet.metrics import ClassificationEvaluator, RegressionEvaluator
from streamnet.metrics.classification import NONE_PREDICTED
from streamnet.metrics.windows import join_tracks, split_tracks
from streamnet.samples import Task, Timeline, concatenate_weights
from streamnet.selection.ensemble.base import ABSENT, MOST_PROBABLE, TrackPredictions


def build_scoring_batch(predicted: Predicted, task: Task) -> ScoringBatch:
    """Prepare a block for scoring."""
    encoded, scores = predicted.encoded, predicted.scores
    return ScoringBatch(
        predicted.first,
        decode_predictions(predicted, task) if scores is None else scores.answers,
        predicted.answers.alive if scores is None else scores.alive,
        encoded.label if task is Task.CLASSIFICATION else get_target_numbers(encoded),
        encoded.known,
        encoded.center,
        encoded.spread,
        encoded.forecasts,
        encoded.timeline,
        encoded.weight,
        encoded.given,
        encoded.key,
        encoded.inputs,
        encoded.redirects,
        encoded.block,
        encoded.labels,
    )


def serve_given(
    batch: ScoringBatch, tracks: TrackPredictions, served: int
) -> tuple[ScoringBatch, TrackPredictions]:
    """Put the answers that callers got in place of those of a track, to be scored in their stead.

    A sample to which there was no answer has no known label, or for numbers no target.
    """
    given = batch.given
    if given is None:
        return batch, tracks
    answers, classes, rows = *tracks, given.rows
    if answers.ndim > 2:
        answers[served, rows] = 0.0
        answers[served, rows, : given.answers.shape[1]] = given.answers
        if not classes.size:
            classes = np.full(answers.shape[:2], MOST_PROBABLE, np.int32)
        classes[served, rows] = given.classes
    else:
        answers[served, rows] = given.answers
    tracks = TrackPredictions(answers, classes)
    if not given.missing.any():
        return batch, tracks
    missing = rows[given.missing]
    name, value = ("known", 0) if answers.ndim > 2 else ("truth", np.nan)
    values = getattr(batch, name).copy()
    values[missing] = value
    return replace(batch, **{name: values}), tracks


def concatenate_batches(parts: Sequence[ScoringBatch]) -> ScoringBatch:
    """Join consecutive batches of samples, of which none waits for its label."""

    def join(name: str, axis: int = 0) -> NDArray[Any]:
        arrays: list[NDArray[Any]] = [getattr(part, name) for part in parts]
        # Arrays of the other task are empty in every part.
        if not len(arrays[0]):
            return arrays[0]
        # In C order, which numpy does not promise: kernels are compiled for no other.
        return np.ascontiguousarray(np.concatenate(arrays, axis=axis))

    return ScoringBatch(
        parts[0].first,
        join("answers", 1),
        join("alive", 1),
        join("truth"),
        join("known"),
        join("center"),
        join("spread"),
        join("forecasts"),
        weight=concatenate_weights([(part.weight, len(part.truth)) for part in parts]),
        redirects=parts[0].redirects,
    )


def decode_predictions(predicted: Predicted, task: Task) -> NDArray[Any]:
    """Convert network outputs to probabilities, or to numbers in units of the target.

    Values of candidates without a finite prediction are meaningless.
    """
    outputs = predicted.answers.outputs
    if task is Task.CLASSIFICATION:
        redirects = predicted.encoded.redirects
        return outputs if redirects is None else redirects.apply(outputs, predicted.encoded.known)
    return predicted.encoded.units.numbers(outputs[:, :, 0], predicted.answers.logarithmic)


def get_target_numbers(encoded: Encoded) -> NDArray[np.float64]:
    """Return the targets of a regression block, NaN where there is none; shape=(n,)."""
    if encoded.timeline is not None:
        return encoded.target
    target = encoded.block.target
    return np.full(len(encoded.block), np.nan) if target is None else target


# Larger blocks gain nothing from being joined, and would take their memory twice.
LARGE_BLOCK = 64
MAX_SAMPLES = 256  # samples per batch: one more costs hardly any time beyond this
MAX_CELLS = 1 << 20  # predictions per batch, which bounds its memory with many labels


@final
class DeferredScoring:
    """Batches that are yet to be scored, in order.

    >>> bool(DeferredScoring())
    False
    """

    def __init__(self) -> None:
        self._batches: list[ScoringBatch] = []
        self._predictions: list[TrackPredictions] = []  # of the ensembles
        self._samples = self._cells = 0

    def __bool__(self) -> bool:
        return bool(self._batches)

    def fits(self, batch: ScoringBatch) -> bool:
        """Whether a batch has as many outputs as the deferred ones."""
        batches = self._batches
        return not batches or batches[0].answers.shape[2:] == batch.answers.shape[2:]

    def add(self, batch: ScoringBatch, ensemble_predictions: TrackPredictions) -> bool:
        """Defer the next batch, which must fit; return whether it is time to score all of them."""
        self._batches.append(batch)
        self._predictions.append(ensemble_predictions)
        self._samples += len(batch.truth)
        self._cells += batch.answers.size
        return self._samples >= MAX_SAMPLES or self._cells >= MAX_CELLS

    def clear(self) -> None:
        """Drop all deferred batches."""
        self._batches, self._predictions = [], []
        self._samples = self._cells = 0

    def pop_all(self) -> tuple[ScoringBatch, TrackPredictions]:
        """Remove all deferred batches, of which there must be some, and return them as one."""
        batches, predictions = self._batches, self._predictions
        self.clear()
        if len(batches) == 1:  # the usual case if scores are read after every sample
            return batches[0], predictions[0]
        answers, classes = zip(*predictions, strict=True)
        joined = np.concatenate(answers, axis=1), np.concatenate(classes, axis=1)
        return concatenate_batches(batches), TrackPredictions(*joined)


class Scored(NamedTuple):
    """A block with every candidate's loss at every sample."""

    predicted: Predicted
    batch: ScoringBatch
    losses: NDArray[np.float64]  # shape=(n, candidates); inf where a sample was not scored


_OF_CANDIDATES = {"answers", "alive"}  # arrays of waiting samples: shape=(samples, candidates, ...)

TrackMetrics = ClassificationEvaluator | RegressionEvaluator
"""Metrics of several tracks."""


def build_track_metrics(
    tracks: int, *, task: Task, window: int, fading: float, whole: bool = False
) -> TrackMetrics:
    """Metrics for either task; ``whole`` keeps complete confusion matrices."""
    if task is Task.CLASSIFICATION:
        return ClassificationEvaluator(tracks, window=window, fading=fading, whole=whole)
    return RegressionEvaluator(tracks, window=window, fading=fading)


def score_tracks(
    metrics: TrackMetrics,
    batch: ScoringBatch,
    answers: NDArray[Any],
    alive: NDArray[np.uint8] | None = None,
    classes: NDArray[np.int32] = NONE_PREDICTED,
) -> NDArray[np.float64]:
    """Score predictions; return the loss of each track at each sample, shape=(n, tracks).

    See `TrackPredictions` for ``classes``.
    """
    if isinstance(metrics, ClassificationEvaluator):
        samples = answers, batch.truth, batch.known, alive
        return metrics.update(*samples, predicted=classes, weight=batch.weight)
    return metrics.update(answers, batch.truth, alive, weight=batch.weight)


class Evaluator:
    """Scores candidates sample by sample.

    >>> sorted(Evaluator(16, task=Task.REGRESSION).candidates.measures(15))
    ['mae', 'mape', 'r2', 'rmse']
    """

    def __init__(
        self, candidates: int, *, task: Task, window: int = 1000, fading: float = 0.999
    ) -> None:
        self.task: Task = task
        self.candidates: TrackMetrics = build_track_metrics(
            candidates, task=task, window=window, fading=fading
        )
        self._pending = PendingTable(answers=0.0, alive=0, known=0, center=0.0, spread=1.0)

    def reset(self, slot: int) -> None:
        """Forget all scores of a slot, whose candidate was replaced."""
        self.candidates.reset(slot)
        self._pending.fill("alive", slot, ABSENT)  # it has not predicted what waits

    def evaluate(self, predicted: Predicted) -> Scored:
        """Score a block; samples of a later epoch are passed through unscored."""
        for slot, _ in predicted.joined:
            self.reset(slot)
        if (moved := predicted.encoded.moved) is not None:
            self._move_class(moved)
        batch = build_scoring_batch(predicted, self.task)
        if batch.timeline is not None:
            batch = self._recall(batch, batch.timeline)
        n = len(batch.truth)
        if n and predicted.encoded.block.scored:
            return Scored(predicted, batch, self.losses(batch))
        return Scored(predicted, batch, np.full((n, len(batch.answers)), np.inf))

    def _move_class(self, moved: MovedClass) -> None:
        assert isinstance(self.candidates, ClassificationEvaluator)
        if moved.into != RETIRED:
            self.candidates.merge_classes(*moved)
            self._pending.merge_columns("answers", *moved)

    def _recall(self, batch: ScoringBatch, timeline: Timeline) -> ScoringBatch:
        """Replace what candidates say of a late label's sample by what they had predicted."""
        known, center, spread = batch.known.copy(), batch.center.copy(), batch.spread.copy()
        labels = self.task is Task.CLASSIFICATION
        units = {"known": known} if labels else {"center": center, "spread": spread}
        self._pending.recall(
            timeline, answers=np.moveaxis(batch.answers, 0, 1), alive=batch.alive.T, **units
        )
        return replace(batch, known=known, center=center, spread=spread)

    def losses(self, batch: ScoringBatch) -> NDArray[np.float64]:
        """Score samples; return the loss of each candidate at each, shape=(n, candidates)."""
        return score_tracks(self.candidates, batch, batch.answers, batch.alive)

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume, bit for bit."""
        return {
            "candidates": self.candidates.export_state(),
            "pending": self._pending.export_state(),
        }

    def copy_state(self) -> dict[str, Any]:
        """Everything that another evaluator needs to go on within the same run."""
        return {"candidates": self.candidates.export_state(), "pending": self._pending.copy_state()}

    @staticmethod
    def split_state(state: dict[str, Any], slots: slice) -> dict[str, Any]:
        """The part of a state that belongs to some slots."""
        pending = {**state["pending"]}
        for name in _OF_CANDIDATES & pending.keys():
            pending[name] = pending[name][:, slots]
        return {"candidates": split_tracks(state["candidates"], slots), "pending": pending}

    @staticmethod
    def join_states(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The state of all slots, whose parts these are."""
        parts = [state["pending"] for state in states]
        pending = {**parts[0]}
        for name in _OF_CANDIDATES & pending.keys():
            pending[name] = np.concatenate([part[name] for part in parts], axis=1)
        return {
            "candidates": join_tracks([state["candidates"] for state in states]),
            "pending": pending,
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        self.candidates = type(self.candidates).restore_state(state["candidates"])
        self._pending.restore_state(state["pending"])


MAX_EVENTS = 100  # events kept


class DriftEvent(NamedTuple):
    """A rise in the loss of the served predictions."""

    number: int  # sample at which it was detected
    since: int  # sample at which it began, as the detector estimates
    before: float  # mean loss before ``since``, in [0, 1]
    after: float  # mean loss since then


@final
class DriftWatch:
    """Watches the loss of every scored sample for rises, by a detector of `DETECTORS` or "none".

    >>> watch = DriftWatch("hddm_a")
    >>> watch.add(0, np.repeat([0.1, 0.9], 500))
    >>> watch.check()
    True
    >>> (event,) = watch.events
    >>> 500 <= event.number < 520 and event.after > event.before
    True
    """

    def __init__(self, detector: str = "adwin") -> None:
        if detector != "none" and detector not in DETECTORS:
            raise ConfigurationError(
                f"drift is {detector!r}, but must be one of {', '.join((*DETECTORS, 'none'))}"
            )
        self.events: deque[DriftEvent] = deque(maxlen=MAX_EVENTS)
        self.detections: int = 0  # including events no longer kept
        # Numbers of samples, or of the first one, and losses that are not checked yet.
        self._pending: list[tuple[int | NDArray[np.int64], NDArray[np.float64]]] = []
        self._detector: DriftDetector | None = None
        if detector != "none":
            self._detector = DETECTORS[detector]()

    def add(self, numbers: int | NDArray[np.int64], losses: NDArray[np.float64]) -> None:
        """Add losses, which the next `check` will see.

        Args:
            numbers: Number of the first of consecutive samples; where labels arrive late, the
                number of samples before each loss was known, shape=(n,).
            losses: In [0, 1], or NaN for samples that were not scored, shape=(n,).
        """
        if self._detector is not None:
            self._pending.append((numbers, losses))

    def check(self) -> bool:
        """Check the losses added since the last call, in order; return whether there was a rise."""
        numbers, losses = self._concatenate_pending()
        self._pending.clear()
        if self._detector is None or not losses.size:
            return False
        self._detector.update(losses)
        rises = [change for change in self._detector.changes if change.after > change.before]
        scored = numbers[np.isfinite(losses)]
        for change in rises:
            number = int(numbers[change.position])
            since = _find_first_recent(scored, number, change.age)
            self.events.append(DriftEvent(number, since, change.before, change.after))
        self.detections += len(rises)
        return bool(rises)

    def _concatenate_pending(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        numbers = [
            np.arange(first, first + len(part)) if isinstance(first, int) else first
            for first, part in self._pending
        ]
        losses = [part for _, part in self._pending]
        return (
            np.concatenate((np.empty(0, np.int64), *numbers)),
            np.concatenate((np.empty(0), *losses)),
        )

    def export_state(self) -> dict[str, Any]:
        """Return everything needed to resume, bit for bit."""
        numbers, losses = self._concatenate_pending()
        return {
            "numbers": numbers,
            "losses": losses,
            "events": np.array(self.events, np.float64).reshape(-1, 4),
            "detections": self.detections,
            "detector": None if self._detector is None else self._detector.export_state(),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        self._pending = [
            (int(number), np.array([loss]))
            for number, loss in zip(state["numbers"], state["losses"], strict=True)
        ]
        self.detections = state["detections"]
        self.events.clear()
        for number, since, before, after in state["events"].tolist():
            self.events.append(DriftEvent(int(number), int(since), before, after))
        if self._detector is not None:
            self._detector = type(self._detector).restore_state(state["detector"])


def _find_first_recent(scored: NDArray[np.int64], number: int, age: int) -> int:
    """Return the first of the last ``age`` scored samples up to ``number``.

    Which samples before the first of ``scored`` were scored is unknown: all are assumed to be.
    """
    place = int(np.searchsorted(scored, number)) - age + 1
    return int(scored[place]) if place >= 0 else max(int(scored[0]) + place, 0)
