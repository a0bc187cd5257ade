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
    losses: NDArray[np.float64],  # shape=(n, candidates), inf where there was no answer
    totals: NDArray[np.float64],  # shape=(2, candidates): faded losses and faded count
    champion: NDArray[np.int64],  # shape=(2,): slot and samples since it came
    fading: float,
    margin: float,
    dwell: int,
    trial: float,
    chosen: NDArray[np.int32],
    record: NDArray[np.float64],  # shape=(n, 4): before, after and their losses of each switch
) -> None:
    candidates = losses.shape[1]
    for i in range(losses.shape[0]):
        current = champion[0]
        answering = current
        if current < 0 or not losses[i, current] < np.inf:
            answering = _best(losses[i], totals, trial)
        chosen[i] = answering
        for k in range(candidates):
            if losses[i, k] < np.inf:
                totals[0, k] = totals[0, k] * fading + losses[i, k]
                totals[1, k] = totals[1, k] * fading + 1.0
        champion[1] += 1
        record[i, 0] = -2.0
        best = _best(losses[i], totals, trial)
        if best < 0 or best == current:
            continue
        mean = totals[0, best] / totals[1, best]
        if current >= 0 and losses[i, current] < np.inf:
            rival = totals[0, current] / totals[1, current]
            if champion[1] < dwell or not mean < rival * (1.0 - margin):
                continue
        else:
            rival = np.inf
        record[i, 0] = current
        record[i, 1] = best
        record[i, 2] = rival
        record[i, 3] = mean
        champion[0] = best
        champion[1] = 0


@kernel
def _best(losses: NDArray[np.float64], totals: NDArray[np.float64], trial: float) -> int:
    """The alive candidate of lowest faded mean loss; newcomers only if there is no one else."""
    best = -1
    proven = False
    for k in range(losses.size):
        if not losses[k] < np.inf:
            continue
        fit = totals[1, k] >= trial
        if best < 0 or (fit and not proven):
            better = True
        elif proven and not fit:
            better = False
        else:
            better = totals[0, k] * totals[1, best] < totals[0, best] * totals[1, k]
        if better:
            best = k
            proven = fit
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
        trial: Faded samples that a newcomer needs before it ranks among the others.

    Raises:
        ConfigurationError: If a value breaks its rule.

    >>> selector = Selector(2)
    >>> losses = np.array([[0.9, 0.1]] * 30)
    >>> selector.choose(0, losses).tolist()[-1], len(selector.switches)
    (1, 2)
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
        self.trial = trial
        self.switches: deque[Switch] = deque(maxlen=_SWITCHES)
        self.switched = 0
        self._totals = np.zeros((2, candidates))
        self._champion = np.array([-1, 0], np.int64)

    @property
    def champion(self) -> int:
        """Slot of the candidate that answers the next sample; -1 before the first sample."""
        return int(self._champion[0])

    @property
    def since(self) -> int:
        """Number of the sample from which the champion answers; 0 if there was no switch."""
        return self.switches[-1].number if self.switches else 0

    def choose(self, first: int, losses: NDArray[np.float64]) -> NDArray[np.int32]:
        """The slot that answers each sample, known before its losses are; -1 if none can.

        Args:
            first: Number of the first sample.
            losses: shape=(n, candidates); inf where a candidate has no finite answer.
        """
        n = len(losses)
        chosen = np.empty(n, np.int32)
        record = np.empty((n, 4), np.float64)
        _choose(
            losses,
            self._totals,
            self._champion,
            self.fading,
            self.margin,
            self.dwell,
            self.trial,
            chosen,
            record,
        )
        for i in np.flatnonzero(record[:, 0] > -2.0):
            before, after, loss_before, loss_after = record[i].tolist()
            number = first + int(i) + 1
            self.switches.append(Switch(number, int(before), int(after), loss_before, loss_after))
            self.switched += 1
        return chosen

    def losses(self) -> NDArray[np.float64]:
        """Faded mean loss of each candidate, inf before its first sample."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self._totals[1] > 0, self._totals[0] / self._totals[1], np.inf)

    def reset(self, slot: int) -> None:
        """Forget what a slot's candidate scored: a new one took its place."""
        self._totals[:, slot] = 0.0

    def export_state(self) -> dict[str, Any]:
        """Everything needed to go on, to the bit."""
        return {
            "totals": self._totals.copy(),
            "champion": self._champion.copy(),
            "switched": self.switched,
            "switches": [list(switch) for switch in self.switches],
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the selector did whose state this is."""
        self._totals[:] = state["totals"]
        self._champion[:] = state["champion"]
        self.switched = state["switched"]
        self.switches = deque((Switch(*switch) for switch in state["switches"]), maxlen=_SWITCHES)
