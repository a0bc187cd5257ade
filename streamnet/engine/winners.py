"""Winners: each candidate as it was at its best, and who of them is the best."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.engine.holdout import Graded
from streamnet.learning.trainer import Decision
from streamnet.learning.trainer import Scored
from streamnet.networks.population import Population
from streamnet.pipeline.parts import Stateless
from streamnet.selection.criteria import Criterion

__all__ = ("Finishers", "Improvement", "Outcome", "Shelf", "Winners")


class Improvement(NamedTuple):
    """A candidate that did better on the held-out samples than any before it."""

    epoch: int  # after which it did, from 1 on
    candidate: int
    value: float  # of the criterion


class Outcome(NamedTuple):
    """What became of a block."""

    scored: Scored
    decision: Decision | None


@final
class Shelf:
    """Weights of candidates as they were at some epoch, each at its own.

    Training is further on when an epoch has been judged, so weights come as copies.
    """

    def __init__(self, population: Population) -> None:
        self._population = population
        self._weights: NDArray[np.floating[Any]] | None = None

    def keep(self, slots: NDArray[np.intp], weights: NDArray[np.floating[Any]]) -> None:
        """Keep the weights of some candidates, of a copy of all."""
        if self._weights is None:
            self._weights = np.zeros_like(weights)
        for slot in slots.tolist():
            own, _ = self._population.layout.places(slot)
            self._weights[own] = weights[own]

    def put_back(self) -> None:
        """Give the candidates the weights that were kept; training must have ended."""
        if self._weights is not None:
            self._population.weights[:] = self._weights


@final
class Winners(Stateless):
    """Notes each candidate's best epoch by a criterion; the older of equals stays.

    A candidate that had no finite answer to a sample is never ranked again.

    Args:
        population: The candidates.
        criterion: What is better.
        heard: Called with each improvement.
    """

    def __init__(
        self,
        population: Population,
        criterion: Criterion,
        heard: Callable[[Improvement], None] = lambda _: None,
    ) -> None:
        count = len(population.members)
        self.shelf = Shelf(population)
        self.epoch = 0  # how many were judged
        self.values = np.full(count, np.nan)  # of the criterion at each candidate's best epoch
        self.epochs = np.zeros(count, np.int64)  # and that epoch, from 1 on
        self.history: list[Improvement] = []
        self._criterion = criterion
        self._heard = heard

    def serve(self, graded: Graded) -> Outcome:
        """Compare the candidates if the block ends an epoch."""
        if not graded.scored.ends_round:
            return Outcome(graded.scored, None)
        assert graded.tally is not None
        assert graded.scored.weights is not None
        self.epoch += 1
        values = np.where(
            np.isfinite(graded.tally.distance), self._criterion.values(graded.tally), np.nan
        )
        best = self._criterion.best(self.values)
        before = self.values[best] if best >= 0 else np.nan
        improved = self._improved(values)
        self.values[improved] = values[improved]
        self.epochs[improved] = self.epoch
        self.shelf.keep(improved, graded.scored.weights)
        leader = self._criterion.best(values)
        if leader >= 0 and self._criterion.better(values[leader], before):
            self.history.append(Improvement(self.epoch, leader, float(values[leader])))
            self._heard(self.history[-1])
        return Outcome(graded.scored, Decision(self.epoch - 1))

    def ranking(self) -> list[int]:
        """Slots of all candidates that were ever ranked, the best first."""
        order = np.lexsort((self.epochs, self._losses(self.values)))
        return [slot for slot in order.tolist() if np.isfinite(self.values[slot])]

    def _losses(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Smaller is better; infinite where there is no value."""
        signed = -values if self._criterion.larger_is_better else values
        return np.where(np.isfinite(signed), signed, np.inf)

    def _improved(self, values: NDArray[np.float64]) -> NDArray[np.intp]:
        return np.flatnonzero(self._losses(values) < self._losses(self.values))


@final
class Finishers(Stateless):
    """Lets each candidate finish at an epoch of its own: keeps its weights of that moment.

    Args:
        population: The candidates.
        epochs: The epoch of each, from 1 on.
    """

    def __init__(self, population: Population, epochs: Sequence[int]) -> None:
        self.shelf = Shelf(population)
        self.epoch = 0
        self._epochs = np.array(epochs)

    def serve(self, graded: Graded) -> Outcome:
        """Keep the weights of those whose epoch has not gone by."""
        if not graded.scored.ends_round:
            return Outcome(graded.scored, None)
        assert graded.scored.weights is not None
        self.epoch += 1
        # Who has not finished yet is kept as well: there may be fewer epochs than were wanted.
        self.shelf.keep(np.flatnonzero(self._epochs >= self.epoch), graded.scored.weights)
        return Outcome(graded.scored, Decision(self.epoch - 1))
