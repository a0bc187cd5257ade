"""Scoring of candidates' predictions: block by block, or deferred and scored many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
from msgspec import Struct
from msgspec.structs import astuple
from numpy.typing import NDArray

from streamnet.features.encoder import Encoded
from streamnet.learning.trainer import Predicted
from streamnet.metrics import ClassificationEvaluator, Horizon, RegressionEvaluator
from streamnet.samples import Task

__all__ = (
    "LARGE_BLOCK",
    "MAX_CELLS",
    "MAX_SAMPLES",
    "DeferredScoring",
    "Evaluator",
    "Scored",
    "ScoringBatch",
    "TrackMetrics",
    "build_scoring_batch",
    "concatenate_batches",
    "decode_predictions",
    "get_target_numbers",
)


@final
class ScoringBatch(Struct, frozen=True, eq=False, gc=False):
    """Consecutive samples with all that it takes to judge what was said about them."""

    first: int  # number of the first sample
    answers: NDArray[Any]  # shares (candidates, n, outputs), or numbers (candidates, n)
    alive: NDArray[np.uint8]  # shape=(candidates, n): 0 where a candidate had no finite answer
    truth: NDArray[Any]  # shape=(n,): class numbers, -1 for none; or numbers, NaN for none
    known: NDArray[np.int32]  # this and the next two as in Encoded: empty for the other task
    center: NDArray[np.float64]
    spread: NDArray[np.float64]


def build_scoring_batch(scored: Predicted, task: Task) -> ScoringBatch:
    """A block as it is judged."""
    encoded = scored.encoded
    return ScoringBatch(
        scored.first,
        decode_predictions(scored, task),
        scored.answers.alive,
        encoded.label if task is Task.CLASSIFICATION else get_target_numbers(encoded),
        encoded.known,
        encoded.center,
        encoded.spread,
    )


def concatenate_batches(parts: Sequence[ScoringBatch]) -> ScoringBatch:
    """Parts that follow each other as one."""
    firsts, answers, alive, *targets = zip(*map(astuple, parts), strict=True)
    return ScoringBatch(
        firsts[0],
        # In C order, which numpy does not promise: kernels are compiled for no other.
        np.ascontiguousarray(np.concatenate(answers, axis=1)),
        np.ascontiguousarray(np.concatenate(alive, axis=1)),
        # Of the other task there is nothing, over and over.
        *(np.concatenate(arrays) if len(arrays[0]) else arrays[0] for arrays in targets),
    )


def decode_predictions(scored: Predicted, task: Task) -> NDArray[Any]:
    """Candidates' answers as a user understands them: shares, or numbers in the target's units.

    What stands for a candidate that gave no answer means nothing.
    """
    outputs = scored.answers.outputs
    if task is Task.CLASSIFICATION:
        return outputs
    return scored.encoded.units.numbers(outputs[:, :, 0], scored.answers.logarithmic)


def get_target_numbers(encoded: Encoded) -> NDArray[np.float64]:
    """The numbers to predict, NaN where there is none; shape=(n,)."""
    target = encoded.block.target
    return np.full(len(encoded.block), np.nan) if target is None else target


LARGE_BLOCK = (
    64  # samples that come together need no others: joined, they would take their memory twice
)
MAX_SAMPLES = 256  # samples: to judge one more among so many takes no time to speak of
MAX_CELLS = 1 << 20  # of answers: with many labels fewer samples are kept, for their memory


@final
class DeferredScoring:
    """What is yet to be judged, in order.

    >>> bool(DeferredScoring())
    False
    """

    def __init__(self) -> None:
        self._answered: list[ScoringBatch] = []
        self._said: list[NDArray[np.float64]] = []
        self._samples = self._cells = 0

    def __bool__(self) -> bool:
        return bool(self._answered)

    def fits(self, answered: ScoringBatch) -> bool:
        """Whether samples can be judged together with these: room for labels may have grown."""
        before = self._answered
        return not before or before[0].answers.shape[2:] == answered.answers.shape[2:]

    def add(self, answered: ScoringBatch, said: NDArray[np.float64]) -> bool:
        """Put off samples that come next after these and fit, and what `Alternatives.say` told.

        Returns whether it is time to judge them.
        """
        self._answered.append(answered)
        self._said.append(said)
        self._samples += len(answered.truth)
        self._cells += answered.answers.size
        return self._samples >= MAX_SAMPLES or self._cells >= MAX_CELLS

    def clear(self) -> None:
        """Forget all."""
        self._answered, self._said = [], []
        self._samples = self._cells = 0

    def taken(self) -> tuple[ScoringBatch, NDArray[np.float64]]:
        """All of them as one, of which there must be some; then none are left."""
        answered, said = self._answered, self._said
        self.clear()
        if len(answered) == 1:  # as it is where somebody looks after each sample
            return answered[0], said[0]
        return concatenate_batches(answered), np.concatenate(said, axis=1)


class Scored(NamedTuple):
    """A block with the loss of every candidate at every sample."""

    scored: Predicted
    answered: ScoringBatch
    losses: NDArray[np.float64]  # shape=(n, candidates); inf where none was scored


@final
class TrackMetrics:
    """Measures of some tracks, for either task.

    Args:
        tracks: How many are scored at once.
        task: Classification or regression.
        window: Samples that the sliding measures look at.
        fading: Factor of all earlier samples in the fading measures.
        whole: Whether whole confusion matrices are kept.

    >>> sorted(TrackMetrics(1, task=Task.REGRESSION, window=100, fading=0.999).measures(0))
    ['mae', 'mape', 'r2', 'rmse']
    """

    def __init__(
        self, tracks: int, *, task: Task, window: int, fading: float, whole: bool = False
    ) -> None:
        self.task = task
        self.evaluator: ClassificationEvaluator | RegressionEvaluator = (
            ClassificationEvaluator(tracks, window=window, fading=fading, whole=whole)
            if task is Task.CLASSIFICATION
            else RegressionEvaluator(tracks, window=window, fading=fading)
        )

    def update(
        self, answered: ScoringBatch, answers: NDArray[Any], alive: NDArray[np.uint8] | None = None
    ) -> NDArray[np.float64]:
        """Score answers to these samples; the loss of each track at each, shape=(n, tracks)."""
        if isinstance(self.evaluator, ClassificationEvaluator):
            return self.evaluator.update(answers, answered.truth, answered.known, alive)
        return self.evaluator.update(answers, answered.truth, alive)

    def measures(self, track: int, horizon: Horizon = Horizon.OVERALL) -> dict[str, float]:
        """Every measure of a track by name."""
        return self.evaluator.measures(track, horizon)

    def table(self, horizon: Horizon = Horizon.OVERALL) -> dict[str, NDArray[np.float64]]:
        """Every measure by name, each for all tracks at once, shape=(tracks,)."""
        return self.evaluator.table(horizon)


@final
class Evaluator:
    """Scores candidates, sample by sample.

    Args:
        candidates: How many there are.
        task: Classification or regression.
        window: Samples that the sliding measures look at.
        fading: Factor of all earlier samples in the fading measures.

    >>> sorted(Evaluator(16, task=Task.REGRESSION).candidates.measures(15))
    ['mae', 'mape', 'r2', 'rmse']
    """

    def __init__(
        self, candidates: int, *, task: Task, window: int = 1000, fading: float = 0.999
    ) -> None:
        self.task = task
        self.candidates = TrackMetrics(candidates, task=task, window=window, fading=fading)

    def evaluate(self, scored: Predicted) -> Scored:
        """Score a block; samples of a later epoch are passed through unscored."""
        for slot, _ in scored.joined:
            self.candidates.evaluator.reset(slot)
        answered = build_scoring_batch(scored, self.task)
        n = len(answered.truth)
        if n and scored.encoded.block.scored:
            return Scored(scored, answered, self.losses(answered))
        return Scored(scored, answered, np.full((n, len(answered.answers)), np.inf))

    def losses(self, answered: ScoringBatch) -> NDArray[np.float64]:
        """Score samples; the loss of each candidate at each, shape=(n, candidates)."""
        return self.candidates.update(answered, answered.answers, answered.alive)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {"candidates": self.candidates.evaluator.export_state()}

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the evaluator did whose state this is."""
        kind = type(self.candidates.evaluator)
        self.candidates.evaluator = kind.restore_state(state["candidates"])
