"""Measures of the comparison, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, cohen_kappa_score

from streamnet.errors import DataError
from streamnet.samples import Task
from tests.benchmarks.peers.measures import accuracy, kappa, kappa_temporal, measures_of
from tests.benchmarks.peers.streams import Stream
from tests.benchmarks.streams_for_peers import rows_of

NUMBERS = Stream("small", "y", Task.REGRESSION)
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 3)), min_size=2, max_size=50)


@given(pairs)
def test_accuracy_and_kappa_are_those_of_scikit_learn(pairs) -> None:
    truth, answers = np.array(pairs).T
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


@pytest.mark.parametrize("answers", [[1.0, 2], [1.0, 2, np.nan]])
def test_a_sample_without_an_answer_is_an_error(tmp_path, answers) -> None:
    rows = rows_of(tmp_path, ["x,y", "1,2", "1,4", "1,9"], stream=NUMBERS)
    with pytest.raises(DataError, match="answers"):
        measures_of(rows, np.array(answers))
