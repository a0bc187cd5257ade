"""Ctrl-C and other exceptions in the middle of learning: nothing is left half-way."""

from __future__ import annotations

import copy
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from streamnet.errors import StateError
from streamnet.online import AutoEncoder, OnlineClassifier
from streamnet.online.interrupts import Broken, Uninterrupted
from tests.online.estimators import FEW

ROWS = [{"x": i % 7 / 7, "w": "uvw"[i % 3]} for i in range(300)]
LABELS = [f"label {i % (i // 40 + 2)}" for i in range(300)]  # new ones come again and again


def learned(estimator: OnlineClassifier, start: int, stop: int) -> OnlineClassifier:
    for x, y in zip(ROWS[start:stop], LABELS[start:stop], strict=True):
        estimator.learn_one(x, y)
    return estimator


@contextmanager
def interrupted_at_call(
    wanted: int, number: signal.Signals, within: str = "learn_one"
) -> Iterator[None]:
    """Raise a signal at the call of a function of ours, that many calls behind that of another."""
    calls, begun = count(), False

    def look(frame: FrameType, event: str, _: object) -> None:
        nonlocal begun
        ours = frame.f_globals.get("__name__", "").startswith("streamnet.")
        begun = begun or (ours and frame.f_code.co_name == within)
        if event == "call" and ours and begun and next(calls) == wanted:
            sys.setprofile(None)
            signal.raise_signal(number)

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("at", range(3, 400, 23))
def test_ctrl_c_while_a_sample_is_learned_does_not_change_any_bit(at: int) -> None:
    # The first sample of a new label makes the most room; other calls lead into later samples.
    start = LABELS.index("label 5")
    estimator = learned(OnlineClassifier(FEW, seed=1), 0, start)
    with pytest.raises(KeyboardInterrupt), interrupted_at_call(at, signal.SIGINT):
        learned(estimator, start, start + 20)
    done = estimator._learner.trainer.number
    learned(estimator, done, 300)
    whole = learned(OnlineClassifier(FEW, seed=1), 0, 300)
    assert pickle.dumps(estimator.export_state()) == pickle.dumps(whole.export_state())


def test_an_interrupted_call_learns_up_to_the_end_of_a_block() -> None:
    estimator = OnlineClassifier(FEW, seed=1)
    with pytest.raises(KeyboardInterrupt), interrupted_at_call(40, signal.SIGINT, "_learn"):
        estimator.partial_fit(ROWS * 10, LABELS * 10)
    assert estimator._learner.trainer.number == 1024
    estimator.partial_fit((ROWS * 10)[1024:], (LABELS * 10)[1024:])
    whole = OnlineClassifier(FEW, seed=1).partial_fit(ROWS * 10, LABELS * 10)
    assert estimator.predict_proba(ROWS).tolist() == whole.predict_proba(ROWS).tolist()


def test_an_interrupted_auto_encoder_stays_consistent() -> None:
    coder, whole = AutoEncoder(seed=1), AutoEncoder(seed=1).partial_fit(ROWS)
    with pytest.raises(KeyboardInterrupt), interrupted_at_call(30, signal.SIGINT, "blocks"):
        coder.partial_fit(ROWS)
    assert np.array_equal(coder.encode(ROWS), whole.encode(ROWS))


@contextmanager
def broken_off_at_call(wanted: int, within: str) -> Iterator[None]:
    """Let the handler of a signal that is not deferred raise an exception there."""

    def give_up(*_: object) -> None:
        raise TimeoutError("too slow")

    before = signal.signal(signal.SIGWINCH, give_up)
    try:
        with pytest.raises(TimeoutError), interrupted_at_call(wanted, signal.SIGWINCH, within):
            yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@pytest.mark.parametrize("at", range(3, 300, 41))
def test_an_exception_of_a_signal_leaves_the_last_whole_sample(at: int) -> None:
    estimator = learned(OnlineClassifier(FEW, seed=1), 0, 50)

    def give_up(*_: object) -> None:
        raise TimeoutError("too slow")

    before = signal.signal(signal.SIGALRM, give_up)
    try:
        with pytest.raises(TimeoutError), interrupted_at_call(at, signal.SIGALRM):
            learned(estimator, 50, 70)
    finally:
        signal.signal(signal.SIGALRM, before)
    learned(estimator, estimator._learner.trainer.number, 100)
    whole = learned(OnlineClassifier(FEW, seed=1), 0, 100)
    assert pickle.dumps(estimator.export_state()) == pickle.dumps(whole.export_state())


