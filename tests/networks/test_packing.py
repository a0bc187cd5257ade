"""States leave out what is only reserved, and what is restored goes on to the same bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamnet.networks.population import Population
from streamnet.samples import Task
from tests.networks.test_population import SETTINGS, feed, samples


def packed_and_restored(population: Population, number: int) -> Population:
    state = population.export_state(number)
    other = Population(
        SETTINGS[:1], task=population.task, seed=population.seed, dtype=population.dtype
    )
    other.restore_state(number, state)
    assert np.array_equal(population.weights, other.weights)
    assert np.array_equal(population.state, other.state)
    return other


UNIFORM = replace(SETTINGS[2], initialization="uniform")
BATCHES = replace(SETTINGS[1], batch_size=3)


def size_of_what_holds_something(population: Population, rows: int) -> tuple[int, int]:
    """How many weights and states stand in rows in use that are not zero throughout."""
    weights = states = 0
    for slot in range(len(population.members)):
        for section, arrays in population._matrices(slot):
            used = rows if section.name == "sparse" else section.rows
            counts = [
                section.width * sum(any(row) for row in array[:used].tolist()) for array in arrays
            ]
            weights += counts[0]
            states += sum(counts[1:])
    return weights, states


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_state_omits_reserved_and_empty_rows_and_restores_them_exactly(dtype: str) -> None:
    settings = [*SETTINGS, UNIFORM, BATCHES]
    population = Population(settings, task=Task.CLASSIFICATION, seed=7, dtype=dtype)
    packed_and_restored(population, 0)
    feed(population, 0, samples(100, rows=70))
    assert population.capacity.rows == 128
    packed_and_restored(population, 100)
    state = population.export_state(100)
    sizes = len(state["weights"]), len(state["state"])
    assert sizes == size_of_what_holds_something(population, rows=70)
    assert sizes < (len(population.weights), len(population.state))
    # A child of a parent with room of its own, then more rows, outputs and room for them.
    population.replace(1, SETTINGS[1], born=100, parent=5)
    population.replace(4, UNIFORM, born=100, parent=4)
    packed_and_restored(population, 100)
    feed(population, 100, samples(100, rows=90, seed=1))
    packed_and_restored(population, 200)
    population.reserve(dense=6, rows=300, outputs=9)
    restored = packed_and_restored(population, 200)
    block = samples(50, dense=6, rows=400, seed=2)
    assert np.array_equal(feed(population, 200, block), feed(restored, 200, block))
    assert np.array_equal(population.weights, restored.weights)


def test_a_state_does_not_depend_on_when_memory_was_reserved() -> None:
    """Steps that turn all signs make -0.0 of what fills a row up, until it is arranged anew."""
    turning = replace(SETTINGS[0], learning_rate=1.0, weight_decay=2.0)
    states = []
    for early in (True, False):
        population = Population([turning], task=Task.CLASSIFICATION, seed=7)
        feed(population, 0, samples(33, rows=60))
        if early:
            population.reserve(dense=4, rows=100, outputs=3)
        feed(population, 33, samples(33, rows=60, seed=1))
        population.reserve(dense=4, rows=100, outputs=3)
        states.append(population.export_state(66))
    for name in ("weights", "state", "occupied"):
        assert states[0][name].tobytes() == states[1][name].tobytes()


def test_a_new_row_of_a_child_starts_the_same_whenever_it_was_reserved() -> None:
    early, late = (Population(SETTINGS, task=Task.CLASSIFICATION, seed=8) for _ in range(2))
    early.reserve(dense=4, rows=65, outputs=3)
    late.reserve(dense=4, rows=64, outputs=3)
    for population in (early, late):
        population.rows = 64
        population.replace(1, SETTINGS[1], born=0, parent=1)
        population.reserve(dense=4, rows=128, outputs=3)
    assert np.array_equal(early.weights, late.weights)


def test_a_row_with_nothing_but_a_negative_zero_is_kept() -> None:
    population = Population(SETTINGS, task=Task.CLASSIFICATION, seed=9)
    feed(population, 0, samples(100))
    slot = next(k for k, m in enumerate(population.members) if m.settings.hidden)
    _, arrays = population._matrices(slot)[0]
    arrays[0][1] = 0
    arrays[0][2] = 0
    arrays[0][2, 0] = -0.0
    other = packed_and_restored(population, 100)
    restored = other._matrices(slot)[0][1][0]
    assert np.signbit(restored[2, 0])
    assert not np.signbit(restored[1, 0])


def test_a_state_whose_bits_do_not_match_its_numbers_is_refused() -> None:
    population = Population(SETTINGS, task=Task.CLASSIFICATION, seed=9)
    feed(population, 0, samples(100))
    for flip in (0, 3):
        state = population.export_state(100)
        state["occupied"][0] ^= 0x80 >> flip
        with pytest.raises(ValueError, match="but must be"):
            population.restore_state(100, state)


def test_a_state_that_is_too_long_is_refused() -> None:
    population = Population(SETTINGS, task=Task.CLASSIFICATION, seed=9)
    feed(population, 0, samples(100))
    state = population.export_state(100)
    state["state"] = np.append(state["state"], np.float32(0))
    with pytest.raises(ValueError, match="states, but must be"):
        population.restore_state(100, state)
