"""The ledger differs if and only if something was lost, doubled or reordered."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamnet.durability.provenance import Ledger

N = 2500
MARKS = np.arange(3 * N, dtype=np.int64).reshape(N, 3)
SERIALS = (np.arange(N) // 300).astype(np.int64)


def ledger_of(order: list[int], sizes: list[int], *, restored_at: int = -1) -> Ledger:
    """The ledger of samples in an order and in blocks, exported and restored in between."""
    ledger, start, turn = Ledger(), 0, 0
    while start < len(order):
        stop = min(len(order), start + sizes[turn % len(sizes)])
        chosen = order[start:stop]
        ledger.add_samples(start, "a.csv", MARKS[chosen], SERIALS[chosen])
        if turn == restored_at:
            again = Ledger()
            again.restore_state(ledger.export_state())
            ledger = again
        start, turn = stop, turn + 1
    return ledger


WHOLE = ledger_of(list(range(N)), [N]).value()


@given(st.lists(st.integers(1, 1500), min_size=1, max_size=5), st.integers(0, 4))
def test_it_does_not_show_how_blocks_were_cut_nor_that_it_was_restored(
    sizes: list[int], restored_at: int
) -> None:
    assert ledger_of(list(range(N)), sizes, restored_at=restored_at).value() == WHOLE


@given(st.integers(0, N - 1), st.integers(0, N - 1), st.sampled_from(["lose", "double", "swap"]))
def test_a_lost_doubled_or_swapped_sample_shows(i: int, j: int, fault: str) -> None:
    order = list(range(N))
    if fault == "lose":
        del order[i]
    elif fault == "double":
        order.insert(i, i)
    else:
        order[i], order[j] = order[j], order[i]
    assert (ledger_of(order, [64]).value() == WHOLE) == (fault == "swap" and i == j)


def test_another_source_candidate_number_or_event_changes_the_hash() -> None:
    found = set()
    for source, serial, first in (("a", 0, 0), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1)):
        ledger = Ledger()
        ledger.add_samples(first, source, MARKS[:1], np.array([serial]))
        found.add(ledger.value())
        ledger.add_event("rejected", "a", 17)
        found.add(ledger.value())
    assert len(found) == 8
