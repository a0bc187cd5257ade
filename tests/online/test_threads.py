"""Calls from several threads come one after the other, and none is lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from streamnet.online import AutoEncoder
from tests.online.learners import KINDS
from tests.online.learners import Estimator
from tests.online.learners import samples

THREADS, EACH = 4, 150


@pytest.mark.parametrize(("make", "target"), KINDS)
def test_threads_that_learn_and_ask_at_once_share_an_estimator(
    make: Callable[[], Estimator], target: Callable[[dict[str, Any]], Any]
) -> None:
    estimator, rows = make(), samples(EACH)

    def work(number: int) -> None:
        for row in rows:
            estimator.learn_one(row, target(row))
            estimator.predict_one(row)
        estimator.partial_fit(rows, [target(row) for row in rows])
        assert len(estimator.predict(rows)) == EACH
        estimator.model().predict(rows)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    assert estimator._learner.trainer.number == estimator._reader.records == 2 * THREADS * EACH
    assert estimator._learner.server.scored == 2 * THREADS * EACH
    assert estimator._learner.trainer.population.healthy.all()


def test_threads_share_an_auto_encoder() -> None:
    coder, rows = AutoEncoder(code=4), samples(EACH)

    def work(number: int) -> None:
        for start in range(0, EACH, 10):
            coder.partial_fit(rows[start : start + 10])
            assert coder.encode(rows[:5]).shape == (5, 4)
            coder.reconstruct(rows[:5])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    assert coder._reader.records == THREADS * EACH
