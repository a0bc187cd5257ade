"""Counts of classes against numpy, however the stream is cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamnet.networks.population import ClassCounts

LABELS = st.lists(st.integers(-1, 5), max_size=60)


@given(LABELS, st.integers(1, 9))
def test_rarity_is_computed_from_the_samples_so_far_however_they_are_cut(labels, cut: int) -> None:
    counts = ClassCounts()
    label = np.array(labels, np.int32)
    found = [counts.update(label[i : i + cut]) for i in range(0, len(label), cut)]
    expected = []
    for i, own in enumerate(labels):
        classes, times = np.unique([c for c in labels[: i + 1] if c >= 0], return_counts=True)
        there = dict(zip(classes.tolist(), times.tolist(), strict=True))
        balanced = times.sum() / (len(classes) * there[own]) if own >= 0 else 1.0
        expected.append(balanced)
    assert np.concatenate([*found, np.empty(0)]).tolist() == expected


@given(LABELS, LABELS)
def test_counts_continue_from_their_state(before, after) -> None:
    counts, other = ClassCounts(), ClassCounts()
    counts.update(np.array(before, np.int32))
    other.restore_state(counts.export_state())
    label = np.array(after, np.int32)
    assert counts.update(label).tolist() == other.update(label).tolist()
