"""The base class of both ensembles: experts, mixers over them, and a mixer over the mixers.

A network of two layers that learns online (Mahoney 2005; Mattern 2013 gives bounds). Its inputs are
the candidates and two priors. The first layer has a few mixers with different step sizes and an
average of the experts; the second mixes those. Served is an average of all these outputs. Both
averages are weighted by recent losses, so that what was learned from few samples counts as soon as
it is better, but not before, and no single expert or mixer decides.

Where labels arrive late, what was learned from the last ones is out of date by the time it is used:
the regret of online learning grows with the square root of the delay if step sizes shrink with it,
and with the delay itself if they do not (Zinkevich, Langford and Smola 2009; Joulani, György and
Szepesvári 2013). So step sizes are divided by the square root of the label's age in samples, and so
are the rates at which weights fall with losses.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.jit import exact_inlined, flush_subnormal
from streamnet.samples import Timeline
from streamnet.validation import check_number

PRIORS = 2  # experts after the candidates: one from the last target, one from all of them
ABSENT = 2  # in place of alive: a candidate that was not there when the sample was predicted
TOTAL, COUNT = range(2)  # of faded losses
FINAL_LEARNING_RATE = 0.02
EXPERT_RATE = 1.0  # at which the weights of experts in their average fall with the loss
OUTPUT_RATE = 0.2  # likewise of the outputs in the served average
MAX_STEP_WEIGHT = 16.0  # of a sample in the steps of mixers, so that none explodes
DRIFT_RETENTION = 0.1  # fraction of earlier losses kept at a drift
_SIGNED = ("weights", "final", "last")  # arrays that may have negative values


@exact_inlined
def update_faded_loss(
    losses: NDArray[np.float64], k: int, loss: float, fading: float, weight: float
) -> None:
    """Update faded total and count of expert ``k`` with the loss of a sample of some weight."""
    losses[TOTAL, k] = flush_subnormal(losses[TOTAL, k] * fading + weight * loss)
    losses[COUNT, k] = losses[COUNT, k] * fading + weight


@exact_inlined
def write_mean_losses(
    losses: NDArray[np.float64],  # shape=(2, experts)
    available: NDArray[np.uint8],
    means: NDArray[np.float64],  # shape=(at least experts,), written: inf where there is none
) -> float:
    """Write the faded mean loss of each expert; returns the lowest."""
    lowest = np.inf
    for k in range(available.size):
        means[k] = np.inf
        if available[k] != 0 and losses[COUNT, k] > 0.0:
            means[k] = losses[TOTAL, k] / losses[COUNT, k]
            lowest = min(lowest, means[k])
    return lowest


@exact_inlined
def find_lowest(totals: NDArray[np.float64]) -> float:
    """The lowest of several totals."""
    lowest = np.inf
    for m in range(totals.size):
        lowest = min(lowest, totals[m])
    return lowest


@exact_inlined
def divide_by_sum(weights: NDArray[np.float64], experts: int) -> None:
    """Let the weights of the experts add up to 1, unless all are 0."""
    total = 0.0
    for k in range(experts):
        total += weights[k]
    for k in range(experts):
        weights[k] = weights[k] / total if total > 0.0 else 0.0


@exact_inlined
def weigh_by_loss(
    losses: NDArray[np.float64],  # shape=(2, experts)
    means: NDArray[np.float64],  # of them, see `write_mean_losses`
    lowest: float,
    rate: float,
    weights: NDArray[np.float64],  # shape=(at least experts,), written
) -> None:
    """Weights that fall exponentially with the faded loss (Freund and Schapire 1997)."""
    experts = losses.shape[1]
    for k in range(experts):
        above = means[k] - lowest
        weights[k] = math.exp(-rate * above * losses[COUNT, k]) if means[k] < np.inf else 0.0
    divide_by_sum(weights, experts)


class LateLabels(NamedTuple):
    """What is kept of samples until their labels arrive, see the kernels."""

    origin: NDArray[np.int64]
    memory: NDArray[np.float64]
    paces: NDArray[np.float64]  # factor of step sizes by row


def compute_paces(timeline: Timeline) -> NDArray[np.float64]:
    """Factors of step sizes by row: 1 over the square root of a label's age."""
    return 1.0 / np.sqrt(timeline.ages)


class TrackPredictions(NamedTuple):
    """Predictions of several tracks, such as ensembles, for n samples."""

    answers: NDArray[Any]  # probabilities (tracks, n, C), or numbers (tracks, n)
    # Class numbers, shape=(tracks, n), -1 for the most probable one; empty if all are that.
    classes: NDArray[np.int32]


MOST_PROBABLE = -1


