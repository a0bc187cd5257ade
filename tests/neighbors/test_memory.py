"""The memory of labeled samples, against a reference that compares all of them one by one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.features.columns.label import RETIRED, MovedClass
from streamnet.neighbors import kernels
from streamnet.neighbors.memory import NeighborMemory
from streamnet.samples import Inputs
from tests.experts import label_batch

LABELS = 3


def inputs_of(dense: NDArray[Any], words: NDArray[Any] | None = None, lags: int = 0) -> Inputs:
    """Inputs of dense numbers and, for each sample, the numbers of some active rows."""
    n = len(dense)
    rows = np.zeros((n, 1), np.int32) if words is None else words.astype(np.int32)
    count = np.full(n, 0 if words is None else rows.shape[1], np.int32)
    value = np.ones(rows.shape, np.float32)
    return Inputs(dense.astype(np.float32), rows, value, count, int(rows.max()) + 1, lags)


def part(inputs: Inputs, start: int, stop: int) -> Inputs:
    """Some of the samples."""
    names = "dense", "row", "value", "count"
    return replace(inputs, **{name: getattr(inputs, name)[start:stop] for name in names})


def clusters(n: int, width: int = 5, seed: int = 1) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Samples of which only the first two numbers tell the label, and some labels are missing."""
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n, width))
    label = (dense[:, 0] + dense[:, 1] > 0.5).astype(np.int32) + (dense[:, 0] < -1.0)
    label = np.where(rng.random(n) < 0.1, -1, label)
    return dense, label.astype(np.int32)


def run(memory: NeighborMemory, inputs: Inputs, label: NDArray[np.int32]) -> NDArray[np.float32]:
    """Predict and learn all samples, all labels of which are known from the start."""
    answers: NDArray[np.float32] = memory.predict_then_learn(
        label_batch(inputs, LABELS, label)
    ).answers[0]
    return answers


def ask(memory: NeighborMemory, inputs: Inputs, labels: int = LABELS) -> NDArray[np.float32]:
    """Predict samples of which each might be the next one."""
    answers: NDArray[np.float32] = memory.predict(label_batch(inputs, labels)).answers[0]
    return answers


class NaiveMemory:
    """All samples of a stream, compared one by one, in float64."""

    def __init__(self, width: int) -> None:
        self.samples: list[tuple[NDArray[Any], int]] = []
        self.metric = np.ones(width)

    def learn(self, x: NDArray[Any], label: int) -> list[float]:
        """Predict a sample and store it."""
        away = [(float(self.metric @ (v - x) ** 2), c, v) for v, c in self.samples]
        nearest = sorted(away, key=lambda entry: entry[0])[: kernels.NEIGHBORS]
        votes = [kernels.DOUBT / LABELS] * LABELS
        mean = sum(d for d, _, _ in nearest) / max(len(nearest), 1) + 1e-6
        for d, c, _ in nearest:
            votes[c] += math.exp(-kernels.SHARPNESS * (d - nearest[0][0]) / mean)
        if label >= 0:
            self._step([v for _, c, v in nearest if c == label], nearest, x, label)
            self.samples.append((x, label))
        return [vote / sum(votes) for vote in votes]

    def _step(self, hits: list[Any], nearest: list[Any], x: NDArray[Any], label: int) -> None:
        misses = [v for _, c, v in nearest if c != label]
        if not hits or not misses:
            return
        hit, miss = (hits[0] - x) ** 2, (misses[0] - x) ** 2
        near, far = self.metric @ hit + 1e-6, self.metric @ miss + 1e-6
        rate = kernels.LEARNING_RATE * near / (near + far)
        step = rate * self.metric * (miss / far - hit / near)
        self.metric = np.clip(self.metric * (1.0 + step + step**2 / 2.0), 1e-4, 1e4)


def test_predictions_and_metric_are_those_of_comparing_all_samples_one_by_one() -> None:
    dense, label = clusters(450)
    memory, naive = NeighborMemory(4096), NaiveMemory(5)
    expected = [naive.learn(x, c) for x, c in zip(dense, label.tolist(), strict=True)]
    # Up to eight lists are all searched, so nothing is missed.
    assert_allclose(run(memory, inputs_of(dense), label), expected, atol=2e-3)
    assert_allclose(memory.metric[kernels.HASHED :][:5], naive.metric, rtol=1e-2)
    assert memory.samples == (label >= 0).sum()


