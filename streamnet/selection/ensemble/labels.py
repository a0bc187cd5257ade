"""LabelEnsemble: class probabilities of all candidates, combined by logarithmic opinion pools.

Two ensembles of the same candidates are computed at once, for little more than the time of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from threading import local
from typing import Any, NamedTuple, Self, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import exact_inlined, exact_kernel
from streamnet.networks.simd import EIGHT, FOUR, LANES
from streamnet.networks.simd.subnormals import flush_subnormals, restore_subnormals
from streamnet.samples import constant_column
from streamnet.selection.ensemble import mixers
from streamnet.selection.ensemble.base import (
    PRIORS,
    BaseEnsemble,
    find_best_expert,
    update_faded_loss,
)
from streamnet.selection.ensemble.mixers import (
    CHUNK_SIZE,
    LOG_FLOOR,
    MIXERS,
    PAIR,
    WIDTH,
    compute_log_probabilities,
    compute_prior_log_probabilities,
)

__all__ = (
    "LabelEnsemble",
    "LabelPool",
    "Scratch",
    "get_scratch",
    "run_pool",
    "share_pool",
)


class Scratch(NamedTuple):
    """Working memory for up to C labels; where vectors are stored, there is room for whole ones."""

    heard: NDArray[np.floating]  # of `CHUNK_SIZE` samples, see `compute_log_probabilities`
    priors: NDArray[np.float64]  # likewise, see `compute_prior_log_probabilities`
    opinions: NDArray[np.float64]  # shape=(C, experts): logarithms of shares, 0 of the silent
    rows: NDArray[np.float64]  # shape=(ROWS, at least EIGHT times the labels, and the experts)
    flags: NDArray[np.uint8]  # shape=(PAIR * experts + WIDTH + 1,)


_KEPT = local()


def get_scratch(candidates: int, labels: int, dtype: DTypeLike) -> Scratch:
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
        np.empty(CHUNK_SIZE * labels * candidates + LANES, dtype),
        np.empty(CHUNK_SIZE * labels * PRIORS + FOUR),
        np.empty((labels, experts)),
        np.empty((mixers.ROWS, EIGHT * max(labels, experts, 2 * PAIR))),
        np.ones(PAIR * experts + mixers.WIDTH + 1, np.uint8),
    )


@exact_inlined
def _mark_available(
    members: NDArray[np.uint8], alive: NDArray[np.uint8], i: int, able: NDArray[np.uint8]
) -> None:
    """Which experts each ensemble hears on sample ``i``: candidates only if they have an answer."""
    experts = members.shape[1]
    for k in range(experts):
        answers = k >= alive.shape[0] or alive[k, i] != 0
        for half in range(PAIR):
            able[half * experts + k] = members[half, k] if answers else 0


@exact_inlined
def _gather_log_probabilities(
    i: int, labels: int, known: int, alive: NDArray[np.uint8], scratch: Scratch
) -> None:
    """Put together what each expert says about sample ``i``; 0 for who has no answer."""
    heard, priors, opinions = scratch.heard, scratch.priors, scratch.opinions
    candidates = alive.shape[0]
    for c in range(known):
        place = i % CHUNK_SIZE * labels + c
        for k in range(candidates):
            opinions[c, k] = heard[place * candidates + k]
        for prior in range(PRIORS):
            opinions[c, candidates + prior] = priors[place * PRIORS + prior]
    for k in range(candidates):
        if alive[k, i] == 0:
            for c in range(known):
                opinions[c, k] = 0.0


@exact_inlined
def _update_expert_losses(
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
                update_faded_loss(losses[half], k, loss, fading)


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
def _mix_sample(
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
    _mark_available(members, alive, i, able)
    _gather_log_probabilities(i, labels, known, alive, scratch)
    first = find_best_expert(losses[0], able[:experts], chosen[0, mixers.BEST_ONE], margin)
    second = find_best_expert(losses[1], able[experts:], chosen[1, mixers.BEST_ONE], margin)
    if learns:
        chosen[0, mixers.BEST_ONE], chosen[1, mixers.BEST_ONE] = first, second
    mixers.mix_experts(weights, scratch.opinions, known, rows[mixers.SCORES + turn])
    mixers.copy_best_experts(
        first, second, scratch.opinions, known, rows[mixers.BEST_SCORES + turn]
    )


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
            served[half, c] = mixers.get_probability(
                rows, turn, half, chosen[half, mixers.SERVED], c
            )
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
        mixers.update_mixer_losses(known, truth, turn, combined, fading, scratch.rows)
        for half in range(PAIR):
            now = chosen[half, mixers.SERVED]
            chosen[half, mixers.SERVED] = find_best_expert(combined[half], everyone, now, margin)
    if truth < known:
        mixers.step_final(known, truth, turn, scratch.rows)
    if counts.size > 0:
        counts[truth] += 1.0


@exact_kernel
def run_pool(
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
    mixers.load_lanes(members, final, final_squares, rows)
    names, y = 0, -1
    # The final mixers finish a sample while the next one is mixed: neither waits for the other.
    for i in range(known.size + 1):
        turn, before = i % 2, 1 - i % 2
        names_before, y_before = names, y
        names, y = 0, -1
        if i < known.size:
            if i % CHUNK_SIZE == 0:
                stop = min(i + CHUNK_SIZE, known.size)
                compute_log_probabilities(answers, i, stop, heard)
                compute_prior_log_probabilities(
                    truth, known, i, stop, learns, fading, *counted, labels, priors
                )
            names, y = min(known[i], labels), truth[i] if learns else -1
        if names > 0:
            heard_of = alive, members, weights, losses, chosen
            _mix_sample(i, labels, names, turn, learns, margin, *heard_of, scratch)
        if names_before > 0:
            mixers.mix_final(names_before, before, rows)
        if names > 0:
            mixers.log_softmax(rows[mixers.SCORES + turn], names, rows[mixers.PROBABILITIES + turn])
            mixers.log_softmax(
                rows[mixers.BEST_SCORES + turn], names, rows[mixers.BEST_PROBABILITIES + turn]
            )
        if names_before > 0:
            mixers.softmax(
                rows[mixers.FINAL_PROBABILITIES], names_before, rows[mixers.FINAL_PROBABILITIES]
            )
            _answer(names_before, before, chosen, counts, rows, served[:, i - 1])
        if y_before >= 0:
            about = fading, margin, combined, chosen, counts
            _learn_final(names_before, y_before, before, *about, scratch)
        if y >= 0:
            _update_expert_losses(i, names, y, alive, members, opinions, losses, fading)
            if y < names:
                shares, ears = rows[mixers.PROBABILITIES + turn], rows[mixers.MEMBERSHIP]
                mixers.step_mixers(weights, squares, names, y, opinions, shares, ears)
    if learns:
        mixers.store_lanes(final, final_squares, rows)
    restore_subnormals(control)


@final
class LabelPool:
    """What ensembles of the same candidates know, by ensemble, and what all of them count.

    There is always room for two; one that nobody uses hears no expert.

    Args:
        experts: How many each of them may hear.
        ensembles: How many are in use, one or two.
        follows: Whether one of them hears the expert that looks at the last label.
        balanced: Whether they answer as if all labels were equally frequent.

    >>> LabelPool(3, ensembles=1, follows=True, balanced=False).weights.shape
    (3, 2, 4)
    """

    def __init__(self, experts: int, *, ensembles: int, follows: bool, balanced: bool) -> None:
        self.ensembles = ensembles
        self.members = np.zeros((PAIR, experts), np.uint8)
        self.weights = np.zeros((experts, PAIR, MIXERS))  # those of an expert side by side
        self.squares = np.zeros_like(self.weights)
        self.final = np.zeros((PAIR, WIDTH))
        self.final_squares = np.zeros_like(self.final)
        self.losses = np.zeros((PAIR, 2, experts))
        self.combined = np.zeros((PAIR, 2, WIDTH + 1))
        self.chosen = np.zeros((PAIR, 2), np.int64)
        # By the last label, and a row for none.
        self.transitions = np.zeros((3 if follows else 0, 2))
        self.frequencies = np.zeros(2)
        self.last = np.array([2], np.int64)  # row of the last label
        self.counts = np.zeros(2 if balanced else 0)  # of all labels so far

    def make_room(self, classes: int) -> None:
        """Be able to count so many labels; arrays that have to grow are made anew."""
        room = len(self.frequencies)
        if classes <= room:
            return
        self.frequencies = np.append(self.frequencies, np.zeros(classes - room))
        if len(self.counts):
            self.counts = np.append(self.counts, np.zeros(classes - room))
        old = self.transitions
        self.transitions = np.zeros((classes + 1 if len(old) else 0, classes))
        self.transitions[:room, :room] = old[:room]
        self.transitions[-1:, :room] = old[-1:]
        if self.last[0] == room:
            self.last = np.array([classes], np.int64)  # of this one alone: a copy may be asked

    def serve(
        self,
        answers: NDArray[np.floating],
        alive: NDArray[np.uint8],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
        fading: float,
        margin: float,
        *,
        learns: bool,
    ) -> NDArray[np.float64]:
        """See `LabelEnsemble.serve`; shape=(ensembles, n, C)."""
        candidates, n, width = answers.shape
        self.make_room(width)
        served = np.zeros((self.ensembles, n, width))
        run_pool(
            answers,
            alive,
            truth,
            known,
            learns,
            fading,
            margin,
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
            *get_scratch(candidates, width, answers.dtype),
            served,
        )
        return served


_NOTHING = np.empty(0, np.int32)  # stands for truths that nobody knows


@final
class LabelEnsemble(BaseEnsemble):
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

    _mixers = MIXERS
    _arrays = (*BaseEnsemble._arrays, "transitions", "frequencies", "last")

    def __init__(self, candidates: int, *, balanced: bool = False, **others: Any) -> None:
        self._balanced = balanced
        if balanced:
            self._arrays = (*self._arrays, "counts")
        super().__init__(candidates, **others)

    def _begin(self) -> None:
        self._move(_pool_for([self]), 0)

    def _move(self, pool: LabelPool, place: int) -> None:
        """Have one's arrays in a pool from now on."""
        own = {name: getattr(self, name) for name in BaseEnsemble._arrays}
        self._pool, self._place = pool, place
        self._look()
        for name, array in own.items():
            getattr(self, name)[...] = array

    def _look(self) -> None:
        """Know one's part of the pool's arrays."""
        pool, place = self._pool, self._place
        self.members = pool.members[place]
        self.weights, self.squares = pool.weights[:, place].T, pool.squares[:, place].T
        self.final, self.final_squares = pool.final[place], pool.final_squares[place]
        self.losses, self.combined = pool.losses[place], pool.combined[place]
        self.chosen = pool.chosen[place]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._look()  # copies of parts are no parts of the copy

    @property
    def follows(self) -> bool:
        """Whether the expert is heard that looks at the last label."""
        return bool(self.members[self.candidates])

    @property
    def transitions(self) -> NDArray[np.float64]:
        """Labels by the one before, and a row for none; no row where nobody is to hear of them."""
        return self._pool.transitions if self.follows else self._pool.transitions[:0]

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Labels, faded as they are."""
        return self._pool.frequencies

    @property
    def last(self) -> NDArray[np.int64]:
        """Row of the last label."""
        return self._pool.last

    @property
    def counts(self) -> NDArray[np.float64]:
        """Labels so far, of a balanced one."""
        return self._pool.counts

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
            truth: shape=(n,), class numbers; -1 where there is none. Needed only to learn.
            known: shape=(n,), classes known before each sample.
            learns: Whether weights move and losses are noted.

        Returns:
            shape=(n, C), shares of the known classes; all 0 where none is known.
        """
        settings = self.fading, self.margin
        served = self._pool.serve(answers, alive, truth, known, *settings, learns=learns)
        own: NDArray[np.float64] = served[self._place]
        return own

    def serve_pair(
        self,
        answers: NDArray[np.floating],
        alive: NDArray[np.uint8],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
    ) -> NDArray[np.float64]:
        """What this one serves and the other one that goes with it, see `share_pool`.

        Takes little longer than one alone. Like `serve`, but shape=(2, n, C).
        """
        settings = self.fading, self.margin
        return self._pool.serve(answers, alive, truth, known, *settings, learns=True)

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
        names = constant_column(n, known, np.int32)
        # Room for more labels is made aside.
        asked = self if width <= len(self.frequencies) else self._aside()
        return asked.serve(answers, alive, _NOTHING, names, learns=False)

    def _aside(self) -> Self:
        aside = copy(self)
        aside._pool = copy(self._pool)  # which makes room by new arrays
        return aside

    def adopt(self, other: BaseEnsemble) -> None:
        """As of any ensemble, and how frequent each label is."""
        assert isinstance(other, LabelEnsemble)
        super().adopt(other)
        self._pool.make_room(len(other.frequencies))
        self.frequencies[: len(other.frequencies)] = other.frequencies
        if self._balanced:
            counts = other.counts if other._balanced else other.frequencies
            self.counts[: len(counts)] = counts

    def balance(self) -> None:
        """Be balanced from now on, with what was counted so far, faded, in place of all."""
        if not self._balanced:
            self._balanced = True
            self._arrays = (*self._arrays, "counts")
            self._pool.counts = self.frequencies.copy()

    @classmethod
    def _restored(cls, state: dict[str, Any]) -> Self:
        self = cls(**cls._settings_of(state), balanced="counts" in state)
        classes = np.size(state["frequencies"])
        if not 2 <= classes <= 1 << 16:
            raise ModelFileError(f"ensemble: it counts {classes} classes")
        self._pool.make_room(classes)
        self._take_over(state)
        self.weights *= self.members  # only by them is anybody left out: see `label_mixers.mix`
        if not 0 <= self.last[0] <= classes:
            raise ModelFileError(f"ensemble: last is {self.last.tolist()}")
        return self


def share_pool(first: LabelEnsemble, second: LabelEnsemble) -> None:
    """Let two ensembles of the same candidates learn together; see `LabelEnsemble.serve_pair`.

    Both have counted the same labels, with the same settings, as two do that saw the same samples.
    """
    pool = _pool_for([first, second])
    pool.make_room(len(first.frequencies))
    for name in ("frequencies", "last", "counts"):
        getattr(pool, name)[...] = getattr(first, name)
    for ensemble in (first, second):
        if ensemble.follows:
            pool.transitions[...] = ensemble.transitions
    for place, ensemble in enumerate((first, second)):
        ensemble._move(pool, place)


def _pool_for(ensembles: Sequence[LabelEnsemble]) -> LabelPool:
    return LabelPool(
        ensembles[0].experts,
        ensembles=len(ensembles),
        follows=any(ensemble.follows for ensemble in ensembles),
        balanced=ensembles[0]._balanced,
    )
