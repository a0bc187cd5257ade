"""Selector: which candidate answers for the population, decided anew at every sample."""

from __future__ import annotations

from collections import deque
from typing import Any
from typing import NamedTuple
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.jit import kernel

__all__ = ("Selector", "Switch")

LARGEST = 1e150  # beyond it a loss counts as this large, so that no sum overflows
_SWITCHES = 1000


class Switch(NamedTuple):
    """A change of champion: the new one answers from sample ``number`` on."""

    number: int
    before: int  # slot, -1 for none
    after: int
    loss_before: float  # faded mean loss of each when the change was decided
    loss_after: float


@kernel
def _choose(
    losses: NDArray[np.float64],  # shape=(n, candidates), not finite where there is none
    alive: NDArray[np.uint8],  # shape=(candidates, n), read where a sample has no losses
    totals: NDArray[np.float64],  # shape=(2, candidates): faded losses and faded count
    champion: NDArray[np.int64],  # shape=(2,): slot and samples since it came
    fading: float,
    margin: float,
    dwell: int,
    trial: float,
    eligible: NDArray[np.uint8],  # shape=(candidates,)
    able: NDArray[np.uint8],  # shape=(candidates,), scratch
    chosen: NDArray[np.int32],
    record: NDArray[np.float64],  # shape=(n, 5): place, slots and losses of each switch
) -> int:
    switched = 0
    for i in range(losses.shape[0]):
        current = champion[0]
        _find_able(losses, alive, i, able)
        for k in range(able.size):
            able[k] &= eligible[k]
        sound = current >= 0 and able[current] != 0
        chosen[i] = current if sound else _best(able, totals, trial)
        for k in range(able.size):
            if abs(losses[i, k]) < np.inf:
                totals[0, k] = totals[0, k] * fading + min(losses[i, k], LARGEST)
                totals[1, k] = totals[1, k] * fading + 1.0
        champion[1] += 1
        best = _best(able, totals, trial)
        if best < 0 or best == current:
            continue
        if sound and (champion[1] < dwell or not _better(totals, best, current, 1.0 - margin)):
            continue
        record[switched, 0] = i
        record[switched, 1] = current
        record[switched, 2] = best
        record[switched, 3] = _mean(totals, current) if sound else np.inf
        record[switched, 4] = _mean(totals, best)
        switched += 1
        champion[0] = best
        champion[1] = 0
    return switched


@kernel
def _find_able(
    losses: NDArray[np.float64], alive: NDArray[np.uint8], i: int, able: NDArray[np.uint8]
) -> None:
    """Note who answered sample ``i``: who has a loss, or, where nobody has, who is alive."""
    scored = False
    for k in range(able.size):
        able[k] = abs(losses[i, k]) < np.inf
        scored |= able[k] != 0
    for k in range(0 if scored else able.size):
        able[k] = alive[k, i]


@kernel
def _mean(totals: NDArray[np.float64], k: int) -> float:
    if totals[1, k] > 0.0:
        return float(totals[0, k] / totals[1, k])
    return np.inf


@kernel
def _better(totals: NDArray[np.float64], k: int, than: int, share: float) -> bool:
    """Whether the mean loss of ``k`` is below that share of the other's: exactly, undivided."""
    return bool(totals[0, k] * totals[1, than] < totals[0, than] * totals[1, k] * share)


@kernel
def _best(able: NDArray[np.uint8], totals: NDArray[np.float64], trial: float) -> int:
    """The able candidate of lowest faded mean loss; newcomers only if there is no one else."""
    best = -1
    highest = -1
    for k in range(able.size):
        if able[k] == 0:
            continue
        count = totals[1, k]
        level = int(count > 0.0) + int(count > 0.0 and count >= trial)
        if level > highest or (level == highest and _better(totals, k, best, 1.0)):
            best = k
            highest = level
    return best


