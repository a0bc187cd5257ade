"""NumberEnsemble: the numbers that many networks answer, combined into one."""

from __future__ import annotations

import math
from typing import Any
from typing import Self
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import exact_inlined
from streamnet.jit import exact_kernel
from streamnet.selection.mixing import COUNT
from streamnet.selection.mixing import FINAL_RATE
from streamnet.selection.mixing import TOTAL
from streamnet.selection.mixing import Mixing
from streamnet.selection.mixing import fade
from streamnet.selection.mixing import least

__all__ = ("NumberEnsemble",)

FARTHEST = 10.0  # standard deviations: what lies beyond counts as this far from the mean
LARGEST = 1e3  # of a loss in standard deviations
STEEPEST = 0.1  # error in standard deviations from which a step no longer grows
DAMPING = 1e-3  # of AdaGrad, so that first steps are short
SHORTEST = 1e-2  # squared length that is added to the inputs' in the normalised step
NORMALISED, ADAGRAD, HEDGE = range(3)
KINDS = np.array([NORMALISED, ADAGRAD, ADAGRAD, HEDGE])
RATES = np.array([0.05, 0.01, 0.03, 0.3])


@exact_inlined
def _hedge(
    losses: NDArray[np.float64], able: NDArray[np.uint8], rate: float, weights: NDArray[np.float64]
) -> None:
    """Weights that fall exponentially with the faded loss (Freund and Schapire 1997)."""
    lowest = np.inf
    for k in range(able.size):
        if able[k] != 0 and losses[COUNT, k] > 0.0:
            lowest = min(lowest, losses[TOTAL, k] / losses[COUNT, k])
    total = 0.0
    for k in range(able.size):
        weights[k] = 0.0
        if able[k] != 0 and losses[COUNT, k] > 0.0:
            mean = losses[TOTAL, k] / losses[COUNT, k]
            weights[k] = math.exp(-rate * (mean - lowest) * losses[COUNT, k])
        total += weights[k]
    for k in range(able.size):
        weights[k] = weights[k] / total if total > 0.0 else 0.0


@exact_inlined
def _dot(weights: NDArray[np.float64], opinions: NDArray[np.float64]) -> float:
    total = 0.0
    for k in range(weights.size):
        total += weights[k] * opinions[k]
    return total


@exact_inlined
def _near(z: float) -> float:
    return min(max(z, -FARTHEST), FARTHEST)


@exact_inlined
def _move(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    opinions: NDArray[np.float64],
    error: float,
    rate: float,
    kind: int,
) -> None:
    """A step of a mixer against its error, whose influence is bounded."""
    if kind == HEDGE:
        return
    if kind == ADAGRAD:
        slope = min(max(error / STEEPEST, -1.0), 1.0)
        for k in range(weights.size):
            g = slope * opinions[k]
            squares[k] += g * g
            weights[k] -= rate * g / math.sqrt(squares[k] + DAMPING)
        return
    length = SHORTEST
    for k in range(weights.size):
        length += opinions[k] * opinions[k]
    for k in range(weights.size):
        weights[k] -= rate * min(max(error, -1.0), 1.0) * opinions[k] / length


@exact_inlined
def _combine(
    opinions: NDArray[np.float64],
    able: NDArray[np.uint8],
    losses: NDArray[np.float64],
    weights: NDArray[np.float64],
    final: NDArray[np.float64],
    best: int,
    said: NDArray[np.float64],  # shape=(mixers + 2,), written
) -> None:
    """The number of each mixer, of the best expert (the mean without any), of the final mixer."""
    mixers = weights.shape[0]
    for m in range(mixers):
        if KINDS[m] == HEDGE:
            _hedge(losses, able, RATES[m], weights[m])
        said[m] = _near(_dot(weights[m], opinions))
    said[mixers] = opinions[best] if best >= 0 else 0.0
    said[mixers + 1] = _near(_dot(final, said[: mixers + 1]))


