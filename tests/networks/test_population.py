"""The population: growth, coming and going, quarantine, and its state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from streamnet.errors import ConfigurationError
from streamnet.networks.frozen_population import FrozenPopulation, Network
from streamnet.networks.population import Population
from streamnet.samples import Inputs, Task
from streamnet.settings.candidate import CandidateSettings

SETTINGS = [
    CandidateSettings(
        hidden=(9,), optimizer="adam", rehearsal=2, memory=50, rehearsal_tolerance=0.0
    ),
    CandidateSettings(hidden=(20, 4), activation="relu", optimizer="momentum"),
    CandidateSettings(hidden=(), optimizer="adagrad", knots=9, class_weight=0.5),
    CandidateSettings(hidden=(70,), optimizer="sgd", learning_rate=0.05),
]


def samples(n: int, *, dense: int = 4, rows: int = 12, seed: int = 0) -> tuple:
    rng = np.random.default_rng(seed)
    inputs = Inputs(
        rng.normal(size=(n, dense)).astype(np.float32),
        np.stack([rng.permutation(rows)[:3] for _ in range(n)]).astype(np.int32),
        np.ones((n, 3), np.float32),
        rng.integers(0, 4, n).astype(np.int32),
        rows,
        splined=np.tile(np.arange(dense, dtype=np.int32)[::2], (n, 1)),
    )
    label = (inputs.dense[:, 0] > 0).astype(np.int32) + (inputs.dense[:, 1] > 1)
    return inputs, label.astype(np.int32), np.full(n, np.nan), np.full(n, 3, np.int32)


def part(inputs: Inputs, rows: slice) -> Inputs:
    names = ("dense", "row", "value", "count", "splined")
    return structs.replace(inputs, **{name: getattr(inputs, name)[rows] for name in names})


def feed(population: Population, first: int, block: tuple, rows: slice = slice(None)) -> np.ndarray:
    inputs, label, goal, known = block
    answers = population.prepare(first, part(inputs, rows), label[rows], goal[rows], 3)
    population.run(first, known[rows], answers)
    return answers.outputs


def weights(population: Population) -> list[dict]:
    return [population.extract(slot, outputs=3) for slot in range(len(population.members))]


def equal(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(
        left[name][: len(right[name])].tobytes() == right[name].tobytes()
        or np.array_equal(left[name][: len(right[name])], right[name])
        for name in left
    )


@pytest.mark.parametrize("batch", [1, 3])
def test_weights_of_unused_outputs_of_a_linear_network_do_not_decay(batch: int) -> None:
    """Whether there is room for them by then depends on how blocks are cut."""
    settings = CandidateSettings(
        hidden=(), initialization="uniform", weight_decay=0.1, batch_size=batch, optimizer="sgd"
    )
    block, found = samples(60), []
    for outputs in (3, 20):
        population = Population([settings], task=Task.CLASSIFICATION, seed=3)
        population.reserve(dense=4, rows=12, outputs=outputs)
        feed(population, 0, block)
        population.reserve(dense=4, rows=12, outputs=20)
        found.append(population.weights.tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cut", [1, 3, 64])
def test_cutting_the_stream_changes_no_bit(dtype: str, cut: int) -> None:
    block = samples(200)
    whole = Population(SETTINGS, task=Task.CLASSIFICATION, seed=3, dtype=dtype)
    answers = feed(whole, 0, block)
    pieces = Population(SETTINGS, task=Task.CLASSIFICATION, seed=3, dtype=dtype)
    parts = [feed(pieces, i, block, slice(i, i + cut)) for i in range(0, 200, cut)]
    assert np.array_equal(np.concatenate(parts, axis=1), answers)
    assert np.array_equal(whole.weights, pieces.weights)
    assert np.array_equal(whole.state, pieces.state)


def test_growing_preserves_learned_weights_exactly() -> None:
    block = samples(100)
    population = Population(SETTINGS, task=Task.CLASSIFICATION, seed=1)
    feed(population, 0, block)
    before = weights(population)
    state = population.state.copy()
    population.reserve(dense=7, rows=500, outputs=40)
    assert not np.array_equal(state.shape, population.state.shape)
    for old, new in zip(before, weights(population), strict=True):
        for name, matrix in old.items():
            rows, columns = matrix.shape
            assert np.array_equal(matrix, new[name][:rows, :columns]), name


def test_initial_weights_do_not_depend_on_when_memory_was_reserved() -> None:
    early = Population(SETTINGS, task=Task.CLASSIFICATION, seed=1)
    early.reserve(dense=4, rows=2000, outputs=30)
    late = Population(SETTINGS, task=Task.CLASSIFICATION, seed=1)
    late.reserve(dense=4, rows=3, outputs=2)
    for rows in (70, 300, 2000):
        late.reserve(dense=4, rows=rows, outputs=rows // 67 + 1)
    for one, other in zip(weights(early), weights(late), strict=True):
        assert equal(one, other)


def test_every_layer_of_a_deep_network_starts_with_nonzero_weights() -> None:
    deep = CandidateSettings(hidden=(24, 16, 8), activation="relu")
    population = Population([deep], task=Task.CLASSIFICATION, seed=1)
    population.reserve(dense=4, rows=4, outputs=3)
    for name, matrix in population.extract(0).items():
        biases = 1 if name == "first" or name.startswith("upper") else 0
        if name != "output_bias":
            assert (matrix[biases:] != 0).mean() > 0.99, name
    replaced = population.replace(0, deep, born=0)
    assert replaced.serial == 1
    assert (population.extract(0)["upper2"][1:] != 0).mean() > 0.99


def test_initial_weights_differ_by_seed_and_candidate() -> None:
    twins = Population([SETTINGS[0]] * 2, task=Task.CLASSIFICATION, seed=1)
    other = Population([SETTINGS[0]], task=Task.CLASSIFICATION, seed=2)
    for population in (twins, other):
        population.reserve(dense=4, rows=4, outputs=2)
    first = [twins.extract(0)["first"], twins.extract(1)["first"], other.extract(0)["first"]]
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


def test_an_exploding_candidate_is_marked_at_its_sample_without_affecting_others() -> None:
    wild = CandidateSettings(hidden=(8,), activation="relu", optimizer="sgd", learning_rate=1e7)
    block = samples(300)
    sane = Population(SETTINGS, task=Task.CLASSIFICATION, seed=4)
    feed(sane, 0, block)
    mixed = Population([*SETTINGS, wild], task=Task.CLASSIFICATION, seed=4)
    inputs, label, goal, known = block
    answers = mixed.prepare(0, inputs, label, goal, 3)
    mixed.run(0, known, answers)
    alive = answers.alive[4]
    died = int(np.argmin(alive))
    assert 0 < died < 300
    assert alive[:died].all()
    assert not alive[died:].any()
    assert mixed.healthy.tolist() == [1, 1, 1, 1, 0]
    assert np.isfinite(answers.outputs[4, :died]).all()
    for one, other in zip(weights(sane), weights(mixed), strict=False):
        assert equal(one, other)


@pytest.mark.parametrize("checks", [False, True])
def test_a_nonfinite_weight_is_found_by_a_check_or_at_the_end_of_a_round(checks: bool) -> None:
    population = Population(SETTINGS, task=Task.CLASSIFICATION)
    inputs, label, goal, known = samples(20)
    feed(population, 0, (inputs, label, goal, known))
    poisoned = population.extract(1)
    poisoned["sparse"][11, 3] = np.inf
    population.insert(1, poisoned)
    inputs.count[:] = 0  # nobody touches it
    answers = population.prepare(20, inputs, label, goal, 3)
    population.run(20, known, answers, checks=checks)
    assert answers.alive.all()
    assert population.healthy.tolist() == [1, 0 if checks else 1, 1, 1]
    assert population.check() == (0 if checks else 1)
    assert population.healthy.tolist() == [1, 0, 1, 1]


def test_a_replacement_starts_fresh_and_leaves_the_others_alone() -> None:
    block = samples(100)
    population = Population(SETTINGS, task=Task.CLASSIFICATION, seed=5)
    feed(population, 0, block)
    before = weights(population)
    member = population.replace(1, CandidateSettings(hidden=(33,)), born=100)
    assert (member.serial, member.born, population.taken[1]) == (4, 100, 0)
    after = weights(population)
    for slot in (0, 2, 3):
        assert equal(before[slot], after[slot])
    assert after[1]["first"].shape == (5, 33)
    feed(population, 100, block)
    assert population.taken.tolist() == [600, 100, 200, 200]


@pytest.mark.parametrize("seed", range(3))
def test_replacements_of_any_size_learn_as_in_a_population_of_exactly_their_size(seed: int) -> None:
    # What took the place of a larger one has room to spare, what is larger moves all others.
    rng = np.random.default_rng(seed)
    block = samples(300, seed=seed)
    one = Population(SETTINGS, task=Task.CLASSIFICATION, seed=8)
    twin = Population(SETTINGS, task=Task.CLASSIFICATION, seed=8)
    for start in range(0, 300, 20):
        rows = slice(start, start + 20)
        assert np.array_equal(feed(one, start, block, rows), feed(twin, start, block, rows))
        slot = int(rng.integers(4))
        mutated = replace(one.members[slot].settings, learning_rate=float(rng.uniform(0.01, 0.1)))
        newcomer = [mutated, *SETTINGS][int(rng.integers(5))]
        parent = slot if newcomer is mutated and rng.random() < 0.7 else None
        for population in (one, twin):
            population.replace(slot, newcomer, born=start + 20, parent=parent)
        twin.restore_state(start + 20, twin.export_state(start + 20))
        rooms = twin.layout.rooms[0].sum(), twin.layout.rooms[1].sum()
        assert rooms == (twin.weights.size, twin.state.size)
        assert all(map(equal, weights(one), weights(twin)))
    assert one.weights.size > twin.weights.size


def test_space_of_large_candidates_is_released_and_others_keep_their_weights() -> None:
    small, large = SETTINGS[0], replace(SETTINGS[3], hidden=(256,))
    population = Population([small] * 8, task=Task.CLASSIFICATION, seed=8)
    block = samples(40)
    feed(population, 0, block)
    least = largest = population.weights.size
    for slot in range(8):
        for newcomer in (large, small):
            before = weights(population)
            population.replace(slot, newcomer, born=40)
            now = weights(population)
            assert all(equal(before[k], now[k]) for k in range(8) if k != slot)
            largest = max(largest, population.weights.size)
    assert largest < 6 * least, "of eight large ones it would be sixteen times as much"


def test_a_replacement_with_too_large_a_memory_is_refused() -> None:
    population = Population(SETTINGS, task=Task.CLASSIFICATION)
    with pytest.raises(ConfigurationError, match="memory is 51, but must be <= 50"):
        population.replace(0, CandidateSettings(rehearsal=1, memory=51), born=0)


def test_a_candidate_that_rests_learns_like_one_without_rehearsal() -> None:
    eager, block = replace(SETTINGS[0], early_rehearsal=3), samples(300)
    idle = replace(eager, rehearsal=0, early_rehearsal=0)
    one, other, resumed = (
        Population([first, SETTINGS[0]], task=Task.CLASSIFICATION, seed=2)
        for first in (eager, idle, eager)
    )
    one.rest([0])
    for population in (one, other):
        feed(population, 0, block, slice(0, 100))
    resumed.restore_state(100, one.export_state(100))
    wide = structs.replace(block[0], rows=200), *block[1:]  # more than there is room for
    for population in (one, other, resumed):
        feed(population, 100, wide, slice(100, 200))
        assert all(map(equal, weights(population), weights(one)))
    one.rest([])
    for population in (one, other):
        feed(population, 200, wide, slice(200, 300))
    assert [equal(*pair) for pair in zip(weights(one), weights(other), strict=True)] == [
        False,
        True,
    ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_restored_population_continues_with_the_same_bits(dtype: str) -> None:
    block = samples(400)
    one = Population(SETTINGS, task=Task.CLASSIFICATION, seed=6, dtype=dtype)
    feed(one, 0, block, slice(0, 150))
    state = one.export_state(150)
    other = Population(SETTINGS[:1], task=Task.CLASSIFICATION, seed=6, dtype=dtype)
    other.restore_state(150, state)
    left = feed(one, 150, block, slice(150, 400))
    right = feed(other, 150, block, slice(150, 400))
    assert np.array_equal(left, right)
    assert np.array_equal(one.weights, other.weights)
    assert np.array_equal(one.taken, other.taken)


def test_predicting_changes_nothing_and_agrees_with_learning() -> None:
    block = samples(120)
    inputs, _label, _goal, _known = block
    population = Population(SETTINGS, task=Task.CLASSIFICATION, seed=7)
    feed(population, 0, block, slice(0, 100))
    before = population.export_state(100)
    rest = part(inputs, slice(100, 120))
    together = population.predict(rest, 3)
    alone = [population.predict(rest, 3, np.array([slot])) for slot in range(4)]
    after = population.export_state(100)
    for name in ("weights", "state", "taken", "healthy"):
        assert np.array_equal(before[name], after[name])
    told = feed(population, 100, block, slice(100, 101))
    assert together.alive.all()
    for slot in range(4):
        assert np.array_equal(alone[slot].outputs[0], together.outputs[slot])
        assert np.array_equal(together.outputs[slot, 0], told[slot, 0])


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("slots", [[0], [1], [2], [3], [2, 0, 3, 1]])
def test_frozen_networks_predict_as_in_the_population(task: Task, slots: list[int]) -> None:
    inputs, label, goal, known = samples(150)
    if task is Task.REGRESSION:
        label, goal, known = label * 0, inputs.dense[:, 0].astype(float), known * 0 + 1
    outputs = 3 if task is Task.CLASSIFICATION else 1
    population = Population(SETTINGS, task=task, seed=8)
    answers = population.prepare(0, inputs, label, goal, outputs)
    population.run(0, known, answers)
    committee = FrozenPopulation(
        [Network(SETTINGS[k], population.extract(k, rows=12, outputs=outputs)) for k in slots],
        task=task,
    )
    answers = committee.predict(inputs)
    assert answers.alive.all()
    for place, slot in enumerate(slots):
        asked = population.predict(inputs, outputs, np.array([slot])).outputs[0, :, :outputs]
        assert np.array_equal(answers.outputs[place], asked)


def test_networks_that_explode_on_one_sample_predict_the_others() -> None:
    settings = [
        CandidateSettings(hidden=(30,), activation="relu"),
        CandidateSettings(hidden=(30,), activation="tanh"),  # which never explodes
        CandidateSettings(hidden=(), activation="relu", optimizer="adagrad"),
    ]
    population = Population(settings, task=Task.REGRESSION)
    inputs, *_ = samples(3000)
    population.reserve(dense=4, rows=12, outputs=1)
    weights = [population.extract(k, rows=12, outputs=1) for k in range(3)]
    weights[2]["first"][:] = 1.0
    inputs.dense[[0, 700, 2999]] = 1e30
    inputs.dense[1500, :2] = 1e9, -1e9  # which cancel out where all weights are one
    committee = FrozenPopulation(list(map(Network, settings, weights)), task=Task.REGRESSION)
    alive = committee.predict(inputs).alive
    assert np.flatnonzero(alive[0] == 0).tolist() == [0, 700, 1500, 2999]
    assert alive[1].all()
    assert np.flatnonzero(alive[2] == 0).tolist() == [0, 700, 2999]
    for k in range(3):
        alone = FrozenPopulation([Network(settings[k], weights[k])], task=Task.REGRESSION)
        said = alone.predict(inputs).outputs[0], committee.predict(inputs).outputs[k]
        sound = alive[k] == 1
        assert np.array_equal(said[0][sound], said[1][sound])


def test_a_population_needs_candidates_and_a_known_type() -> None:
    with pytest.raises(ConfigurationError, match="settings is empty"):
        Population([], task=Task.REGRESSION)
    with pytest.raises(ConfigurationError, match="dtype is int32"):
        Population(SETTINGS, task=Task.REGRESSION, dtype="int32")


LAGGED = [replace(settings, lags=True) for settings in SETTINGS]
CLIPPED = CandidateSettings(hidden=(9,), clip=0.1, optimizer="momentum", weight_decay=0.01)


def with_lags(block: tuple, lags: int = 2) -> tuple:
    """The same samples, at whose end some more entries tell earlier targets."""
    inputs, *others = block
    rng = np.random.default_rng(1)
    n, width = inputs.row.shape
    row, value = (np.zeros((n, width + lags), array.dtype) for array in (inputs.row, inputs.value))
    for i, count in enumerate(inputs.count.tolist()):
        row[i, :count], value[i, :count] = inputs.row[i, :count], inputs.value[i, :count]
        row[i, count : count + lags] = 12 + rng.permutation(4)[:lags]
        value[i, count : count + lags] = rng.normal(size=lags)
    more = structs.replace(
        inputs, row=row, value=value, count=inputs.count + lags, rows=16, lags=lags
    )
    return (more, *others)


def without_memory(population: Population) -> list[bytes]:
    return [population.weights.tobytes(), population.state.tobytes(), population.taken.tobytes()]


def learned(settings: list[CandidateSettings], block: tuple) -> tuple[Population, np.ndarray]:
    inputs, label, goal, known = block
    population = Population(settings, task=Task.CLASSIFICATION, seed=5)
    population.reserve(dense=4, rows=16, outputs=3, lags=inputs.lags)
    answers = population.prepare(0, inputs, label, goal, 3)
    population.run(0, known, answers)
    return population, answers.outputs


def test_a_candidate_without_lags_learns_as_if_there_were_none() -> None:
    block = samples(300)
    plain, expected = learned([*SETTINGS, CLIPPED], block)
    other, answers = learned([*SETTINGS, CLIPPED], with_lags(block))
    assert answers.tobytes() == expected.tobytes()
    assert without_memory(other) == without_memory(plain)


def test_lags_are_learned_like_any_other_entries() -> None:
    inputs, *others = with_lags(samples(300))
    ones = [*LAGGED, replace(CLIPPED, lags=True)]
    plain, expected = learned(ones, (structs.replace(inputs, lags=0), *others))
    other, answers = learned(ones, (inputs, *others))
    assert answers.tobytes() == expected.tobytes()
    assert without_memory(other) == without_memory(plain)
    _, blind = learned([*SETTINGS, CLIPPED], (inputs, *others))
    assert not np.array_equal(answers, blind)


def test_candidates_with_and_without_lags_do_not_affect_each_other() -> None:
    block = with_lags(samples(300))
    _, mixed = learned([LAGGED[0], SETTINGS[1], LAGGED[2], SETTINGS[3]], block)
    _, lagged = learned(LAGGED, block)
    _, blind = learned(SETTINGS, block)
    assert np.array_equal(mixed[[0, 2]], lagged[[0, 2]])
    assert np.array_equal(mixed[[1, 3]], blind[[1, 3]])


@pytest.mark.parametrize("settings", [SETTINGS[0], LAGGED[0]])
def test_a_frozen_network_uses_lags_as_in_the_population(settings: CandidateSettings) -> None:
    block = with_lags(samples(150))
    population, _ = learned([settings, SETTINGS[1]], block)
    weights = population.extract(0, rows=16, outputs=3)
    committee = FrozenPopulation([Network(settings, weights)], task=Task.CLASSIFICATION, lags=2)
    asked = population.predict(block[0], 3, np.array([0])).outputs[0, :, :3]
    assert np.array_equal(committee.predict(block[0]).outputs[0], asked)
