"""The engine with weights of samples: they count in learning, selection and evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn import metrics

from streamnet.engine.data import FittedEncoder, split_data
from streamnet.engine.holdout import HoldoutEvaluator
from streamnet.features.encoder import Encoder
from streamnet.learning.trainer import Predicted
from streamnet.networks.population import NetworkOutputs
from streamnet.samples import Block, Task
from tests.engine.sets import moons, quick, slope


def weigh(block: Block, weight: NDArray[Any]) -> Block:
    return replace(block, weight=weight.astype(np.float64))


@pytest.mark.parametrize("rows", [moons, slope])
def test_weights_of_one_change_nothing(rows: Any) -> None:
    block = rows(150).block()
    plain, ones = (quick(seed=1).fit(one) for one in (block, weigh(block, np.ones(150))))
    assert np.array_equal(plain.model.outputs(block), ones.model.outputs(block))
    assert plain.report["evaluation"] == ones.report["evaluation"]
    assert plain.report["baselines"] == ones.report["baselines"]


@pytest.mark.parametrize("rows", [moons, slope])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_the_evaluation_and_the_baseline_are_weighted(rows: Any, batch_size: int) -> None:
    random = np.random.default_rng(2)
    block = rows(200).block()
    block = weigh(block, random.choice([0.5, 1.0, 6.0], 200))
    engine = quick(seed=1, batch_size=batch_size)
    trained = engine.fit(block)
    parts = split_data(block, engine.settings)
    reported, found = parts.reported, trained.evaluation.measures()
    assert reported.target is not None
    pair: Any = reported.target, trained.model.predict(reported)
    w = reported.weight
    baseline: dict[str, float] = next(iter(trained.report["baselines"].values()))
    if block.schema.task is Task.REGRESSION:
        assert found["mae"] == pytest.approx(metrics.mean_absolute_error(*pair, sample_weight=w))
        mean = np.average(parts.training.target, weights=parts.training.weight)  # type: ignore[arg-type]
        expected = metrics.mean_absolute_error(pair[0], np.full(len(w), mean), sample_weight=w)  # type: ignore[arg-type]
        assert baseline["mae"] == pytest.approx(expected)
    else:
        assert found["accuracy"] == pytest.approx(metrics.accuracy_score(*pair, sample_weight=w))


def test_the_majority_is_that_of_the_weights() -> None:
    block = moons(100).block()
    block = weigh(block, np.where(np.arange(100) % 2, 0.25, 1.0))  # half of them are "down"
    engine = quick(seed=1)
    trained = engine.fit(block)
    reported = split_data(block, engine.settings).reported
    assert reported.target is not None
    expected = np.average(reported.target == "up", weights=reported.weight)
    assert expected > 0.7
    assert trained.report["baselines"]["majority"]["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("rows", [moons, slope])
def test_samples_of_weight_zero_are_left_out(rows: Any) -> None:
    block, weight = rows(200).block(), np.arange(200) % 3 != 0
    with_zeros = quick(seed=1).fit(weigh(block, weight))
    without = quick(seed=1).fit(block.take(np.flatnonzero(weight)))
    assert with_zeros.report["samples"] == without.report["samples"]
    assert np.array_equal(with_zeros.model.outputs(block), without.model.outputs(block))


def test_what_is_learned_follows_the_weights() -> None:
    """Of equal inputs, the label that weighs more is the more probable one."""
    random = np.random.default_rng(3)
    block = moons(400).block()
    numbers = random.normal(size=block.numbers.shape)  # which tell nothing
    block = replace(block, numbers=numbers)
    weight = np.where(block.target == "up", 3.0, 1.0)
    model = quick(seed=1, epochs=10).fit(weigh(block, weight)).model
    shares = model.predict_proba({"x": 0, "y": 0})
    up = shares[0][model.labels.index("up")]
    assert up == pytest.approx(0.75, abs=0.1)


@pytest.mark.parametrize("rows", [moons, slope])
def test_candidates_are_selected_by_weights_as_by_repeated_samples(rows: Any) -> None:
    random = np.random.default_rng(4)
    block, times = rows(40).block(), random.integers(1, 4, 40)
    task = block.schema.task
    assert task is not None
    fitted = FittedEncoder(Encoder(task=task), block)
    outputs = random.dirichlet([1.0, 1.0], (3, 40))
    if task is Task.REGRESSION:
        outputs = outputs[:, :, :1]
    alive = np.ones((3, 40), np.uint8)
    alive[2, 5] = 0
    repeated = np.repeat(np.arange(40), times)
    tallies = []
    for part, kept in ((weigh(block, times), np.arange(40)), (block.take(repeated), repeated)):
        evaluator = HoldoutEvaluator(task, len(fitted.labels), threshold=1.0)
        encoded = fitted.encode(replace(part, learned=False))
        networks = NetworkOutputs(outputs[:, kept], alive[:, kept])
        tally = evaluator.evaluate(Predicted(encoded, 0, networks, True)).tally
        assert tally is not None
        tallies.append(tally)
    for one, other in zip(*tallies, strict=True):
        assert one == pytest.approx(other)