@pytest.mark.parametrize("sizes", [(1,), (7, 300, 2)])
def test_the_result_does_not_depend_on_how_blocks_are_cut(sizes: tuple[int, ...]) -> None:
    dense, label = clusters(1500, width=20)
    words = np.random.default_rng(2).integers(0, 40, (1500, 2))
    inputs = inputs_of(dense, words)
    whole, cut = NeighborMemory(1024), NeighborMemory(1024)
    expected, start = run(whole, inputs, label), 0
    found: list[NDArray[np.float32]] = []
    while start < 1500:
        stop = min(1500, start + sizes[len(found) % len(sizes)])
        found.append(run(cut, part(inputs, start, stop), label[start:stop]))
        start = stop
    assert_array_equal(np.concatenate(found), expected)
    for name, array in whole.export_state().items():
        assert_array_equal(cut.export_state()[name], array)


def test_a_restored_memory_goes_on_with_the_same_bits() -> None:
    dense, label = clusters(2000)
    inputs = inputs_of(dense)
    whole, begun, resumed = (NeighborMemory(700) for _ in range(3))
    expected = run(whole, inputs, label)
    run(begun, part(inputs, 0, 900), label[:900])
    resumed.restore_state(begun.export_state())
    assert_array_equal(run(resumed, part(inputs, 900, 2000), label[900:]), expected[900:])
    with pytest.raises(StateError, match="vector of stored neighbors"):
        NeighborMemory(256).restore_state(whole.export_state())


def test_columns_that_appear_later_are_zero_in_earlier_samples() -> None:
    dense, label = clusters(800, width=30)
    dense[:300, 10:] = 0.0
    grown, whole = NeighborMemory(2048), NeighborMemory(2048)
    narrow = inputs_of(np.ascontiguousarray(dense[:300, :10]))
    found = [run(grown, narrow, label[:300])]
    found.append(run(grown, part(inputs_of(dense), 300, 800), label[300:]))
    assert_array_equal(np.concatenate(found), run(whole, inputs_of(dense), label))


def test_memory_is_bounded_and_old_samples_make_room() -> None:
    dense, label = clusters(4000)
    memory = NeighborMemory(500)
    run(memory, inputs_of(dense), label)
    assert 128 <= memory.samples <= 512
    run(memory, inputs_of(dense), np.where(label >= 0, 2, -1).astype(np.int32))
    assert (ask(memory, inputs_of(dense)).argmax(axis=1) == 2).mean() > 0.95


def test_far_samples_take_no_room_from_the_others() -> None:
    dense, label = clusters(8000)
    dense[::50] *= 1000.0
    memory = NeighborMemory(8192)
    run(memory, inputs_of(dense), label)
    assert memory.samples > 6000


def test_equal_samples_share_a_list() -> None:
    memory = NeighborMemory(1024)
    label = np.arange(2000, dtype=np.int32) % 2
    answers = run(memory, inputs_of(np.ones((2000, 3))), label)
    assert memory.samples == kernels.LIST_SIZE
    assert np.isfinite(answers).all()


def test_most_of_the_nearest_samples_are_found_among_many() -> None:
    dense, _ = clusters(12_000, width=8)
    label = np.zeros(12_000, np.int32)  # one label leaves the metric as it is
    memory = NeighborMemory(16_384)
    run(memory, inputs_of(dense), label)
    asked = np.random.default_rng(5).normal(size=(200, 8))
    nearest = ((asked[:, None] - dense[None]) ** 2).sum(axis=2).argmin(axis=1)
    # Now a vote for another label tells which sample is nearest.
    state = memory.export_state()
    vectors = state["vector"].swapaxes(1, 2).reshape(-1, kernels.HASHED + 8)[:, kernels.HASHED :]
    found = 0
    for x, place in zip(asked, nearest, strict=True):
        at = int(np.abs(vectors - dense[place].astype(np.float32)).sum(axis=1).argmin())
        marked = state["label"].copy()
        marked[at] = 1
        memory.restore_state({**state, "label": marked})
        found += bool(ask(memory, inputs_of(x[None]), 2)[0, 1] > 0.0751)
    assert found >= 170


