"""The search for better candidates: the default population and its evolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar, Unpack, final

from streamnet.errors import ConfigurationError
from streamnet.networks.optimizers import OPTIMIZERS as REGISTRY
from streamnet.networks.population import Member
from streamnet.networks.topology import Capacity, estimate_cost
from streamnet.randomness import derive_key
from streamnet.selection.champion import Replacement
from streamnet.settings.candidate import OPTIMIZERS, Activation, CandidateSettings, Optimizer
from streamnet.settings.encoder import has_raw_target
from streamnet.settings.fields import build_settings, with_settings
from streamnet.settings.keywords import SearchKeywords
from streamnet.settings.learning import SearchSettings

T = TypeVar("T")

_SLOWER = 1.0 / 3.0
_SLOWEST = 1e-9
_EARLY = 16  # samples that are learned again after each of the first ones


# With keys: half the time of all 23, for at most 3 % of absolute error, or 4 % of log-loss, on
# six streams. On a fleet of 2,000 sensors they are as good.
KEYED_CANDIDATES = 10


def default_population(
    candidates: int | None = None,
    *,
    encoder: Mapping[str, Any] | None = None,
    delayed: bool = False,
    keyed: bool = False,
    effort: float = 1.0,
) -> list[CandidateSettings]:
    """Settings that between them learn most streams well, the most useful ones first.

    They differ in what a stream may ask for: fast and slow rates, rehearsal for streams that stay
    as they are, none for those that drift, lags for targets that resemble those before them, linear
    models for short streams, wider or deeper ones for long streams, and logarithms for numbers
    whose errors matter in proportion.

    Args:
        candidates: How many; None is all that the list has, 23, or 35 if labels arrive late; or 10
            if each key has a model of its own, which corrects what the shared model lacks.
        encoder: Its settings: of numbers that are learned as they are, no logarithm is learned.
        delayed: Whether labels arrive late.
        keyed: Whether each key has a model of its own.
        effort: Processor time relative to the default. Below 1 the cheapest come first, as many as
            the time is enough for; above 1 candidates rehearse more and from further back, and
            those for late labels follow.

    Raises:
        ConfigurationError: If the number is not from 1 to 512.
    """
    defaults: Sequence[CandidateSettings] = (*_DEFAULTS, *_STEADY) if delayed else _DEFAULTS
    usual = KEYED_CANDIDATES if keyed else len(defaults)
    if effort != 1.0:
        defaults, usual = _scale_population(defaults, usual, effort)
    count = usual if candidates is None else candidates
    if not 1 <= count <= 512:
        raise ConfigurationError(f"candidates is {count}, but must be from 1 to 512")
    # Beyond the list: the same again with other start weights and rates in between.
    pace = (1.0, 0.6, 1.6, 0.4, 2.5)
    found = [
        replace(start, learning_rate=start.learning_rate * pace[i // len(defaults) % len(pace)])
        for i in range(count)
        for start in (defaults[i % len(defaults)],)
    ]
    return (
        [replace(s, target_transform="none") for s in found] if has_raw_target(encoder) else found
    )


# Reading, encoding and scoring take about a fifth of the time, however many networks there are.
_FIXED = 0.2
_USUAL_STREAM = Capacity(dense=16, rows=64, outputs=2)  # for which costs are compared


def _scale_population(
    defaults: Sequence[CandidateSettings], usual: int, effort: float
) -> tuple[tuple[CandidateSettings, ...], int]:
    """Candidates in the order in which an effort takes them, and how many it takes.

    Cheap networks are small, linear, or don't rehearse; with knots, with lags and of each optimizer
    are some of them. On five streams, those that take 6 % of all networks' time were as good as
    any other choice that takes twice as long.
    """
    costs = {settings: estimate_cost(settings, _USUAL_STREAM) for settings in (*defaults, *_STEADY)}
    allowed = (effort - _FIXED) / (1.0 - _FIXED) * sum(costs[one] for one in defaults[:usual])
    if effort < 1.0:
        order = sorted(defaults[:usual], key=costs.__getitem__)
    else:
        further = [settings for settings in _STEADY if settings not in defaults]
        order = [*defaults, *sorted(further, key=costs.__getitem__)]
    count = 0
    for settings in order:
        allowed -= costs[settings]
        if allowed < 0.0:
            break
        count += 1
    if effort > 1.0:  # those for late labels rehearse much as they are
        order = [_rehearse_more(one, effort) if one in _DEFAULTS else one for one in order]
    return tuple(order), max(count, 1)


def _rehearse_more(settings: CandidateSettings, effort: float) -> CandidateSettings:
    """Settings whose samples are rehearsed more often, and from further back."""
    rehearsal, memory = round(effort * settings.rehearsal), round(effort * settings.memory)
    return replace(settings, rehearsal=rehearsal, memory=memory) if rehearsal else settings


def replace_exploded(dead: Mapping[int, CandidateSettings]) -> tuple[Replacement, ...]:
    """For each exploded candidate a fresh one that learns more slowly and with a bound."""
    return tuple(
        Replacement(
            slot,
            replace(
                settings, learning_rate=max(settings.learning_rate * _SLOWER, _SLOWEST), clip=1.0
            ),
        )
        for slot, settings in sorted(dead.items())
    )


def _default(
    activation: Activation,
    hidden: tuple[int, ...],
    optimizer: Optimizer,
    learning_rate: float,
    rehearsal: int = 0,
    **others: Any,
) -> CandidateSettings:
    return CandidateSettings(
        hidden=hidden,
        activation=activation,
        optimizer=optimizer,
        learning_rate=learning_rate,
        rehearsal=rehearsal,
        early_rehearsal=_EARLY if rehearsal else 0,
        **others,
    )


# Found by leaving out, one by one, what the ensemble of 68 candidates missed least for the time it
# took, on the first 4,000 samples of 52 streams; the last two are wider ones, for longer streams.
# Four of them rehearsed twice as often before, for at most .2 points, or 1.5 % of the error, on 13
# whole streams; three more streams had no part in that choice, and did not notice it.
_DEFAULTS = (
    _default("relu", (32,), "adam", 0.01, 2, knots=9),
    _default("tanh", (32,), "adagrad", 0.1),
    _default("tanh", (64,), "adagrad", 0.1, 4),
    _default("relu", (64,), "rmsprop", 0.003, 2, memory=4000, knots=9),
    _default("tanh", (32,), "adagrad", 0.1, 4, memory=4000, knots=9),
    _default("relu", (64,), "sgd", 0.03, 4, memory=4000, knots=9),
    _default("relu", (32,), "adam", 0.01, 2),
    _default("tanh", (), "sgd", 0.01),
    _default("tanh", (), "adam", 0.01, 2, knots=9),
    _default("tanh", (16,), "rmsprop", 0.01, knots=9),
    _default("relu", (64,), "rmsprop", 0.003, 2, huber_delta=0.1),
    _default("tanh", (), "adagrad", 0.1, knots=9, huber_delta=0.1, target_transform="log"),
    _default("relu", (64,), "adam", 0.003, 2, knots=9, huber_delta=0.1),
    _default("relu", (128,), "sgd", 0.03, knots=9, lags=True),
    _default("tanh", (32,), "rmsprop", 0.01),
    _default("tanh", (), "adagrad", 0.1, 2, knots=9),
    _default("relu", (64,), "adagrad", 0.1, 4, memory=4000, knots=9),
    _default("tanh", (32,), "adam", 0.01, knots=9, lags=True),
    _default("tanh", (), "adagrad", 0.1, knots=9, lags=True),
    _default("tanh", (32,), "rmsprop", 0.01, knots=9, lags=True),
    _default("tanh", (), "sgd", 0.01, knots=9),
    _default("relu", (128,), "rmsprop", 0.003, knots=9, lags=True),
    _default("relu", (128,), "adagrad", 0.1, knots=9, lags=True),
)

# Networks that rehearse much from far back, and learn medians of numbers.
_steady = partial(_default, memory=20_000, knots=9, huber_delta=0.1)

# Where labels arrive late, networks that follow the latest labels closely follow what has passed:
# these average over more samples. The first four lower the error on bike_hourly and electricity
# with delays of 24 and 168 samples by 1 to 3 %; the others, with two layers, that of numbers by
# another 1 to 5 % (bike_hourly, pm25, gas_turbine), as their errors differ.
_STEADY = (
    CandidateSettings(
        hidden=(), optimizer="sgd", learning_rate=0.03, schedule="inverse", decay=1e-3
    ),
    CandidateSettings(hidden=(), optimizer="adagrad", learning_rate=0.03),
    CandidateSettings(
        hidden=(), optimizer="adagrad", learning_rate=0.05, rehearsal=7, memory=40_000, batch_size=8
    ),
    CandidateSettings(
        hidden=(32,),
        optimizer="adam",
        learning_rate=0.001,
        rehearsal=15,
        memory=40_000,
        batch_size=16,
    ),
    _steady("relu", (128, 64), "adagrad", 0.05, 8),
    _steady("relu", (128, 64), "adagrad", 0.05, 8, target_transform="log"),
    _steady("relu", (64, 32), "rmsprop", 0.001, 16),
    _steady("relu", (64, 64), "adam", 0.002, 31, batch_size=8),
    _steady("relu", (64, 64), "adam", 0.002, 31, batch_size=8, target_transform="log"),
    _steady("tanh", (64, 32), "adagrad", 0.1, 8),
    _steady("tanh", (32, 32), "adagrad", 0.1, 8, target_transform="log"),
    _steady("relu", (64, 32), "rmsprop", 0.001, 16, target_transform="log"),
)


# Weight below which a candidate rests. Between 0.8 and 1, accuracy hardly changes.
RESTING_WEIGHT = 1.0
_PARENTS = 4  # best candidates from which parents are drawn
_ATTEMPTS = 8  # to find a child within the budget
_REHEARSALS = (0, 1, 2, 4, 8, 16)
_SEARCHED = tuple(name for name in OPTIMIZERS if REGISTRY[name].searched)
_RATES = (1e-5, 3.0)  # least and greatest


class CandidateStats(NamedTuple):
    """Performance of a candidate."""

    slot: int
    member: Member
    loss: float  # faded mean; inf before its first sample
    weight: float  # in the ensemble, >= 0, relative to the average one
    stays: bool = False  # whether it must not be replaced now


@final
@with_settings(SearchSettings)
class Evolution:
    """Replaces losing candidates by variants of winners, at the end of rounds.

    Args:
        start: Settings of the initial candidates, which may return after they were replaced.
        seed: Key of all random numbers.
        balanced: Whether rare classes count as much as frequent ones, so that class weights are
            tried; they also are if initial candidates have any.

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
        self._search = build_settings(SearchSettings, search, "Evolution")
        self._start = list(start)
        self._seed = seed
        self._memory = max((s.memory for s in start if s.rehearses), default=0)
        self._lags = any(s.lags for s in start)
        self._balanced = balanced or any(s.class_weight for s in start)
        self._logs = any(s.target_transform != "none" for s in start)

    def is_due(self, round_number: int, *, surge: bool = False) -> bool:
        """Whether a candidate may be replaced after a round; in a surge after a drift always."""
        every = self._search.every
        return every > 0 and (surge or (round_number + 1) % every == 0)

    def replacements(
        self, round_number: int, stats: Sequence[CandidateStats], *, number: int, capacity: Capacity
    ) -> tuple[Replacement, ...]:
        """Choose the replacements after a round in which they are due.

        ``stats`` are those of the healthy candidates that are not replaced already, and ``number``
        that of the next sample. Costs are estimated for the capacity.
        """
        if len(stats) < 2:
            return ()
        old = self._select_old(round_number, stats, number)
        ranked = sorted(old, key=lambda s: (s.loss, s.slot))
        best = {s.slot for s in ranked[: max(1, len(ranked) // 3)]}
        losers = [s for s in ranked if s.slot not in best and not s.stays]
        if not losers:
            return ()
        loser = min(losers, key=lambda s: (s.weight, -s.loss, s.slot))
        costs = {s.slot: estimate_cost(s.member.settings, capacity) for s in stats}
        allowed = self._search.budget
        if allowed is None:
            allowed = sum(estimate_cost(settings, capacity) for settings in self._start)
        allowed -= sum(cost for slot, cost in costs.items() if slot != loser.slot)
        draw = _KeyedRandom(derive_key(self._seed, _EVOLUTION, round_number))
        for _ in range(_ATTEMPTS):
            child = self._child(ranked, loser, draw)
            if estimate_cost(child.settings, capacity) <= allowed:
                return (child,)
        return ()

    def resting(
        self, round_number: int, stats: Sequence[CandidateStats], *, number: int
    ) -> tuple[int, ...]:
        """Choose the candidates that are to rest, i.e. to rehearse nothing, after any round.

        They are those of little weight in the ensemble; without a search, none. All go on to
        predict and learn every sample, so one that is needed again shows soon. The arguments are
        those of `replacements`.
        """
        if not self._search.every:
            return ()
        old = self._select_old(round_number, stats, number)
        return tuple(
            s.slot
            for s in old
            if s.member.settings.rehearses and s.weight < RESTING_WEIGHT and not s.stays
        )

    def _select_old(
        self, round_number: int, stats: Sequence[CandidateStats], number: int
    ) -> list[CandidateStats]:
        """Candidates after their grace; that is in rounds of the average size so far."""
        grace = self._search.grace * (number // (round_number + 1))
        return [s for s in stats if number - s.member.born >= grace]

    def _child(
        self, ranked: Sequence[CandidateStats], loser: CandidateStats, draw: _KeyedRandom
    ) -> Replacement:
        kind = draw.below(10)
        if kind < 2:
            # Settings that were replaced may be what the stream needs now.
            return Replacement(loser.slot, draw.choose(self._start))
        parent = draw.choose(ranked[:_PARENTS])
        settings = parent.member.settings
        if kind < 7:
            return Replacement(loser.slot, self._perturb(settings, draw), parent.slot)
        return Replacement(loser.slot, self._rebuild(settings, draw))

    def _perturb(self, settings: CandidateSettings, draw: _KeyedRandom) -> CandidateSettings:
        """Vary settings that keep the weights usable."""
        settings = _scale_rate(settings, draw.choose((0.3, 0.5, 0.7, 1.4, 2.0, 3.0)))
        if self._memory and draw.below(3) == 0:
            settings = self._change_rehearsal(settings, draw)
        if draw.below(6) == 0:
            settings = replace(settings, weight_decay=draw.choose((0.0, 1e-3, 1e-2)))
        if self._balanced and draw.below(2) == 0:
            settings = replace(settings, class_weight=draw.choose((0.0, 0.5, 1.0)))
        return settings

    def _rebuild(self, settings: CandidateSettings, draw: _KeyedRandom) -> CandidateSettings:
        """Vary settings that need new weights."""
        change = draw.below(5)
        if change == 0 and settings.hidden:
            width = draw.choose((16, 32, 64, 128, 256))
            settings = replace(settings, hidden=(width, *settings.hidden[1:]))
        elif change == 1:
            other = draw.choose(_SEARCHED)
            before, after = REGISTRY[settings.optimizer], REGISTRY[other]
            factor = after.reference_rate / before.reference_rate
            settings = _scale_rate(replace(settings, optimizer=other), factor)
        elif change == 2 and self._lags:
            settings = replace(settings, lags=not settings.lags)
        elif change == 3:
            settings = replace(settings, knots=draw.choose((0, 5, 9, 17)))
        elif settings.hidden:
            activations: tuple[Activation, ...] = ("tanh", "relu")
            settings = replace(settings, activation=draw.choose(activations))
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
        place = min(max(nearest + draw.choose((1, -1)), 0), len(_REHEARSALS) - 1)
        memory = max(self._memory // draw.choose((1, 2, 4)), 1)
        return replace(settings, rehearsal=_REHEARSALS[place], memory=memory)


_EVOLUTION = 0x45564F  # keeps these random numbers apart from others of the same seed


def _scale_rate(settings: CandidateSettings, factor: float) -> CandidateSettings:
    low, high = _RATES
    return replace(settings, learning_rate=min(max(settings.learning_rate * factor, low), high))


@final
class _KeyedRandom:
    """Numbers and choices drawn one after the other from a key."""

    def __init__(self, key: int) -> None:
        self._key = key
        self._drawn = 0

    def below(self, limit: int) -> int:
        self._drawn += 1
        return derive_key(self._key, self._drawn) % limit

    def choose(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]
