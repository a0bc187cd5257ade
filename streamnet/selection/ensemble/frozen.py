"""Ensembles as formulas: how they combine the outputs of candidates while nothing is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from streamnet.selection.ensemble.base import EXPERT_RATE, OUTPUT_RATE, PRIORS, TOTAL, BaseEnsemble
from streamnet.selection.ensemble.labels import LabelEnsemble
from streamnet.selection.ensemble.mixers import FLOOR
from streamnet.selection.ensemble.numbers import (
    ADAGRAD,
    HEDGE,
    KINDS,
    LEARNING_RATES,
    MAX_DEVIATIONS,
    MIN_LOSS,
    NORMALIZED,
    NumberEnsemble,
)


@final
@dataclass(frozen=True)
class FrozenEnsemble:
    """What both ensembles have in common; experts are the candidates that count, and the priors.

    The average of the experts has weights in proportion to ``exp(-rate * count * (mean - lowest))``
    of all that are available, where the lowest mean loss is among these; likewise Hedge.
    """

    candidates: tuple[int, ...]  # numbers of those that count
    mean_losses: NDArray[np.float64]  # shape=(experts,), inf for one that never counts
    loss_counts: NDArray[np.float64]  # shape=(experts,)
    rate: float
    weights: NDArray[np.float64]  # shape=(mixers, experts)
    final: NDArray[np.float64]  # shape=(outputs - 1,): of all outputs but its own
    shares: NDArray[np.float64]  # shape=(outputs,): in the served average; the final mixer is last
    # For labels: logarithms of probabilities of the priors, shape=(PRIORS, labels), the floor of
    # probabilities, and frequencies by which the predicted label is balanced, shape=(labels,).
    # For numbers: the priors in standard units, shape=(PRIORS, 1), their bound, and Hedge's rate.
    priors: NDArray[np.float64]
    floor: float = 0.0
    frequencies: NDArray[np.float64] | None = None
    bound: float = 0.0
    hedge_rate: float = 0.0


def freeze_ensemble(
    ensemble: LabelEnsemble | NumberEnsemble, labels: int, scale: tuple[float, float]
) -> FrozenEnsemble:
    """Return the formula of an ensemble.

    Args:
        ensemble: An ensemble.
        labels: Number of labels.
        scale: Mean and standard deviation of the targets so far.
    """
    members = ensemble.members != 0
    candidates = np.flatnonzero(members[: ensemble.candidates])
    kept = [*candidates.tolist(), *range(ensemble.candidates, ensemble.experts)]
    total, count = ensemble.losses[:, kept]
    known = members[kept] & (count > 0.0)
    means = np.where(known, total / np.where(known, count, 1.0), np.inf)
    pace = float(ensemble.pace[0])
    common = tuple(candidates.tolist()), means, count, EXPERT_RATE * pace
    weights = np.ascontiguousarray(ensemble.weights[:, kept])
    final = np.array(ensemble.final, np.float64)
    if isinstance(ensemble, LabelEnsemble):
        return FrozenEnsemble(
            *common,
            weights,
            final,
            _weigh_label_outputs(ensemble, pace),
            priors=_find_prior_logarithms(ensemble, labels),
            floor=FLOOR,
            frequencies=_find_frequencies(ensemble, labels),
        )
    return FrozenEnsemble(
        *common,
        weights[np.isin(KINDS, (NORMALIZED, ADAGRAD))],
        final,
        _weigh_number_outputs(ensemble, pace),
        priors=_find_prior_numbers(ensemble, scale),
        bound=MAX_DEVIATIONS,
        hedge_rate=pace * float(LEARNING_RATES[KINDS == HEDGE][0]),
    )


def _weigh_label_outputs(ensemble: BaseEnsemble, pace: float) -> NDArray[np.float64]:
    """As `mixers.weigh_outputs`."""
    totals = ensemble.combined[TOTAL]
    shares: NDArray[np.float64] = np.exp(OUTPUT_RATE * pace * (totals.min() - totals))
    shares /= shares.sum()
    return shares


def _weigh_number_outputs(ensemble: BaseEnsemble, pace: float) -> NDArray[np.float64]:
    """As `numbers._average_outputs`."""
    totals, counts = ensemble.combined
    lowest = totals.min()
    above = np.where(totals > lowest, (totals - lowest) / max(lowest, MIN_LOSS) * counts, 0.0)
    shares: NDArray[np.float64] = np.exp(-OUTPUT_RATE * pace * above)
    shares /= shares.sum()
    return shares


def _find_prior_logarithms(ensemble: LabelEnsemble, labels: int) -> NDArray[np.float64]:
    """As `mixers.compute_prior_log_probabilities`, if nothing more is learned."""
    logarithms = np.empty((PRIORS, labels))
    follows = len(ensemble.transitions) > 0
    last = ensemble.transitions[ensemble.last.item()] if follows else ensemble.frequencies
    for prior, known in enumerate((last, ensemble.frequencies)):
        counts = np.zeros(labels)
        common = min(labels, len(known))
        counts[:common] = known[:common]
        share = (counts + 1.0 / max(labels, 1)) / (counts.sum() + 1.0)
        logarithms[prior] = np.log(np.maximum(share, FLOOR))
    return logarithms


def _find_frequencies(ensemble: LabelEnsemble, labels: int) -> NDArray[np.float64] | None:
    if not ensemble.balanced:
        return None
    counts = np.ones(labels)
    common = min(labels, len(ensemble.counts))
    counts[:common] += ensemble.counts[:common]
    return counts


def _find_prior_numbers(
    ensemble: NumberEnsemble, scale: tuple[float, float]
) -> NDArray[np.float64]:
    """The last target and the mean, in standard units, as `numbers._serve`."""
    last, is_known = ensemble.last.tolist()
    center, spread = scale
    z = (last - center) / spread if is_known and ensemble.members[ensemble.candidates] else 0.0
    return np.array([[min(max(z, -MAX_DEVIATIONS), MAX_DEVIATIONS)], [0.0]])
