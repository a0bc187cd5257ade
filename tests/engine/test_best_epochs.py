from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from streamnet.engine.holdout import BestEpochs, FixedEpochs, HoldoutScored, Improvement
from streamnet.selection.criteria import Tally, find_criterion

NAN, INF = float("nan"), float("inf")


def population(count: int) -> Any:
    """Stands for one whose candidates have one weight each."""
    layout = SimpleNamespace(places=lambda slot: (slice(slot, slot + 1), None))
    return SimpleNamespace(members=[None] * count, layout=layout, weights=np.zeros(count))


def epoch(weights: float, distances: list[float], correct: list[int] | None = None) -> Any:
    """What an epoch ends with: every weight is ``weights``."""
    count = len(distances)
    zeros = np.zeros(count)
    tally = Tally(
        np.zeros((count, 0, 1)),
        np.full(count, 10.0),
        np.array(correct or zeros, np.float64),
        np.array(distances),
        *[zeros] * 3,
    )
    return HoldoutScored(SimpleNamespace(ends_round=True, weights=np.full(count, weights)), tally)  # type: ignore[arg-type]


def test_each_candidate_is_kept_as_it_was_at_its_best() -> None:
    told: list[Improvement] = []
    pool = population(3)
    winners = BestEpochs(pool, find_criterion("distance"), told.append)
    for number, distances in enumerate([[5.0, 4.0, 9.0], [3.0, 6.0, 2.0], [3.0, 1.0, 2.0]], 1):
        winners.serve(epoch(number, distances))
    winners.saved_weights.restore_weights()
    assert pool.weights.tolist() == [2, 3, 2]
    assert winners.ranking() == [1, 2, 0]
    assert told == [Improvement(1, 1, 0.4), Improvement(2, 2, 0.2), Improvement(3, 1, 0.1)]
    assert winners.history == told


def test_the_older_of_equals_stays() -> None:
    winners = BestEpochs(population(3), find_criterion("distance"))
    winners.serve(epoch(1, [9.0, 5.0, 5.0]))
    winners.serve(epoch(2, [5.0, 5.0, 5.0]))
    assert winners.ranking() == [1, 2, 0]
    assert len(winners.history) == 1


@pytest.mark.parametrize("broken", [NAN, INF])
def test_what_is_not_finite_never_wins(broken: float) -> None:
    pool = population(2)
    winners = BestEpochs(pool, find_criterion("distance"))
    winners.serve(epoch(1, [broken, broken]))
    assert (winners.ranking(), winners.history) == ([], [])
    winners.serve(epoch(2, [broken, 7.0]))
    winners.serve(epoch(3, [broken, broken]))
    winners.saved_weights.restore_weights()
    assert (winners.ranking(), pool.weights[1]) == ([1], 2)


def test_a_broken_candidate_does_not_win_by_a_criterion_that_only_counts() -> None:
    winners = BestEpochs(population(2), find_criterion("simple"))
    winners.serve(epoch(1, [INF, 5.0], correct=[9, 3]))
    assert winners.ranking() == [1]


def test_finishers_stop_each_at_its_own_epoch() -> None:
    pool = population(3)
    finishers = FixedEpochs(pool, [2, 1, 3])
    for number in (1, 2, 3):
        finishers.serve(epoch(number, [0.0] * 3))
    finishers.saved_weights.restore_weights()
    assert pool.weights.tolist() == [2, 1, 3]


def test_who_could_not_finish_is_kept_as_far_as_it_came() -> None:
    pool = population(2)
    finishers = FixedEpochs(pool, [1, 9])
    for number in (1, 2, 3):
        finishers.serve(epoch(number, [0.0] * 2))
    finishers.saved_weights.restore_weights()
    assert pool.weights.tolist() == [1, 3]
