"""LabelEnsemble: the shares that many networks give to labels, combined into one answer."""

from __future__ import annotations

import math
from typing import Any
from typing import Self
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import exact_kernel
from streamnet.selection.mixing import FINAL_RATE
from streamnet.selection.mixing import PRIORS
from streamnet.selection.mixing import Mixing
from streamnet.selection.mixing import fade
from streamnet.selection.mixing import least

__all__ = ("LabelEnsemble",)

FLOOR = 1e-4  # least probability in a logarithm
LOG_FLOOR = math.log(FLOOR)
DAMPING = 1e-3  # of AdaGrad, so that first steps are short
# How fast the weights of each mixer move, and whether by AdaGrad.
RATES = np.array([0.002, 0.008, 0.02, 0.08])
ADAPTIVE = np.array([0, 0, 1, 1], np.uint8)


@exact_kernel
def _logarithm(p: float) -> float:
    """Of a share, or of the floor: with many labels most shares lie below it."""
    return math.log(p) if p > FLOOR else LOG_FLOOR


@exact_kernel
def _listen(
    answers: NDArray[np.floating],
    i: int,
    known: int,
    able: NDArray[np.uint8],
    transitions: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    last: int,
    opinions: NDArray[np.float64],
) -> None:
    """Logarithms of what each expert says about sample ``i``; 0 for one that is not able."""
    candidates = answers.shape[0]
    for k in range(candidates):
        for c in range(known):
            opinions[c, k] = _logarithm(float(answers[k, i, c])) if able[k] != 0 else 0.0
    # Counts of what followed the last label, and of all labels, both faded; each label counts as
    # one part of a sample more, so that none is ruled out.
    for prior in range(PRIORS):
        k = candidates + prior
        counts = transitions[last] if prior == 0 and able[k] != 0 else frequencies
        total = 1.0
        for c in range(known):
            total += counts[c]
        for c in range(known):
            p = (counts[c] + 1.0 / known) / total
            opinions[c, k] = _logarithm(p) if able[k] != 0 else 0.0


@exact_kernel
def _mix(
    weights: NDArray[np.float64], opinions: NDArray[np.float64], known: int, out: NDArray[Any]
) -> None:
    """Shares in proportion to the experts' shares, each to the power of its weight."""
    for c in range(known):
        score = 0.0
        for k in range(weights.size):
            score += weights[k] * opinions[c, k]
        out[c] = score
    peak = -np.inf
    for c in range(known):
        peak = max(peak, out[c])
    total = 0.0
    for c in range(known):
        out[c] = math.exp(out[c] - peak)
        total += out[c]
    for c in range(known):
        out[c] /= total


@exact_kernel
def _move(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    opinions: NDArray[np.float64],
    known: int,
    truth: int,
    shares: NDArray[np.float64],
    rate: float,
    adaptive: bool,
    slopes: NDArray[np.float64],  # shape=(experts,), scratch
) -> None:
    """A step down the slope of the log-loss of `_mix`."""
    # Expert by expert in each loop, so that processors take several at once.
    for k in range(weights.size):
        slopes[k] = -opinions[truth, k]
    for c in range(known):
        share = shares[c]
        for k in range(weights.size):
            slopes[k] += share * opinions[c, k]
    if adaptive:
        for k in range(weights.size):
            squares[k] += slopes[k] * slopes[k]
            slopes[k] /= math.sqrt(squares[k] + DAMPING)
    for k in range(weights.size):
        weights[k] -= rate * slopes[k]


@exact_kernel
def _combine(
    opinions: NDArray[np.float64],  # shape=(C, experts)
    known: int,
    weights: NDArray[np.float64],
    final: NDArray[np.float64],
    best: int,
    shares: NDArray[np.float64],  # shape=(mixers + 2, C), written
    second: NDArray[np.float64],  # shape=(C, mixers + 1), written: logarithms of the first layer
) -> None:
    """Shares by each mixer, by the best expert (even ones without any) and by the final mixer."""
    mixers = weights.shape[0]
    for m in range(mixers):
        _mix(weights[m], opinions, known, shares[m])
    total = 0.0
    for c in range(known):
        shares[mixers, c] = math.exp(opinions[c, best]) if best >= 0 else 1.0
        total += shares[mixers, c]
    for c in range(known):
        shares[mixers, c] /= total
    for m in range(mixers + 1):
        for c in range(known):
            second[c, m] = _logarithm(shares[m, c])
    _mix(final, second, known, shares[mixers + 1])


