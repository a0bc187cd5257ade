"""The choice of the champion by an anytime-valid test, and decisions about the population."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.jit import exact_inlined, exact_kernel
from streamnet.metrics.windows import get_weight
from streamnet.networks.simd.functions import flush_subnormals, restore_subnormals
from streamnet.samples import NO_WEIGHTS
from streamnet.settings.candidate import CandidateSettings
from streamnet.validation import check_number


class Replacement(NamedTuple):
    """A new candidate for a slot."""

    slot: int
    settings: CandidateSettings
    parent: int | None = None  # slot whose weights it inherits; None draws new ones


class ModelComposition(NamedTuple):
    """The networks that make up an emitted model."""

    champion: int  # slot of the best network
    slots: tuple[int, ...]  # of all networks, in the order of the ensemble
    ensemble: dict[str, Any] | None  # state of their ensemble; None for the champion alone
    intervals: dict[str, Any] | None = None  # state of their intervals, if there are any


class Decision(NamedTuple):
    """What the trainer is to change in the population, decided once per round."""

    round: int
    replacements: tuple[Replacement, ...] = ()
    emit: ModelComposition | None = None
    resting: tuple[int, ...] = ()  # slots of the candidates that rehearse nothing from then on


def export_decisions(decisions: Iterable[Decision]) -> list[Any]:
    """Convert decisions to plain values for a checkpoint."""
    return [
        [
            d.round,
            [[slot, s.as_dict(), parent] for slot, s, parent in d.replacements],
            None if d.emit is None else list(d.emit),
            list(d.resting),
        ]
        for d in decisions
    ]


def restore_decisions(state: Iterable[Any]) -> list[Decision]:
    """Restore decisions from the values that `export_decisions` returned."""
    return [
        Decision(
            number,
            tuple(
                Replacement(slot, CandidateSettings.from_dict(settings), parent)
                for slot, settings, parent in replacements
            ),
            None if emit is None else ModelComposition(emit[0], tuple(emit[1]), *emit[2:]),
            tuple(*resting),
        )
        for number, replacements, emit, *resting in state  # states of earlier versions have none
    ]


MAX_LOSS = 1e150  # larger losses are clipped, so that no sum overflows

# Rows of the evidence against the champion, by challenger.
WEALTH, GAIN, SPREAD = range(3)
EVIDENCE_FADING = 0.99  # fading factor of GAIN and SPREAD, which determine the bet
MAX_BET = 0.8  # fraction of the wealth
MAX_LOSS_RATIO = 8.0  # differences are clipped to this many faded mean losses of the champion
START_SPREAD = 0.01
_MAX_SWITCHES = 1000


class Switch(NamedTuple):
    """A change of champion, effective from sample ``number`` on."""

    number: int
    before: int  # slot, -1 for none
    after: int
    loss_before: float  # faded mean loss of each when the change was decided
    loss_after: float
    evidence: float = 0.0  # e-value for the challenger; 0 if none was needed


@exact_kernel
def _choose(
    losses: NDArray[np.float64],  # shape=(n, candidates), not finite where missing
    alive: NDArray[np.uint8],  # shape=(candidates, n), used for samples without losses
    totals: NDArray[np.float64],  # shape=(2, candidates): faded losses and faded count
    evidence: NDArray[np.float64],  # shape=(3, candidates)
    champion: NDArray[np.int64],  # slot, samples since its promotion, all scored samples
    rules: tuple[float, float, int, float, int, float],
    eligible: NDArray[np.uint8],  # shape=(candidates,)
    available: NDArray[np.uint8],  # shape=(candidates,), scratch
    importance: NDArray[np.float64],  # weight of each sample, shape=(n,); empty: all are 1
    chosen: NDArray[np.int32],
    record: NDArray[np.float64],  # shape=(n, 6): place, slots, losses and evidence of each switch
) -> int:
    fading, margin, dwell, trial, opening, enough = rules
    # Faded losses and evidence may become subnormal if no candidate errs or two never differ.
    control = flush_subnormals()
    switched = 0
    for i in range(losses.shape[0]):
        current = champion[0]
        weight = get_weight(importance, i)
        scored = _mark_available(losses, alive, i, available)
        for k in range(available.size):
            available[k] &= eligible[k]
        sound = current >= 0 and available[current] != 0
        chosen[i] = current if sound else _find_best(available, totals, trial)
        if sound:
            _update_wealth(losses, i, weight, available, totals, current, evidence)
        for k in range(available.size):
            if abs(losses[i, k]) < np.inf:
                loss = weight * min(losses[i, k], MAX_LOSS)
                totals[0, k] = totals[0, k] * fading + loss
                totals[1, k] = totals[1, k] * fading + weight
        champion[1] += 1
        champion[2] += scored
        best = _find_best(available, totals, trial)
        if sound and champion[2] > opening:
            best = _find_challenger(available, evidence, current, enough)
        elif sound and best >= 0 and not _is_better(totals, best, current, 1.0 - margin):
            continue
        if best < 0 or best == current or (sound and champion[1] < dwell):
            continue
        record[switched, 0] = i
        record[switched, 1] = current
        record[switched, 2] = best
        record[switched, 3] = _mean_loss(totals, current) if sound else np.inf
        record[switched, 4] = _mean_loss(totals, best)
        record[switched, 5] = evidence[WEALTH, best] if sound and champion[2] > opening else 0.0
        switched += 1
        champion[0] = best
        champion[1] = 0
        for k in range(available.size):
            _reset_evidence(evidence, k)
    restore_subnormals(control)
    return switched


@exact_kernel
def _reset_evidence(evidence: NDArray[np.float64], k: int) -> None:
    evidence[WEALTH, k] = 1.0
    evidence[GAIN, k] = 0.0
    evidence[SPREAD, k] = START_SPREAD


@exact_inlined
def _update_wealth(
    losses: NDArray[np.float64],
    i: int,
    weight: float,
    available: NDArray[np.uint8],
    totals: NDArray[np.float64],
    current: int,
    evidence: NDArray[np.float64],
) -> None:
    """Let each challenger bet that its loss is lower than that of the champion."""
    mean = _mean_loss(totals, current)
    unit = max(MAX_LOSS_RATIO * mean, 1e-12) if mean < np.inf else 1.0
    for k in range(available.size):
        if available[k] == 0 or k == current or not abs(losses[i, current]) < np.inf:
            continue
        if not abs(losses[i, k]) < np.inf:
            continue
        gain = min(max(weight * (losses[i, current] - losses[i, k]) / unit, -1.0), 1.0)
        before, spread = evidence[GAIN, k], evidence[SPREAD, k]
        bet = min(max(before / (spread + before * before + 1e-9), 0.0), MAX_BET)
        # Wealth is topped up to 1, since a champion may lose its lead at any time.
        evidence[WEALTH, k] = min(max(evidence[WEALTH, k], 1.0) * (1.0 + bet * gain), MAX_LOSS)
        evidence[GAIN, k] = now = before * EVIDENCE_FADING + (1.0 - EVIDENCE_FADING) * gain
        evidence[SPREAD, k] = spread * EVIDENCE_FADING + (1.0 - EVIDENCE_FADING) * (gain - now) ** 2


@exact_inlined
def _find_challenger(
    available: NDArray[np.uint8], evidence: NDArray[np.float64], current: int, enough: float
) -> int:
    """Find the challenger with the most evidence, if it suffices; ties go to the lower slot."""
    best = -1
    for k in range(available.size):
        if available[k] == 0 or k == current or evidence[WEALTH, k] < enough:
            continue
        if best < 0 or evidence[WEALTH, k] > evidence[WEALTH, best]:
            best = k
    return best


@exact_inlined
def _mark_available(
    losses: NDArray[np.float64], alive: NDArray[np.uint8], i: int, available: NDArray[np.uint8]
) -> bool:
    """Mark candidates with a loss at sample ``i``, or the available ones if there are no losses.

    Returns whether there are losses.
    """
    scored = False
    for k in range(available.size):
        available[k] = abs(losses[i, k]) < np.inf
        scored |= available[k] != 0
    for k in range(0 if scored else available.size):
        available[k] = alive[k, i]
    return scored


@exact_inlined
def _mean_loss(totals: NDArray[np.float64], k: int) -> float:
    if totals[1, k] > 0.0:
        return float(totals[0, k] / totals[1, k])
    return np.inf


@exact_inlined
def _is_better(totals: NDArray[np.float64], k: int, than: int, share: float) -> bool:
    """Whether the mean loss of ``k`` is below a fraction of the other's, without division."""
    return bool(totals[0, k] * totals[1, than] < totals[0, than] * totals[1, k] * share)


