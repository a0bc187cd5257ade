"""NumberEnsemble: numeric predictions of all candidates, combined by linear mixers."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.jit import exact_inlined, exact_kernel, flush_subnormal
from streamnet.metrics.windows import get_weight
from streamnet.samples import NO_WEIGHTS, Timeline
from streamnet.selection.ensemble.base import (
    ABSENT,
    COUNT,
    EXPERT_RATE,
    FINAL_LEARNING_RATE,
    MAX_STEP_WEIGHT,
    OUTPUT_RATE,
    TOTAL,
    BaseEnsemble,
    LateLabels,
    compute_paces,
    divide_by_sum,
    find_lowest,
    update_faded_loss,
    weigh_by_loss,
    write_mean_losses,
)

MAX_DEVIATIONS = 10.0  # standard deviations from the mean, to which numbers are clipped
MAX_LOSS = 1e3  # standard deviations, to which losses are clipped
MIN_LOSS = 1e-12  # standard deviations, faded total
MAX_FACTOR = 1e9  # by which losses grow where the standard deviation falls
HUBER_DELTA = 0.1  # standard deviations; larger errors do not increase the step
DAMPING = 1e-3  # of AdaGrad, so that first steps are short
NLMS_REGULARIZER = 1e-2  # added to the squared norm of the inputs
NORMALIZED, ADAGRAD, HEDGE, INVERSE_LOSS = range(4)
KINDS = np.array([NORMALIZED, ADAGRAD, ADAGRAD, HEDGE, INVERSE_LOSS])
LEARNING_RATES = np.array([0.05, 0.01, 0.03, 0.3, 0.0])
MEMORY = 2 + len(LEARNING_RATES) + 2  # what is kept of a sample: the last target, and all outputs
NO_LATE_LABELS = LateLabels(np.empty(0, np.int64), np.empty((0, 0)), np.empty(0))


@exact_inlined
def _weigh_by_inverse_loss(
    means: NDArray[np.float64], lowest: float, weights: NDArray[np.float64]
) -> None:
    """Weights in proportion to the faded mean loss to the power -8 (Stock and Watson 2004).

    Nothing is learned by steps, which late labels make unstable, and all good experts have a say,
    so that independent errors cancel.
    """
    for k in range(weights.size):
        square = 0.0
        if means[k] < np.inf:
            square = (lowest / means[k]) ** 2 if means[k] > 0.0 else 1.0
        weights[k] = (square * square) * (square * square)
    divide_by_sum(weights, weights.size)


@exact_inlined
def _dot(weights: NDArray[np.float64], predictions: NDArray[np.float64]) -> float:
    total = 0.0
    for k in range(weights.size):
        total += weights[k] * predictions[k]
    return total


@exact_inlined
def _clip(z: float) -> float:
    return min(max(z, -MAX_DEVIATIONS), MAX_DEVIATIONS)


@exact_inlined
def _step_mixer(
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    predictions: NDArray[np.float64],
    error: float,
    rate: float,
    kind: int,
    weight: float,
) -> None:
    """Update a mixer by its error, whose influence is bounded, on a sample of some weight."""
    if kind in (HEDGE, INVERSE_LOSS):
        return
    weight = min(weight, MAX_STEP_WEIGHT)
    if kind == ADAGRAD:
        slope = weight * min(max(error / HUBER_DELTA, -1.0), 1.0)
        for k in range(weights.size):
            g = slope * predictions[k]
            squares[k] += g * g
            weights[k] -= rate * g / math.sqrt(squares[k] + DAMPING)
        return
    if weight != 1.0:  # the step that several of size `rate` on the same sample add up to
        rate = 1.0 - (1.0 - rate) ** weight
    length = NLMS_REGULARIZER
    for k in range(weights.size):
        length += predictions[k] * predictions[k]
    for k in range(weights.size):
        weights[k] -= rate * min(max(error, -1.0), 1.0) * predictions[k] / length


@exact_inlined
def _mix(
    predictions: NDArray[np.float64],
    available: NDArray[np.uint8],
    losses: NDArray[np.float64],
    weights: NDArray[np.float64],
    final: NDArray[np.float64],
    pace: float,
    means: NDArray[np.float64],  # this and the next: shape=(experts,), scratch
    shares: NDArray[np.float64],
    mixed: NDArray[np.float64],  # shape=(mixers + 2,), written
) -> None:
    """Compute the outputs of each mixer, the average of the experts, and the final mixer."""
    mixers = weights.shape[0]
    lowest = write_mean_losses(losses, available, means)
    for m in range(mixers):
        if KINDS[m] == HEDGE:
            weigh_by_loss(losses, means, lowest, pace * LEARNING_RATES[m], weights[m])
        elif KINDS[m] == INVERSE_LOSS:
            _weigh_by_inverse_loss(means, lowest, weights[m])
        mixed[m] = _clip(_dot(weights[m], predictions))
    weigh_by_loss(losses, means, lowest, pace * EXPERT_RATE, shares)
    mixed[mixers] = _dot(shares, predictions)
    mixed[mixers + 1] = _clip(_dot(final, mixed[: mixers + 1]))


@exact_inlined
def _average_outputs(
    combined: NDArray[np.float64], mixed: NDArray[np.float64], pace: float
) -> float:
    """Average all outputs by weights that fall exponentially with the faded loss.

    Losses are measured in units of the lowest mean one: how large errors are does not matter.
    """
    lowest = find_lowest(combined[TOTAL])
    total, weights = 0.0, 0.0
    for m in range(combined.shape[1]):
        above = 0.0
        if combined[TOTAL, m] > lowest:
            above = (combined[TOTAL, m] - lowest) / max(lowest, MIN_LOSS) * combined[COUNT, m]
        weight = math.exp(-OUTPUT_RATE * pace * above)
        total += weight * mixed[m]
        weights += weight
    return total / weights


@exact_inlined
def _rescale_losses(losses: NDArray[np.float64], factor: float) -> None:
    """Multiply faded losses, which stay bounded."""
    for k in range(losses.shape[1]):
        total = min(losses[TOTAL, k] * factor, MAX_LOSS * losses[COUNT, k])
        losses[TOTAL, k] = flush_subnormal(total)


@exact_inlined
def _change_unit(
    losses: NDArray[np.float64],
    combined: NDArray[np.float64],
    unit: NDArray[np.float64],
    spread: float,
) -> None:
    """Convert faded losses to the present standard deviation of the targets.

    Otherwise losses of the first samples, whose deviation may be far smaller, would outweigh those
    of thousands of later ones.
    """
    if unit[0] > 0.0 and unit[0] != spread:
        factor = min(unit[0] / spread, MAX_FACTOR)
        _rescale_losses(losses, factor)
        _rescale_losses(combined, factor)
    unit[0] = spread


@exact_inlined
def _find_last(
    i: int, origin: NDArray[np.int64], memory: NDArray[np.float64], last: NDArray[np.float64]
) -> tuple[int, float, float]:
    """Row that is recalled, -1 for none; the last target before the sample, and 1 if there was."""
    if origin.size == 0 or origin[i] < 0:
        return -1, last[0], last[1]
    source = origin[i]
    return source, memory[source, 0], memory[source, 1]


@exact_inlined
def _remember(
    i: int,
    origin: NDArray[np.int64],
    last: float,
    known: float,
    mixed: NDArray[np.float64],
    memory: NDArray[np.float64],
) -> None:
    """Note what is needed of a sample once its label arrives."""
    if origin.size == 0 or origin[i] >= 0:
        return
    memory[i, 0], memory[i, 1] = last, known
    for m in range(mixed.size):
        memory[i, 2 + m] = mixed[m]


@exact_inlined
def _recall_mixed(
    source: int, final: NDArray[np.float64], mixed: NDArray[np.float64], memory: NDArray[np.float64]
) -> None:
    """Recall what the mixers had said, from which the final mixer learns."""
    if source < 0:
        return
    for m in range(final.size):
        mixed[m] = memory[source, 2 + m]
    mixed[final.size] = _clip(_dot(final, mixed[: final.size]))


@exact_kernel
def _serve(
    answers: NDArray[np.float64],  # shape=(candidates, n)
    alive: NDArray[np.uint8],  # shape=(candidates, n)
    truth: NDArray[np.float64],  # not used unless learning
    center: NDArray[np.float64],
    spread: NDArray[np.float64],
    learns: bool,
    fading: float,
    members: NDArray[np.uint8],
    weights: NDArray[np.float64],
    squares: NDArray[np.float64],
    final: NDArray[np.float64],
    final_squares: NDArray[np.float64],
    losses: NDArray[np.float64],
    combined: NDArray[np.float64],
    last: NDArray[np.float64],
    unit: NDArray[np.float64],  # shape=(1,), standard deviation in which losses are measured
    pace: NDArray[np.float64],  # shape=(1,), factor of step sizes at the last label
    scratch: NDArray[np.float64],  # shape=(3 * experts + mixers + 2,)
    available: NDArray[np.uint8],  # shape=(experts,), scratch
    served: NDArray[np.float64],  # shape=(n,), written
    # Where labels arrive late: row of what is kept of a label's sample, -1 for samples, shape=(n,);
    # what is kept, shape=(n, MEMORY), written for samples; factors of step sizes, shape=(n,). Else
    # all three are empty.
    origin: NDArray[np.int64],
    memory: NDArray[np.float64],
    paces: NDArray[np.float64],
    importance: NDArray[np.float64],  # weight of each sample, shape=(n,); empty: all are 1
) -> None:
    candidates, n = answers.shape
    mixers = weights.shape[0]
    experts = members.size
    predictions, means = scratch[:experts], scratch[experts : 2 * experts]
    shares, mixed = scratch[2 * experts : 3 * experts], scratch[3 * experts :]
    for k in range(experts):
        available[k] = members[k]
    for i in range(n):
        for k in range(candidates):
            available[k] = members[k] if alive[k, i] == 1 else 0
            z = (answers[k, i] - center[i]) / spread[i]
            predictions[k] = _clip(z) if available[k] != 0 else 0.0
        source, before, known = _find_last(i, origin, memory, last)
        # The last target, and the mean of all.
        z = (before - center[i]) / spread[i] if known > 0.0 else 0.0
        predictions[candidates] = _clip(z) * available[candidates]
        predictions[candidates + 1] = 0.0
        _mix(predictions, available, losses, weights, final, pace[0], means, shares, mixed)
        served[i] = center[i] + spread[i] * _average_outputs(combined, mixed, pace[0])
        _remember(i, origin, before, known, mixed, memory)
        if not learns or not math.isfinite(truth[i]):
            continue
        weight = get_weight(importance, i)
        _change_unit(losses, combined, unit, spread[i])
        y = (truth[i] - center[i]) / spread[i]
        for k in range(members.size):
            if members[k] != 0 and (k >= candidates or alive[k, i] != ABSENT):
                loss = abs(predictions[k] - y) if available[k] != 0 else MAX_DEVIATIONS
                update_faded_loss(losses, k, min(loss, MAX_LOSS), fading, weight)
        for m in range(mixers + 2):
            said = mixed[m] if source < 0 else memory[source, 2 + m]
            update_faded_loss(combined, m, min(abs(said - y), MAX_LOSS), fading, weight)
        pace[0] = paces[i] if paces.size > 0 else 1.0
        for m in range(mixers):
            rule = pace[0] * LEARNING_RATES[m], KINDS[m], weight
            _step_mixer(weights[m], squares[m], predictions, mixed[m] - y, *rule)
        _recall_mixed(source, final, mixed, memory)
        error = mixed[mixers + 1] - y
        final_rule = pace[0] * FINAL_LEARNING_RATE, ADAGRAD, weight
        _step_mixer(final, final_squares, mixed[: mixers + 1], error, *final_rule)
        last[0] = truth[i]
        last[1] = 1.0


@final
class NumberEnsemble(BaseEnsemble):
    """Combines candidates' numbers by linear mixers learned online, in standard units.

    The mixers learn by normalized least mean squares (Nagumo and Noda 1967), by AdaGrad on Huber's
    loss, by Hedge (Freund and Schapire 1997), and by inverse faded losses (Stock and Watson 2004).
    The absolute error weighs the outputs in the served average. The only constant expert is the
    mean of all targets, so an offset shared by all candidates is not corrected.

    >>> ensemble = NumberEnsemble(2)
    >>> truth = np.sin(np.arange(500.0))
    >>> answers = np.stack([truth + 0.5, truth - 0.5])
    >>> units = np.zeros(500), np.ones(500)
    >>> served = ensemble.serve(answers, np.ones((2, 500), np.uint8), truth, *units)
    >>> bool(np.abs(served - truth)[-100:].mean() < 0.1)
    True
    """

    _mixers = len(LEARNING_RATES)
    _arrays = (*BaseEnsemble._arrays, "last", "unit")

    def _create_arrays(self) -> None:
        self.last: NDArray[np.float64] = np.zeros(2)  # the last target, and 1 once there was one
        self.unit: NDArray[np.float64] = np.zeros(1)  # of losses, a standard deviation

    def adopt(self, other: BaseEnsemble) -> None:
        """Start from the weights of another ensemble of the same candidates."""
        super().adopt(other)
        assert isinstance(other, NumberEnsemble)
        self.unit[:] = other.unit

    def freeze(self) -> Self:
        """A copy that predicts as this one does now, while this one learns."""
        return deepcopy(self)

    def serve(
        self,
        answers: NDArray[np.float64],
        alive: NDArray[np.uint8],
        truth: NDArray[np.float64],
        center: NDArray[np.float64],
        spread: NDArray[np.float64],
        late: LateLabels | None = None,
        weight: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float64]:
        """Predict n samples in order, each before its truth is learned; shape=(n,).

        Args:
            answers: shape=(candidates, n).
            alive: shape=(candidates, n), 0 where a candidate has no finite prediction.
            truth: shape=(n,), NaN if missing.
            center: shape=(n,), mean of the targets before each sample.
            spread: shape=(n,), their standard deviation, > 0.
            late: What `prepare_late` returned, where labels arrive late.
            weight: shape=(n,), of each sample; None: all are 1.
        """
        samples = answers, alive, truth, center, spread
        return self._serve(*samples, late, weight, weights=self.weights, learns=True)

    def answer(
        self, answers: NDArray[np.float64], alive: NDArray[np.uint8], scale: tuple[float, float]
    ) -> NDArray[np.float64]:
        """Predict n candidates for the next sample as `serve` does, without learning.

        ``scale`` are the center and spread of the targets so far. Safe to call from several
        threads, unless one of them learns.
        """
        units = np.empty((2, answers.shape[1]))
        units[0], units[1] = scale
        center, spread = units
        weights = self.weights.copy()  # Hedge computes its own at predictions
        samples = answers, alive, center, center, spread
        return self._serve(*samples, weights=weights, learns=False)

    def _serve(
        self,
        answers: NDArray[np.float64],
        alive: NDArray[np.uint8],
        truth: NDArray[np.float64],
        center: NDArray[np.float64],
        spread: NDArray[np.float64],
        late: LateLabels | None = None,
        weight: NDArray[np.float64] | None = None,
        *,
        weights: NDArray[np.float64],
        learns: bool,
    ) -> NDArray[np.float64]:
        """Run the kernel; samples are the arguments of `serve`."""
        served = np.empty(answers.shape[1])
        size = 3 * self.experts + len(LEARNING_RATES) + 2
        state = (
            self.fading,
            self.members,
            weights,
            self.squares,
            self.final,
            self.final_squares,
            self.losses,
            self.combined,
            self.last,
            self.unit,
            self.pace,
        )
        scratch = np.empty(size), np.empty(self.experts, np.uint8)
        samples = answers, alive, truth, center, spread
        kept = *(late or NO_LATE_LABELS), NO_WEIGHTS if weight is None else weight
        arrays: Any = (*samples, learns, *state, *scratch, served, *kept)
        _serve(*arrays)
        return served

    @staticmethod
    def prepare_late(timeline: Timeline, labels: int = 0) -> LateLabels:  # noqa: ARG004
        """Make room for what is kept of samples."""
        memory = np.zeros((len(timeline.late), MEMORY))
        return LateLabels(timeline.origin, memory, compute_paces(timeline))

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        if self.last[1] not in (0.0, 1.0):
            raise ModelFileError(f"ensemble: last is {self.last.tolist()}")
