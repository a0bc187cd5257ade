"""The kernel against a plain-Python network, for every choice of parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from streamnet.networks.population import Population
from streamnet.samples import Inputs, Task
from streamnet.settings.candidate import ACTIVATIONS, OPTIMIZERS, SCHEDULES, CandidateSettings
from tests.networks import naive

SEED = 11
SAMPLES = 60


def stream(task: Task, classes: int = 5, dense: int = 5, width: int = 3) -> tuple:
    """Samples whose classes appear one by one, with dense inputs and active rows."""
    rng = np.random.default_rng(5)
    count = rng.integers(0, width + 1, SAMPLES).astype(np.int32)
    row = np.stack([rng.permutation(9)[:width] for _ in range(SAMPLES)]).astype(np.int32)
    inputs = Inputs(
        rng.normal(size=(SAMPLES, dense)).astype(np.float32),
        row,
        rng.normal(size=(SAMPLES, width)).astype(np.float32),
        count,
        9,
        splined=np.sort([rng.permutation(dense)[:3] for _ in range(SAMPLES)]).astype(np.int32),
    )
    # As where a number turned out to take many values: fewer before.
    inputs.splined[: SAMPLES // 3, 1:] = -1
    if task is Task.REGRESSION:
        return inputs, np.zeros(SAMPLES, np.int32), rng.normal(size=SAMPLES), np.ones(SAMPLES, int)
    label = np.minimum(rng.integers(0, classes, SAMPLES), np.arange(SAMPLES) // 4)
    order = {value: i for i, value in enumerate(dict.fromkeys(label.tolist()))}
    label = np.array([order[value] for value in label.tolist()], np.int32)
    known = np.concatenate(([0], np.maximum.accumulate(label)[:-1] + 1)).astype(np.int32)
    return inputs, label, np.full(SAMPLES, np.nan), known


def learn(
    settings: list[CandidateSettings], task: Task, dtype: str = "float64", weight: Any = None
) -> tuple:
    inputs, label, goal, known = stream(task)
    population = Population(settings, task=task, seed=SEED, dtype=dtype)
    population.reserve(dense=5, rows=9, outputs=1 if task is Task.REGRESSION else 5)
    start = [population.extract(slot) for slot in range(len(settings))]
    outputs = int(label.max()) + 1
    answers = population.prepare(0, inputs, label, goal, outputs, weight=weight)
    population.run(0, known.astype(np.int32), answers)
    return population, start, answers


def expected(
    settings: CandidateSettings, task: Task, weights: dict, serial: int = 0, importance: Any = None
) -> tuple[naive.Network, list[list[float]]]:
    inputs, label, goal, known = stream(task)
    network = naive.Network(settings, task, weights)
    samples = []
    answers = []
    for i in range(SAMPLES):
        rows = [(int(inputs.row[i, q]), float(inputs.value[i, q])) for q in range(inputs.count[i])]
        splined = [int(s) for s in inputs.splined[i] if s >= 0]
        seen = label[: i + 1].tolist()
        rarity = len(seen) / (len(set(seen)) * seen.count(seen[-1]))
        samples.append((inputs.dense[i].astype(float).tolist(), rows, splined, rarity))
        active = max(int(known[i]), int(label[i]) + 1)
        output = network.forward(*samples[i][:2], active, splined)[-1]
        answers.append(network.answer(output, int(known[i])))
        early = min(settings.early_rehearsal, 1024 * settings.early_rehearsal // (i + 1))
        for repeat in range(max(settings.rehearsal, early) + 1):
            at = i
            if repeat:
                draw = naive.mix(naive.mix(naive.mix(SEED, serial), i), repeat)
                at = i - draw % (min(settings.memory, i) + 1)
            dense, rows, splined, rarity = samples[at]
            truth = int(label[at]), float(goal[at])
            if repeat:
                errors = network.errors(network.forward(dense, rows, active, splined)[-1], *truth)
                if max(map(abs, errors)) < settings.rehearsal_tolerance_for(task):
                    continue
            weight = 1.0 if importance is None else float(importance[at])
            network.learn(dense, rows, active, *truth, splined, rarity, weight)
    return network, answers


def check(
    settings: CandidateSettings,
    task: Task,
    dtype: str = "float64",
    atol: float = 1e-9,
    weight: Any = None,
) -> None:
    population, start, answers = learn([settings], task, dtype, weight)
    network, wanted = expected(settings, task, start[0], importance=weight)
    for i, shares in enumerate(wanted):
        np.testing.assert_allclose(answers.outputs[0, i, : len(shares)], shares, atol=atol)
    after = naive.Network(settings, task, population.extract(0))
    for mine, theirs in zip(after.layers, network.layers, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=atol)
    np.testing.assert_allclose(after.sparse, network.sparse, atol=atol)
    np.testing.assert_allclose(after.splines, network.splines, atol=atol)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("hidden", [(), (7,), (33,), (70,), (20, 5), (3, 18, 4)])
@pytest.mark.parametrize("task", list(Task))
def test_every_optimizer_learns_like_the_naive_network(optimizer: Any, hidden, task: Task) -> None:
    check(
        CandidateSettings(hidden=hidden, optimizer=optimizer, learning_rate=0.02, weight_decay=0.1),
        task,
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task", list(Task))
def test_the_weight_of_a_sample_scales_its_gradient_also_when_it_is_rehearsed(
    optimizer: Any, task: Task
) -> None:
    weight = np.random.default_rng(7).choice([0.25, 0.5, 1.0, 2.0, 7.5], SAMPLES)
    more: Any = {"class_weight": 0.5} if task is Task.CLASSIFICATION else {"clip": 0.5}
    settings = CandidateSettings(
        hidden=(7, 4), optimizer=optimizer, learning_rate=0.02, rehearsal=2, memory=20, **more
    )
    check(settings, task, weight=weight)


def test_weights_of_one_change_no_bit() -> None:
    settings = [
        CandidateSettings(hidden=(9,), rehearsal=1, memory=20, class_weight=c) for c in (0, 1)
    ]
    plain, _, answers = learn(settings, Task.CLASSIFICATION, "float32")
    weighted, _, same = learn(settings, Task.CLASSIFICATION, "float32", np.ones(SAMPLES))
    weighted.weighted = True
    assert plain.weights.tobytes() == weighted.weights.tobytes()
    assert answers.outputs.tobytes() == same.outputs.tobytes()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("hidden", [(), (70,), (20, 5)])
def test_float32_differs_only_by_the_error_of_estimated_roots(optimizer: Any, hidden) -> None:
    settings = CandidateSettings(
        hidden=hidden, optimizer=optimizer, learning_rate=0.002, weight_decay=0.1, knots=5
    )
    # Weights move by some hundredths; a step is wrong by 2**-14 of it, which the next ones enlarge.
    check(settings, Task.CLASSIFICATION, "float32", atol=3e-4)


@pytest.mark.parametrize(("momentum", "second_momentum"), [(0.2, 0.3), (0.5, 0.5), (0.0, 0.9)])
def test_the_bias_correction_of_adam_fades_out(momentum, second_momentum) -> None:
    # 1 - 0.5 ** n is 1 from the 54th step on, of 60; 1 - 0.3 ** n from the 32nd.
    settings = CandidateSettings(
        hidden=(7,), optimizer="adam", momentum=momentum, second_momentum=second_momentum
    )
    check(settings, Task.CLASSIFICATION)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("task", "output", "loss"),
    [
        (Task.CLASSIFICATION, "softmax", "cross_entropy"),
        (Task.CLASSIFICATION, "logistic", "cross_entropy"),
        (Task.CLASSIFICATION, "logistic", "squared"),
        (Task.REGRESSION, "identity", "squared"),
        (Task.REGRESSION, "identity", "absolute"),
        (Task.REGRESSION, "identity", "huber"),
        (Task.REGRESSION, "logistic", "squared"),
        (Task.REGRESSION, "tanh", "squared"),
        (Task.REGRESSION, "relu", "squared"),
    ],
)
def test_every_activation_and_loss_has_the_right_gradient(activation, task, output, loss) -> None:
    settings = CandidateSettings(
        hidden=(6, 17),
        activation=(activation, "tanh"),
        output=output,
        loss=loss,
        huber_delta=0.5,
        optimizer="sgd",
        learning_rate=0.05,
    )
    check(settings, task)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
@pytest.mark.parametrize("hidden", [(), (9,), (9, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_clipping_bounds_the_length_of_the_whole_gradient(optimizer, hidden, bias) -> None:
    settings = CandidateSettings(hidden=hidden, optimizer=optimizer, clip=0.3, bias=bias)
    check(settings, Task.CLASSIFICATION)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("hidden", [(), (7,), (70,), (20, 5)])
@pytest.mark.parametrize("knots", [2, 3, 9])
def test_inputs_with_many_values_are_learned_as_splines(optimizer, hidden, knots: int) -> None:
    settings = CandidateSettings(
        hidden=hidden, optimizer=optimizer, learning_rate=0.02, knots=knots, weight_decay=0.1
    )
    check(settings, Task.CLASSIFICATION)


@pytest.mark.parametrize(("knots", "rehearsal", "clip"), [(5, 3, 0.0), (4, 0, 0.3)])
def test_splines_are_rehearsed_and_clipped_like_other_inputs(knots, rehearsal, clip) -> None:
    settings = CandidateSettings(
        hidden=(9,), optimizer="sgd", knots=knots, rehearsal=rehearsal, memory=20, clip=clip
    )
    check(settings, Task.REGRESSION)


@pytest.mark.parametrize("decay", [0.02, 0.5])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_lower_the_learning_rate_as_stated(schedule, decay) -> None:
    check(
        CandidateSettings(
            optimizer="sgd", learning_rate=0.3, schedule=schedule, decay=decay, decay_steps=7
        ),
        Task.REGRESSION,
    )


def test_early_samples_are_rehearsed_more_often() -> None:
    many = CandidateSettings(
        hidden=(4,), optimizer="sgd", rehearsal=1, early_rehearsal=6, memory=30
    )
    check(many, Task.CLASSIFICATION)
    # Each of the first 1,024 is followed by 6, the 2,048th by 3, and from the 6,144th on by 1.
    numbers, goal = np.arange(10_000), np.zeros(10_000)
    inputs = Inputs(
        np.ones((10_000, 1), np.float32),
        np.zeros((10_000, 1), np.int32),
        np.zeros((10_000, 1), np.float32),
        np.zeros(10_000, np.int32),
        0,
    )
    population = Population([many], task=Task.REGRESSION, dtype="float64")
    answers = population.prepare(0, inputs, np.zeros(10_000, np.int32), goal, 1)
    population.run(0, np.ones(10_000, np.int32), answers)
    repeats = np.maximum(1, np.minimum(6, 6144 // (numbers + 1)))
    assert population.taken[0] == 10_000 + repeats.sum()


@pytest.mark.parametrize("memory", [0, 5, 1000])
def test_rehearsal_learns_earlier_samples_drawn_by_key(memory: int) -> None:
    check(
        CandidateSettings(hidden=(6,), optimizer="adagrad", rehearsal=3, memory=memory),
        Task.CLASSIFICATION,
    )


@pytest.mark.parametrize("tolerance", [None, 0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize(
    ("task", "output", "loss"),
    [
        (Task.CLASSIFICATION, "softmax", "cross_entropy"),
        (Task.CLASSIFICATION, "logistic", "squared"),
        (Task.REGRESSION, "identity", "huber"),
    ],
)
def test_a_rehearsed_sample_within_the_tolerance_is_not_learned_again(
    task, output, loss, tolerance
) -> None:
    settings = CandidateSettings(
        hidden=(6,),
        output=output,
        loss=loss,
        optimizer="adam",
        learning_rate=0.05,
        rehearsal=4,
        rehearsal_tolerance=tolerance,
    )
    check(settings, task)
    population, _, _ = learn([settings], task)
    given = settings.rehearsal_tolerance_for(task)
    assert (population.taken[0] == SAMPLES * 5) == (given == 0.0)
    assert population.taken[0] >= SAMPLES  # new ones are always learned


@pytest.mark.parametrize("seed", [2**63, 2**64 - 3, np.uint64(2**64 - 1), np.int8(5)])
def test_seeds_of_all_64_bits_draw_by_the_same_rule(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "SEED", int(seed))
    settings = CandidateSettings(hidden=(6,), optimizer="adagrad", rehearsal=3, memory=20)
    check(settings, Task.CLASSIFICATION)
    given = Population([settings], task=Task.CLASSIFICATION, seed=seed).seed
    assert type(given) is int  # what kernels are compiled for
    assert -(2**63) <= given < 2**63


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("class_weight", "rehearsal", "clip"), [(1.0, 0, 0.0), (0.5, 3, 0.3)])
def test_rare_classes_weigh_more_also_when_rehearsed(
    optimizer: Any, class_weight: float, rehearsal: int, clip: float
) -> None:
    settings = CandidateSettings(
        hidden=(6,),
        optimizer=optimizer,
        learning_rate=0.02,
        class_weight=class_weight,
        rehearsal=rehearsal,
        clip=clip,
    )
    check(settings, Task.CLASSIFICATION)


def test_class_weights_do_not_apply_to_regression() -> None:
    settings = CandidateSettings(hidden=(6,), optimizer="sgd")
    found = [
        learn([replace(settings, class_weight=weight)], Task.REGRESSION)[0].weights
        for weight in (0.0, 1.0)
    ]
    assert np.array_equal(*found)


def test_candidates_that_learn_logarithms_use_the_transformed_targets() -> None:
    plain = CandidateSettings(hidden=(6,), optimizer="adam", rehearsal=2)
    logarithmic = replace(plain, target_transform="log")
    inputs, label, goal, known = stream(Task.REGRESSION)
    logs = np.arctan(goal)
    found = Population([plain, logarithmic], task=Task.REGRESSION, dtype="float64", serials=[0, 0])
    told = found.prepare(0, inputs, label, goal, 1, logs)
    found.run(0, known.astype(np.int32), told)
    assert told.logarithmic.tolist() == [False, True]
    for slot, own in enumerate((goal, logs)):
        alone = Population([plain], task=Task.REGRESSION, dtype="float64")
        answers = alone.prepare(0, inputs, label, own, 1)
        alone.run(0, known.astype(np.int32), answers)
        assert np.array_equal(told.outputs[slot], answers.outputs[0])


def test_the_weight_of_a_class_is_bounded() -> None:
    """One sample of a class after 9,999 of another: it counts 16 times, not 5,000 times."""
    n = 10_000
    inputs = Inputs(
        np.ones((n, 1), np.float32),
        np.zeros((n, 1), np.int32),
        np.zeros((n, 1), np.float32),
        np.zeros(n, np.int32),
        0,
    )
    label = np.array([0] * (n - 1) + [1], np.int32)
    settings = CandidateSettings(hidden=(), optimizer="sgd", learning_rate=1e-4, class_weight=1.0)
    population = Population([settings], task=Task.CLASSIFICATION, dtype="float64")
    before = population.prepare(0, inputs, label, np.full(n, np.nan), 2)
    start = naive.Network(settings, Task.CLASSIFICATION, population.extract(0))
    population.run(0, np.full(n, 2, np.int32), before)
    for i, c in enumerate(label.tolist()):
        rarity = 1.0 if i < n - 1 else n / 2
        start.learn([1.0], [], 2, c, float("nan"), rarity=rarity)
    np.testing.assert_allclose(population.extract(0)["first"], start.layers[0], atol=1e-9)


def test_without_bias_all_biases_stay_zero() -> None:
    settings = CandidateSettings(hidden=(6, 5), optimizer="sgd", bias=False)
    check(settings, Task.CLASSIFICATION)
    population, _, _ = learn([settings], Task.CLASSIFICATION)
    assert not population.extract(0)["first"][0].any()


def test_candidates_do_not_affect_each_other() -> None:
    settings = [
        CandidateSettings(hidden=(5,), optimizer="sgd"),
        CandidateSettings(hidden=(40,), optimizer="adam", rehearsal=2),
        CandidateSettings(hidden=(), optimizer="rmsprop"),
    ]
    together, _, _ = learn(settings, Task.CLASSIFICATION, "float32")
    inputs, label, goal, known = stream(Task.CLASSIFICATION)
    for slot, alone in enumerate(settings):
        apart = Population([alone], task=Task.CLASSIFICATION, seed=SEED, serials=[slot])
        apart.reserve(dense=5, rows=9, outputs=5)
        apart.run(0, known, apart.prepare(0, inputs, label, goal, 5))
        for name, matrix in apart.extract(0).items():
            assert np.array_equal(together.extract(slot)[name], matrix), name