@exact_inlined
def _find_best(available: NDArray[np.uint8], totals: NDArray[np.float64], trial: float) -> int:
    """Find the available candidate of lowest faded mean loss; newcomers rank last."""
    best = -1
    highest = -1
    for k in range(available.size):
        if available[k] == 0:
            continue
        count = totals[1, k]
        level = int(count > 0.0) + int(count > 0.0 and count >= trial)
        if level > highest or (level == highest and _is_better(totals, k, best, 1.0)):
            best = k
            highest = level
    return best


@final
class Selector:
    """Ranks candidates by their faded mean loss and keeps a champion.

    A challenger takes over when there is evidence that its losses are lower, by an anytime-valid
    sequential test: it bets on the sign of the next difference, and its wealth is an e-value
    (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"),
    topped up to 1 as in an e-detector (Shin, Ramdas and Rinaldo 2024), so that a champion may be
    overtaken at any time. Differences are bounded by 8 faded mean losses of the champion. In the
    ``opening``, before there can be evidence, a challenger takes over if its faded mean loss is
    lower by the fraction ``margin``. A champion is safe for its first ``dwell`` samples, but is
    replaced at once without a finite prediction. Ties go to the lower slot; losses that are not
    finite are ignored.

    Args:
        candidates: Number of candidates.
        fading: Factor applied to all earlier losses at each sample.
        margin: Fraction by which a challenger must be better in the opening.
        alpha: Level of the test: evidence of 1 / alpha suffices. False promotions are at least
            1 / alpha samples apart on average.
        opening: Number of scored samples at the start of the stream.
        dwell: Number of samples for which a champion is safe from challengers.
        trial: Faded samples before a newcomer ranks with the others; at most half of the limit
            that fading implies.

    Raises:
        ConfigurationError: If a setting is out of range.

    >>> selector = Selector(2)
    >>> losses = np.array([[0.9, 0.1]] * 30)
    >>> selector.choose(0, losses).tolist()[-1], len(selector.switches)
    (1, 1)
    """

    def __init__(
        self,
        candidates: int,
        *,
        fading: float = 0.999,
        margin: float = 0.02,
        alpha: float = 0.05,
        opening: int = 200,
        dwell: int = 10,
        trial: float = 100.0,
    ) -> None:
        if candidates < 1:
            raise ConfigurationError(f"candidates is {candidates}, but must be >= 1")
        for name, value, low, high in (
            ("fading", fading, 0.0, 1.0),
            ("margin", margin, 0.0, 1.0),
            ("alpha", alpha, 1e-300, 1.0),
        ):
            if not low <= check_number(name, value) <= high:
                raise ConfigurationError(f"{name} is {value}, but must be from {low} to {high}")
        for name, value in (("dwell", dwell), ("opening", opening), ("trial", trial)):
            if value < 0:
                raise ConfigurationError(f"{name} is {value}, but must be >= 0")
        self.margin: float = float(margin)
        if fading < 1.0:
            trial = min(trial, 0.5 / (1.0 - fading))
        trial, evidence = float(trial), 1.0 / alpha
        self._rules = float(fading), self.margin, int(dwell), trial, int(opening), evidence
        self.switches: deque[Switch] = deque(maxlen=_MAX_SWITCHES)
        self.switched: int = 0
        self._totals = np.zeros((2, candidates))
        self._evidence = np.zeros((3, candidates))
        self._champion = np.array([-1, 0, 0], np.int64)
        for slot in range(candidates):
            _reset_evidence(self._evidence, slot)
        # 0: ranked, but never champion.
        self.eligible: NDArray[np.uint8] = np.ones(candidates, np.uint8)

    @property
    def champion(self) -> int:
        """Slot of the champion of the next sample; -1 if it is yet to be chosen."""
        return int(self._champion[0])

    @property
    def since(self) -> int:
        """Number of the first sample of the champion; 0 if there was no switch."""
        return self.switches[-1].number if self.switches else 0

    def choose(
        self,
        first: int,
        losses: NDArray[np.float64],
        alive: NDArray[np.uint8] | None = None,
        following: NDArray[np.int64] | None = None,
        weight: NDArray[np.float64] | None = None,
    ) -> NDArray[np.int32]:
        """Choose the champion of each sample, before its losses are used; -1 for none.

        Args:
            first: Number of the first sample.
            losses: shape=(n, candidates); not finite where a candidate has no finite prediction. A
                sample without any finite loss is not scored, and changes no rank.
            alive: shape=(candidates, n); 0 where a candidate is not available for a sample that is
                not scored. None: none is available.
            following: Number of the sample after each row, shape=(n,), where the rows are not
                consecutive samples.
            weight: Weight of each sample, shape=(n,); None: all are 1.
        """
        losses = np.ascontiguousarray(losses, np.float64)
        n = len(losses)
        available = np.zeros(self._totals.shape[1], np.uint8)
        if alive is None:
            alive = np.zeros((available.size, n), np.uint8)
        chosen = np.empty(n, np.int32)
        record = np.empty((n, 6), np.float64)
        switched = _choose(
            losses,
            alive,
            self._totals,
            self._evidence,
            self._champion,
            self._rules,
            self.eligible,
            available,
            NO_WEIGHTS if weight is None else weight,
            chosen,
            record,
        )
        for i, before, after, *facts in record[:switched].tolist() if switched else ():
            number = first + int(i) + 1 if following is None else int(following[int(i)])
            self.switches.append(Switch(number, int(before), int(after), *facts))
            self.switched += 1
        return chosen

    def losses(self) -> NDArray[np.float64]:
        """Faded mean loss of each candidate, inf before its first sample."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self._totals[1] > 0, self._totals[0] / self._totals[1], np.inf)

    def reset(self, slot: int, *, eligible: bool = True) -> None:
        """Forget the scores of a slot, whose candidate was replaced.

        If it was the champion, another one is chosen at the next sample.
        """
        self._totals[:, slot] = 0.0
        self.eligible[slot] = eligible
        _reset_evidence(self._evidence, slot)
        if slot == self.champion:
            self._champion[:2] = -1, 0

    def export_state(self) -> dict[str, Any]:
        """Export everything needed to resume exactly."""
        return {
            "totals": self._totals.copy(),
            "evidence": self._evidence.copy(),
            "champion": self._champion.copy(),
            "eligible": self.eligible.copy(),
            "switched": self.switched,
            "switches": np.array(self.switches, np.float64).reshape(-1, 6),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Restore an exported state."""
        self._totals[:] = state["totals"]
        self._evidence[:] = state["evidence"]
        self._champion[:] = state["champion"]
        self.eligible[:] = state["eligible"]
        self.switched = state["switched"]
        self.switches.clear()
        for number, before, after, *losses in state["switches"].tolist():
            self.switches.append(Switch(int(number), int(before), int(after), *losses))