@final
class Selector:
    """Ranks candidates by their faded mean loss and keeps a champion.

    A challenger takes over when its loss is below the champion's by the share ``margin``, and not
    before the champion has answered ``dwell`` samples. A champion without a finite answer is
    replaced at that very sample. Ties go to the lower slot; losses that are not finite never rank.

    Args:
        candidates: How many there are.
        fading: Factor of all earlier losses at each sample.
        margin: Share by which a challenger must be better.
        dwell: Samples for which a champion is safe from challengers.
        trial: Faded samples that a newcomer needs before it ranks among the others; at most half
            of what the fading lets a candidate ever have.

    Raises:
        ConfigurationError: If a value breaks its rule.

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
        dwell: int = 10,
        trial: float = 100.0,
    ) -> None:
        if candidates < 1:
            raise ConfigurationError(f"candidates is {candidates}, but must be >= 1")
        for name, value, low, high in (
            ("fading", fading, 0.0, 1.0),
            ("margin", margin, 0.0, 1.0),
        ):
            if not low <= value <= high:
                raise ConfigurationError(f"{name} is {value}, but must be from {low} to {high}")
        if dwell < 0:
            raise ConfigurationError(f"dwell is {dwell}, but must be >= 0")
        if trial < 0:
            raise ConfigurationError(f"trial is {trial}, but must be >= 0")
        self.fading = fading
        self.margin = margin
        self.dwell = dwell
        self.trial = trial if fading == 1.0 else min(trial, 0.5 / (1.0 - fading))
        self.switches: deque[Switch] = deque(maxlen=_SWITCHES)
        self.switched = 0
        self._totals = np.zeros((2, candidates))
        self._champion = np.array([-1, 0], np.int64)
        self.eligible = np.ones(candidates, np.uint8)  # 0: ranked, but never champion

    @property
    def champion(self) -> int:
        """Slot of the candidate that answers the next sample; -1 if that is yet to be chosen."""
        return int(self._champion[0])

    @property
    def since(self) -> int:
        """Number of the sample from which the champion answers; 0 if there was no switch."""
        return self.switches[-1].number if self.switches else 0

    def choose(
        self,
        first: int,
        losses: NDArray[np.float64],
        alive: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int32]:
        """The slot that answers each sample, known before its losses are; -1 if none can.

        Args:
            first: Number of the first sample.
            losses: shape=(n, candidates); not finite where a candidate has no finite answer. A
                sample for which nobody has one was not scored and changes no rank.
            alive: shape=(candidates, n); 0 where a candidate did not answer a sample that was not
                scored. None: no candidate did.
        """
        losses = np.ascontiguousarray(losses, np.float64)
        n = len(losses)
        able = np.zeros(self._totals.shape[1], np.uint8)
        if alive is None:
            alive = np.zeros((able.size, n), np.uint8)
        chosen = np.empty(n, np.int32)
        record = np.empty((n, 5), np.float64)
        switched = _choose(
            losses,
            alive,
            self._totals,
            self._champion,
            self.fading,
            self.margin,
            self.dwell,
            self.trial,
            self.eligible,
            able,
            chosen,
            record,
        )
        for i, before, after, loss_before, loss_after in record[:switched].tolist():
            number = first + int(i) + 1
            self.switches.append(Switch(number, int(before), int(after), loss_before, loss_after))
            self.switched += 1
        return chosen

    def losses(self) -> NDArray[np.float64]:
        """Faded mean loss of each candidate, inf before its first sample."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self._totals[1] > 0, self._totals[0] / self._totals[1], np.inf)

    def reset(self, slot: int, *, eligible: bool = True) -> None:
        """Forget what a slot's candidate scored: a new one took its place.

        If it was the champion, the next sample chooses another one.
        """
        self._totals[:, slot] = 0.0
        self.eligible[slot] = eligible
        if slot == self.champion:
            self._champion[:] = -1, 0

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {
            "totals": self._totals.copy(),
            "champion": self._champion.copy(),
            "eligible": self.eligible.copy(),
            "switched": self.switched,
            "switches": np.array(self.switches, np.float64).reshape(-1, 5),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the selector did whose state this is."""
        self._totals[:] = state["totals"]
        self._champion[:] = state["champion"]
        self.eligible[:] = state["eligible"]
        self.switched = state["switched"]
        self.switches.clear()
        for number, before, after, *losses in state["switches"].tolist():
            self.switches.append(Switch(int(number), int(before), int(after), *losses))