@exact_kernel
def _serve(
    answers: NDArray[np.float64],  # shape=(candidates, n)
    alive: NDArray[np.uint8],  # shape=(candidates, n)
    truth: NDArray[np.float64],
    centre: NDArray[np.float64],
    spread: NDArray[np.float64],
    learns: bool,
    fading: float,
    margin: float,
    members: NDArray[np.uint8],
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    final: NDArray[np.float64],
    final_squares: NDArray[np.float64],
    losses: NDArray[np.float64],
    combined: NDArray[np.float64],
    chosen: NDArray[np.int64],
    last: NDArray[np.float64],
    scratch: NDArray[np.float64],  # shape=(experts + mixers + 2,)
    flags: NDArray[np.uint8],  # the same, scratch
    served: NDArray[np.float64],  # shape=(n,), written
) -> None:
    candidates, n = answers.shape
    mixers = weights.shape[0]
    opinions = scratch[: members.size]
    said = scratch[members.size :]
    able = flags[: members.size]
    everyone = flags[members.size :]
    for k in range(members.size):
        able[k] = members[k]
    for m in range(mixers + 2):
        everyone[m] = 1
    for i in range(n):
        for k in range(candidates):
            able[k] = members[k] if alive[k, i] != 0 else 0
            z = (answers[k, i] - centre[i]) / spread[i]
            opinions[k] = _near(z) if able[k] != 0 else 0.0
        # The last target, and the mean of all.
        z = (last[0] - centre[i]) / spread[i] if last[1] > 0.0 else 0.0
        opinions[candidates] = _near(z) * able[candidates]
        opinions[candidates + 1] = 0.0
        best = least(losses, able, chosen[0], margin)
        chosen[0] = best if learns else chosen[0]
        _combine(opinions, able, losses, weights, final, best, said)
        served[i] = centre[i] + spread[i] * said[chosen[1]]
        if not learns or not math.isfinite(truth[i]):
            continue
        y = (truth[i] - centre[i]) / spread[i]
        for k in range(members.size):
            if members[k] != 0:
                loss = abs(opinions[k] - y) if able[k] != 0 else FARTHEST
                fade(losses, k, min(loss, LARGEST), fading)
        for m in range(mixers + 2):
            fade(combined, m, min(abs(said[m] - y), LARGEST), fading)
        chosen[1] = least(combined, everyone, chosen[1], margin)
        for m in range(mixers):
            _move(weights[m], squares[m], opinions, said[m] - y, RATES[m], KINDS[m])
        error = said[mixers + 1] - y
        _move(final, final_squares, said[: mixers + 1], error, FINAL_RATE, ADAGRAD)
        last[0] = truth[i]
        last[1] = 1.0


@final
class NumberEnsemble(Mixing):
    """Combines candidates' numbers by linear mixers learned online, in standard units.

    The mixers move their weights by normalised least mean squares (Nagumo and Noda 1967), by
    AdaGrad on Huber's loss, and by Hedge (Freund and Schapire 1997). The absolute error decides who
    is served. No expert is a constant but the mean of all, so an offset that all candidates share
    is not put right.

    >>> ensemble = NumberEnsemble(2)
    >>> truth = np.sin(np.arange(500.0))
    >>> answers = np.stack([truth + 0.5, truth - 0.5])
    >>> units = np.zeros(500), np.ones(500)
    >>> served = ensemble.serve(answers, np.ones((2, 500), np.uint8), truth, *units)
    >>> bool(np.abs(served - truth)[-100:].mean() < 0.1)
    True
    """

    _mixers = len(RATES)
    _arrays = (*Mixing._arrays, "last")

    def _begin(self) -> None:
        self.last = np.zeros(2)  # the last target, and 1 once there was one

    def serve(
        self,
        answers: NDArray[np.float64],
        alive: NDArray[np.uint8],
        truth: NDArray[np.float64],
        centre: NDArray[np.float64],
        spread: NDArray[np.float64],
        *,
        learns: bool = True,
    ) -> NDArray[np.float64]:
        """Answer n samples in order, each before its truth is learned.

        Args:
            answers: shape=(candidates, n).
            alive: shape=(candidates, n), 0 where a candidate has no finite answer.
            truth: shape=(n,), NaN where there is none.
            centre: shape=(n,), mean of the targets before each sample.
            spread: shape=(n,), their standard deviation, > 0.
            learns: Whether weights move and losses are noted.

        Returns:
            shape=(n,).
        """
        served = np.empty(answers.shape[1])
        _serve(
            answers,
            alive,
            truth,
            centre,
            spread,
            learns,
            self.fading,
            self.margin,
            self.members,
            self.weights,
            self.squares,
            self.final,
            self.final_squares,
            self.losses,
            self.combined,
            self.chosen,
            self.last,
            np.empty(self.experts + len(RATES) + 2),
            np.empty(self.experts + len(RATES) + 2, np.uint8),
            served,
        )
        return served

    def answer(
        self, answers: NDArray[np.float64], alive: NDArray[np.uint8], scale: tuple[float, float]
    ) -> NDArray[np.float64]:
        """Answer samples of which each might be the next, as `serve` would; nothing changes.

        Any number of threads may ask at once, unless one of them learns.

        Args:
            answers: shape=(candidates, n).
            alive: shape=(candidates, n), 0 where a candidate has no finite answer.
            scale: Mean and standard deviation, > 0, of the targets so far.
        """
        n = answers.shape[1]
        centre, spread = (np.full(n, number) for number in scale)
        nothing = np.full(n, np.nan)
        return self._aside().serve(answers, alive, nothing, centre, spread, learns=False)

    @classmethod
    def _restored(cls, state: dict[str, Any]) -> Self:
        self = cls(**cls._settings_of(state))
        self._take_over(state)
        if self.last[1] not in (0.0, 1.0):
            raise ModelFileError(f"ensemble: last is {self.last.tolist()}")
        return self
