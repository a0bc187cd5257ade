"""Layout: where in two flat arrays the weights and the optimiser's states of each candidate are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.networks.candidate import CandidateSettings
from streamnet.networks.cost import cost_of
from streamnet.networks.cost import heaviest_first
from streamnet.networks.packing import Matrices
from streamnet.networks.packing import matrices_of
from streamnet.networks.topology import PLAN
from streamnet.networks.topology import STATE_PLACES
from streamnet.networks.topology import WEIGHT_PLACES
from streamnet.networks.topology import Capacity
from streamnet.networks.topology import Section
from streamnet.networks.topology import factors_of
from streamnet.networks.topology import plan_of
from streamnet.networks.topology import scratch_size
from streamnet.networks.topology import sections_of
from streamnet.networks.topology import states_of
from streamnet.samples import Task

__all__ = ("Draft", "Layout", "draft_of", "layout_of")


class Draft(NamedTuple):
    """What a candidate needs, wherever its weights will be."""

    plan: NDArray[np.int64]  # with places counted from the candidate's own first
    factors: NDArray[np.float64]
    sections: tuple[Section, ...]
    states: int  # numbers for each weight
    scratch: int  # numbers of working memory
    cost: float  # microseconds a sample

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers in both arrays."""
        size = int(self.plan[PLAN.size])
        return size, size * self.states


def draft_of(settings: CandidateSettings, task: Task, capacity: Capacity) -> Draft:
    """What a candidate with these settings needs."""
    return Draft(
        plan_of(settings, task, capacity),
        factors_of(settings, task),
        sections_of(settings, capacity),
        states_of(settings),
        scratch_size(settings, capacity),
        cost_of(settings, capacity),
    )


class Layout(NamedTuple):
    """The plans of all candidates, one behind the other in both arrays."""

    drafts: tuple[Draft, ...]
    rooms: NDArray[np.int64]  # shape=(2, candidates): numbers each has room for in both arrays
    plans: NDArray[np.int64]  # shape=(candidates, columns), see topology.PLAN
    factors: NDArray[np.float64]  # shape=(candidates, columns), see topology.FACTORS
    order: NDArray[np.int64]  # in which threads best take candidates up
    weights: int  # size of the array
    states: int  # likewise
    scratch: int  # numbers of working memory that are enough for each

    def matrices(
        self, slot: int, weights: NDArray[Any], states: NDArray[Any] | None = None
    ) -> Matrices:
        """Views of one candidate's part of both arrays, or of its weights alone."""
        own, theirs = self.places(slot)
        state = weights[:0] if states is None else states[theirs]
        return matrices_of(self.drafts[slot].sections, weights[own], state)

    def places(self, slot: int) -> tuple[slice, slice]:
        """Where a candidate's weights are, and its states."""
        size, states = self.drafts[slot].sizes
        start, state = (int(self.plans[slot, column]) for column in (PLAN.start, PLAN.state))
        return slice(start, start + size), slice(state, state + states)

    def rooms_of(self, slot: int) -> tuple[slice, slice]:
        """Where there is room for these, which may be more."""
        starts = [place.start for place in self.places(slot)]
        rooms = self.rooms[:, slot].tolist()
        own, theirs = (slice(a, a + room) for a, room in zip(starts, rooms, strict=True))
        return own, theirs

    def replaced(self, slot: int, draft: Draft, serial: int) -> Layout:
        """The layout with another candidate in ``slot``.

        If there is room for it `rooms` is the same array, and all others are where they were.
        Otherwise its slot gets more room. If half of all is not used then, as slots had large ones
        before, all get what they need.
        """
        drafts = (*self.drafts[:slot], draft, *self.drafts[slot + 1 :])
        if (np.array(draft.sizes) > self.rooms[:, slot]).any():
            rooms, serials = self.rooms.copy(), self.plans[:, PLAN.serial].copy()
            rooms[:, slot] = np.maximum(draft.sizes, rooms[:, slot])
            needed = np.array([each.sizes for each in drafts]).T
            spared = (rooms.sum(axis=1) > 2 * needed.sum(axis=1)).any()
            serials[slot] = serial
            return layout_of(drafts, serials, needed if spared else rooms)
        plans, factors = self.plans.copy(), self.factors.copy()
        own, theirs = self.places(slot)
        plans[slot] = draft.plan
        plans[slot, WEIGHT_PLACES] += own.start
        plans[slot, STATE_PLACES] += theirs.start
        plans[slot, PLAN.serial] = serial
        factors[slot] = draft.factors
        order = heaviest_first([each.cost for each in drafts])
        scratch = max(self.scratch, draft.scratch)
        return self._replace(
            drafts=drafts, plans=plans, factors=factors, order=order, scratch=scratch
        )


def layout_of(
    drafts: Sequence[Draft],
    serials: Sequence[int] | NDArray[np.int64],
    rooms: NDArray[np.int64] | None = None,
) -> Layout:
    """Lay candidates out in this order.

    Args:
        drafts: Of each.
        serials: Keys of their random numbers.
        rooms: shape=(2, candidates), numbers that each gets in both arrays; None is as many as it
            needs.
    """
    plans = np.stack([draft.plan for draft in drafts])
    if rooms is None:
        rooms = np.array([draft.sizes for draft in drafts]).T
    ends = np.cumsum(rooms, axis=1)
    starts = (ends - rooms)[:, :, np.newaxis]
    plans[:, WEIGHT_PLACES] += starts[0]
    plans[:, STATE_PLACES] += starts[1]
    plans[:, PLAN.serial] = serials
    return Layout(
        tuple(drafts),
        rooms,
        plans,
        np.stack([draft.factors for draft in drafts]),
        heaviest_first([draft.cost for draft in drafts]),
        int(ends[0, -1]),
        int(ends[1, -1]),
        max(draft.scratch for draft in drafts),
    )
