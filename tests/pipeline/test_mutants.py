"""The tests tested: faults put into the product on purpose are each noticed by a proof.

Those of writing files are in tests/durability/test_generations.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import sha256
from math import inf, nan
from typing import Any

import numpy as np
import pytest

from streamnet.durability.provenance import Ledger
from streamnet.durability.safe_file import AppendedFile
from streamnet.errors import StateError
from streamnet.learning import serving
from streamnet.learning.evaluator import Evaluator
from streamnet.learning.serving import ServingStage
from streamnet.networks.population import Population
from streamnet.networks.replay_buffer import ReplayBuffer
from streamnet.pipeline import outputs, stages
from streamnet.pipeline import state as state_module
from streamnet.pipeline import state as store
from streamnet.pipeline.outputs import Predictions
from streamnet.pipeline.reader import BlockSplitter, Reader
from streamnet.pipeline.state import State
from streamnet.selection.champion import Decision, Selector
from tests.conftest import Counted
from tests.durability.disks import disk_after
from tests.pipeline import test_state_machine as test_machine
from tests.pipeline.block_sources import ROUND
from tests.pipeline.test_faults import assert_goes_on, broken, calls, expected
from tests.pipeline.test_state_machine import Machine
from tests.selection import test_champion as test_selector

pytestmark = pytest.mark.no_cover

Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _quickly_again(monkeypatch: Patch) -> None:
    monkeypatch.setattr(store, "_MIN_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(state_module, "_FINAL_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(outputs, "PUBLISH_SECONDS", 0.0)


def kills(step: int = 3) -> None:
    """The proof of test_faults.test_every_call_may_go_wrong, for kills."""
    for at in range(20, calls(), step):
        disk, _ = broken(at, "kill")
        after = disk_after(disk)
        assert_goes_on(after, at + 1, at)


def all_kills() -> None:
    kills(1)


def power_cuts() -> None:
    """The proof of test_faults.test_no_power_cut_loses_anything."""
    chance = random.Random(5)
    for at in range(10, calls()):
        disk, _ = broken(at, "kill")
        for power in chance.sample(list(disk.cuts()), 1):
            after = disk.after(power)
            assert_goes_on(after, at + 1, at, power)


def champions() -> None:
    """The proof of tests/selection, for one example of it."""
    proof: Any = test_selector.test_a_candidate_without_a_finite_loss_is_never_champion
    proof.hypothesis.inner_test([[0.3, nan, 0.2]] * 4)


def an_explosion() -> None:
    """The proof of test_machine, for one history: a stop while a candidate is quarantined."""
    machine = Machine()
    machine.explode_a_candidate(slot=0, rounds=0)
    try:
        machine.run_to_the_end()
        machine.a_run_that_ended_is_what_one_run_and_plain_counting_say()
        machine.feed(4 * ROUND)
        machine.teardown()
    finally:
        test_machine.expected.cache_clear()  # what one run leaves with this fault, or without one


def not_restored(kind: type) -> Callable[[Patch], None]:
    def mutate(monkeypatch: Patch) -> None:
        monkeypatch.setattr(kind, "restore_state", lambda *_: None)

    return mutate


def a_decision_is_lost_at_the_cut(monkeypatch: Patch) -> None:
    def emptied(decisions: Any, trainer: Any) -> list[Decision]:
        return [Decision(d.round) for d in pending(decisions, trainer)]

    pending = stages.__dict__["select_pending"]
    monkeypatch.setattr(stages, "select_pending", emptied)


def the_optimisers_are_not_restored(monkeypatch: Patch) -> None:
    def restore(self: Population, first: int, state: dict[str, Any]) -> None:
        real(self, first, {**state, "state": np.zeros_like(state["state"])})

    real = Population.restore_state
    monkeypatch.setattr(Population, "restore_state", restore)


def the_key_of_random_numbers_is_not_restored(monkeypatch: Patch) -> None:
    def restore(self: Population, first: int, state: dict[str, Any]) -> None:
        real(self, first, {**state, "taken": state["taken"] + 1})

    real = Population.restore_state
    monkeypatch.setattr(Population, "restore_state", restore)


def the_rehearsals_memory_is_not_restored(monkeypatch: Patch) -> None:
    def restore(self: ReplayBuffer, first: int, state: dict[str, Any]) -> None:
        real(self, first, {**state, "dense": np.zeros_like(state["dense"])})

    real = ReplayBuffer.restore_state
    monkeypatch.setattr(ReplayBuffer, "restore_state", restore)


def an_output_is_not_cut(monkeypatch: Patch) -> None:
    def restore(self: AppendedFile, state: dict[str, Any]) -> None:
        size = max(state["length"], self._files.size(self.path))
        end = self._files.read_part(self.path, max(0, size - 4096), min(size, 4096))
        real(self, {"length": size, "end": sha256(end).hexdigest()})

    real = AppendedFile.restore_state
    monkeypatch.setattr(AppendedFile, "restore_state", restore)


def outputs_are_not_synced(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Predictions, "sync", lambda _: None)


def a_sample_is_left_out_when_a_run_goes_on(monkeypatch: Patch) -> None:
    def restore(self: Reader, state: dict[str, Any]) -> None:
        real(self, state)
        if self._end is not None:
            self._end = self._end._replace(offset=self._end.offset + 1)

    real = Reader.restore_state
    monkeypatch.setattr(Reader, "restore_state", restore)


def a_sample_is_learned_twice_when_a_run_goes_on(monkeypatch: Patch) -> None:
    def restore(self: Reader, state: dict[str, Any]) -> None:
        real(self, state)
        if self._end is not None:
            self._end = self._end._replace(offset=max(0, self._end.offset - 10))

    real = Reader.restore_state
    monkeypatch.setattr(Reader, "restore_state", restore)


def a_sample_is_dropped_now_and_then(monkeypatch: Patch) -> None:
    def cut(self: BlockSplitter, block: Any) -> Any:
        for arrival in real(self, block):
            part = arrival.block
            if len(part) > 1 and self.number % 3 == 0:
                arrival = arrival._replace(block=part.part(0, len(part) - 1))
            yield arrival

    real = BlockSplitter.cut
    monkeypatch.setattr(BlockSplitter, "cut", cut)


def rounds_begin_anew_when_a_run_goes_on(monkeypatch: Patch) -> None:
    def restore(self: Reader, state: dict[str, Any]) -> None:
        real(self, {**state, "number": 0})

    real = Reader.restore_state
    monkeypatch.setattr(Reader, "restore_state", restore)


def models_come_after_the_checkpoint_that_counts_them(monkeypatch: Patch) -> None:
    def write(self: State, barrier: Any) -> None:
        queue = self.queues[""]
        waiting, queue.waiting = queue.waiting, type(queue.waiting)()
        real(self, barrier)
        queue.waiting.extend(waiting)
        self.publish_waiting()

    real = State.write
    monkeypatch.setattr(State, "write", write)
    monkeypatch.setattr(State, "publish", lambda self, new: self.queues[""].waiting.append(new))
    monkeypatch.setattr(State, "seconds_until_publish", lambda _: inf)


def a_champion_may_be_nan(monkeypatch: Patch) -> None:
    def choose(self: Selector, first: int, losses: Any, alive: Any = None) -> Any:
        real(self, first, losses, alive)
        return np.argmin(losses, axis=1).astype(np.int32)  # which elects NaN

    real = Selector.choose
    monkeypatch.setattr(Selector, "choose", choose)


def who_exploded_stays(monkeypatch: Patch) -> None:
    monkeypatch.setattr(serving, "replace_exploded", lambda _: ())


def a_quarantine_is_forgotten_when_a_run_goes_on(monkeypatch: Patch) -> None:
    def restore(self: ServingStage, state: dict[str, Any]) -> None:
        real(self, {**state, "exploded": {}})

    real = ServingStage.restore_state
    monkeypatch.setattr(ServingStage, "restore_state", restore)


MUTANTS: list[tuple[str, Callable[[Patch], None], Callable[[], None]]] = [
    (mutate.__name__, mutate, proof)
    for mutate, proof in (
        (a_decision_is_lost_at_the_cut, kills),
        (the_optimisers_are_not_restored, kills),
        (the_key_of_random_numbers_is_not_restored, kills),
        (the_rehearsals_memory_is_not_restored, kills),
        (an_output_is_not_cut, kills),
        (outputs_are_not_synced, power_cuts),
        (a_sample_is_left_out_when_a_run_goes_on, kills),
        (a_sample_is_learned_twice_when_a_run_goes_on, kills),
        (a_sample_is_dropped_now_and_then, kills),
        (rounds_begin_anew_when_a_run_goes_on, kills),
        (models_come_after_the_checkpoint_that_counts_them, all_kills),
        (a_champion_may_be_nan, champions),
        (who_exploded_stays, an_explosion),
        (a_quarantine_is_forgotten_when_a_run_goes_on, an_explosion),
    )
] + [
    (f"{kind.__name__}_is_not_restored", not_restored(kind), kills)
    for kind in (Evaluator, Selector, Ledger)
]


@pytest.mark.parametrize(("name", "mutate", "proof"), MUTANTS, ids=[m[0] for m in MUTANTS])
def test_a_fault_is_noticed(
    monkeypatch: Patch,
    counted: Counted,
    name: str,
    mutate: Callable[[Patch], None],
    proof: Callable[[], None],
) -> None:
    assert expected()  # of the product without the fault
    mutate(monkeypatch)
    # An AssertionError of the proof, or what the product itself noticed.
    with pytest.raises((AssertionError, RuntimeError, StateError)):
        proof()
    counted("mutants", 1)


@pytest.mark.parametrize("proof", [kills, power_cuts, champions, an_explosion])
def test_the_proofs_hold_without_a_fault(proof: Callable[[], None]) -> None:
    proof()
