"""Weights of samples, from the block to scores, networks and ensembles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from sklearn import metrics

from streamnet.learning.learner import Learner
from streamnet.samples import Block, Task
from streamnet.selection import Selector
from streamnet.sources.roles import weigh
from tests.learning.streams import candidate, differences, feed, learner_of, state_of, stream

N = 400


def draw(seed: int = 1, choices: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 9.0)) -> NDArray[Any]:
    return np.random.default_rng(seed).choice(choices, N)


def learn(learner: Learner, block: Block, sizes: tuple[int, ...] = (1000,)) -> NDArray[Any]:
    """What is served for each sample, with zeros for labels that are not known yet."""
    parts = [served.answers for served in feed(learner, block, sizes)]
    learner.learn_pending()
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]))) for p in parts])


@pytest.mark.parametrize("serve", ["ensemble", "champion"])
@pytest.mark.parametrize("delay", [0, 30])
def test_served_metrics_of_labels_are_the_weighted_means_of_scikit_learn(serve, delay) -> None:
    block, weight = stream(Task.CLASSIFICATION, N, gaps=False), draw()
    learner = learner_of(Task.CLASSIFICATION, serve=serve, label_delay=delay)
    shares = learn(learner, weigh(block, weight))
    learned = weight > 0.0
    numbers = {label: number for number, label in enumerate(learner.encoder.labels)}
    truth = np.array([numbers[label] for label in block.target[learned].tolist()])  # type: ignore[index]
    shares, w = shares[learned], weight[learned]
    said = np.where(shares.any(axis=1), shares.argmax(axis=1), -1)
    found = learner.serving.measures()
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, said, sample_weight=w))
    losses = -np.log(np.maximum(shares[np.arange(len(truth)), truth], 1e-4))
    assert found["log_loss"] == pytest.approx(np.average(losses, weights=w), rel=1e-6)
    error = learner.serving.errors[0] / learner.serving.scored
    assert 1.0 - error == pytest.approx(found["accuracy"])


@pytest.mark.parametrize("serve", ["ensemble", "champion"])
@pytest.mark.parametrize("delay", [0, 30])
def test_served_metrics_of_numbers_are_the_weighted_means_of_scikit_learn(serve, delay) -> None:
    block, weight = stream(Task.REGRESSION, N, gaps=False), draw()
    learner = learner_of(Task.REGRESSION, serve=serve, label_delay=delay)
    said = learn(learner, weigh(block, weight))
    learned = weight > 0.0
    pair, w = (block.target[learned], said[learned]), weight[learned]  # type: ignore[index]
    found = learner.serving.measures()
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(*pair, sample_weight=w))
    wanted = metrics.root_mean_squared_error(*pair, sample_weight=w)
    assert found["rmse"] == pytest.approx(wanted)
    assert found["r2"] == pytest.approx(metrics.r2_score(*pair, sample_weight=w))


@pytest.mark.parametrize("task", list(Task))
def test_weights_of_one_change_no_bit(task: Task) -> None:
    block = stream(task, N)
    plain, ones = learner_of(task), learner_of(task)
    served = learn(plain, block)
    assert learn(ones, weigh(block, np.ones(N))).tobytes() == served.tobytes()
    assert plain.trainer.population.weights.tobytes() == ones.trainer.population.weights.tobytes()
    for name in ("ensemble", "model"):
        states = [getattr(one.serving.contenders, name).export_state() for one in (plain, ones)]
        assert not differences(*states)
    assert plain.serving.measures() == ones.serving.measures()


@pytest.mark.parametrize("delay", [0, 30])
@pytest.mark.parametrize("task", list(Task))
def test_a_sample_of_weight_zero_is_one_without_a_target(task: Task, delay: int) -> None:
    block, weight = stream(task, N), draw(2, (0.0, 1.0))
    hidden = block.target.copy()  # type: ignore[union-attr]
    hidden[weight == 0.0] = np.nan if task is Task.REGRESSION else None
    one, other = (learner_of(task, label_delay=delay) for _ in range(2))
    served = learn(one, weigh(block, weight))
    assert served.tobytes() == learn(other, replace(block, target=hidden)).tobytes()
    assert one.serving.scored == other.serving.scored < 0.6 * N
    assert one.serving.measures() == other.serving.measures()


@settings(max_examples=12, deadline=None)
@given(
    task=st.sampled_from(list(Task)),
    delay=st.sampled_from([0, 1, 25]),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_cuts_into_blocks_and_resuming_change_no_bit(task, delay, sizes, seed) -> None:
    block = weigh(stream(task, N), draw(seed))
    more: dict[str, Any] = {"label_delay": delay, "evolution": {"every": 2}, "interval": 0.8}
    whole, begun, resumed = (learner_of(task, **more) for _ in range(3))
    list(feed(whole, block))
    list(feed(begun, block.part(0, 256), sizes))
    resumed.restore_state(begun.export_state())
    list(feed(resumed, block.part(256, N), sizes))
    assert not differences(state_of(resumed), state_of(whole))


def test_a_weight_waits_with_its_sample_for_a_late_label() -> None:
    block = stream(Task.REGRESSION, N, gaps=False)
    weight = np.ones(N)
    weight[100] = 1000.0
    block.target[100] += 500.0  # type: ignore[index]  # whose error then outweighs all others
    learner = learner_of(Task.REGRESSION, label_delay=50)
    steps = feed(learner, weigh(block, weight), (1,))
    found = [learner.serving.measures()["mae"] for _ in steps]
    jumps = np.flatnonzero(np.diff(found) > 100.0) + 1
    assert jumps.tolist() == [150]


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_probabilities_follow_the_weights_as_they_follow_repeated_samples(optimizer: str) -> None:
    rng = np.random.default_rng(8)
    n = 4000
    numbers, label = rng.normal(size=(n, 1)), rng.random(n) < 0.5
    block = stream(Task.CLASSIFICATION, n, gaps=False)
    numbers = np.column_stack((numbers, np.zeros(n)))
    words = (np.full(n, "same", object),)
    target = np.where(label, "yes", "no").astype(object)
    block = replace(block, numbers=numbers, words=words, target=target, rejected=())
    one = [candidate(optimizer=optimizer, learning_rate=0.01, hidden=())]
    weighted, repeated = (learner_of(Task.CLASSIFICATION, one, serve="champion") for _ in range(2))
    list(feed(weighted, weigh(block, np.where(label, 3.0, 1.0))))
    list(feed(repeated, block.take(np.repeat(np.arange(n), np.where(label, 3, 1)))))
    for learner in (weighted, repeated):
        shares = learner.model().predict_proba({"a": 0.0, "b": 0.0, "w": "same"})
        yes = shares[0, learner.encoder.labels.index("yes")]
        assert yes == pytest.approx(0.75, abs=0.06)


@pytest.mark.parametrize("task", list(Task))
def test_large_weights_leave_everything_finite(task: Task) -> None:
    block = weigh(stream(task, N), draw(3, (1.0, 1e9)))
    learner = learner_of(task)
    assert np.isfinite(learn(learner, block)).all()
    assert all(np.isfinite(v) for v in learner.serving.measures().values())
    assert np.isfinite(learner.model().outputs({"a": 1.0, "b": 0.0, "w": "w3"})).all()


def test_the_champion_is_chosen_by_weighted_losses() -> None:
    # One candidate suits the rare heavy samples, another the frequent light ones.
    n = 2000
    heavy = np.arange(n) % 5 == 0
    losses = np.where(heavy[:, None], [0.1, 0.9], [0.6, 0.4])
    weight = np.where(heavy, 10.0, 1.0)
    plain, weighted = Selector(2), Selector(2)
    plain.choose(0, losses)
    weighted.choose(0, losses, weight=weight)
    means = np.average(losses, axis=0, weights=weight)
    assert weighted.champion == int(means.argmin()) == 0
    assert weighted.losses() == pytest.approx(means, rel=0.02)
    ones = Selector(2)
    ones.choose(0, losses, weight=np.ones(n))
    assert not differences(plain.export_state(), ones.export_state())
