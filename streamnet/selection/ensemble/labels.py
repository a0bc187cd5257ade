"""LabelEnsemble: class probabilities of all candidates, combined by logarithmic opinion pools.

Two ensembles of the same candidates are computed together, in little more time than one.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import exact_inlined, exact_kernel
from streamnet.metrics.classification import NONE_PREDICTED
from streamnet.metrics.windows import get_weight
from streamnet.networks.simd.functions import flush_subnormals, restore_subnormals
from streamnet.networks.simd.vectors import EIGHT
from streamnet.samples import NO_WEIGHTS, Timeline, constant_column
from streamnet.selection.ensemble import mixers
from streamnet.selection.ensemble.base import (
    ABSENT,
    MAX_STEP_WEIGHT,
    MOST_PROBABLE,
    PRIORS,
    BaseEnsemble,
    LateLabels,
    TrackPredictions,
    compute_paces,
    update_faded_loss,
)
from streamnet.selection.ensemble.label_counts import move_label_counts
from streamnet.selection.ensemble.mixers import (
    CHUNK_SIZE,
    LOG_FLOOR,
    MIXERS,
    PAIR,
    WIDTH,
    compute_log_probabilities,
    compute_prior_log_probabilities,
)
from streamnet.selection.ensemble.scratch import Scratch, get_scratch

NO_LATE_LABELS = LateLabels(np.empty(0, np.int64), np.empty((0, 0, 0)), np.empty(0))


@exact_inlined
def _mark_available(
    members: NDArray[np.uint8], alive: NDArray[np.uint8], i: int, available: NDArray[np.uint8]
) -> None:
    """Mark the experts of each ensemble that are available at sample ``i``."""
    experts = members.shape[1]
    for k in range(experts):
        present = k >= alive.shape[0] or alive[k, i] == 1
        for half in range(PAIR):
            available[half * experts + k] = members[half, k] if present else 0


@exact_inlined
def _gather_log_probabilities(
    i: int, labels: int, known: int, alive: NDArray[np.uint8], scratch: Scratch
) -> None:
    """Collect the log-probabilities of all experts at sample ``i``; 0 for unavailable ones."""
    outputs, priors, inputs = scratch.log_probabilities, scratch.priors, scratch.inputs
    candidates = alive.shape[0]
    for c in range(known):
        place = i % CHUNK_SIZE * labels + c
        for k in range(candidates):
            inputs[c, k] = outputs[place * candidates + k]
        for prior in range(PRIORS):
            inputs[c, candidates + prior] = priors[place * PRIORS + prior]
    for k in range(candidates):
        if alive[k, i] != 1:
            for c in range(known):
                inputs[c, k] = 0.0


@exact_inlined
def _update_expert_losses(
    i: int,
    known: int,
    truth: int,
    alive: NDArray[np.uint8],
    members: NDArray[np.uint8],
    inputs: NDArray[np.float64],
    losses: NDArray[np.float64],
    fading: float,
    weight: float,
) -> None:
    """Update the log-losses of all experts, if a label is known; unavailable ones are wrong."""
    for k in range(members.shape[1] if known > 0 else 0):
        if k < alive.shape[0] and alive[k, i] == ABSENT:
            continue
        wrong = truth >= known or (k < alive.shape[0] and alive[k, i] == 0)
        loss = -LOG_FLOOR if wrong else -inputs[truth, k]
        for half in range(PAIR):
            if members[half, k] != 0:
                update_faded_loss(losses[half], k, loss, fading, weight)


@exact_inlined
def _find_balanced_class(
    probabilities: NDArray[np.float64], counts: NDArray[np.float64], known: int
) -> int:
    """The class that would be the most probable one if all were equally frequent."""
    best, highest = 0, -1.0
    for c in range(known):
        # Plus one, since a label that was known from the start may have no samples yet.
        odds = probabilities[c] / (counts[c] + 1.0)
        if odds > highest:
            best, highest = c, odds
    return best


@exact_inlined
def _mix_sample(
    i: int,
    labels: int,
    known: int,
    turn: int,
    pace: float,
    alive: NDArray[np.uint8],
    members: NDArray[np.uint8],
    weights: NDArray[np.float64],
    losses: NDArray[np.float64],
    scratch: Scratch,
) -> None:
    """Compute the scores of all mixers and averages at sample ``i``."""
    experts, rows = members.shape[1], scratch.rows
    available = scratch.flags[: PAIR * experts]
    _mark_available(members, alive, i, available)
    _gather_log_probabilities(i, labels, known, alive, scratch)
    mixers.mix_experts(weights, scratch.inputs, known, rows[mixers.SCORES + turn])
    for half in range(PAIR):
        own, shares = available[half * experts : (half + 1) * experts], rows[mixers.SHARES + half]
        mixers.weigh_experts(losses[half], own, pace, shares)
    shares = rows[mixers.SHARES], rows[mixers.SHARES + 1]
    mixers.average_experts(*shares, scratch.inputs, known, rows[mixers.AVERAGE_SCORES + turn])


@exact_inlined
def _write_served(
    known: int,
    turn: int,
    pace: float,
    combined: NDArray[np.float64],
    counts: NDArray[np.float64],
    rows: NDArray[np.float64],
    i: int,
    served: NDArray[np.float64],  # shape=(ensembles, n, C), written
    classes: NDArray[np.int32],  # shape=(ensembles, n), written if labels are counted
) -> None:
    """Write the probabilities that each ensemble serves, and its class."""
    mixers.weigh_outputs(combined, pace, rows[mixers.OUTPUT_SHARES])
    mixers.average_outputs(known, turn, rows)
    for half in range(served.shape[0]):
        for c in range(known):
            served[half, i, c] = rows[mixers.SERVED, EIGHT * c + MIXERS * half]
        if counts.size > 0:
            classes[half, i] = _find_balanced_class(served[half, i], counts, known)


@exact_inlined
def _learn_final(
    known: int,
    truth: int,
    turn: int,
    fading: float,
    weight: float,
    pace: float,
    combined: NDArray[np.float64],
    counts: NDArray[np.float64],
    scratch: Scratch,
    i: int,
    origins: NDArray[np.int64],
    memory: NDArray[np.float64],
) -> None:
    """Update the losses of outputs and the final mixers, and count the label."""
    origin = origins[i] if origins.size > 0 else -1
    if known > 0:
        mixers.update_mixer_losses(
            known, truth, turn, combined, fading, scratch.rows, origin, memory, weight
        )
    if truth < known:
        mixers.step_final(known, truth, turn, scratch.rows, min(weight, MAX_STEP_WEIGHT), pace)
    if counts.size > 0:
        counts[truth] += weight


@exact_kernel
def run_pool(
    answers: NDArray[np.floating],  # shape=(candidates, n, C)
    alive: NDArray[np.uint8],  # shape=(candidates, n)
    truth: NDArray[np.int32],  # not used unless learning
    known: NDArray[np.int32],
    served: NDArray[np.float64],  # shape=(ensembles, n, C), written
    classes: NDArray[np.int32],  # shape=(ensembles, n), written if labels are counted
    learns: bool,
    fading: float,
    members: NDArray[np.uint8],  # shape=(PAIR, experts)
    weights: NDArray[np.float64],  # shape=(experts, PAIR, MIXERS)
    squares: NDArray[np.float64],  # likewise
    final: NDArray[np.float64],
    final_squares: NDArray[np.float64],
    losses: NDArray[np.float64],
    combined: NDArray[np.float64],
    transitions: NDArray[np.float64],  # shape=(C + 1, C), or empty, see LabelEnsemble
    frequencies: NDArray[np.float64],  # shape=(C,)
    last: NDArray[np.int64],
    counts: NDArray[np.float64],  # shape=(C,), or empty, see LabelEnsemble
    pace: NDArray[np.float64],  # shape=(1,), factor of step sizes at the last label
    log_probabilities: NDArray[np.floating],  # this and the next four: see Scratch
    priors: NDArray[np.float64],
    inputs: NDArray[np.float64],
    rows: NDArray[np.float64],
    flags: NDArray[np.uint8],
    # Where labels arrive late: row of what is kept of a label's sample, -1 for samples, shape=(n,);
    # what is kept, shape=(n, C, MEMORY), written for samples; factors of step sizes, shape=(n,).
    # Else all three are empty.
    origin: NDArray[np.int64],
    memory: NDArray[np.float64],
    paces: NDArray[np.float64],
    importance: NDArray[np.float64],  # weight of each sample, shape=(n,); empty: all are 1
) -> None:
    """Predict n samples in order, each before its truth is learned; see `LabelEnsemble.serve`."""
    # Passing a named tuple from Python would be slow.
    scratch = Scratch(log_probabilities, priors, inputs, rows, flags)
    # Faded counts and the padding of vectors may be subnormal.
    control = flush_subnormals()
    labels = answers.shape[2]
    counted = transitions, frequencies, last
    mixers.load_lanes(members, final, final_squares, rows)
    names, y, weight, mixed_pace = 0, -1, 1.0, 1.0
    # The final mixers finish a sample while the next one is mixed, to overlap their latencies.
    for i in range(known.size + 1):
        turn, before = i % 2, 1 - i % 2
        names_before, y_before, weight_before, pace_before = names, y, weight, mixed_pace
        names, y = 0, -1
        if i < known.size:
            if i % CHUNK_SIZE == 0:
                stop = min(i + CHUNK_SIZE, known.size)
                compute_log_probabilities(answers, i, stop, log_probabilities)
                compute_prior_log_probabilities(
                    truth,
                    known,
                    i,
                    stop,
                    learns,
                    fading,
                    *counted,
                    labels,
                    priors,
                    origin,
                    memory,
                    importance,
                )
            weight = get_weight(importance, i)
            names, y = min(known[i], labels), truth[i] if learns else -1
        if names > 0:
            arrays = alive, members, weights, losses
            mixed_pace = pace[0]
            _mix_sample(i, labels, names, turn, mixed_pace, *arrays, scratch)
        if names_before > 0:
            mixers.mix_final(names_before, before, rows)
        if names > 0:
            mixers.log_softmax(rows[mixers.SCORES + turn], names, rows[mixers.PROBABILITIES + turn])
            mixers.log_softmax(
                rows[mixers.AVERAGE_SCORES + turn], names, rows[mixers.AVERAGE_PROBABILITIES + turn]
            )
        if names_before > 0:
            mixers.softmax(
                rows[mixers.FINAL_PROBABILITIES], names_before, rows[mixers.FINAL_PROBABILITIES]
            )
            weighed = pace_before, combined, counts
            _write_served(names_before, before, *weighed, rows, i - 1, served, classes)
            mixers.remember_final(i - 1, origin, names_before, rows, memory)
        if y_before >= 0:
            about = fading, weight_before, pace[0], combined, counts
            _learn_final(names_before, y_before, before, *about, scratch, i - 1, origin, memory)
        if y >= 0:
            pace[0] = paces[i] if paces.size > 0 else 1.0
            _update_expert_losses(i, names, y, alive, members, inputs, losses, fading, weight)
            if y < names:
                part = mixers.weigh_members(min(weight, MAX_STEP_WEIGHT), rows)
                computed = rows[mixers.PROBABILITIES + turn], rows[part]
                mixers.step_mixers(weights, squares, names, y, inputs, *computed, pace[0])
        mixers.remember_scores(i, origin, names, turn, rows, memory)
    if learns:
        mixers.store_lanes(final, final_squares, rows)
    restore_subnormals(control)


@final
class LabelPool:
    """Arrays of one or two ensembles of the same candidates, and the label counts they share.

    There is always space for two; an unused one has no members. Attributes are arguments of
    `run_pool`, in their order. ``follows``: whether the prior of the last label is a member.
    """

    def __init__(self, first: LabelEnsemble, *, follows: bool) -> None:
        experts = first.experts
        self.fading: float = first.fading
        self.members: NDArray[np.uint8] = np.zeros((PAIR, experts), np.uint8)
        # Those of an expert are adjacent.
        self.weights: NDArray[np.float64] = np.zeros((experts, PAIR, MIXERS))
        self.squares: NDArray[np.float64] = np.zeros_like(self.weights)
        self.final: NDArray[np.float64] = np.zeros((PAIR, WIDTH))
        self.final_squares: NDArray[np.float64] = np.zeros_like(self.final)
        self.losses: NDArray[np.float64] = np.zeros((PAIR, 2, experts))
        self.combined: NDArray[np.float64] = np.zeros((PAIR, 2, WIDTH + 1))
        self.transitions: NDArray[np.float64] = np.zeros((3 if follows else 0, 2))
        self.frequencies: NDArray[np.float64] = np.zeros(2)
        self.last: NDArray[np.int64] = np.array([2], np.int64)
        self.counts: NDArray[np.float64] = np.zeros(2 if first.balanced else 0)
        self.pace: NDArray[np.float64] = np.ones(1)

    def make_room(self, classes: int) -> None:
        """Ensure capacity for so many labels; arrays that grow are replaced."""
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
            self.last = np.array([classes], np.int64)  # a new array, since copies share the old one

    def copy(self) -> LabelPool:
        """A copy with arrays of its own."""
        copied = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(copied, name, value.copy())
        return copied

    def move_class(self, number: int, into: int) -> None:
        """Count earlier labels of a class as those of another, or no more at -1."""
        self.make_room(max(number, into) + 1)
        counted = self.transitions, self.frequencies, self.last, self.counts
        move_label_counts(number, into, *counted)

    def serve(
        self,
        ensembles: int,
        answers: NDArray[np.floating],
        alive: NDArray[np.uint8],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
        *,
        learns: bool,
        late: LateLabels | None = None,
        weight: NDArray[np.float64] | None = None,
    ) -> TrackPredictions:
        """Return what the first ``ensembles`` serve."""
        candidates, n, width = answers.shape
        self.make_room(width)
        served = np.zeros((ensembles, n, width))
        classes = NONE_PREDICTED
        if len(self.counts):
            classes = np.full((ensembles, n), MOST_PROBABLE, np.int32)
        scratch = get_scratch(candidates, width, answers.dtype)
        weights = NO_WEIGHTS if weight is None else weight
        arrays: Any = (*vars(self).values(), *scratch, *(late or NO_LATE_LABELS), weights)
        run_pool(answers, alive, truth, known, served, classes, learns, *arrays)
        return TrackPredictions(served, classes)


_NOTHING = np.empty(0, np.int32)  # unknown truths


@final
class LabelEnsemble(BaseEnsemble):
    """Combines class probabilities of candidates by logarithmic opinion pools learned online.

    Each mixer multiplies the experts' probabilities, each to the power of its weight, and learns
    the weights by gradient descent on its own log-loss. Log-loss also weighs the outputs in the
    served average: if probabilities are poorly calibrated, accuracy may be lower.

    A balanced ensemble predicts the label that would be the most probable one if all were equally
    frequent (Saerens, Latinne and Decaestecker 2002): with the largest ratio of its probability to
    its frequency, which maximizes balanced accuracy if probabilities are calibrated. These are
    served as they are, and learning is not affected.

    Logarithms of float32 probabilities are computed in float32, everything else in float64.

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
        self.balanced: bool = balanced
        if balanced:
            self._arrays = (*self._arrays, "counts")
        super().__init__(candidates, **others)

    def _create_arrays(self) -> None:
        self._move(LabelPool(self, follows=self.follows), 0)

    def _move(self, pool: LabelPool, place: int) -> None:
        """Move the arrays into a pool."""
        own = {name: getattr(self, name) for name in BaseEnsemble._arrays}
        self._pool, self._place = pool, place
        self._bind_views()
        for name, array in own.items():
            getattr(self, name)[...] = array

    def _bind_views(self) -> None:
        """Bind the arrays of this ensemble as views of the pool."""
        for name in BaseEnsemble._arrays:
            array = getattr(self._pool, name)
            by_expert = name in ("weights", "squares")
            setattr(self, name, array[:, self._place].T if by_expert else array[self._place])
        self.pace: NDArray[np.float64] = self._pool.pace

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind_views()  # copied views are not views of the copied pool

    @property
    def follows(self) -> bool:
        """Whether the prior of the last label is a member."""
        return bool(self.members[self.candidates])

    @property
    def transitions(self) -> NDArray[np.float64]:
        """Faded label counts by the last label, with a row for none; no rows unless `follows`."""
        return self._pool.transitions if self.follows else self._pool.transitions[:0]

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """Faded label counts."""
        return self._pool.frequencies

    @property
    def last(self) -> NDArray[np.int64]:
        """Row of the last label."""
        return self._pool.last

    @property
    def counts(self) -> NDArray[np.float64]:
        """Label counts so far, of a balanced ensemble."""
        return self._pool.counts

    def serve(
        self,
        answers: NDArray[np.floating],
        alive: NDArray[np.uint8],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
        weight: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Predict n samples in order, each before its truth is learned.

        Args:
            answers: shape=(candidates, n, C), probabilities; the first ``known[i]`` of sample i.
            alive: shape=(candidates, n), 0 where a candidate has no finite prediction.
            truth: shape=(n,), class numbers, -1 if missing.
            known: shape=(n,), number of classes known before each sample.
            weight: shape=(n,), of each sample; None: all are 1.

        Returns:
            shape=(n, C), 0 for unknown classes.
        """
        samples = answers, alive, truth, known
        served = self._pool.serve(self._place + 1, *samples, learns=True, weight=weight)
        own: NDArray[np.float64] = served.answers[-1]
        return own

    def move_class(self, number: int, into: int) -> None:
        """Count earlier labels of a class as those of another, or no more at -1.

        Likewise for the ensemble that shares the pool.
        """
        self._pool.move_class(number, into)

    def serve_pair(
        self,
        answers: NDArray[np.floating],
        alive: NDArray[np.uint8],
        truth: NDArray[np.int32],
        known: NDArray[np.int32],
        late: LateLabels | None = None,
        weight: NDArray[np.float64] | None = None,
    ) -> TrackPredictions:
        """Serve this ensemble and the one that shares its pool, see `share_pool`.

        Takes little longer than one alone. Like `serve`, but returns predictions of two tracks;
        ``late`` is what `prepare_late` returned.
        """
        samples = answers, alive, truth, known
        return self._pool.serve(PAIR, *samples, learns=True, late=late, weight=weight)

    @staticmethod
    def prepare_late(timeline: Timeline, labels: int) -> LateLabels:
        """Make room for what is kept of samples with so many labels."""
        memory = np.zeros((len(timeline.late), labels, mixers.MEMORY))
        return LateLabels(timeline.origin, memory, compute_paces(timeline))

    def answer(
        self, answers: NDArray[np.floating], alive: NDArray[np.uint8], known: int
    ) -> NDArray[np.float64]:
        """Predict n candidates for the next sample as `serve` does, without learning.

        Safe to call from several threads, unless one of them learns.
        """
        _, n, width = answers.shape
        pool = self._pool
        if width > len(pool.frequencies):
            pool = copy(pool)  # to get capacity for more labels: arrays that grow are replaced
        names = constant_column(n, known, np.int32)
        served = pool.serve(self._place + 1, answers, alive, _NOTHING, names, learns=False)
        own: NDArray[np.float64] = served.answers[-1]
        return own

    def decide(self, probabilities: NDArray[np.floating]) -> NDArray[np.intp]:
        """The class numbers to predict for the next sample by these probabilities (n, C)."""
        odds: NDArray[Any] = probabilities
        if self.balanced:
            counts = np.zeros(probabilities.shape[1])
            common = min(len(counts), len(self.counts))
            counts[:common] = self.counts[:common]
            odds = probabilities / (counts + 1.0)
        best: NDArray[np.intp] = odds.argmax(axis=1)
        return best

    def freeze(self) -> Self:
        """A copy that predicts as this one does now, in a pool of its own."""
        frozen = copy(self)
        frozen._pool = self._pool.copy()
        frozen._bind_views()
        return frozen

    def adopt(self, other: BaseEnsemble) -> None:
        """Start from the weights and label frequencies of another ensemble."""
        assert isinstance(other, LabelEnsemble)
        super().adopt(other)
        self._pool.make_room(len(other.frequencies))
        self.frequencies[: len(other.frequencies)] = other.frequencies
        if self.balanced:
            counts = other.counts if other.balanced else other.frequencies
            self.counts[: len(counts)] = counts

    def balance(self) -> None:
        """Balance decisions from now on, with the faded counts so far as label counts."""
        if not self.balanced:
            self.balanced = True
            self._arrays = (*self._arrays, "counts")
            self._pool.counts = self.frequencies.copy()

    @classmethod
    def _read_settings(cls, state: dict[str, Any]) -> dict[str, Any]:
        return super()._read_settings(state) | {"balanced": "counts" in state}

    def _restore(self, state: dict[str, Any]) -> None:
        classes = np.size(state["frequencies"])
        if not 2 <= classes <= 1 << 16:
            raise ModelFileError(f"ensemble: the number of classes is {classes}")
        self._pool.make_room(classes)
        super()._restore(state)
        self.weights[:] *= self.members  # excluded experts have weight 0: see `mixers.mix_experts`
        if not 0 <= self.last[0] <= classes:
            raise ModelFileError(f"ensemble: last is {self.last.tolist()}")


def share_pool(first: LabelEnsemble, second: LabelEnsemble) -> None:
    """Let two ensembles of the same candidates learn together; see `LabelEnsemble.serve_pair`.

    Both must have the same settings and have seen the same samples.
    """
    pool = LabelPool(first, follows=first.follows or second.follows)
    pool.make_room(len(first.frequencies))
    for name in ("frequencies", "last", "counts", "pace"):
        getattr(pool, name)[...] = getattr(first, name)
    for ensemble in (first, second):
        if ensemble.follows:
            pool.transitions[...] = ensemble.transitions
    for place, ensemble in enumerate((first, second)):
        ensemble._move(pool, place)
