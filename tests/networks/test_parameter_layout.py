from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamnet.networks.parameters import build_layout, plan_candidate
from streamnet.networks.plan import PLAN
from streamnet.networks.topology import Capacity
from streamnet.samples import Task
from streamnet.settings.candidate import CandidateSettings

settings = st.builds(
    CandidateSettings,
    hidden=st.sampled_from([(), (3,), (20,), (20, 5)]),
    optimizer=st.sampled_from(["sgd", "momentum", "adam"]),
    knots=st.sampled_from([0, 4]),
    batch_size=st.sampled_from([1, 3]),
)
capacities = st.builds(
    Capacity,
    dense=st.integers(0, 9),
    rows=st.sampled_from([0, 64]),
    outputs=st.integers(1, 20),
    lags=st.integers(0, 5),
)


@given(st.lists(settings, min_size=1, max_size=6), capacities)
def test_candidates_fill_both_arrays_without_gaps(
    candidates: list[CandidateSettings], capacity: Capacity
) -> None:
    drafts = [plan_candidate(given, Task.CLASSIFICATION, capacity) for given in candidates]
    layout = build_layout(drafts, range(len(drafts)))
    weights, states = np.zeros(layout.weights), np.zeros(layout.states)
    for slot in range(len(drafts)):
        for _, arrays in layout.matrices(slot, weights, states):
            for array in arrays:
                array += 1
    assert (weights == 1).all()
    assert (states == 1).all()


@given(st.lists(settings, min_size=1, max_size=4), settings, capacities, st.data())
def test_a_replacement_that_fits_uses_the_space_of_its_predecessor(
    candidates: list[CandidateSettings],
    newcomer: CandidateSettings,
    capacity: Capacity,
    data: st.DataObject,
) -> None:
    *drafts, draft = (
        plan_candidate(given, Task.REGRESSION, capacity) for given in (*candidates, newcomer)
    )
    slot = data.draw(st.integers(0, len(drafts) - 1))
    layout = build_layout(drafts, range(len(drafts)))
    after = layout.replaced(slot, draft, 99)
    fits = all(new <= old for new, old in zip(draft.sizes, drafts[slot].sizes, strict=True))
    assert (after.rooms is layout.rooms) == fits
    if not fits:
        others = np.arange(len(drafts)) != slot
        assert np.array_equal(after.rooms[:, others], layout.rooms[:, others])
        assert (after.rooms[:, slot] >= draft.sizes).all()
        return
    for before, own, size in zip(layout.places(slot), after.places(slot), draft.sizes, strict=True):
        assert own.start == before.start
        assert own.stop - own.start == size
    assert after.reserved_places(slot) == layout.places(slot)
    others = np.arange(len(drafts)) != slot
    assert np.array_equal(after.plans[others], layout.plans[others])
    alone = build_layout([draft], [99])
    assert after.plans[slot, PLAN.serial] == 99
    assert after.plans[slot, PLAN.sparse] - after.plans[slot, PLAN.start] == draft.plan[PLAN.sparse]
    assert np.array_equal(after.factors[slot], alone.factors[0])
    assert layout.plans[slot, PLAN.serial] == slot, "the layout before stays as it was"


@given(settings, settings, capacities)
def test_places_of_a_later_candidate_follow_those_of_the_first(
    first: CandidateSettings, second: CandidateSettings, capacity: Capacity
) -> None:
    drafts = [plan_candidate(given, Task.REGRESSION, capacity) for given in (first, second)]
    alone, both = build_layout(drafts[1:], [7]), build_layout(drafts, [3, 7])
    moved, states = both.places(1)
    for section in drafts[1].sections:
        place = {"first": PLAN.first, "output": PLAN.output, "sparse": PLAN.sparse}
        if section.name in place:
            column = place[section.name]
            assert both.plans[1, column] == moved.start + section.offset
            assert alone.plans[0, column] == section.offset
    assert both.plans[1, PLAN.state] == states.start
    assert both.plans[:, PLAN.serial].tolist() == [3, 7]


@given(st.lists(st.tuples(st.integers(0, 2), settings), max_size=60), capacities)
def test_replacements_never_reserve_more_than_twice_what_is_needed(
    newcomers: list[tuple[int, CandidateSettings]], capacity: Capacity
) -> None:
    start = plan_candidate(CandidateSettings(), Task.REGRESSION, capacity)
    layout = build_layout([start] * 3, range(3))
    for slot, given_settings in newcomers:
        before = layout
        draft = plan_candidate(given_settings, Task.REGRESSION, capacity)
        layout = before.replaced(slot, draft, 99)
        needed = np.array([each.sizes for each in layout.drafts]).T
        assert (layout.rooms >= needed).all()
        if layout.rooms is not before.rooms:
            assert (layout.rooms.sum(axis=1) <= 2 * needed.sum(axis=1)).all()