@exact_kernel
def _serve(
    answers: NDArray[np.floating],  # shape=(candidates, n, C)
    alive: NDArray[np.uint8],  # shape=(candidates, n)
    truth: NDArray[np.int32],
    known: NDArray[np.int32],
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
    transitions: NDArray[np.float64],  # shape=(C + 1, C), see LabelEnsemble
    frequencies: NDArray[np.float64],  # shape=(C,)
    last: NDArray[np.int64],
    counts: NDArray[np.float64],  # shape=(C,), or empty, see LabelEnsemble
    opinions: NDArray[np.float64],  # shape=(C, experts), scratch
    shares: NDArray[np.float64],  # shape=(mixers + 2, C), scratch
    second: NDArray[np.float64],  # shape=(C, mixers + 1), scratch
    slopes: NDArray[np.float64],  # shape=(experts + mixers,), scratch
    flags: NDArray[np.uint8],  # shape=(experts + mixers + 2,), scratch
    served: NDArray[np.float64],  # shape=(n, C), written
) -> None:
    candidates, n, width = answers.shape
    mixers = weights.shape[0]
    able = flags[: members.size]
    everyone = flags[members.size :]
    for k in range(members.size):
        able[k] = members[k]
    for m in range(mixers + 2):
        everyone[m] = 1
    for i in range(n):
        names = min(known[i], width)
        for k in range(candidates):
            able[k] = members[k] if alive[k, i] != 0 else 0
        if names == 0:
            if learns and truth[i] >= 0:
                _note(transitions, frequencies, last, counts, truth[i], fading)
            continue
        _listen(answers, i, names, able, transitions, frequencies, last[0], opinions)
        best = least(losses, able, chosen[0], margin)
        chosen[0] = best if learns else chosen[0]
        _combine(opinions, names, weights, final, best, shares, second)
        for c in range(names):
            served[i, c] = shares[chosen[1], c]
        _balance(served[i], counts, names)
        y = truth[i]
        if not learns or y < 0:
            continue
        _judge(opinions, able, members, names, y, losses, fading)
        for m in range(mixers + 2):
            fade(combined, m, -_logarithm(shares[m, y]) if y < names else -LOG_FLOOR, fading)
        chosen[1] = least(combined, everyone, chosen[1], margin)
        if y < names:
            for m in range(mixers):
                adaptive = ADAPTIVE[m] != 0
                rate = RATES[m]
                _move(weights[m], squares[m], opinions, names, y, shares[m], rate, adaptive, slopes)
            last_shares = shares[mixers + 1]
            _move(final, final_squares, second, names, y, last_shares, FINAL_RATE, True, slopes)
        _note(transitions, frequencies, last, counts, y, fading)


@exact_kernel
def _balance(shares: NDArray[np.float64], counts: NDArray[np.float64], known: int) -> None:
    """Make shares what they would be if all labels were equally frequent, where counted."""
    if counts.size == 0:
        return
    total = 0.0
    for c in range(known):
        # One more each: a label that was known from the start may not have come yet.
        shares[c] /= counts[c] + 1.0
        total += shares[c]
    for c in range(known):
        shares[c] /= total


@exact_kernel
def _judge(
    opinions: NDArray[np.float64],
    able: NDArray[np.uint8],
    members: NDArray[np.uint8],
    known: int,
    y: int,
    losses: NDArray[np.float64],
    fading: float,
) -> None:
    """Take in every expert's log-loss; who is silent counts as entirely wrong."""
    for k in range(members.size):
        if members[k] != 0:
            right = able[k] != 0 and y < known
            fade(losses, k, -opinions[y, k] if right else -LOG_FLOOR, fading)


@exact_kernel
def _note(
    transitions: NDArray[np.float64],
    frequencies: NDArray[np.float64],
    last: NDArray[np.int64],
    counts: NDArray[np.float64],
    y: int,
    fading: float,
) -> None:
    """Count a label after the one before it, and among all."""
    if counts.size > 0:
        counts[y] += 1.0
    for c in range(frequencies.size):
        frequencies[c] *= fading
    frequencies[y] += 1.0
    if transitions.shape[0] > 0:
        for c in range(frequencies.size):
            transitions[last[0], c] *= fading
        transitions[last[0], y] += 1.0
    last[0] = y


