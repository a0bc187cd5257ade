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


def draft_of(settings: CandidateSettings, task: Task, capacity: Capacity) -> Draft:
    """What a candidate with these settings needs."""
    return Draft(
        plan_of(settings, task, capacity),
        factors_of(settings),
        sections_of(settings, capacity),
        states_of(settings),
        scratch_size(settings, capacity),
        cost_of(settings, capacity),
    )


class Layout(NamedTuple):
    """The plans of all candidates, one behind the other in both arrays."""

    drafts: tuple[Draft, ...]
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
        plan = self.plans[slot]
        start, size, state = (int(plan[c]) for c in (PLAN.start, PLAN.size, PLAN.state))
        states = size * self.drafts[slot].states
        return slice(start, start + size), slice(state, state + states)


def layout_of(drafts: Sequence[Draft], serials: Sequence[int]) -> Layout:
    """Lay candidates out in this order, each with the key of its random numbers."""
    plans = np.stack([draft.plan for draft in drafts])
    sizes = plans[:, PLAN.size].copy()
    states = sizes * np.array([draft.states for draft in drafts])
    ends, state_ends = np.cumsum(sizes), np.cumsum(states)
    plans[:, WEIGHT_PLACES] += (ends - sizes)[:, np.newaxis]
    plans[:, STATE_PLACES] += (state_ends - states)[:, np.newaxis]
    plans[:, PLAN.serial] = serials
    return Layout(
        tuple(drafts),
        plans,
        np.stack([draft.factors for draft in drafts]),
        heaviest_first([draft.cost for draft in drafts]),
        int(ends[-1]),
        int(state_ends[-1]),
        max(draft.scratch for draft in drafts),
    )
