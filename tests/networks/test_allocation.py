"""Memory is used again once nobody has anything that lies in it, and never before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.networks import parameters, replay_buffer
from streamnet.networks.parameters import SpareMemory
from streamnet.networks.population import Population
from streamnet.samples import Task
from tests.networks.test_population import SETTINGS, feed, samples

VIEWS = {
    "itself": lambda array: array,
    "a part": lambda array: array[3:9],
    "a part of a part": lambda array: array[3:].view(np.uint32)[:4].reshape(2, 2),
    "its bytes": lambda array: array[3:5].view(np.uint8).data,
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_block_is_in_use_while_any_view_of_it_exists(view: str) -> None:
    spare = SpareMemory(least=1)
    array = spare.empty((16,), np.float32)
    array[:] = np.arange(16)
    kept = VIEWS[view](array)
    before = bytes(kept)
    del array
    assert spare.spare == 0
    spare.empty((16,), np.float32)[:] = -1.0
    assert bytes(kept) == before
    del kept
    assert spare.spare == 2 * 64


steps = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 300)), max_size=40)


@given(steps=steps)
def test_live_arrays_never_share_memory_and_blocks_are_reused(steps: list[tuple[int, int]]) -> None:
    spare = SpareMemory(least=1)
    living: dict[int, Any] = {}
    most = 0
    for number, (place, size) in enumerate(steps):
        living.pop(place, None)
        array = spare.empty((size,), np.int32)
        array[:] = number
        living[place] = array, number
        del array
        most = max(most, len(living))
        assert all((held == mark).all() for held, mark in living.values())
    living.clear()
    assert len(spare._blocks) <= most


def test_the_smallest_block_that_is_large_enough_is_used() -> None:
    spare = SpareMemory(least=1)
    arrays = [spare.empty((size,), np.uint8) for size in (64, 1024, 256)]
    places = [array.ctypes.data for array in arrays]
    del arrays
    assert spare.empty((200,), np.uint8).ctypes.data == places[2]


def test_neither_small_blocks_nor_more_than_the_limit_are_kept() -> None:
    spare = SpareMemory(least=100, most=512)
    arrays = [spare.empty((256,), np.uint8) for _ in range(4)]
    small = spare.empty((99,), np.uint8)
    del arrays, small
    assert spare.spare == 512


def test_threads_get_memory_of_their_own() -> None:
    spare = SpareMemory(least=1)

    def work(mark: int) -> bool:
        sound = True
        for size in range(1, 400):
            array = spare.empty((size,), np.int64)
            array[:] = mark
            sound = sound and bool((array == mark).all())
        return sound

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(8)))


def test_a_state_is_unaffected_by_later_states(monkeypatch: pytest.MonkeyPatch) -> None:
    spare = SpareMemory(least=1)
    for module in (parameters, replay_buffer):
        monkeypatch.setattr(module, "SPARE_MEMORY", spare)
    population = Population(SETTINGS, task=Task.CLASSIFICATION, seed=7)
    feed(population, 0, samples(100))
    kept = population.export_state(100)
    before = {name: kept[name].tobytes() for name in ("weights", "state")}
    before |= {name: array.tobytes() for name, array in kept["memory"].items()}
    feed(population, 100, samples(50))
    other = population.export_state(150)
    for _ in range(2):
        other = population.export_state(150)
    assert {name: kept[name].tobytes() for name in ("weights", "state")} | {
        name: array.tobytes() for name, array in kept["memory"].items()
    } == before
    assert other["weights"].tobytes() != before["weights"]
    del kept, other
    assert spare.spare > 0
