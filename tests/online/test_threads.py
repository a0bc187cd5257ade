"""Calls from several threads come one after the other, and none is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from streamnet.learning.learner import Learner
from streamnet.online import AutoEncoder, OnlineClassifier
from tests.online.estimators import KINDS, Estimator, classifier, label, samples, taught

THREADS, EACH = 4, 150


@pytest.mark.parametrize(("make", "target"), KINDS)
def test_threads_that_learn_and_predict_at_once_share_an_estimator(
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
    assert estimator._learner.serving.scored == 2 * THREADS * EACH
    assert estimator._learner.trainer.population.healthy.all()


@pytest.mark.parametrize(
    "ask",
    [
        lambda e: e.predict_one({"x": 1.0}),
        lambda e: e.predict_proba_one({"x": 1.0}),
        lambda e: e.predict([{"x": 1.0}] * 3),
        lambda e: e.predict_proba([{"x": 1.0}] * 3),
        lambda e: e.score([{"x": 1.0}] * 3, ["yes", "no", "no"]),
    ],
    ids=["predict_one", "predict_proba_one", "predict", "predict_proba", "score"],
)
def test_a_label_that_appears_during_a_prediction_is_complete_or_absent(
    ask: Callable[[OnlineClassifier], Any],
) -> None:
    estimator, before = taught(), taught()
    started: list[Thread] = []

    def interrupted(learner: Learner, *arguments: Any, **named: Any) -> Any:
        if not started:
            started.append(Thread(target=estimator.learn_one, args=({"x": 1.0}, "a new one")))
            started[0].start()
        found = answer(learner, *arguments, **named)
        started[0].join(0.2)  # it waits, so this does not end it
        return found

    answer = Learner.predict
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "predict", interrupted)
        found = ask(estimator)
    started[0].join()
    assert np.array_equal(found, ask(before))
    assert estimator.classes_.tolist()[-1] == "a new one"


def test_settings_are_not_changed_while_others_learn() -> None:
    estimator = classifier()
    with ThreadPoolExecutor(1) as pool:
        with estimator._lock:
            change = pool.submit(estimator.set_params, seed=9)
            with pytest.raises(TimeoutError):
                change.result(timeout=0.2)
            estimator.learn_one({"x": 1.0}, "yes")
        change.result()
    assert estimator.get_params()["seed"] == 9
    assert estimator._learner.seed == 3


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_learns_leaves_the_child_a_whole_estimator() -> None:
    estimator, rows, ended = classifier(), samples(EACH), Event()
    estimator.partial_fit(rows, list(map(label, rows)))

    def learn() -> None:
        while not ended.is_set():
            estimator.partial_fit(rows, list(map(label, rows)))

    thread = Thread(target=learn)
    thread.start()
    try:
        for _ in range(8):
            child = os.fork()
            if child == 0:
                try:
                    known = estimator._learner.trainer.number
                    estimator.learn_one(rows[0], "yes")
                    right = estimator._learner.trainer.number == known + 1 and known % EACH == 0
                    os._exit(0 if right and len(estimator.predict(rows)) == EACH else 1)
                finally:
                    os._exit(2)
            assert wait_for(child) == 0
    finally:
        ended.set()
        thread.join()


def wait_for(child: int, seconds: float = 60.0) -> int:
    """The exit code of a child, which is killed if it hangs."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1
