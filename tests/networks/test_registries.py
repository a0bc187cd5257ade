"""Algorithms are files, or entries, of registries: what is forgotten is noticed here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamnet.networks import activations, optimizers, plan
from streamnet.networks.activations import ACTIVATION_CODES, ACTIVATIONS, OUTPUT_RANGES, SOFTMAX
from streamnet.networks.initialization import INITIALIZATIONS
from streamnet.networks.losses import LOSS_CODES, LOSSES
from streamnet.networks.optimizers import OPTIMIZER_CODES, OPTIMIZERS
from streamnet.networks.population import Population
from streamnet.networks.schedules import SCHEDULE_CODES, SCHEDULES
from streamnet.samples import Inputs, Task
from streamnet.settings import candidate
from streamnet.settings.candidate import CandidateSettings, Optimizer
from tests.networks import naive


def module_names(package: object) -> set[str]:
    (folder,) = package.__path__  # type: ignore[attr-defined]
    return {path.stem for path in Path(folder).glob("*.py")} - {"__init__", "base"}


def test_settings_and_registries_have_the_same_names() -> None:
    assert set(candidate.OPTIMIZERS) == set(OPTIMIZERS) == module_names(optimizers)
    assert set(candidate.ACTIVATIONS) == set(ACTIVATIONS)
    assert set(candidate.OUTPUTS) == set(OUTPUT_RANGES) == module_names(activations)
    assert set(candidate.LOSSES) == set(LOSSES)
    assert set(candidate.SCHEDULES) == set(SCHEDULES)
    assert set(candidate.INITIALIZATIONS) == set(INITIALIZATIONS)


def test_naive_references_know_every_name() -> None:
    assert set(naive.OPTIMIZERS) == set(OPTIMIZERS)
    assert set(naive.ACTIVATIONS) == set(naive.SLOPES) == set(ACTIVATIONS)
    assert set(naive.LOSSES) == set(LOSSES)
    assert set(naive.SCHEDULES) == set(SCHEDULES)


def test_codes_are_positions_in_the_registries() -> None:
    assert list(ACTIVATION_CODES) == [*ACTIVATIONS, "softmax"]
    assert ACTIVATION_CODES["softmax"] == SOFTMAX
    for names, codes in (
        (OPTIMIZERS, OPTIMIZER_CODES),
        (LOSSES, LOSS_CODES),
        (SCHEDULES, SCHEDULE_CODES),
    ):
        assert [codes[name] for name in names] == list(range(len(names)))


def test_plans_have_columns_for_as_many_layers_as_settings_allow() -> None:
    assert plan.LAYERS == candidate.MAX_LAYERS


@pytest.mark.parametrize("optimizer", candidate.OPTIMIZERS)
def test_an_optimizer_uses_each_of_its_states_and_no_more(optimizer: Optimizer) -> None:
    population = Population(
        [CandidateSettings(hidden=(16,), optimizer=optimizer)] * 2, task=Task.REGRESSION
    )
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    goal = x[:, 0].astype(np.float64)
    nothing = np.zeros((50, 1), np.int32), np.zeros((50, 1), np.float32), np.zeros(50, np.int32)
    block = population.prepare(0, Inputs(x, *nothing, 0), np.zeros(50, np.int32), goal, 1)
    population.healthy[1] = 0  # whoever writes beyond the states of the first is seen in these
    population.run(0, np.ones(50, np.int32), block)
    learned, idle = (population.layout.places(slot)[1] for slot in (0, 1))
    size = population.layout.drafts[0].sizes[0]
    states = population.state[learned].reshape(-1, size)
    assert len(states) == OPTIMIZERS[optimizer].states
    assert states.any(axis=1).all()
    assert not population.state[idle].any()


@pytest.mark.parametrize("optimizer", candidate.OPTIMIZERS)
def test_an_optimizer_states_a_cost_and_a_rate(optimizer: str) -> None:
    entry = OPTIMIZERS[optimizer]
    assert 0.0 <= entry.cost < 1.0
    assert 0.0 < entry.reference_rate < 1.0


@pytest.mark.parametrize("name", candidate.ACTIVATIONS)
def test_an_activation_stays_within_its_range(name: str) -> None:
    lowest, highest = ACTIVATIONS[name].range
    values = [naive.ACTIVATIONS[name](x) for x in np.linspace(-30.0, 30.0, 61)]
    assert lowest <= min(values) < max(values) <= highest
    assert lowest == -np.inf or min(values) < lowest + 1e-9
    assert highest == np.inf or max(values) > highest - 1e-9