@final
class LabelEnsemble(Mixing):
    """Combines what candidates say about labels by logarithmic opinion pools learned online.

    Each mixer gives a label the product of the experts' shares, each to the power of its weight,
    and moves the weights down the slope of its own log-loss. Log-loss also decides who is served:
    where shares mean little beyond which is the largest, fewer labels may be right.

    A balanced ensemble answers what the shares would be if all labels were equally frequent
    (Saerens, Latinne and Decaestecker 2002): each is divided by how often its label came. If they
    are true, the largest one gives the best balanced accuracy. What is learned is the same.

    Logarithms of float32 shares are reckoned as float32, all else as float64.

    >>> ensemble = LabelEnsemble(2)
    >>> right = np.tile([0.9, 0.1], (200, 1)), np.tile([0.5, 0.5], (200, 1))
    >>> truth, known = np.zeros(200, np.int32), np.full(200, 2, np.int32)
    >>> served = ensemble.serve(np.array(right), np.ones((2, 200), np.uint8), truth, known)
    >>> bool(served[-1, 0] > 0.9)
    True
    """

    _mixers = len(RATES)
    _arrays = (*Mixing._arrays, "transitions", "frequencies", "last")

    def __init__(self, candidates: int, *, balanced: bool = False, **others: Any) -> None:
        self._balanced = balanced
        if balanced:
            self._arrays = (*self._arrays, "counts")
        super().__init__(candidates, **others)

    def _begin(self) -> None:
        # By the last label, and a row for none; nothing where that expert is not heard.
        self.transitions = np.zeros((3 if self.members[self.candidates] else 0, 2))
        self.frequencies = np.zeros(2)
        self.last = np.array([2], np.int64)  # row of the last label
        self.counts = np.zeros(2 if self._balanced else 0)  # of all labels so far

    def serve(
        self,
        answers: NDArray[np.floating],
        alive: NDArray[np.uint8],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
        *,
        learns: bool = True,
    ) -> NDArray[np.float64]:
        """Answer n samples in order, each before its truth is learned.

        Args:
            answers: shape=(candidates, n, C), shares; of sample i the first ``known[i]`` count.
            alive: shape=(candidates, n), 0 where a candidate has no finite answer.
            truth: shape=(n,), class numbers; -1 where there is none.
            known: shape=(n,), classes known before each sample.
            learns: Whether weights move and losses are noted.

        Returns:
            shape=(n, C), shares of the known classes; all 0 where none is known.
        """
        width = answers.shape[2]
        self._make_room(width)
        served = np.zeros(answers.shape[1:])
        _serve(
            answers,
            alive,
            truth,
            known,
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
            self.transitions,
            self.frequencies,
            self.last,
            self.counts,
            # Arrays of their own: how far apart parts of one lie decides what the compiler's code
            # adds up first, so that bits would depend on the room for labels.
            np.empty((width, self.experts)),
            np.empty((len(RATES) + 2, width)),
            np.empty((width, len(RATES) + 1)),
            np.empty(self.experts + len(RATES)),
            np.empty(self.experts + len(RATES) + 2, np.uint8),
            served,
        )
        return served

    def answer(
        self, answers: NDArray[np.floating], alive: NDArray[np.uint8], known: int
    ) -> NDArray[np.float64]:
        """Answer samples of which each might be the next, as `serve` would; nothing changes.

        Any number of threads may ask at once, unless one of them learns.

        Args:
            answers: shape=(candidates, n, C), shares.
            alive: shape=(candidates, n), 0 where a candidate has no finite answer.
            known: Classes known.
        """
        _, n, width = answers.shape
        nothing, names = np.full(n, -1, np.int32), np.full(n, known, np.int32)
        # Room for more labels is made aside.
        asked = self if width <= len(self.frequencies) else self._aside()
        return asked.serve(answers, alive, nothing, names, learns=False)

    def _make_room(self, classes: int) -> None:
        room = len(self.frequencies)
        if classes <= room:
            return
        self.frequencies = np.append(self.frequencies, np.zeros(classes - room))
        if self._balanced:
            self.counts = np.append(self.counts, np.zeros(classes - room))
        old = self.transitions
        self.transitions = np.zeros((classes + 1 if len(old) else 0, classes))
        self.transitions[:room, :room] = old[:room]
        self.transitions[-1:, :room] = old[-1:]
        if self.last[0] == room:
            self.last[0] = classes

    @classmethod
    def _restored(cls, state: dict[str, Any]) -> Self:
        self = cls(**cls._settings_of(state), balanced="counts" in state)
        classes = np.size(state["frequencies"])
        if not 2 <= classes <= 1 << 16:
            raise ModelFileError(f"ensemble: it counts {classes} classes")
        self._make_room(classes)
        self._take_over(state)
        if not 0 <= self.last[0] <= classes:
            raise ModelFileError(f"ensemble: last is {self.last.tolist()}")
        return self