def test_the_metric_finds_the_numbers_that_tell_the_label() -> None:
    dense, label = clusters(4000, width=12)
    memory = NeighborMemory(4096)
    answers = run(memory, inputs_of(dense), label)
    weight = memory.metric[kernels.HASHED :][:12]
    assert weight[:2].min() > 10.0 * np.median(weight[2:])
    hits = (answers.argmax(axis=1) == label)[label >= 0]
    assert hits[-1000:].mean() > 0.9


def test_categories_count_as_numbers_do_and_last_targets_do_not() -> None:
    rng = np.random.default_rng(3)
    words = rng.integers(0, 6, (3000, 2)) + np.array([6, 0])  # rows of their own
    label = (words[:, 1] % 3).astype(np.int32)
    none = np.zeros((3000, 1))
    hits = run(NeighborMemory(4096), inputs_of(none, words), label).argmax(axis=1) == label
    assert hits[-500:].mean() > 0.95
    blind = run(NeighborMemory(4096), inputs_of(none, words, lags=1), label)
    assert (blind.argmax(axis=1) == label)[-500:].mean() < 0.5


def test_predicting_changes_nothing_and_says_what_learning_would() -> None:
    dense, label = clusters(1000)
    inputs = inputs_of(dense)
    memory = NeighborMemory(1024)
    run(memory, part(inputs, 0, 999), label[:999])
    before = memory.export_state()
    said = ask(memory, part(inputs, 999, 1000))
    for name, array in memory.export_state().items():
        assert_array_equal(array, before[name])
    assert_array_equal(run(memory, part(inputs, 999, 1000), label[999:]), said)


def test_a_merged_class_votes_for_the_other_one_and_a_retired_one_not_at_all() -> None:
    dense, label = clusters(1000)
    memory = NeighborMemory(1024)
    run(memory, inputs_of(dense), label)
    memory.move_class(MovedClass(0, 1))
    said = ask(memory, inputs_of(dense))
    assert said[:, 0].max() <= kernels.DOUBT
    memory.move_class(MovedClass(1, RETIRED))
    said = ask(memory, inputs_of(dense[label != 2]))
    assert (said[:, 1] <= 1.0 / LABELS).all()


def test_a_class_that_moved_leaves_no_trace_that_a_restored_memory_lacks() -> None:
    dense, label = clusters(1500)
    whole, resumed = NeighborMemory(4096), NeighborMemory(4096)
    run(whole, inputs_of(dense[:100]), label[:100])
    whole.move_class(MovedClass(0, 1))
    resumed.restore_state(whole.export_state())
    for memory in (whole, resumed):
        run(memory, inputs_of(dense[100:]), label[100:])
    for name, array in whole.export_state().items():
        assert_array_equal(resumed.export_state()[name], array)


def test_samples_count_by_their_weight() -> None:
    dense = np.zeros((3, 2))
    memory = NeighborMemory(256)
    label = np.array([0, 1, -1], np.int32)
    weight = np.array([1.0, 3.0, 1.0])
    batch = label_batch(inputs_of(dense), 2, label, weight=weight)
    said = memory.predict_then_learn(batch).answers[0]
    total = kernels.DOUBT + 4.0
    assert_allclose(said[2], [(kernels.DOUBT / 2 + 1) / total, (kernels.DOUBT / 2 + 3) / total])


def test_numbers_of_any_size_leave_everything_finite() -> None:
    dense, label = clusters(1000)
    dense[::3] *= 1e30
    dense[::7, 1] = np.nan
    memory = NeighborMemory(512)
    answers = run(memory, inputs_of(dense), label)
    assert_allclose(answers.sum(axis=1), 1.0, rtol=1e-5)
    assert all(np.isfinite(array).all() for array in memory.export_state().values())
