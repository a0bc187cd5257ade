"""Runs that share a budget of bytes write no more checkpoints than it allows."""

from __future__ import annotations

import pytest

from streamnet.durability.budget import Budget, Turns
from streamnet.pipeline.state import Cadence


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("runs", [1, 7, 200])
def test_all_runs_together_stay_within_the_budget_and_each_has_its_turn(runs: int) -> None:
    clock, size, minutes = Clock(), 4.5e6, 60
    budget = Budget(64e6 / 60, most=32e6, clock=clock)
    cadences = [
        Cadence(every_samples=None, every_seconds=10.0, budget=budget, clock=clock)
        for _ in range(runs)
    ]
    written = [0] * runs
    for second in range(1, 60 * minutes + 1):
        clock.now = float(second)
        for number in sorted(range(runs), key=lambda n: (written[n], n)):
            cadence = cadences[number]
            cadence.size = int(size)
            if cadence.due(second, second):
                cadence.cut(second, second)
                written[number] += 1
                cadence.done(failed=False)
    assert size * sum(written) <= 64e6 * minutes + 32e6 + size
    assert min(written) >= min(6 * minutes - 1, int(64e6 * minutes / size / runs) - 1)


def test_a_wait_lasts_until_the_budget_is_filled_and_a_run_without_news_waits_for_ever() -> None:
    clock = Clock()
    budget = Budget(10.0, most=20.0, clock=clock)
    cadence = Cadence(every_samples=5, every_seconds=1.0, budget=budget, clock=clock)
    budget.spend(70.0)
    clock.now = 2.0
    assert cadence.seconds_left(3) == 3.0
    assert not cadence.due(9, 9)  # nor by samples
    assert cadence.seconds_left(0) == float("inf")
    cadence.ask()
    assert cadence.seconds_left(0) == 3.0
    clock.now = 5.0
    assert cadence.due(9, 9)


def test_without_a_budget_nothing_waits() -> None:
    clock = Clock()
    cadence = Cadence(every_samples=5, every_seconds=1.0, clock=clock)
    clock.now = 1.0
    assert cadence.seconds_left(1) == 0.0
    assert cadence.due(1, 1)


def test_a_checkpoint_that_is_larger_than_the_last_one_is_charged_in_full() -> None:
    clock = Clock()
    budget = Budget(10.0, most=20.0, clock=clock)
    cadence = Cadence(every_samples=5, every_seconds=1.0, budget=budget, clock=clock)
    cadence.written(10)  # before the first sample
    clock.now = 1.0
    cadence.cut(5, 5)
    assert budget.seconds_left() == 0.0
    cadence.written(50)
    assert budget.seconds_left() == 3.0


def test_many_runs_that_grow_at_once_exceed_the_budget_by_few_checkpoints() -> None:
    clock = Clock()
    budget = Budget(1e6, most=24e6, clock=clock)
    runs = [
        Cadence(every_samples=1, every_seconds=None, budget=budget, clock=clock) for _ in range(200)
    ]
    cut = []
    for cadence in runs:
        if cadence.due(1, 1):
            cadence.cut(1, 1)
            cut.append(cadence)
    for cadence in cut:
        cadence.written(2_000_000)
        cadence.done(failed=False)
    assert 16 <= len(cut) <= 18
    assert budget.seconds_left() <= 40.0
    clock.now = 60.0
    small = next(cadence for cadence in runs if cadence.due(2, 2))
    small.cut(2, 2)
    small.written(1000)  # what was charged too much is given back
    assert all(cadence.due(2, 2) for cadence in runs if cadence is not small)


def test_turns_come_in_order_and_those_of_a_quiet_time_do_not_add_up() -> None:
    clock = Clock()
    turns = Turns(4.0, most=2, clock=clock)
    assert [turns.take() for _ in range(4)] == [0.0, 0.0, 0.25, 0.5]
    clock.now = 0.25
    assert turns.take() == 0.5
    clock.now = 100.0
    assert [turns.take() for _ in range(3)] == [0.0, 0.0, 0.25]