class BaseEnsemble(ABC):
    """Weights of the two layers, and the losses that weigh experts and outputs.

    Args:
        candidates: Number of candidates.
        fading: Factor applied to all earlier losses at each sample.
        members: shape=(candidates + PRIORS,), 0 for excluded experts.
        starting: Same shape, 0 for experts with an initial weight of 0; None for ``members``.
    """

    _mixers: int  # of the first layer
    _arrays: tuple[str, ...] = (
        "members",
        "weights",
        "squares",
        "final",
        "final_squares",
        "losses",
        "combined",
    )

    def __init__(
        self,
        candidates: int,
        *,
        fading: float = 0.999,
        members: NDArray[np.uint8] | None = None,
        starting: NDArray[np.uint8] | None = None,
    ) -> None:
        mixers = self._mixers
        if not 0.0 <= check_number("fading", fading) <= 1.0:
            raise ConfigurationError(f"fading is {fading}, but must be from 0 to 1")
        self.fading: float = float(fading)
        experts = candidates + PRIORS
        self.members: NDArray[np.uint8] = (
            np.ones(experts, np.uint8) if members is None else members.copy()
        )
        first = self.members if starting is None else self.members & starting
        share = 1.0 / max(int(first.sum()), 1)
        self.weights: NDArray[np.float64] = np.where(first, share, 0.0) * np.ones((mixers, 1))
        self.squares: NDArray[np.float64] = np.zeros((mixers, experts))
        self.final: NDArray[Any] = np.full(mixers + 1, 1.0 / (mixers + 1))
        self.final_squares: NDArray[np.float64] = np.zeros(mixers + 1)
        self.losses: NDArray[np.float64] = np.zeros((2, experts))  # of each expert
        # Losses of each output: the mixers', that of the average of experts, and the final mixer's.
        self.combined: NDArray[np.float64] = np.zeros((2, mixers + 2))
        self.pace: NDArray[np.float64] = np.ones(1)  # of the last label
        self._create_arrays()

    @abstractmethod
    def _create_arrays(self) -> None:
        """Create the arrays of the subclass."""

    @property
    def candidates(self) -> int:
        """Number of candidates."""
        return len(self.members) - PRIORS

    @property
    def experts(self) -> int:
        """Number of candidates and priors."""
        return len(self.members)

    def influence(self) -> NDArray[np.float64]:
        """Weight of each candidate in the final mixer, shape=(candidates,)."""
        together: NDArray[np.float64] = np.abs(self.final[:-1, None] * self.weights).sum(axis=0)
        together += abs(float(self.final[-1])) * self._compute_shares()
        return together[: self.candidates]

    def _compute_shares(self) -> NDArray[np.float64]:
        """Weight of each expert in their average, shape=(experts,)."""
        total, count = self.losses
        known = (self.members != 0) & (count > 0.0)
        shares = np.zeros(self.experts)
        if known.any():
            lowest = (total[known] / count[known]).min()
            above = total[known] - lowest * count[known]
            shares[known] = np.exp(-EXPERT_RATE * self.pace[0] * above)
            shares /= shares.sum()
        return shares

    def discount_losses(self) -> None:
        """Reduce the weight of earlier losses, after a drift."""
        self.losses *= DRIFT_RETENTION
        self.combined *= DRIFT_RETENTION

    def reset(self, slot: int, *, member: bool = True) -> None:
        """Replace the candidate of a slot; the new one starts with a weight of 0."""
        self.members[slot] = member
        self.weights[:, slot] = 0.0
        self.squares[:, slot] = 0.0
        self.losses[:, slot] = 0.0

    def adopt(self, other: BaseEnsemble) -> None:
        """Start from the weights of another ensemble of the same candidates.

        Experts excluded there, such as the last target, start with a weight of 0.
        """
        shared = (self.members & other.members) != 0
        for name in ("weights", "squares", "losses"):
            getattr(self, name)[:] = np.where(shared, getattr(other, name), 0.0)
        for name in ("final", "final_squares", "combined", "pace"):
            getattr(self, name)[:] = getattr(other, name)

    def widened(self, more: int) -> Self:
        """A copy with ``more`` candidates at the end, which are no members."""
        if not more:
            return self
        state = self.export_state()
        places = [self.candidates] * more
        for name in ("members", "weights", "squares", "losses"):
            state[name] = np.insert(state[name], places, 0, axis=-1)
        return self.restore_state(state)

    @abstractmethod
    def freeze(self) -> Self:
        """A copy that predicts as this one does now, while this one learns."""

    def export_state(self) -> dict[str, Any]:
        """Export everything needed to resume exactly."""
        arrays = {name: getattr(self, name).copy() for name in self._arrays}
        if self.pace[0] != 1.0:
            arrays["pace"] = self.pace.copy()
        return {"fading": self.fading, **arrays}

    def restricted(self, slots: Sequence[int]) -> dict[str, Any]:
        """Export the state of an ensemble of some candidates, in this order."""
        state = self.export_state()
        experts = [*slots, *range(self.experts - PRIORS, self.experts)]
        for name in ("members", "weights", "squares", "losses"):
            state[name] = np.ascontiguousarray(state[name][..., experts])
        return state

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """Restore an ensemble from its state; `ModelFileError` if that does not fit."""
        try:
            self = cls(**cls._read_settings(state))
            self._restore(state)
        except (ConfigurationError, LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"ensemble: the state is damaged: {error}") from error
        return self

    @classmethod
    def _read_settings(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Extract constructor arguments from an exported state."""
        members = np.asarray(state["members"])
        candidates = members.size - PRIORS
        if members.ndim != 1 or members.dtype != np.uint8 or candidates < 1 or members.max() > 1:
            raise ModelFileError("ensemble: members is damaged")
        return {"candidates": candidates, "members": members, "fading": state["fading"]}

    def _restore(self, state: dict[str, Any]) -> None:
        """Restore all arrays; incomplete states raise any error."""
        late = ("pace",) if "pace" in state else ()
        for name in (*self._arrays, *late):
            own, given = getattr(self, name), np.asarray(state[name])
            if (given.shape, given.dtype) != (own.shape, own.dtype):
                raise ModelFileError(f"ensemble: {name} is damaged")
            if not np.isfinite(given).all() or (name not in _SIGNED and (given < 0).any()):
                raise ModelFileError(f"ensemble: {name} has values out of range")
            own[...] = given
        if not 0.0 < self.pace[0] <= 1.0:
            raise ModelFileError(f"ensemble: pace is {self.pace[0]}")
