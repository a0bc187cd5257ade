"""Logarithmic opinion pools learned online: how `LabelEnsemble` combines and learns, compiled.

Two ensembles of the same candidates are reckoned at once, for little more than the time of one, see
`label_mixers`.
"""

from __future__ import annotations

from threading import local
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from numpy.typing import NDArray

from streamnet.jit import exact_inlined
from streamnet.jit import exact_kernel
from streamnet.networks.simd import EIGHT
from streamnet.networks.simd import FOUR
from streamnet.networks.simd import LANES
from streamnet.networks.subnormals import flush_subnormals
from streamnet.networks.subnormals import restore_subnormals
from streamnet.selection import label_mixers as mixers
from streamnet.selection.label_mixers import PAIR
from streamnet.selection.mixing import PRIORS
from streamnet.selection.mixing import fade
from streamnet.selection.mixing import least
from streamnet.selection.opinions import AT_ONCE
from streamnet.selection.opinions import LOG_FLOOR
from streamnet.selection.opinions import take_logarithms
from streamnet.selection.opinions import take_priors

__all__ = ("Scratch", "pool", "scratch_of")


class Scratch(NamedTuple):
    """Working memory for up to C labels; where vectors are stored, there is room for whole ones."""

    heard: NDArray[np.floating]  # of `AT_ONCE` samples, see `take_logarithms`
    priors: NDArray[np.float64]  # likewise, see `take_priors`
    opinions: NDArray[np.float64]  # shape=(C, experts): logarithms of shares, 0 of the silent
    rows: NDArray[np.float64]  # shape=(ROWS, at least EIGHT times the labels, and the experts)
    flags: NDArray[np.uint8]  # shape=(PAIR * experts + WIDTH + 1,)


_KEPT = local()


def scratch_of(candidates: int, labels: int, dtype: DTypeLike) -> Scratch:
    """Working memory that this thread keeps, for so many candidates and at least so many labels."""
    kept: Scratch | None = getattr(_KEPT, "scratch", None)
    if (
        kept is None
        or len(kept.opinions) < labels
        or kept.opinions.shape[1] != candidates + PRIORS
        or kept.heard.dtype != dtype
    ):
        kept = _KEPT.scratch = _new_scratch(candidates, labels, dtype)
    return kept


def _new_scratch(candidates: int, labels: int, dtype: DTypeLike) -> Scratch:
    experts = candidates + PRIORS
    # Nobody looks at what becomes of numbers that only fill up a vector.
    return Scratch(
        np.empty(AT_ONCE * labels * candidates + LANES, dtype),
        np.empty(AT_ONCE * labels * PRIORS + FOUR),
        np.empty((labels, experts)),
        np.empty((mixers.ROWS, EIGHT * max(labels, experts, 2 * PAIR))),
        np.ones(PAIR * experts + mixers.WIDTH + 1, np.uint8),
    )


@exact_inlined
def _note_able(
    members: NDArray[np.uint8], alive: NDArray[np.uint8], i: int, able: NDArray[np.uint8]
) -> None:
    """Which experts each ensemble hears on sample ``i``: candidates only if they have an answer."""
    experts = members.shape[1]
    for k in range(experts):
        answers = k >= alive.shape[0] or alive[k, i] != 0
        for half in range(PAIR):
            able[half * experts + k] = members[half, k] if answers else 0


@exact_inlined
def _listen(i: int, labels: int, known: int, alive: NDArray[np.uint8], scratch: Scratch) -> None:
    """Put together what each expert says about sample ``i``; 0 for who has no answer."""
    heard, priors, opinions = scratch.heard, scratch.priors, scratch.opinions
    candidates = alive.shape[0]
    for c in range(known):
        place = i % AT_ONCE * labels + c
        for k in range(candidates):
            opinions[c, k] = heard[place * candidates + k]
        for prior in range(PRIORS):
            opinions[c, candidates + prior] = priors[place * PRIORS + prior]
    for k in range(candidates):
        if alive[k, i] == 0:
            for c in range(known):
                opinions[c, k] = 0.0


@exact_inlined
def _judge(
    i: int,
    known: int,
    truth: int,
    alive: NDArray[np.uint8],
    members: NDArray[np.uint8],
    opinions: NDArray[np.float64],
    losses: NDArray[np.float64],
    fading: float,
) -> None:
    """Take in every expert's log-loss, if a label is known; the silent are entirely wrong."""
    for k in range(members.shape[1] if known > 0 else 0):
        silent = truth >= known or (k < alive.shape[0] and alive[k, i] == 0)
        loss = -LOG_FLOOR if silent else -opinions[truth, k]
        for half in range(PAIR):
            if members[half, k] != 0:
                fade(losses[half], k, loss, fading)


@exact_inlined
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


@exact_inlined
def _hear(
    i: int,
    labels: int,
    known: int,
    turn: int,
    learns: bool,
    margin: float,
    alive: NDArray[np.uint8],
    members: NDArray[np.uint8],
    weights: NDArray[np.float64],
    losses: NDArray[np.float64],
    chosen: NDArray[np.int64],
    scratch: Scratch,
) -> None:
    """What all say about sample ``i``, and who is the best expert."""
    experts, rows = members.shape[1], scratch.rows
    able = scratch.flags[: PAIR * experts]
    _note_able(members, alive, i, able)
    _listen(i, labels, known, alive, scratch)
    first = least(losses[0], able[:experts], chosen[0, mixers.BEST_ONE], margin)
    second = least(losses[1], able[experts:], chosen[1, mixers.BEST_ONE], margin)
    if learns:
        chosen[0, mixers.BEST_ONE], chosen[1, mixers.BEST_ONE] = first, second
    mixers.mix(weights, scratch.opinions, known, rows[mixers.SCORES + turn])
    mixers.repeat(first, second, scratch.opinions, known, rows[mixers.BEST_SCORES + turn])


