"""The selector against a plain-Python one, and its promises under any losses."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.selection import Selector

CANDIDATES = 4
# Fractions of powers of two, so that the compiled sums are exact and ties are ties.
SETTINGS = {"fading": 0.5, "margin": 0.25, "dwell": 3, "trial": 0.9}
OPEN = 1 << 40  # samples of an opening that never ends
LOSS = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 4.0, math.inf, math.inf, math.nan, -math.inf])
ROWS = st.lists(st.lists(LOSS, min_size=CANDIDATES, max_size=CANDIDATES), max_size=30)
FLAGS = st.lists(
    st.lists(st.booleans(), min_size=CANDIDATES, max_size=CANDIDATES), min_size=30, max_size=30
)


class Naive:
    """The rules, said once more in exact arithmetic."""

    def __init__(self, fading: float, margin: float, dwell: int, trial: float) -> None:
        self.fading, self.margin = Fraction(fading), Fraction(margin)
        self.dwell, self.trial = dwell, Fraction(trial)
        self.losses = [Fraction(0)] * CANDIDATES
        self.counts = [Fraction(0)] * CANDIDATES
        self.champion = -1
        self.answered = 0
        self.switches: list[tuple[int, int, int]] = []

    def rank(self, slot: int) -> tuple[int, Fraction, int]:
        count = self.counts[slot]
        if count == 0:
            return 2, Fraction(0), slot
        return int(count < self.trial), self.losses[slot] / count, slot

    def best(self, able: list[int]) -> int:
        return min(able, key=self.rank, default=-1)

    def choose(self, number: int, losses: list[float], alive: list[bool]) -> int:
        scored = [k for k in range(CANDIDATES) if math.isfinite(losses[k])]
        able = scored or [k for k in range(CANDIDATES) if alive[k]]
        sound = self.champion in able
        chosen = self.champion if sound else self.best(able)
        for k in scored:
            self.losses[k] = self.losses[k] * self.fading + Fraction(losses[k])
            self.counts[k] = self.counts[k] * self.fading + 1
        self.answered += 1
        best = self.best(able)
        if best >= 0 and best != self.champion and (not sound or self.beats(best)):
            self.switches.append((number + 1, self.champion, best))
            self.champion, self.answered = best, 0
        return chosen

    def beats(self, challenger: int) -> bool:
        if self.answered < self.dwell or not self.counts[challenger]:
            return False
        if not self.counts[self.champion]:
            return False
        mean, rival = (self.losses[k] / self.counts[k] for k in (challenger, self.champion))
        return mean < rival * (1 - self.margin)


def table(rows: list[list[float]]) -> NDArray[np.float64]:
    return np.array(rows, np.float64).reshape(-1, CANDIDATES)


def columns(flags: list[list[bool]], n: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(np.array(flags, np.uint8)[:n].T)


def same(state: dict[str, Any], other: dict[str, Any]) -> bool:
    return state.keys() == other.keys() and all(
        np.asarray(state[name]).tobytes() == np.asarray(other[name]).tobytes() for name in state
    )


@given(ROWS, FLAGS)
def test_it_chooses_what_the_plain_rules_choose(
    rows: list[list[float]], flags: list[list[bool]]
) -> None:
    naive = Naive(**SETTINGS)  # type: ignore[arg-type]
    expected = [naive.choose(i, row, flags[i]) for i, row in enumerate(rows)]
    selector = Selector(CANDIDATES, **SETTINGS)  # type: ignore[arg-type]
    chosen = selector.choose(0, table(rows), columns(flags, len(rows)))
    assert chosen.tolist() == expected
    assert [switch[:3] for switch in selector.switches] == naive.switches
    assert selector.champion == naive.champion
    assert selector.switched == len(naive.switches)
    for k, (total, count) in enumerate(zip(naive.losses, naive.counts, strict=True)):
        assert selector.losses()[k] == pytest.approx(float(total / count) if count else math.inf)


@given(ROWS, FLAGS, st.lists(st.integers(0, 30), max_size=5), st.integers(0, 3))
def test_cuts_and_a_restart_change_no_bit(
    rows: list[list[float]], flags: list[list[bool]], cuts: list[int], restart: int
) -> None:
    losses, alive = table(rows), columns(flags, len(rows))
    whole = Selector(CANDIDATES, fading=0.97, dwell=2)
    expected = whole.choose(7, losses, alive)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    selector = Selector(CANDIDATES, fading=0.97, dwell=2)
    chosen: list[int] = []
    for turn, (start, stop) in enumerate(pairwise(edges)):
        part = np.ascontiguousarray(alive[:, start:stop])
        chosen += selector.choose(7 + start, losses[start:stop], part).tolist()
        if turn == restart:
            state = selector.export_state()
            selector = Selector(CANDIDATES, fading=0.97, dwell=2)
            selector.restore_state(state)
    assert chosen == expected.tolist()
    assert same(selector.export_state(), whole.export_state())
    assert selector.switches == whole.switches


@given(ROWS)
def test_a_candidate_without_a_finite_loss_is_never_champion(rows: list[list[float]]) -> None:
    losses = table(rows)
    chosen = Selector(CANDIDATES, **SETTINGS).choose(0, losses)  # type: ignore[arg-type]
    for i, slot in enumerate(chosen.tolist()):
        if slot < 0:
            assert not np.isfinite(losses[i]).any()
        else:
            assert np.isfinite(losses[i, slot])


@given(ROWS, st.integers(0, 29), st.data())
def test_later_losses_change_no_earlier_choice(
    rows: list[list[float]], at: int, data: st.DataObject
) -> None:
    at = min(at, len(rows))
    finite = [[4.0 if math.isfinite(x) else x for x in row] for row in rows[at:]]
    before = Selector(CANDIDATES, **SETTINGS).choose(0, table(rows))  # type: ignore[arg-type]
    after = Selector(CANDIDATES, **SETTINGS)  # type: ignore[arg-type]
    changed = data.draw(st.sampled_from([finite, []]))
    assert after.choose(0, table(rows[:at] + changed)).tolist()[:at] == before.tolist()[:at]


def test_the_champion_of_a_sample_is_chosen_before_its_loss_counts() -> None:
    selector = Selector(2)
    assert selector.choose(0, np.array([[9.0, 0.0], [0.0, 9.0]])).tolist() == [0, 1]


def test_ties_go_to_the_lower_slot() -> None:
    selector = Selector(3, dwell=0, margin=0.0)
    assert set(selector.choose(0, np.full((50, 3), 0.5)).tolist()) == {0}


def test_a_champion_is_safe_for_its_first_dwell_samples() -> None:
    losses = np.array([[0.0, 1.0]] + [[9.0, 0.0]] * 12)
    chosen = Selector(2, dwell=10, margin=0.0).choose(0, losses).tolist()
    assert chosen == [0] * 11 + [1] * 2  # the choice of the first sample, and ten answered


@pytest.mark.parametrize(("margin", "champion"), [(0.05, 1), (0.15, 0)])
def test_a_challenger_must_be_better_by_the_margin(margin: float, champion: int) -> None:
    losses = np.array([[0.5, 0.5]] + [[1.0, 0.9]] * 500)
    selector = Selector(2, margin=margin, fading=0.9, opening=OPEN)
    selector.choose(0, losses)
    assert selector.champion == champion


def test_a_champion_without_a_finite_prediction_is_replaced_at_that_sample() -> None:
    losses = np.array([[0.1, 0.5, 0.3]] * 40)
    losses[20:, 0] = np.inf
    chosen = Selector(3, dwell=1000).choose(0, losses).tolist()
    assert chosen == [0] * 20 + [2] * 20


def test_a_newcomer_does_not_rank_before_its_trial_however_good_it_is() -> None:
    selector = Selector(2, trial=100.0, opening=OPEN)
    losses = np.full((1000, 2), 0.5)
    selector.choose(0, losses)
    selector.reset(1)
    losses[:, 1] = 0.0
    chosen = selector.choose(1000, losses).tolist()
    first = chosen.index(1)
    assert 100 <= first <= 110  # its faded count is a little below the samples it had
    assert set(chosen[first:]) == {1}


def test_a_short_memory_shortens_the_trial() -> None:
    selector = Selector(2, fading=0.9, trial=100.0)
    losses = np.full((100, 2), 0.5)
    selector.choose(0, losses)
    selector.reset(1)
    losses[:, 1] = 0.0
    assert 5 <= selector.choose(100, losses).tolist().index(1) <= 10


def test_a_newcomer_is_champion_if_no_other_is_available() -> None:
    selector = Selector(2)
    losses = np.full((300, 2), 0.5)
    selector.choose(0, losses)
    selector.reset(1)
    losses[10:, 0] = np.inf
    assert selector.choose(300, losses).tolist() == [0] * 10 + [1] * 290


def test_a_champion_that_was_replaced_is_no_longer_the_champion() -> None:
    selector = Selector(3)
    selector.choose(0, np.array([[0.1, 0.5, 0.4]] * 200))
    assert selector.champion == 0
    selector.reset(0)
    assert selector.champion == -1
    assert selector.choose(200, np.array([[0.0, 0.5, 0.4]])).tolist() == [2]
    assert selector.switches[-1][:3] == (201, -1, 2)


def test_resetting_another_slot_leaves_the_champion() -> None:
    selector = Selector(3)
    selector.choose(0, np.array([[0.1, 0.5, 0.4]] * 200))
    selector.reset(2)
    assert selector.champion == 0
    assert selector.losses()[2] == np.inf


def test_unscored_samples_keep_the_champion_and_change_no_rank() -> None:
    selector = Selector(2)
    selector.choose(0, np.array([[0.5, 0.1]] * 30))
    before = selector.losses()
    alive = np.ones((2, 5), np.uint8)
    alive[1, 3:] = 0
    chosen = selector.choose(30, np.full((5, 2), np.inf), alive)
    assert chosen.tolist() == [1, 1, 1, 0, 0]
    assert np.array_equal(selector.losses(), before)


def test_huge_losses_do_not_spoil_the_sums_for_ever() -> None:
    selector = Selector(2, fading=0.5)
    selector.choose(0, np.array([[1e308, 1.0]] * 5))
    selector.choose(5, np.array([[0.1, 1.0]] * 2000))
    assert selector.champion == 0
    assert selector.losses()[0] == pytest.approx(0.1)


def test_only_the_last_thousand_switches_are_kept_but_all_are_counted() -> None:
    selector = Selector(2, fading=0.0, margin=0.0, dwell=0, trial=0.0, opening=OPEN)
    losses = np.array([[0.0, 1.0], [1.0, 0.0]] * 1000)
    selector.choose(0, losses)
    assert selector.switched == 2000
    assert len(selector.switches) == 1000
    assert selector.since == selector.switches[-1].number == 2000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": 0}, "candidates is 0, but must be >= 1"),
        ({"fading": 1.5}, "fading is 1.5, but must be from 0.0 to 1.0"),
        ({"margin": math.nan}, "margin is nan, but must be from 0.0 to 1.0"),
        ({"dwell": -1}, "dwell is -1, but must be >= 0"),
        ({"trial": -0.5}, "trial is -0.5, but must be >= 0"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Selector(**{"candidates": 2} | settings)
