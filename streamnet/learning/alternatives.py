"""Alternatives: everything that could be served, scored side by side on the same samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.evaluation import ClassificationBaselines
from streamnet.evaluation import Horizon
from streamnet.evaluation import RegressionBaselines
from streamnet.learning.answered import Answered
from streamnet.learning.evaluator import Scores
from streamnet.networks.members import Member
from streamnet.samples import Task
from streamnet.selection.ensemble import Ensemble
from streamnet.selection.ensemble import members_of
from streamnet.selection.ensemble import restored_ensemble
from streamnet.selection.label_ensemble import LabelEnsemble
from streamnet.selection.label_ensemble import go_together
from streamnet.selection.number_ensemble import NumberEnsemble

__all__ = ("BASELINES", "CHAMPION", "ENSEMBLE", "MODEL", "SERVABLE", "Alternatives")

ENSEMBLE, CHAMPION, MODEL = range(3)
BASELINES = (3, 4)
SERVABLE = ("ensemble", "champion")


@final
class Alternatives:
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
        portable = members_of(lagged)
        self._all_lagged = all(lagged)
        kind: type[Ensemble] | partial[LabelEnsemble] = NumberEnsemble
        if task is Task.CLASSIFICATION:
            kind = partial(LabelEnsemble, balanced=balanced)
        # What looks at the last targets has to earn its weight: short streams can't afford it.
        count = len(members)
        self.ensemble: Ensemble = kind(count, fading=fading, margin=margin, starting=portable)
        self.model: Ensemble = kind(count, fading=fading, margin=margin, members=portable)
        self._go_together()
        self.scores = Scores(5, task=task, window=window, fading=fading, whole=True)
        self._baselines: ClassificationBaselines | RegressionBaselines = (
            ClassificationBaselines() if task is Task.CLASSIFICATION else RegressionBaselines()
        )

    def _go_together(self) -> None:
        if isinstance(self.ensemble, LabelEnsemble) and isinstance(self.model, LabelEnsemble):
            go_together(self.ensemble, self.model)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all tracks."""
        return ("ensemble", "champion", "model", *self._baselines.names)

    def say(self, answered: Answered) -> NDArray[np.float64]:
        """What the ensemble answers to samples, each before it is learned: shares, or numbers.

        Shape (1, n, ...), or (2, n, ...) with what the model answers, where that is reckoned along.
        """
        return _serve(self.ensemble, answered)

    def score(
        self, answered: Answered, said: NDArray[np.float64], chosen: NDArray[np.int32]
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
        answers[MODEL] = said[1] if len(said) > 1 else _serve(self.model, answered)[0]
        answers[BASELINES[0] :] = simple
        answers[CHAMPION] = _chosen(answered.answers, chosen, simple[0])
        self.scores.update(answered, answers)
        return answers

    def start_from(self, state: dict[str, Any]) -> None:
        """Begin with how a model's networks answered together; they are the candidates."""
        start = restored_ensemble(self.task, state)
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

    def welcome(self, slot: int, member: Member) -> None:
        """Another candidate takes a slot."""
        self.ensemble.reset(slot)
        self.model.reset(slot, member=self.portable(member))

    def shorten(self) -> None:
        """The stream has changed: let what was learned before count less in the ensembles."""
        self.ensemble.shorten()
        self.model.shorten()

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
        self.ensemble = restored_ensemble(self.task, state["ensemble"])
        self.model = restored_ensemble(self.task, state["model"])
        for ensemble in (self.ensemble, self.model):
            # An earlier release was not balanced, whatever the criterion.
            if self._balanced and isinstance(ensemble, LabelEnsemble):
                ensemble.balance()
        self.scores.evaluator = type(self.scores.evaluator).restore_state(state["scores"])
        self._go_together()
        self._baselines = type(self._baselines).restore_state(state["baselines"])


def _serve(ensemble: Ensemble, answered: Answered) -> NDArray[np.float64]:
    """What an ensemble answers, and with labels the one that goes with it, before it is learned."""
    about = answered.answers, answered.alive, answered.truth
    if isinstance(ensemble, LabelEnsemble):
        return ensemble.serve_both(*about, answered.known)
    return ensemble.serve(*about, answered.centre, answered.spread)[np.newaxis]


def _chosen(
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
