"""Data frames, their rows and matrices as samples, and invalid ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from streamnet.errors import DataError, SchemaError
from streamnet.online import AutoEncoder, OnlineClassifier
from streamnet.samples import Kind
from streamnet.sources.frames import to_rows, to_target_list
from tests.online.estimators import FEW, classifier, flat, label, samples, taught
from tests.sources.harness import FrameRow


def test_a_data_frame_is_read_by_column_names() -> None:
    rows = samples(100)
    frame = pl.DataFrame(rows)
    by_rows, by_frame = classifier(), classifier()
    targets = pl.Series("y", [label(row) for row in rows])
    by_rows.partial_fit(rows, targets.to_list())
    by_frame.partial_fit(frame, targets.to_numpy())
    assert by_rows.predict(rows).tolist() == by_frame.predict(frame).tolist()


def test_a_generator_may_reuse_one_dict() -> None:
    def refilled() -> Iterator[dict[str, Any]]:
        sample: dict[str, Any] = {}
        for row in samples(10):
            sample |= row
            yield sample

    given: Any = refilled()
    assert to_rows(given) == samples(10)


def test_a_frame_of_pandas_is_read_by_rows_too() -> None:
    class Frame:
        def to_dict(self, orient: str) -> list[dict[str, Any]]:
            assert orient == "records"
            return samples(10)

    frame: Any = Frame()
    estimator = taught()
    assert estimator.predict(frame).tolist() == estimator.predict(samples(10)).tolist()


def test_rows_of_a_frame_of_pandas_are_samples_by_their_names() -> None:
    rows = samples(60)
    framed: Any = [FrameRow(row) for row in rows]
    targets = [label(row) for row in rows]
    plain, single, many = classifier(), classifier(), classifier()
    plain.partial_fit(rows, targets)
    for row, target in zip(framed, targets, strict=True):
        single.learn_one(row, target)
    many.partial_fit(framed, targets)
    for estimator in (single, many):
        assert flat(estimator.export_state()["learner"]) == flat(plain.export_state()["learner"])
        assert estimator.predict(framed).tolist() == plain.predict(rows).tolist()
        assert estimator.predict_proba_one(framed[0]) == plain.predict_proba_one(rows[0])
    with pytest.raises(DataError, match="X is one sample"):
        plain.predict(framed[0])


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_times_of_numpy_are_times_in_every_unit(unit: str) -> None:
    days = np.array([["2024-01-01"], ["2024-06-02"], ["NaT"]], f"M8[{unit}]")
    estimator = classifier().partial_fit(days, ["a", "b", "a"])
    assert estimator.model().fields == (("f0", Kind.TIME),)
    by_text = OnlineClassifier(FEW, seed=3, kinds={"f0": Kind.TIME})
    rows: list[dict[str, Any]] = [{"f0": "2024-01-01"}, {"f0": "2024-06-02"}, {"f0": None}]
    by_text.partial_fit(rows, list("aba"))
    assert np.array_equal(estimator.predict_proba(days), by_text.predict_proba(days))


def test_a_table_of_pyarrow_is_read_by_column_names() -> None:
    class Table:
        def to_pylist(self) -> list[dict[str, Any]]:
            return samples(10)

        def __array__(self, dtype: object = None, copy: object = None) -> NDArray[np.object_]:
            return np.array([list(row.values()) for row in samples(10)], object)

    estimator = taught()
    assert estimator.predict(Table()).tolist() == estimator.predict(samples(10)).tolist()


def test_masked_values_of_a_matrix_are_missing() -> None:
    numbers = np.ma.masked_greater(np.array([[1.0, 1e9], [2.0, 3.0], [4.0, 5.0]]), 1e6)
    days = np.array([["2024-01-01"], ["2024-06-02"]], "M8[D]")
    cases: list[tuple[Any, list[dict[str, Any]]]] = [
        (numbers, [{"f0": 1.0, "f1": None}, {"f0": 2.0, "f1": 3.0}, {"f0": 4.0, "f1": 5.0}]),
        (np.ma.masked_equal(days, days[1, 0]), [{"f0": days[0, 0]}, {"f0": None}]),
    ]
    for masked, rows in cases:
        targets = list("aba")[: len(rows)]
        by_matrix = classifier().partial_fit(masked, targets)
        by_rows = classifier().partial_fit(rows, targets)
        state, other = by_matrix.export_state(), by_rows.export_state()
        assert (state.pop("matrix"), other.pop("matrix")) == ([len(rows[0]), False], None)
        assert flat(state) == flat(other)


def test_samples_of_another_shape_are_refused() -> None:
    estimator = classifier()
    with pytest.raises(DataError, match="X has 2 samples, but y has 1"):
        estimator.partial_fit([{"x": 1}, {"x": 2}], [1])
    with pytest.raises(DataError, match="X has 1 dimensions, but must have 2"):
        estimator.partial_fit(np.zeros(3), [0])
    with pytest.raises(DataError, match="X is of type csr_array, but must be a list of dicts"):
        to_rows(csr_array(np.eye(3)))
    estimator.partial_fit([{"x": 1}], [1])
    one: Any = {"x": 1}
    with pytest.raises(DataError, match="X is one sample"):
        estimator.predict(one)


@pytest.mark.parametrize("X", [[[1, 2], [3]], [[1], {"x": 1}]])
def test_ragged_rows_are_refused(X: Any) -> None:
    with pytest.raises(DataError, match="X is neither a list of dicts nor a matrix"):
        classifier().partial_fit(X, [1, 2])


@pytest.mark.parametrize("y", [pl.DataFrame({"y": [1], "z": [2]}), np.ones((1, 2))])
def test_a_table_of_targets_is_refused_rather_than_its_columns_learned(y: Any) -> None:
    with pytest.raises(DataError, match="y has 2 dimensions, but must have 1"):
        classifier().partial_fit([{"x": 1}], y)


@pytest.mark.parametrize(
    "y", [1, None, np.array(3), np.array("2024-01-01", "M8[ns]"), "a", {"y": 1}]
)
def test_one_target_for_many_samples_is_refused(y: Any) -> None:
    message = r"y is .*, but must be several: one for each sample|the target y is None"
    with pytest.raises(DataError, match=message):
        classifier().partial_fit([{"x": 1}], y)


@pytest.mark.parametrize("learner", [classifier, AutoEncoder])
def test_a_predicted_matrix_or_frame_must_have_the_learned_columns(learner: Any) -> None:
    X = np.arange(12.0).reshape(4, 3)
    gaps = np.column_stack([X, np.full(4, np.nan)])  # the last is not known yet
    y = () if learner is AutoEncoder else ([0, 1, 0, 1],)
    estimator = learner().partial_fit(gaps, *y)
    asked = estimator.encode if learner is AutoEncoder else estimator.predict_proba
    assert len(asked(gaps)) == 4
    for wrong in (X, np.column_stack([X, X])):
        with pytest.raises(
            SchemaError, match=r"X has [36] features, but \w+ is expecting 4 features"
        ):
            asked(wrong)
    with pytest.raises(SchemaError, match="X has the columns x, but known are: f0, f1, f2"):
        asked(pl.DataFrame({"x": [1.0]}))
    assert len(asked([{"x": 1.0}])) == 1  # a sample of its own, whose features are new


@pytest.mark.parametrize("gathered", [deque, iter, np.array])
def test_dicts_may_come_in_any_iterable(gathered: Any) -> None:
    estimator, rows = taught(), samples(10)
    assert estimator.predict(gathered(rows)).tolist() == estimator.predict(rows).tolist()


def test_rows_of_a_list_keep_their_own_values() -> None:
    """Numpy would make texts of all: of true and of 1.0 too, and of what is missing."""
    values: list[list[Any]] = [[True, 1.5, None, "u"], [False, float("nan"), 2, "v"]]
    expected = [dict(zip(("f0", "f1", "f2", "f3"), row, strict=True)) for row in values]
    assert str(to_rows(values)) == str(expected)
    assert str(to_rows(tuple(map(tuple, values)))) == str(expected)
    arrays = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    assert to_rows(arrays) == [{"f0": 1.0, "f1": 2.0}, {"f0": 3.0, "f1": 4.0}]
    ragged: Any
    for ragged in ([[1, 2], [3]], [[1, 2], 3], [np.ones(2), np.ones(3)]):
        with pytest.raises(DataError, match="whose rows all have one length"):
            to_rows(ragged)


def test_two_columns_of_one_name_are_refused() -> None:
    class Table:
        column_names = ("a", "b", "a")

        def to_pylist(self) -> list[dict[str, Any]]:
            return [{"a": 1, "b": 2}]

    table: Any = Table()
    with pytest.raises(SchemaError, match="X has two columns called 'a'"):
        to_rows(table)


def test_a_column_of_pyarrow_is_a_list_of_targets() -> None:
    class Column:
        def to_pylist(self) -> list[str]:
            return ["a", "b"]

    assert to_target_list(Column()) == ["a", "b"]
    with pytest.raises(DataError, match="classes is 'ab', but must be several"):
        to_target_list("ab", "classes")


def test_invalid_targets_are_refused_with_a_short_message() -> None:
    with pytest.raises(DataError, match=r"y is 'aaa.*aaa', but must be several") as caught:
        to_target_list("a" * 100_000)
    assert len(str(caught.value)) < 100
