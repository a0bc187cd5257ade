"""The base class of both ensembles: experts, mixers over them, and a mixer over the mixers.

A network of two layers that learns online (Mahoney 2005; Mattern 2013 gives bounds). Its inputs are
the candidates and two priors. The first layer has a few mixers with different step sizes and the
best recent expert; the second mixes those. The output with the lowest recent loss is served.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.jit import exact_inlined, flush_subnormal
from streamnet.validation import check_number

__all__ = (
    "COUNT",
    "PRIORS",
    "TOTAL",
    "BaseEnsemble",
    "find_best_expert",
    "update_faded_loss",
)

PRIORS = 2  # experts after the candidates: one from the last target, one from all of them
TOTAL, COUNT = range(2)  # of faded losses
MIN_TRIAL_SAMPLES = 100.0  # faded samples that a newcomer needs before it can be the best expert
FINAL_LEARNING_RATE = 0.02
DRIFT_RETENTION = 0.1  # of what was seen before a drift
_SIGNED = ("weights", "final", "chosen", "last")  # what may be below 0; sums and counts may not


@exact_inlined
def find_best_expert(
    losses: NDArray[np.float64],  # shape=(2, experts)
    able: NDArray[np.uint8],
    current: int,
    margin: float,
) -> int:
    """The able expert of lowest faded mean loss; the current one unless another is better by far.

    Newcomers rank behind all others; -1 if none is able.
    """
    best = -1
    for k in range(able.size):
        if able[k] == 0 or losses[COUNT, k] == 0.0:
            continue
        if best < 0:
            best = k
            continue
        old, best_old = (
            losses[COUNT, k] >= MIN_TRIAL_SAMPLES,
            losses[COUNT, best] >= MIN_TRIAL_SAMPLES,
        )
        if old != best_old:
            best = k if old else best
        elif losses[TOTAL, k] * losses[COUNT, best] < losses[TOTAL, best] * losses[COUNT, k]:
            best = k
    if best in (current, -1):  # as it is nearly always: divisions take as long as all above
        return best
    if current >= 0 and able[current] != 0 and losses[COUNT, current] > 0.0:
        now = losses[TOTAL, current] / losses[COUNT, current]
        if losses[TOTAL, best] / losses[COUNT, best] >= now * (1.0 - margin):
            return current
    return best


@exact_inlined
def update_faded_loss(losses: NDArray[np.float64], k: int, loss: float, fading: float) -> None:
    """Take a loss into the faded total and count of expert ``k``."""
    losses[TOTAL, k] = flush_subnormal(losses[TOTAL, k] * fading + loss)
    losses[COUNT, k] = losses[COUNT, k] * fading + 1.0


class BaseEnsemble(ABC):
    """Weights of the two layers and the losses that decide between what they say.

    Args:
        candidates: How many there are.
        fading: Factor of all earlier losses at each sample.
        margin: Share by which another must be better to be served.
        members: shape=(candidates + PRIORS,), 0 for those that are not to be heard.
        starting: The same shape, 0 for those that have to earn their weight; None is ``members``.
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
        "chosen",
    )

    def __init__(
        self,
        candidates: int,
        *,
        fading: float = 0.999,
        margin: float = 0.02,
        members: NDArray[np.uint8] | None = None,
        starting: NDArray[np.uint8] | None = None,
    ) -> None:
        mixers = self._mixers
        if not 0.0 <= check_number("fading", fading) <= 1.0:
            raise ConfigurationError(f"fading is {fading}, but must be from 0 to 1")
        if not 0.0 <= check_number("margin", margin) <= 1.0:
            raise ConfigurationError(f"margin is {margin}, but must be from 0 to 1")
        self.fading = float(fading)
        self.margin = float(margin)
        experts = candidates + PRIORS
        self.members = np.ones(experts, np.uint8) if members is None else members.copy()
        first = self.members if starting is None else self.members & starting
        share = 1.0 / max(int(first.sum()), 1)
        self.weights = np.where(first, share, 0.0) * np.ones((mixers, 1))
        self.squares = np.zeros((mixers, experts))
        self.final = np.full(mixers + 1, 1.0 / (mixers + 1))
        self.final_squares = np.zeros(mixers + 1)
        self.losses = np.zeros((2, experts))  # of each expert
        self.combined = np.zeros((2, mixers + 2))  # of each mixer, the best expert, and the final
        self.chosen = np.array([-1, mixers + 1], np.int64)  # best expert, and what is served
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Make the arrays of this kind's own experts."""

    @property
    def candidates(self) -> int:
        """How many candidates may be heard."""
        return len(self.members) - PRIORS

    @property
    def experts(self) -> int:
        """Candidates and priors."""
        return len(self.members)

    def influence(self) -> NDArray[np.float64]:
        """How much each candidate moves the final mixer, shape=(candidates,)."""
        together: NDArray[np.float64] = np.abs(self.final[:-1, None] * self.weights).sum(axis=0)
        best = int(self.chosen[0])
        if best >= 0:
            together[best] += abs(float(self.final[-1]))
        return together[: self.candidates]

    def discount_losses(self) -> None:
        """Let earlier losses count less in what is the best of late."""
        self.losses *= DRIFT_RETENTION
        self.combined *= DRIFT_RETENTION

    def reset(self, slot: int, *, member: bool = True) -> None:
        """Another candidate takes a slot: it has to earn its weight."""
        self.members[slot] = member
        self.weights[:, slot] = 0.0
        self.squares[:, slot] = 0.0
        self.losses[:, slot] = 0.0
        if self.chosen[0] == slot:
            self.chosen[0] = -1

    def adopt(self, other: BaseEnsemble) -> None:
        """Begin with what another ensemble of the same candidates has learned.

        Who is not heard there, such as what knows the last target, has to earn its weight.
        """
        heard = (self.members & other.members) != 0
        for name in ("weights", "squares", "losses"):
            getattr(self, name)[:] = np.where(heard, getattr(other, name), 0.0)
        for name in ("final", "final_squares", "combined", "chosen"):
            getattr(self, name)[:] = getattr(other, name)
        if not heard[self.chosen[0]]:
            self.chosen[0] = -1

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        arrays = {name: getattr(self, name).copy() for name in self._arrays}
        return {"fading": self.fading, "margin": self.margin, **arrays}

    def restricted(self, slots: Sequence[int]) -> dict[str, Any]:
        """The state of an ensemble of some of the candidates, in this order."""
        state = self.export_state()
        experts = [*slots, *range(self.experts - PRIORS, self.experts)]
        for name in ("members", "weights", "squares", "losses"):
            state[name] = np.ascontiguousarray(state[name][..., experts])
        best = int(self.chosen[0])
        state["chosen"][0] = experts.index(best) if best in experts else -1
        return state

    @staticmethod
    def _settings_of(state: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the constructor that made what ``state`` was exported from."""
        members = np.asarray(state["members"])
        candidates = members.size - PRIORS
        if members.ndim != 1 or members.dtype != np.uint8 or candidates < 1 or members.max() > 1:
            raise ModelFileError("ensemble: members is damaged")
        settings = {name: state[name] for name in ("fading", "margin")}
        return {"candidates": candidates, "members": members, **settings}

    @classmethod
    def restore_state(cls, state: dict[str, Any]) -> Self:
        """An ensemble that goes on from where ``state`` was exported, to the bit.

        Raises:
            ModelFileError: If the parts of the state do not fit together.
        """
        try:
            return cls._restored(state)
        except (ConfigurationError, LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"ensemble: the state is damaged: {error}") from error

    @classmethod
    @abstractmethod
    def _restored(cls, state: dict[str, Any]) -> Self:
        """Like `restore_state`, for a state that may lack parts."""

    def _take_over(self, state: dict[str, Any]) -> None:
        for name in self._arrays:
            own, given = getattr(self, name), np.asarray(state[name])
            if (given.shape, given.dtype) != (own.shape, own.dtype):
                raise ModelFileError(f"ensemble: {name} is damaged")
            if not np.isfinite(given).all() or (name not in _SIGNED and (given < 0).any()):
                raise ModelFileError(f"ensemble: {name} has a value that no ensemble can have")
            own[...] = given
        best, served = self.chosen.tolist()
        if not (-1 <= best < self.experts and 0 <= served < self.combined.shape[1]):
            raise ModelFileError(f"ensemble: chosen is {self.chosen.tolist()}")

    def _aside(self) -> Self:
        """Another that shares what only learning changes: to be asked and thrown away."""
        aside = copy(self)
        aside.weights = self.weights.copy(order="K")  # some mixers reckon theirs at each answer
        return aside