def test_all_handlers_of_what_came_meanwhile_are_called_even_if_one_raises() -> None:
    came: list[int] = []

    def handle(number: int, _: object) -> None:
        came.append(number)
        raise TimeoutError(number)

    def raise_all() -> None:
        for number in numbers:
            signal.raise_signal(number)
        assert not came

    numbers = [signal.SIGUSR1, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2]
    before = {number: signal.signal(number, handle) for number in set(numbers)}
    try:
        with pytest.raises(TimeoutError), Uninterrupted():
            raise_all()
        assert came == [signal.SIGUSR1, signal.SIGALRM, signal.SIGUSR2]
        assert all(signal.getsignal(number) is handle for number in set(numbers))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_an_estimator_broken_by_another_exception_says_so_and_is_unusable() -> None:
    estimator = learned(OnlineClassifier(FEW, seed=1), 0, 50)
    with broken_off_at_call(30, "learn_one"):
        learned(estimator, 50, 60)
    uses: list[Any] = [
        lambda: learned(estimator, 50, 51),
        lambda: estimator.predict_one(ROWS[0]),
        lambda: estimator.predict(ROWS),
        estimator.model,
        estimator.export_state,
        lambda: pickle.dumps(estimator),
    ]
    for use in uses:
        with pytest.raises(StateError, match=r"while it learned, by TimeoutError\('too slow'\)"):
            use()


def test_an_auto_encoder_broken_by_another_exception_says_so(tmp_path: Path) -> None:
    coder = AutoEncoder(seed=1).partial_fit(ROWS[:50])
    with broken_off_at_call(10, "_learn"):
        coder.learn_one(ROWS[50])
        coder.partial_fit(ROWS)
    uses: list[Any] = [
        lambda: coder.learn_one(ROWS[50]),
        lambda: coder.score_one(ROWS[0]),
        lambda: coder.encode(ROWS),
        lambda: coder.decode(np.zeros((1, 16))),
        lambda: coder.save(tmp_path / "coder.json"),
        lambda: pickle.dumps(coder),
    ]
    for use in uses:
        with pytest.raises(StateError, match="the auto-encoder was interrupted while it learned"):
            use()


def test_a_custom_handler_is_called_after_the_block() -> None:
    came: list[str] = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append("handled"))
    try:
        with Uninterrupted():
            signal.raise_signal(signal.SIGINT)
            came.append("whole")
        assert came == ["whole", "handled"]
        signal.raise_signal(signal.SIGINT)
        assert came == ["whole", "handled", "handled"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_ignored_signal_stays_ignored_and_other_threads_touch_no_handler() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Uninterrupted():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    seen = []

    def elsewhere() -> None:
        with Uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_handler_left_behind_by_an_exception_is_replaced_by_the_next_block() -> None:
    before = signal.getsignal(signal.SIGINT)
    left = Uninterrupted()
    left.__enter__()  # and its end is never reached
    try:
        with pytest.raises(KeyboardInterrupt), Uninterrupted():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("at", range(0, 60, 7))
def test_ctrl_c_while_scores_are_read_does_not_change_any_bit(at: int) -> None:
    estimator = learned(OnlineClassifier(FEW, seed=1), 0, 50)
    with suppress(KeyboardInterrupt), interrupted_at_call(at, signal.SIGINT, "served"):
        assert estimator.served
    learned(estimator, 50, 300)
    whole = learned(OnlineClassifier(FEW, seed=1), 0, 300)
    assert pickle.dumps(estimator.export_state()) == pickle.dumps(whole.export_state())


def test_an_exception_while_scores_are_read_breaks_the_estimator_which_says_so() -> None:
    estimator = learned(OnlineClassifier(FEW, seed=1), 0, 50)
    with broken_off_at_call(3, "pop_all"):
        assert estimator.served
    for _ in range(2):
        with pytest.raises(StateError, match="interrupted while it learned, by TimeoutError"):
            assert estimator.served


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda broken: pickle.loads(pickle.dumps(broken))]
)
def test_a_copy_of_a_broken_estimator_raises_the_same_error(again: Callable[[Broken], Any]) -> None:
    with pytest.raises(StateError, match=r"the estimator was interrupted .* by TimeoutError"):
        again(Broken("the estimator", TimeoutError("too slow"))).answer()
