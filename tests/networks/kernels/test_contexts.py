"""Candidates that sit in the same seats, in turn or beside each other, learn as each does alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from streamnet.networks.kernels.contexts import CONTEXTS, new_work_counter
from streamnet.networks.population import NetworkOutputs, Population
from streamnet.samples import Inputs, Task
from streamnet.settings.candidate import CandidateSettings, Optimizer

N, DENSE = 150, 20
SMALL = [(3,), (), (8, 5), (16,)]
MIXED = [(3,), (300,), (4,), (200, 30), (), (400,), (5,), (2,)]


def settings_of(sizes: list[tuple[int, ...]]) -> list[CandidateSettings]:
    """Of various optimizers; some rehearse, so that they take longer than others."""
    optimizers: list[Optimizer] = ["sgd", "adam", "rmsprop"]
    return [
        CandidateSettings(
            hidden=hidden,
            rehearsal=i % 3,
            rehearsal_tolerance=0.1 * (i % 2),
            memory=50,
            optimizer=optimizers[i % 3],
        )
        for i, hidden in enumerate(sizes)
    ]


def learned(population: Population, threads: int) -> tuple[NetworkOutputs, np.ndarray]:
    """Answers of all to the same samples, and what became of the threads' turns."""
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(N, DENSE)).astype(np.float32)
    row, value = np.zeros((N, 1), np.int32), np.zeros((N, 1), np.float32)
    inputs = Inputs(dense, row, value, np.zeros(N, np.int32), 0)
    label = (dense[:, 0] > 0).astype(np.int32)
    answers = population.prepare(0, inputs, label, np.full(N, np.nan), 2)
    known, turns = np.full(N, 2, np.int32), new_work_counter(threads)
    with ThreadPoolExecutor(threads) as pool:
        for run in [pool.submit(population.run, 0, known, answers, turns) for _ in range(threads)]:
            run.result()
    return answers, turns


@pytest.mark.parametrize("threads", [1, 2, 5, 9])
@pytest.mark.parametrize("sizes", [SMALL * 4, MIXED], ids=["small", "mixed"])
def test_each_candidate_learns_the_same_as_alone(
    sizes: list[tuple[int, ...]], threads: int
) -> None:
    """Two large ones would not fit into the nearest cache together: each of them sits alone."""
    settings = settings_of(sizes)
    together = Population(settings, task=Task.CLASSIFICATION, seed=3)
    answers, turns = learned(together, threads)
    # Each was taken once, and a seat may have found that none was left. Threads that could not all
    # have two seats have one, so that none takes two while another one has nothing.
    contexts = CONTEXTS if len(sizes) >= CONTEXTS * threads else 1
    assert len(sizes) <= turns[0] <= len(sizes) + threads * contexts
    for slot, one in enumerate(settings):
        alone = Population([one], task=Task.CLASSIFICATION, seed=3, serials=[slot])
        expected, _ = learned(alone, 1)
        assert np.array_equal(answers.outputs[slot], expected.outputs[0]), one
        assert np.array_equal(together.extract(slot)["first"], alone.extract(0)["first"]), one
        assert together.taken[slot] == alone.taken[0]
        if not one.rehearsal_tolerance:
            assert together.taken[slot] == N + one.rehearsal * N
