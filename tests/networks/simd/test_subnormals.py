"""Subnormal numbers count as zero in a kernel, and only there."""

from __future__ import annotations

import numpy as np

from streamnet.networks.population import Population
from streamnet.samples import Inputs, Task
from streamnet.settings.candidate import CandidateSettings

TINY = np.finfo(np.float32).tiny
SAMPLES = 2000


def subnormals(numbers: np.ndarray) -> int:
    return int(((numbers != 0) & (np.abs(numbers) < TINY)).sum())


def test_a_decaying_average_reaches_zero() -> None:
    # As it is without the kernel's care: rounding keeps the last bit for ever.
    average = np.float32(1.0)
    for _ in range(SAMPLES):
        average *= np.float32(0.9)
    assert subnormals(np.array([average])) == 1

    settings = CandidateSettings(hidden=(4,), activation="relu", optimizer="adam")
    population = Population([settings], task=Task.REGRESSION)
    empty = np.zeros((SAMPLES, 1), np.int32)
    x = np.ones((SAMPLES, 1), np.float32)
    inputs = Inputs(x, empty, empty.astype(np.float32), np.zeros(SAMPLES, np.int32), 0)
    label, known = np.zeros(SAMPLES, np.int32), np.ones(SAMPLES, np.int32)
    population.run(0, known, population.prepare(0, inputs, label, np.ones(SAMPLES), 1))
    assert population.state.any()
    # From now on no unit is active, so that no gradient reaches the first layer.
    weights = population.extract(0)
    weights["first"][:] = -1.0
    population.insert(0, weights)
    averaged = population.state.copy()
    answers = population.prepare(SAMPLES, inputs, label, np.ones(SAMPLES), 1)
    population.run(SAMPLES, known, answers)
    assert (population.state != averaged).any()
    assert subnormals(population.state) == 0


def test_a_thread_handles_subnormal_numbers_again_after_the_kernel() -> None:
    population = Population([CandidateSettings()], task=Task.REGRESSION)
    row = np.zeros((1, 1), np.int32)
    one = np.ones((1, 1), np.float32)
    inputs = Inputs(one, row, one, np.zeros(1, np.int32), 0)
    answers = population.prepare(0, inputs, np.zeros(1, np.int32), np.ones(1), 1)
    population.run(0, np.ones(1, np.int32), answers)
    assert np.array([TINY]) / 2 > 0
