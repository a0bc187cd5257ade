"""The contenders for serving: ensemble, champion, exported model and two baselines, scored on the
same samples.

Also accumulates the errors behind the error curve and the drift watch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.jit import inlined, kernel
from streamnet.learning.evaluator import ScoringBatch, TrackMetrics
from streamnet.metrics import ClassificationBaselines, Horizon, RegressionBaselines
from streamnet.networks.parameters import Member
from streamnet.samples import Task
from streamnet.selection.ensemble.labels import LabelEnsemble, share_pool
from streamnet.selection.ensemble.numbers import NumberEnsemble
from streamnet.selection.ensemble.registry import Ensemble, restore_ensemble, select_members

__all__ = (
    "BASELINES",
    "CHAMPION",
    "ENSEMBLE",
    "MODEL",
    "SERVABLE",
    "Contenders",
    "accumulate_errors",
)


ENSEMBLE, CHAMPION, MODEL = range(3)
BASELINES = (3, 4)
SERVABLE = ("ensemble", "champion")


@final
class Contenders:
    """The ensemble, the champion alone, the model that would be taken home, and two baselines.

    The model is an ensemble too, of what needs no targets to answer.

    Args:
        members: The candidates at the start.
        task: Classification or regression.
        window: Samples that the sliding measures look at.
        fading: Factor of all earlier samples in the fading measures and in the ensembles.
        margin: Share by which something else must be better to be chosen.
        balanced: Whether the ensembles answer as if all labels were equally frequent.

    >>> from streamnet.learning.learner import Learner
    >>> Learner(task=Task.REGRESSION).server.alternatives.names
    ('ensemble', 'champion', 'model', 'mean', 'no_change')
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        task: Task,
        window: int = 1000,
        fading: float = 0.999,
        margin: float = 0.02,
        balanced: bool = False,
    ) -> None:
        self.task = task
        self._balanced = balanced
        lagged = [member.settings.lags for member in members]
        portable = select_members(lagged)
        self._all_lagged = all(lagged)
        kind: type[Ensemble] | partial[LabelEnsemble] = NumberEnsemble
        if task is Task.CLASSIFICATION:
            kind = partial(LabelEnsemble, balanced=balanced)
        # What looks at the last targets has to earn its weight: short streams can't afford it.
        count = len(members)
        self.ensemble: Ensemble = kind(count, fading=fading, margin=margin, starting=portable)
        self.model: Ensemble = kind(count, fading=fading, margin=margin, members=portable)
        self._link_ensembles()
        self.scores = TrackMetrics(5, task=task, window=window, fading=fading, whole=True)
        self._baselines: ClassificationBaselines | RegressionBaselines = (
            ClassificationBaselines() if task is Task.CLASSIFICATION else RegressionBaselines()
        )

    def _link_ensembles(self) -> None:
        if isinstance(self.ensemble, LabelEnsemble) and isinstance(self.model, LabelEnsemble):
            share_pool(self.ensemble, self.model)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tracks."""
        return ("ensemble", "champion", "model", *self._baselines.names)

    def say(self, answered: ScoringBatch) -> NDArray[np.float64]:
        """What the ensemble answers to samples, each before it is learned: shares, or numbers.

        Shape (1, n, ...), or (2, n, ...) with what the model answers, where that is reckoned along.
        """
        return _predict_then_learn(self.ensemble, answered)

    def score(
        self, answered: ScoringBatch, said: NDArray[np.float64], chosen: NDArray[np.int32]
    ) -> NDArray[Any]:
        """What each would answer to samples, shape=(5, n, ...); all is scored and learned.

        Args:
            answered: The samples.
            said: What `say` told of them, which is learned already.
            chosen: shape=(n,): slot of the champion at each sample, -1 for none.
        """
        answers = np.zeros((5, *answered.answers.shape[1:]), answered.answers.dtype)
        if isinstance(self._baselines, ClassificationBaselines):
            width = answers.shape[2]
            simple: NDArray[Any] = self._baselines.answers(answered.truth, answered.known, width)
        else:
            simple = self._baselines.answers(answered.truth)
        answers[ENSEMBLE] = said[0]
        answers[MODEL] = said[1] if len(said) > 1 else _predict_then_learn(self.model, answered)[0]
        answers[BASELINES[0] :] = simple
        answers[CHAMPION] = _champion_predictions(answered.answers, chosen, simple[0])
        self.scores.update(answered, answers)
        return answers

    def start_from(self, state: dict[str, Any]) -> None:
        """Begin with how a model's networks answered together; they are the candidates."""
        start = restore_ensemble(self.task, state)
        for ensemble in (self.ensemble, self.model):
            ensemble.adopt(start)

    def combine(
        self,
        answers: NDArray[Any],
        alive: NDArray[np.uint8],
        *,
        known: int,
        scale: tuple[float, float] | None,
        alone: bool,
    ) -> NDArray[Any]:
        """One answer to each sample, which might be the next; nothing changes.

        Args:
            answers: Shares (candidates, n, labels), or numbers (candidates, n).
            alive: shape=(candidates, n), 0 where a candidate has no finite answer.
            known: Labels known.
            scale: Centre and spread of numbers; None for shares.
            alone: By the model, not by the ensemble that knows the last targets.
        """
        ensemble = self.model if alone else self.ensemble
        if isinstance(ensemble, LabelEnsemble):
            return ensemble.answer(answers, alive, known)
        assert scale is not None
        return ensemble.answer(answers, alive, scale)

    def reset_slot(self, slot: int, member: Member) -> None:
        """Another candidate takes a slot."""
        self.ensemble.reset(slot)
        self.model.reset(slot, member=self.portable(member))

    def discount_losses(self) -> None:
        """The stream has changed: let what was learned before count less in the ensembles."""
        self.ensemble.discount_losses()
        self.model.discount_losses()

    def portable(self, member: Member) -> bool:
        """Whether a candidate is heard where nobody tells targets."""
        return self._all_lagged or not member.settings.lags

    def measures(self, track: int, horizon: Horizon = Horizon.OVERALL) -> dict[str, float]:
        """Every measure of a track by name."""
        return self.scores.measures(track, horizon)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {
            "ensemble": self.ensemble.export_state(),
            "model": self.model.export_state(),
            "scores": self.scores.evaluator.export_state(),
            "baselines": self._baselines.export_state(),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the alternatives did whose state this is."""
        self.ensemble = restore_ensemble(self.task, state["ensemble"])
        self.model = restore_ensemble(self.task, state["model"])
        for ensemble in (self.ensemble, self.model):
            # An earlier release was not balanced, whatever the criterion.
            if self._balanced and isinstance(ensemble, LabelEnsemble):
                ensemble.balance()
        self.scores.evaluator = type(self.scores.evaluator).restore_state(state["scores"])
        self._link_ensembles()
        self._baselines = type(self._baselines).restore_state(state["baselines"])


def _predict_then_learn(ensemble: Ensemble, answered: ScoringBatch) -> NDArray[np.float64]:
    """What an ensemble answers, and with labels the one that goes with it, before it is learned."""
    about = answered.answers, answered.alive, answered.truth
    if isinstance(ensemble, LabelEnsemble):
        return ensemble.serve_pair(*about, answered.known)
    return ensemble.serve(*about, answered.center, answered.spread)[np.newaxis]


def _champion_predictions(
    answers: NDArray[Any], chosen: NDArray[np.int32], instead: NDArray[Any]
) -> NDArray[Any]:
    """The champion's answer to each sample; where nobody is able to answer, ``instead``."""
    first = chosen[0]
    if first >= 0 and (len(chosen) == 1 or (chosen == first).all()):
        alone: NDArray[Any] = answers[first]
        return alone
    found: NDArray[Any] = answers[np.maximum(chosen, 0), np.arange(len(chosen))]
    silent = chosen < 0
    found[silent] = instead[silent]
    return found


_LARGEST = 1e300  # anything larger counts as this, so that sums stay finite


def accumulate_errors(
    answered: ScoringBatch,
    answers: NDArray[Any],
    tracks: NDArray[np.int64],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
    """Add errors, one sample after the other, so that cuts change no bit of a sum.

    An error is 1 for a wrong label and 0 for a right one, or the absolute error of a number.

    Args:
        answered: The samples; those without a target are left out.
        answers: Shares (tracks, n, outputs) or numbers (tracks, n).
        tracks: shape=(3,), of what was served and of two baselines.
        sums: shape=(3,), of these; changed.
        scored: Samples summed before these.
        every: Sums are noted whenever this many samples more were summed.

    Returns:
        Samples summed by now; the sums that were noted, shape=(times, 3); and the loss of what was
        served, shape=(n,): the error, of numbers in standard deviations, at most 1; NaN where a
        sample was left out.
    """
    n = answers.shape[1]
    notes = np.empty((n // every + 1, 3))
    losses = np.empty(n)
    truth, others = answered.truth, (sums, scored, every, notes, losses)
    if answers.ndim == 3:
        now = _accumulate_label_errors(answers, tracks, truth, answered.known, *others)
    else:
        now = _accumulate_number_errors(answers, tracks, truth, answered.spread, *others)
    return now, notes[: now // every - scored // every], losses


@kernel
def _accumulate_label_errors(
    answers: NDArray[np.floating],
    tracks: NDArray[np.int64],
    label: NDArray[np.int32],
    known: NDArray[np.int32],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
    notes: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> int:
    noted = 0
    for i in range(label.size):
        losses[i] = np.nan
        if label[i] < 0:
            continue
        for t in range(3):
            best = 0
            for o in range(1, answers.shape[2]):
                if answers[tracks[t], i, o] > answers[tracks[t], i, best]:
                    best = o
            wrong = 1.0 if known[i] == 0 or best != label[i] else 0.0
            sums[t] += wrong
            if t == 0:
                losses[i] = wrong
        scored += 1
        noted = _record_sums(sums, scored, every, notes, noted)
    return scored


@kernel
def _accumulate_number_errors(
    answers: NDArray[np.float64],
    tracks: NDArray[np.int64],
    truth: NDArray[np.float64],
    spread: NDArray[np.float64],
    sums: NDArray[np.float64],
    scored: int,
    every: int,
    notes: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> int:
    noted = 0
    for i in range(truth.size):
        losses[i] = np.nan
        if not np.isfinite(truth[i]):
            continue
        for t in range(3):
            distance = min(abs(answers[tracks[t], i] - truth[i]), _LARGEST)
            sums[t] += distance
            if t == 0:
                losses[i] = min(distance / spread[i], 1.0)
        scored += 1
        noted = _record_sums(sums, scored, every, notes, noted)
    return scored


@inlined
def _record_sums(
    sums: NDArray[np.float64], scored: int, every: int, notes: NDArray[np.float64], noted: int
) -> int:
    """Note the sums if it is time to; returns how often that was done."""
    if scored % every == 0:
        for t in range(3):
            notes[noted, t] = sums[t]
        noted += 1
    return noted
