"""Losses of single answers add up to the criterion that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from streamnet.errors import ConfigurationError
from streamnet.samples import Task
from streamnet.selection.criteria import SampleLoss

LABELS = Task.CLASSIFICATION
NUMBERS = Task.REGRESSION
CLASSES = 3


class Naive:
    """The table of losses, said once more for one answer at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.counts = [0] * CLASSES

    def losses(self, shares: list[list[float]], y: int, known: int) -> list[float]:
        if y >= 0:
            self.counts[y] += 1
        return [self.loss(row[:known], y) for row in shares]

    def loss(self, row: list[float], y: int) -> float:
        if y < 0:
            return float("inf")
        if self.name == "distance":
            ideal = [float(c == y) for c in range(CLASSES)]
            padded = [*row, *[0.0] * (CLASSES - len(row))]
            return sum((p - i) ** 2 for p, i in zip(padded, ideal, strict=True)) / 2
        a = row.index(max(row)) if row else -1
        if a == y:
            return 0.0
        if self.name == "accuracy":
            return 1.0
        n, classes = sum(self.counts), sum(count > 0 for count in self.counts)
        if self.name == "balanced_accuracy":
            return n / (classes * self.counts[y])
        missed = 1 / (n - self.counts[a]) if a >= 0 else 0.0
        return n / (2 * classes) * (1 / self.counts[y] + missed)


# Every label is known from the start, and one is answered that has not come yet.
EARLY = (
    np.tile(np.array([0.0, 0.25, 0.5], np.float32), (2, 2, 1)),
    np.array([0, 1], np.int32),
    np.array([3, 3], np.int32),
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Shares (K, n, C), truths and known classes, which turn up one by one or are known before."""
    n = draw(st.integers(0, 12))
    seen, truth, known = draw(st.sampled_from([0, CLASSES])), [], []
    for _ in range(n):
        y = draw(st.integers(-1, min(seen, CLASSES - 1)))
        known.append(seen)
        seen = max(seen, y + 1)
        truth.append(y)
    cells = st.sampled_from([0.0, 0.25, 0.5])
    shares = [[[draw(cells) for _ in range(CLASSES)] for _ in range(n)] for _ in range(2)]
    return (
        np.array(shares, np.float32).reshape(2, n, CLASSES),
        np.array(truth, np.int32),
        np.array(known, np.int32),
    )


@pytest.mark.parametrize(
    "name", ["accuracy", "balanced_accuracy", "gopher.balanced_accuracy", "distance"]
)
@settings(deadline=None, max_examples=60)
@given(stream=streams(), cut=st.integers(0, 12))
@example(stream=EARLY, cut=1)
def test_losses_are_those_of_the_table_for_any_cuts_and_after_a_restart(
    name: str, stream: tuple[NDArray[Any], NDArray[Any], NDArray[Any]], cut: int
) -> None:
    shares, truth, known = stream
    naive = Naive(name)
    expected = [
        naive.losses(shares[:, i].tolist(), y, k)
        for i, (y, k) in enumerate(zip(truth.tolist(), known.tolist(), strict=True))
    ]
    scored = np.where(truth < 0, np.inf, 0.5)[:, None] * np.ones(2)
    first = SampleLoss(LABELS, name)
    head = first.update(shares[:, :cut], truth[:cut], known[:cut], scored[:cut])
    second = SampleLoss(LABELS, name)
    second.restore_state(first.export_state())
    tail = second.update(shares[:, cut:], truth[cut:], known[cut:], scored[cut:])
    found = np.concatenate((head, tail))
    assert found.shape == (len(truth), 2)
    assert found.tolist() == [pytest.approx(row, rel=1e-12) for row in expected]


def answered(n: int = 400) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(0)
    truth = np.arange(n, dtype=np.int32) % 2 + (np.arange(n) % 8 == 1)
    table = rng.dirichlet(np.ones(CLASSES), (1, n))
    table[0, np.arange(n), truth] += 0.3
    return (table / table.sum(2, keepdims=True)).astype(np.float32), truth.astype(np.int32)


def test_their_mean_is_the_criterion() -> None:
    shares, truth = answered()
    known, scored = np.full(len(truth), CLASSES, np.int32), np.zeros((len(truth), 1))
    answer = shares[0].argmax(1)

    def mean(name: str) -> float:
        return float(SampleLoss(LABELS, name).update(shares, truth, known, scored).mean())

    assert mean("accuracy") == pytest.approx(1 - metrics.accuracy_score(truth, answer))
    assert mean("simple") == mean("gopher.simple") == mean("gopher.accuracy") == mean("accuracy")
    balanced = metrics.balanced_accuracy_score(truth, answer)
    # The counts are those of the moment, so that the two agree only about.
    assert mean("balanced_accuracy") == pytest.approx(1 - balanced, abs=0.03)
    ideal = np.eye(CLASSES)[truth]
    assert mean("distance") == pytest.approx(((shares[0] - ideal) ** 2).sum(1).mean() / 2)


def test_losses_of_numbers_are_errors() -> None:
    truth = np.array([1.0, 2.0, np.nan, 4.0])
    answers = np.array([[1.5, 2.0, 3.0, 1e200], [0.0, np.nan, 3.0, 4.0]])
    known = np.zeros(4, np.int32)
    scored = np.abs(truth - answers).T
    scored[~np.isfinite(scored)] = np.inf
    squared = SampleLoss(NUMBERS, "mse").update(answers, truth, known, scored)
    assert squared.tolist() == [[0.25, 1.0], [0.0, np.inf], [np.inf, np.inf], [1e300, 0.0]]
    halves = SampleLoss(NUMBERS, "distance").update(answers, truth, known, scored)
    assert halves[0].tolist() == [0.125, 0.5]


def test_outputs_of_an_unavailable_candidate_may_be_anything() -> None:
    answers = np.array([[[1e200, np.nan]], [[0.25, 0.75]]])
    truth, known = np.array([1], np.int32), np.array([2], np.int32)
    found = SampleLoss(LABELS, "distance").update(answers, truth, known, np.array([[np.inf, 0.3]]))
    assert found.tolist() == [[np.inf, 0.0625]]


@pytest.mark.parametrize(("task", "name"), [(LABELS, "log_loss"), (NUMBERS, "mae")])
def test_the_default_hands_on_what_was_scored(task: Task, name: str) -> None:
    scored = np.array([[0.5]])
    for loss in (SampleLoss(task), SampleLoss(task, name)):
        assert loss.name == name
        assert loss.update(np.zeros((1, 1)), np.zeros(1), np.zeros(1, np.int32), scored) is scored


@pytest.mark.parametrize(
    ("task", "name", "message"),
    [
        (LABELS, "f1", "'f1', but the champion of a classification must be chosen by one of acc"),
        (LABELS, "kappa", "must be chosen by one of"),
        (LABELS, "gopher.f_measure", "must be chosen by one of"),
        (LABELS, "mae", "must be chosen by one of"),
        (NUMBERS, "accuracy", "of a regression must be chosen by one of distance, gopher.dis"),
        (NUMBERS, "simple", "must be chosen by one of"),
        (LABELS, "best", "criterion is 'best', but must be one of"),
    ],
)
def test_a_criterion_that_is_no_mean_over_samples_is_refused(
    task: Task, name: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SampleLoss(task, name)