@exact_inlined
def _answer(
    known: int,
    turn: int,
    chosen: NDArray[np.int64],
    counts: NDArray[np.float64],
    rows: NDArray[np.float64],
    served: NDArray[np.float64],  # shape=(ensembles, C), written
) -> None:
    """The shares by what each ensemble has chosen."""
    for half in range(served.shape[0]):
        for c in range(known):
            served[half, c] = mixers.share(rows, turn, half, chosen[half, mixers.SERVED], c)
        _balance(served[half], counts, known)


@exact_inlined
def _learn_final(
    known: int,
    truth: int,
    turn: int,
    fading: float,
    margin: float,
    combined: NDArray[np.float64],
    chosen: NDArray[np.int64],
    counts: NDArray[np.float64],
    scratch: Scratch,
) -> None:
    """Choose what is served next, let the final mixers take a step, and count the label."""
    everyone = scratch.flags[-mixers.WIDTH - 1 :]
    if known > 0:
        mixers.judge(known, truth, turn, combined, fading, scratch.rows)
        for half in range(PAIR):
            now = chosen[half, mixers.SERVED]
            chosen[half, mixers.SERVED] = least(combined[half], everyone, now, margin)
    if truth < known:
        mixers.move_final(known, truth, turn, scratch.rows)
    if counts.size > 0:
        counts[truth] += 1.0


@exact_kernel
def pool(
    answers: NDArray[np.floating],  # shape=(candidates, n, C)
    alive: NDArray[np.uint8],  # shape=(candidates, n)
    truth: NDArray[np.int32],  # nobody looks at it who does not learn
    known: NDArray[np.int32],
    learns: bool,
    fading: float,
    margin: float,
    members: NDArray[np.uint8],  # shape=(PAIR, experts)
    weights: NDArray[np.float64],  # shape=(experts, PAIR, MIXERS)
    squares: NDArray[np.float64],  # likewise
    final: NDArray[np.float64],
    final_squares: NDArray[np.float64],
    losses: NDArray[np.float64],
    combined: NDArray[np.float64],
    chosen: NDArray[np.int64],
    transitions: NDArray[np.float64],  # shape=(C + 1, C), or empty, see LabelEnsemble
    frequencies: NDArray[np.float64],  # shape=(C,)
    last: NDArray[np.int64],
    counts: NDArray[np.float64],  # shape=(C,), or empty, see LabelEnsemble
    heard: NDArray[np.floating],  # this and the next four: see Scratch
    priors: NDArray[np.float64],
    opinions: NDArray[np.float64],
    rows: NDArray[np.float64],
    flags: NDArray[np.uint8],
    served: NDArray[np.float64],  # shape=(ensembles, n, C), written
) -> None:
    """Answer n samples in order, each before its truth is learned; see `LabelEnsemble.serve`."""
    # A named tuple would take a while to come in.
    scratch = Scratch(heard, priors, opinions, rows, flags)
    # Counts of labels that don't come any more fade for long; what fills up vectors is anything.
    control = flush_subnormals()
    labels = answers.shape[2]
    counted = transitions, frequencies, last
    mixers.lay_out(members, final, final_squares, rows)
    names, y = 0, -1
    # The final mixers finish a sample while the next one is mixed: neither waits for the other.
    for i in range(known.size + 1):
        turn, before = i % 2, 1 - i % 2
        names_before, y_before = names, y
        names, y = 0, -1
        if i < known.size:
            if i % AT_ONCE == 0:
                stop = min(i + AT_ONCE, known.size)
                take_logarithms(answers, i, stop, heard)
                take_priors(truth, known, i, stop, learns, fading, *counted, labels, priors)
            names, y = min(known[i], labels), truth[i] if learns else -1
        if names > 0:
            heard_of = alive, members, weights, losses, chosen
            _hear(i, labels, names, turn, learns, margin, *heard_of, scratch)
        if names_before > 0:
            mixers.finish(names_before, before, rows)
        if names > 0:
            mixers.soften(rows[mixers.SCORES + turn], names, rows[mixers.SHARES + turn])
            mixers.soften(rows[mixers.BEST_SCORES + turn], names, rows[mixers.BEST_SHARES + turn])
        if names_before > 0:
            mixers.shares_of(rows[mixers.SAID], names_before, rows[mixers.SAID])
            _answer(names_before, before, chosen, counts, rows, served[:, i - 1])
        if y_before >= 0:
            about = fading, margin, combined, chosen, counts
            _learn_final(names_before, y_before, before, *about, scratch)
        if y >= 0:
            _judge(i, names, y, alive, members, opinions, losses, fading)
            if y < names:
                shares, ears = rows[mixers.SHARES + turn], rows[mixers.EARS]
                mixers.move(weights, squares, names, y, opinions, shares, ears)
    if learns:
        mixers.keep(final, final_squares, rows)
    restore_subnormals(control)
