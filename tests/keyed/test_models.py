"""Models of keys against a plain reference: a dict of models of single keys."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamnet.keyed import KeyedModels
from streamnet.learning.pending import PendingTable
from streamnet.samples import Task, Timeline
from tests.keyed.reference import order_moments, serve_labels, serve_numbers

TASKS = [Task.REGRESSION, Task.CLASSIFICATION]


def made_up(task: Task, n: int = 900, *, keys: int = 7, inputs: int = 3, seed: int = 1) -> Any:
    """Keys, predictions of a shared model, inputs and targets; some targets are missing."""
    rng = np.random.default_rng(seed)
    key = [f"k{k}" for k in rng.integers(0, keys, n)]
    number = np.array([int(k[1:]) for k in key])
    dense = rng.normal(size=(n, inputs)).astype(np.float32)
    dense[:, 0] += number  # a mean of its own for each key
    missing = rng.random(n) < 0.05
    if task is Task.REGRESSION:
        truth = 3.0 * number + dense[:, 1] * number + rng.normal(size=n)
        truth[missing] = np.nan
        return [key, rng.normal(10.0, 1.0, n), dense, truth]
    shared = rng.dirichlet(np.ones(3), n).astype(np.float32)
    label = ((number + (dense[:, 1] > 0) + rng.integers(0, 2, n)) % 3).astype(np.int32)
    label[missing] = -1
    return [key, shared, dense, label]


def serve(models: Any, samples: Any, blocks: list[int], delay: int = 1) -> NDArray[Any]:
    """Serve samples in blocks that end at these places; labels come so many samples later."""
    count = len(samples[0])
    pending = PendingTable(head=0.0, said=0.0)
    served, ends = [samples[1][:0]], [*blocks, count]
    for start, stop in zip([0, *blocks], ends, strict=True):
        timeline = None if delay == 1 else make_timeline(start, stop, count, delay)
        rows = np.arange(start, stop) if timeline is None else timeline.sample
        key, shared, dense, truth = (
            [samples[0][row] for row in rows],
            *(s[rows] for s in samples[1:]),
        )
        known = None
        if models.task is Task.CLASSIFICATION:
            known = np.full(len(rows), 3, np.int32)
        if timeline is None:
            served.append(models.serve(key, shared, dense, truth, known))
            continue
        missing = np.nan if models.task is Task.REGRESSION else -1
        truth[~timeline.late] = missing
        late = models.prepare_late(timeline, shared, dense, truth, known)
        pending.load(timeline, head=late.head, said=late.said)
        answers = models.serve(key, shared, dense, truth, known, late=late)
        pending.keep(timeline, head=late.head, said=late.said)
        served.append(answers[~timeline.late])
    return np.concatenate(served)


def make_timeline(start: int, stop: int, count: int, delay: int) -> Timeline:
    """The rows of a block; after the last sample, all labels come."""
    moments = list(order_moments(count, delay))
    ends = [
        i for i, (number, late) in enumerate(moments) if not late and number + 1 in (start, stop)
    ]
    first = ends[0] + 1 if start else 0
    last = len(moments) if stop == count else ends[-1] + 1
    sample, late = (np.array(each) for each in zip(*moments[first:last], strict=True))
    number = start + np.cumsum(~late) - ~late
    return Timeline(late, sample, sample, number)


def _list_arrays(state: dict[str, Any]) -> list[NDArray[Any]]:
    return list(state["rows"]["arrays"].values())


@pytest.mark.parametrize("delay", [1, 30])
def test_numbers_equal_a_dict_of_single_models(delay: int) -> None:
    samples = made_up(Task.REGRESSION)
    models = KeyedModels(Task.REGRESSION, resident=100)
    expected, keys = serve_numbers(*samples, delay=delay)
    np.testing.assert_allclose(serve(models, samples, [], delay), expected, rtol=1e-4, atol=1e-4)
    for key, model in keys.items():
        scores = models.describe(key)
        assert scores is not None
        assert scores.drifts == 0  # the reference knows no drift
        assert scores.samples == model.count
        assert scores.loss == pytest.approx(model.total_loss / model.count, rel=1e-4)
        assert scores.shared_loss == pytest.approx(model.total_shared_loss / model.count)


@pytest.mark.parametrize("delay", [1, 30])
def test_labels_equal_a_dict_of_single_models(delay: int) -> None:
    samples = made_up(Task.CLASSIFICATION)
    models = KeyedModels(Task.CLASSIFICATION, resident=100)
    expected, keys = serve_labels(*samples, delay=delay)
    np.testing.assert_allclose(serve(models, samples, [], delay), expected, rtol=1e-3, atol=1e-4)
    for key, model in keys.items():
        scores = models.describe(key)
        assert scores is not None
        assert scores.drifts == 0
        assert scores.samples == model.count
        assert scores.loss == pytest.approx(model.total_loss / model.count, rel=1e-3)
        assert scores.shared_loss == pytest.approx(model.total_shared_loss / model.count, rel=1e-4)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("delay", [1, 30])
@pytest.mark.parametrize("resident", [1, 5, 64])
@pytest.mark.parametrize("blocks", [[1, 2, 3, 100], list(range(1, 300))])
def test_bits_do_not_depend_on_blocks_or_on_how_many_keys_are_resident(
    task: Task, delay: int, resident: int, blocks: list[int]
) -> None:
    samples = made_up(task, 300, keys=9)
    whole, cut = KeyedModels(task, resident=64), KeyedModels(task, resident=resident)
    blocks = [at for at in blocks if at < 300]
    expected = serve(whole, samples, [], delay).tobytes()
    assert serve(cut, samples, blocks, delay).tobytes() == expected
    one, state = whole.export_state(), cut.export_state()
    assert state["fleet"].tobytes() == one["fleet"].tobytes()
    assert state["rows"]["keys"] == one["rows"]["keys"]
    for array, other in zip(*map(_list_arrays, (state, one)), strict=True):
        assert array.tobytes() == other.tobytes()
    assert len(cut.rows) == 9
    assert cut.rows.resident <= resident


@pytest.mark.parametrize("task", TASKS)
def test_a_restored_state_continues_with_the_same_bits(task: Task) -> None:
    samples = made_up(task, 400)
    first, rest = ([part[s] for part in samples] for s in (slice(200), slice(200, 400)))
    models, again = KeyedModels(task, resident=3), KeyedModels(task, resident=50)
    serve(models, first, [])
    again.restore_state(models.export_state())
    assert serve(models, rest, []).tobytes() == serve(again, rest, [7]).tobytes()


@pytest.mark.parametrize("task", TASKS)
def test_predicting_changes_nothing_and_agrees_with_serving(task: Task) -> None:
    samples = made_up(task, 200)
    models = KeyedModels(task, resident=3)
    serve(models, [part[:150] for part in samples], [])
    key, shared, dense, _ = samples
    for i in range(150, 200):
        before = models.export_state()
        predicted = models.predict(key[i : i + 1], shared[i : i + 1], dense[i : i + 1], 3)
        after = models.export_state()
        for array, other in zip(*map(_list_arrays, (before, after)), strict=True):
            assert array.tobytes() == other.tobytes()
        one = [part[i : i + 1] for part in samples]
        assert serve(models, one, []).tobytes() == predicted.tobytes()


def test_keys_keep_what_they_learned_when_inputs_and_labels_are_added() -> None:
    n, rng = 600, np.random.default_rng(4)
    key = [f"k{i % 5}" for i in range(n)]
    dense = rng.normal(size=(n, 6)).astype(np.float32)
    dense[:300, 2:] = 0.0
    label = ((np.arange(n) % 5 + (dense[:, 0] > 0)) % 2).astype(np.int32)
    label[300:] += 2 * (rng.random(300) < 0.3).astype(np.int32)
    shared = rng.dirichlet(np.ones(6), n).astype(np.float32)
    known = np.where(np.arange(n) < 300, 2, 6).astype(np.int32)
    wide, grown = (KeyedModels(Task.CLASSIFICATION, resident=r) for r in (10, 2))
    wide._reserve(6, 6)
    a = wide.serve(key, shared, dense, label, known)
    first = grown.serve(key[:300], shared[:300], dense[:300, :2], label[:300], known[:300])
    rest = grown.serve(key[300:], shared[300:], dense[300:], label[300:], known[300:])
    # Networks of other sizes have other initial weights, so only most of it is the same.
    b = np.concatenate((first, rest))
    truth = label[400:]
    rows = np.arange(len(truth))
    losses = [-np.log(each[400:][rows, truth].clip(1e-4)).mean() for each in (a, b)]
    assert abs(losses[0] - losses[1]) < 0.05
    counts = [models.describe("k1").samples for models in (wide, grown)]  # type: ignore[union-attr]
    assert counts == [120, 120]


def test_a_key_that_is_like_the_others_is_not_worse_than_the_shared_model() -> None:
    rng = np.random.default_rng(5)
    n = 40_000
    key = [f"k{k}" for k in rng.integers(0, 2000, n)]
    dense = rng.normal(size=(n, 4)).astype(np.float32)
    shared = dense.sum(axis=1).astype(np.float64)
    truth = shared + rng.normal(size=n)
    served = KeyedModels(Task.REGRESSION, resident=3000).serve(key, shared, dense, truth)
    assert np.abs(served - truth).mean() < 1.01 * np.abs(shared - truth).mean()


def test_a_key_that_drifts_is_noticed_and_learned_anew() -> None:
    rng = np.random.default_rng(6)
    n = 1200
    key = ["a", "b"] * (n // 2)
    dense = rng.normal(size=(n, 2)).astype(np.float32)
    shared = np.zeros(n)
    truth = 5.0 + dense[:, 0] + 0.1 * rng.normal(size=n)
    moved = (np.arange(n) > n // 2) & (np.arange(n) % 2 == 0)
    truth[moved] = -20.0 - 3.0 * dense[moved, 0]
    models = KeyedModels(Task.REGRESSION, resident=10)
    served = models.serve(key, shared, dense, truth)
    a, b = models.describe("a"), models.describe("b")
    assert a is not None
    assert b is not None
    assert a.drifts == 1
    assert 300 < (a.drifted_at or 0) < 320
    assert (b.drifts, b.drifted_at) == (0, None)
    assert np.abs(served - truth)[-200:].mean() < 0.5


def test_wild_numbers_leave_a_key_finite_and_others_untouched() -> None:
    rng = np.random.default_rng(7)
    n = 400
    key = ["wild", "calm"] * (n // 2)
    dense = rng.normal(size=(n, 2)).astype(np.float32)
    truth = dense[:, 0].astype(np.float64)
    wild = truth.copy()
    wild[::2] = np.where(np.arange(n // 2) % 9 == 0, 1e300, -1e-300)
    models = KeyedModels(Task.REGRESSION, resident=10)
    served = models.serve(key, np.zeros(n), dense, wild)
    assert np.isfinite(served).all()
    assert np.abs(served - truth)[1::2][-50:].mean() < 0.3


def test_a_sample_without_key_keeps_the_shared_prediction() -> None:
    samples = made_up(Task.REGRESSION, 100)
    models = KeyedModels(Task.REGRESSION, resident=10)
    key = [k if i % 3 else None for i, k in enumerate(samples[0])]
    served = models.serve(key, *samples[1:])
    assert (served[::3] == samples[1][::3]).all()
    assert (served[1::3] != samples[1][1::3]).any()


@pytest.mark.parametrize("resident", [2, 50])
def test_a_forgotten_key_is_predicted_as_a_new_one(resident: int) -> None:
    samples = made_up(Task.REGRESSION, 200)
    models = KeyedModels(Task.REGRESSION, resident=resident)
    serve(models, samples, [])
    shared, dense = samples[1][:1], samples[2][:1]
    assert models.predict(["k3"], shared, dense) != models.predict(["new"], shared, dense)
    assert models.rows.forget("k3")
    assert not models.rows.forget("k3")
    assert models.predict(["k3"], shared, dense) == models.predict(["new"], shared, dense)
    assert models.describe("k3") is None
    assert len(models.rows) == 6


def test_the_best_and_worst_keys_are_found_in_memory_and_on_disk() -> None:
    n = 3000
    key = [f"k{i % 30:02}" for i in range(n)]
    rng = np.random.default_rng(8)
    truth = rng.normal(size=n) * (1 + np.arange(n) % 30)
    for resident in (4, 100):
        models = KeyedModels(Task.REGRESSION, resident=resident)
        models.serve(key, np.zeros(n), np.zeros((n, 1), np.float32), truth)
        worst = [scores.key for scores in models.rank(3, worst=True)]
        best = [scores.key for scores in models.rank(3, worst=False)]
        assert set(worst) <= {"k29", "k28", "k27", "k26", "k25"}
        assert best == ["k00", "k01", "k02"]
        losses = [scores.loss for scores in models.rank(30, worst=True)]
        assert losses == sorted(losses, reverse=True)
        assert len(losses) == 30
