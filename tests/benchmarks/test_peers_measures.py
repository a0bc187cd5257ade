"""Measures of the comparison, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, cohen_kappa_score, recall_score

from streamnet.errors import DataError
from streamnet.samples import Task
from tests.benchmarks.peers.measures import (
    accuracy,
    balanced_accuracy,
    has_rare_labels,
    kappa,
    kappa_temporal,
    measures_of,
    pr_auc,
)
from tests.benchmarks.peers.peer import Scored
from tests.benchmarks.peers.streams import Stream
from tests.benchmarks.streams_for_peers import rows_of

NUMBERS = Stream("small", "y", Task.REGRESSION)
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), min_size=2, max_size=50)


@given(pairs)
def test_measures_of_labels_are_those_of_scikit_learn(pairs) -> None:
    truth, answers = np.array(pairs).T
    # Over the labels that there are, which is what balanced accuracy is.
    recalls = recall_score(truth, answers, labels=np.unique(truth), average="macro")
    assert balanced_accuracy(truth, answers) == pytest.approx(recalls)
    positive = truth == truth[0]
    area = average_precision_score(positive, answers)
    assert pr_auc(positive, answers) == pytest.approx(area)
    assert accuracy(truth, answers) == pytest.approx(accuracy_score(truth, answers))
    if len(set(truth)) > 1:
        assert kappa(truth, answers) == pytest.approx(cohen_kappa_score(truth, answers))


@given(pairs)
def test_repeating_the_last_label_has_no_kappa_temporal(pairs) -> None:
    truth = np.array(pairs)[:, 0]
    repeated = np.concatenate([[-1], truth[:-1]])
    assert kappa_temporal(truth, repeated) == pytest.approx(0)
    assert kappa_temporal(truth, truth) == 1


def test_the_measures_of_numbers_are_errors(tmp_path) -> None:
    rows = rows_of(tmp_path, ["x,y", "1,2", "1,4", "1,9"], stream=NUMBERS)
    assert measures_of(rows, np.array([1.0, 4, 4])) == {"mae": 2.0}


def test_rare_labels_have_measures_of_their_own(tmp_path) -> None:
    lines = [f"{i},{'yes' if i % 5 == 0 else 'no'}" for i in range(20)]
    rare = rows_of(tmp_path, ["x,y", *lines])
    assert rare.labels[rare.rarest] == "yes"
    scored = Scored(np.zeros(20, int), (rare.target == 1) * 0.7)
    measures = measures_of(rare, scored)
    assert (measures["balanced_accuracy"], measures["pr_auc"]) == (0.5, 1.0)
    assert "pr_auc" not in measures_of(rare, scored.answers)
    even = rows_of(tmp_path, ["x,y", "1,no", "2,yes", "3,no"])
    assert not has_rare_labels(even)
    assert list(measures_of(even, even.target)) == ["accuracy", "kappa", "kappa_temporal"]


@pytest.mark.parametrize("answers", [[1.0, 2], [1.0, 2, np.nan]])
def test_a_sample_without_an_answer_is_an_error(tmp_path, answers) -> None:
    rows = rows_of(tmp_path, ["x,y", "1,2", "1,4", "1,9"], stream=NUMBERS)
    with pytest.raises(DataError, match="answers"):
        measures_of(rows, np.array(answers))
