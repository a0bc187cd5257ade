"""Evolution: a continuous search for better candidates.

Population based training (Jaderberg et al. 2017) for a stream: from time to time the candidate that
the ensemble needs least is replaced by a modified copy of one of the best, weights included, or by
a fresh one. A newcomer inherits neither scores nor weight in the ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, Unpack, final

from streamnet.networks.optimizers import OPTIMIZERS as REGISTRY
from streamnet.networks.population import Member
from streamnet.networks.topology import Capacity, estimate_cost
from streamnet.randomness import derive_key
from streamnet.selection.decisions import Replacement
from streamnet.settings.candidate import OPTIMIZERS, Activation, CandidateSettings
from streamnet.settings.fields import build_settings, with_settings
from streamnet.settings.keywords import SearchKeywords
from streamnet.settings.learning import SearchSettings

_PARENTS = 4  # of how many of the best a child is taken
_ATTEMPTS = 8  # to find a child that the budget allows
_REHEARSALS = (0, 1, 2, 4, 8, 16)
_SEARCHED = tuple(name for name in OPTIMIZERS if REGISTRY[name].searched)
_WIDTHS = (16, 32, 64, 128, 256)
_KNOTS = (0, 5, 9, 17)
_CLASS_WEIGHTS = (0.0, 0.5, 1.0)
_RATES = (1e-5, 3.0)  # least and greatest


class CandidateStats(NamedTuple):
    """How a candidate does."""

    slot: int
    member: Member
    loss: float  # faded mean; inf before its first sample
    weight: float  # in the ensemble, >= 0
    stays: bool = False  # whether it must not make room now


@final
@with_settings(SearchSettings)
class Evolution:
    """Decides at a round's end who makes room for whom.

    Args:
        start: Settings of the candidates at the start; what was eliminated may return.
        seed: Key of all random numbers.
        balanced: Whether rare classes count as much as frequent ones, so that weights of classes
            are tried; they are as well if candidates at the start have any.

    Raises:
        ConfigurationError: If a value breaks its rule.

    >>> settings = [CandidateSettings(hidden=(8,), learning_rate=rate) for rate in (0.1, 0.01)]
    >>> stats = [CandidateStats(i, Member(s, i, 0), 1.0 - i, i) for i, s in enumerate(settings)]
    >>> evolution = Evolution(settings, every=4)
    >>> room = Capacity(dense=2, rows=64, outputs=2)
    >>> (newcomer,) = evolution.replacements(23, stats, number=24 * 1024, capacity=room)
    >>> newcomer.slot
    0
    """

    def __init__(
        self,
        start: Sequence[CandidateSettings],
        *,
        seed: int = 0,
        balanced: bool = False,
        **search: Unpack[SearchKeywords],
    ) -> None:
        chosen = build_settings(SearchSettings, search, "Evolution")
        self._start = list(start)
        self._seed = seed
        self._every = chosen.every
        self._grace = chosen.grace
        self._budget = chosen.budget
        self._memory = max((s.memory for s in start if s.rehearses), default=0)
        self._lags = any(s.lags for s in start)
        self._balanced = balanced or any(s.class_weight for s in start)
        self._logs = any(s.target_transform != "none" for s in start)

    def is_due(self, round_number: int, *, surge: bool = False) -> bool:
        """Whether somebody may make room after a round.

        Args:
            round_number: Of the round that ended.
            surge: Whether the stream has changed: then there is a newcomer after every round.
        """
        return self._every > 0 and (surge or (round_number + 1) % self._every == 0)

    def replacements(
        self, round_number: int, stats: Sequence[CandidateStats], *, number: int, capacity: Capacity
    ) -> tuple[Replacement, ...]:
        """Who takes whose place after a round in which it is due.

        Args:
            round_number: Of the round that ended.
            stats: Of candidates that are healthy and stay.
            number: Of the next sample.
            capacity: For which the costs are reckoned.
        """
        if len(stats) < 2:
            return ()
        # So many samples were in each round until now.
        grace = self._grace * (number // (round_number + 1))
        old = [s for s in stats if number - s.member.born >= grace]
        ranked = sorted(old, key=lambda s: (s.loss, s.slot))
        best = {s.slot for s in ranked[: max(1, len(ranked) // 3)]}
        losers = [s for s in ranked if s.slot not in best and not s.stays]
        if not losers:
            return ()
        loser = min(losers, key=lambda s: (s.weight, -s.loss, s.slot))
        allowed = self._allowed(stats, loser, capacity)
        draw = _KeyedRandom(derive_key(self._seed, _EVOLUTION, round_number))
        for _ in range(_ATTEMPTS):
            child = self._child(ranked, loser, draw)
            if child is not None and estimate_cost(child.settings, capacity) <= allowed:
                return (child,)
        return ()

    def _allowed(
        self, stats: Sequence[CandidateStats], loser: CandidateStats, capacity: Capacity
    ) -> float:
        """What a newcomer may cost."""
        others = sum(
            estimate_cost(s.member.settings, capacity) for s in stats if s.slot != loser.slot
        )
        budget = self._budget
        if budget is None:
            budget = sum(estimate_cost(settings, capacity) for settings in self._start)
        return budget - others

    def _child(
        self, ranked: Sequence[CandidateStats], loser: CandidateStats, draw: _KeyedRandom
    ) -> Replacement | None:
        kind = draw.below(10)
        if kind < 2:
            # What was eliminated may be what the stream asks for now.
            settings = self._start[draw.below(len(self._start))]
            return Replacement(loser.slot, settings)
        parent = ranked[draw.below(min(_PARENTS, len(ranked)))]
        settings = parent.member.settings
        if kind < 7:
            return Replacement(loser.slot, self._perturb(settings, draw), parent.slot)
        return Replacement(loser.slot, self._rebuild(settings, draw))

    def _perturb(self, settings: CandidateSettings, draw: _KeyedRandom) -> CandidateSettings:
        """Settings that suit the same weights."""
        settings = _scale_rate(settings, (0.3, 0.5, 0.7, 1.4, 2.0, 3.0)[draw.below(6)])
        if self._memory and draw.below(3) == 0:
            settings = self._change_rehearsal(settings, draw)
        if draw.below(6) == 0:
            settings = replace(settings, weight_decay=(0.0, 1e-3, 1e-2)[draw.below(3)])
        if self._balanced and draw.below(2) == 0:
            weight = _CLASS_WEIGHTS[draw.below(len(_CLASS_WEIGHTS))]
            settings = replace(settings, class_weight=weight)
        return settings

    def _rebuild(self, settings: CandidateSettings, draw: _KeyedRandom) -> CandidateSettings:
        """Settings that need weights of their own."""
        change = draw.below(5)
        if change == 0 and settings.hidden:
            width = _WIDTHS[draw.below(len(_WIDTHS))]
            settings = replace(settings, hidden=(width, *settings.hidden[1:]))
        elif change == 1:
            other = _SEARCHED[draw.below(len(_SEARCHED))]
            before, after = REGISTRY[settings.optimizer], REGISTRY[other]
            factor = after.reference_rate / before.reference_rate
            settings = _scale_rate(replace(settings, optimizer=other), factor)
        elif change == 2 and self._lags:
            settings = replace(settings, lags=not settings.lags)
        elif change == 3:
            settings = replace(settings, knots=_KNOTS[draw.below(len(_KNOTS))])
        elif settings.hidden:
            activations: tuple[Activation, Activation] = ("tanh", "relu")
            settings = replace(settings, activation=activations[draw.below(2)])
        if self._logs and draw.below(3) == 0:
            raw = settings.target_transform == "log"
            settings = replace(settings, target_transform="none" if raw else "log")
        if self._memory and draw.below(2) == 0:
            settings = self._change_rehearsal(settings, draw)
        return settings

    def _change_rehearsal(
        self, settings: CandidateSettings, draw: _KeyedRandom
    ) -> CandidateSettings:
        nearest = min(
            range(len(_REHEARSALS)), key=lambda i: abs(_REHEARSALS[i] - settings.rehearsal)
        )
        place = min(max(nearest + (1, -1)[draw.below(2)], 0), len(_REHEARSALS) - 1)
        memory = max(self._memory // (1, 2, 4)[draw.below(3)], 1)
        return replace(settings, rehearsal=_REHEARSALS[place], memory=memory)


_EVOLUTION = 0x45564F  # keeps these random numbers apart from others of the same seed


def _scale_rate(settings: CandidateSettings, factor: float) -> CandidateSettings:
    low, high = _RATES
    return replace(settings, learning_rate=min(max(settings.learning_rate * factor, low), high))


@final
class _KeyedRandom:
    """Whole numbers drawn one after the other from a key."""

    def __init__(self, key: int) -> None:
        self._key = key
        self._drawn = 0

    def below(self, limit: int) -> int:
        self._drawn += 1
        return derive_key(self._key, self._drawn) % limit
