"""The experts of a learner: every kind of candidate that is no network, in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

import numpy as np

from streamnet.experts import Answers, Expert, ScoringBatch
from streamnet.factorization.machine import FactorizationMachine
from streamnet.features.forecasts.history import FORECASTS
from streamnet.learning.guests import GuestCandidates
from streamnet.neighbors.memory import NeighborMemory
from streamnet.samples import Task
from streamnet.series.forecasts import SeriesForecasts
from streamnet.settings.learning import LearningSettings
from streamnet.trees.boosted_trees import BoostedTrees


@final
class ForecastExpert(Expert):
    """Forecasts of numbers from the known targets alone: all of them but the last target."""

    name = "forecasts"
    kept = False

    def __len__(self) -> int:
        return FORECASTS - 1

    def predict_then_learn(self, batch: ScoringBatch) -> Answers:
        """The forecasts of a batch; there is nothing to learn."""
        return self.predict(batch)

    def predict(self, batch: ScoringBatch) -> Answers:
        """The forecasts of a batch."""
        numbers = batch.forecasts[:, -len(self) :].T
        known = np.isfinite(numbers)
        return Answers(np.where(known, numbers, 0.0), known.astype(np.uint8))

    def freeze(self) -> ForecastExpert:
        """Itself: it has no state."""
        return self

    def export_state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore_state(self, state: Mapping[str, Any]) -> tuple[int, ...]:  # noqa: ARG002
        """Nothing to do."""
        return ()


def scale_trees(effort: float) -> float:
    """How many times as many trees there are; above 1 they are grown from more samples, too.

    >>> [scale_trees(effort) for effort in (0.25, 1.0, 4.0)]
    [0.25, 1.0, 2.0]
    """
    return effort if effort < 1.0 else math.sqrt(effort)


def build_experts(
    settings: LearningSettings,
    task: Task,
    *,
    given: bool,
    forecasts: bool,
    guests: GuestCandidates | None,
) -> list[Expert]:
    """The experts of a learner, guests last.

    Args:
        settings: Of the learner.
        task: What is predicted.
        given: Whether its networks are given: then there are only experts that are asked for.
        forecasts: Whether there are forecasts from the known targets.
        guests: The guests, if there are any.
    """
    numeric = task is Task.REGRESSION
    experts: list[Expert] = [ForecastExpert()] if forecasts and numeric else []
    if numeric and (values := settings.series_for(given=given)):
        experts.append(SeriesForecasts(values))
    if not numeric and (samples := settings.neighbors_for(given=given)):
        experts.append(NeighborMemory(samples))
    if factors := settings.factors_for(given=given):
        experts.append(FactorizationMachine(factors))
    if samples := settings.trees_for(given=given, effort=settings.effort):
        experts.append(BoostedTrees(samples, numeric=numeric, trees=scale_trees(settings.effort)))
    return experts if guests is None else [*experts, guests]
