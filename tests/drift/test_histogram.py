from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.drift import ADWIN
from streamnet.drift.base import MAX_ROWS, insert, remove_oldest, summarize


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(1, 6), st.integers(0, 5)
)
def test_every_suffix_of_the_window_is_summarized_correctly(
    values: list[float], most: int, removed: int
) -> None:
    row_sizes = np.zeros(MAX_ROWS, np.int64)
    histogram = row_sizes, np.zeros((MAX_ROWS, most + 1)), np.zeros((MAX_ROWS, most + 1))
    for x in values:
        insert(histogram, x)
    assert row_sizes.max() <= most
    assert (row_sizes * 2 ** np.arange(MAX_ROWS)).sum() == len(values)
    removed = min(removed, int(row_sizes.sum()) - 1)
    remove_oldest(histogram, removed)
    since = summarize(histogram)
    assert since.shape == (3, row_sizes.sum())
    for count, mean, square in since.T:
        end = np.array(values[-int(count) :])
        assert mean == pytest.approx(end.mean(), abs=1e-6)
        assert square == pytest.approx(((end - end.mean()) ** 2).sum(), rel=1e-6, abs=1e-3)


def test_a_full_histogram_drops_its_oldest_values() -> None:
    state = ADWIN(max_buckets=1, clock=2**31).export_state()
    state["row_sizes"][:] = 1
    state["means"][:, 0] = np.arange(MAX_ROWS)
    state["running"][0] = 2.0**MAX_ROWS - 1
    detector = ADWIN.restore_state(state)
    detector.update([7.0])
    full = detector.export_state()
    # All rows overflow: the two oldest of each become one of the next; the oldest of all goes.
    assert full["row_sizes"].sum() <= MAX_ROWS
    assert full["row_sizes"].max() == 1
    assert full["means"][MAX_ROWS - 1, 0] != MAX_ROWS - 1
    assert np.isfinite(full["means"]).all()
