"""Made-up answers of candidates, and ensembles that are asked to combine them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from streamnet.samples import Task
from streamnet.selection.ensemble.labels import LabelEnsemble
from streamnet.selection.ensemble.numbers import NumberEnsemble
from streamnet.selection.ensemble.registry import Ensemble

__all__ = ("Said", "ask", "ensemble_of", "said", "serve")


@dataclass(frozen=True)
class Said:
    """What candidates said about samples of a stream."""

    answers: NDArray[Any]  # shape=(candidates, n, C), or (candidates, n) of numbers
    alive: NDArray[np.uint8]  # shape=(candidates, n)
    truth: NDArray[Any]  # shape=(n,)
    known: NDArray[np.int32]  # shape=(n,), of labels
    units: tuple[NDArray[np.float64], NDArray[np.float64]]  # of numbers: center and spread

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def labels(self) -> bool:
        return self.answers.ndim == 3

    def part(self, start: int, stop: int) -> Self:
        at = slice(start, stop)
        center, spread = self.units
        return replace(
            self,
            answers=self.answers[:, at].copy(),
            alive=self.alive[:, at].copy(),
            truth=self.truth[at],
            known=self.known[at],
            units=(center[at], spread[at]),
        )


def said(
    task: Task, n: int, candidates: int, *, seed: int, gaps: bool = True, dtype: str = "float32"
) -> Said:
    """Candidates of different worth; with gaps some are silent and some targets missing.

    Labels come up one by one. Where a candidate is silent, or a label unknown, there is nonsense.
    """
    rng = np.random.default_rng(seed)
    alive = np.ones((candidates, n), np.uint8)
    if gaps:
        alive[rng.random((candidates, n)) < 0.1] = 0
        alive[0, n // 3 : n // 2] = 0
    told = rng.random(n) > 0.1 * gaps
    if task is Task.REGRESSION:
        return _numbers(rng, alive, told)
    classes = int(rng.integers(2, 7))
    drawn = np.minimum(rng.integers(0, classes, n), np.arange(n) // 4)
    truth = np.array([sorted(set(drawn.tolist())).index(label) for label in drawn], np.int32)
    truth = np.where(told, _in_order(truth, told), -1).astype(np.int32)
    known = np.concatenate(([0], np.maximum.accumulate(truth)[:-1] + 1)).astype(np.int32)
    scores = rng.normal(size=(candidates, n, classes))
    for k in range(candidates):
        scores[k, np.arange(n), np.maximum(truth, 0)] += 2.0 * k
    scores[np.arange(classes) >= known[:, None] + np.zeros((candidates, 1, 1), int)] = -np.inf
    with np.errstate(invalid="ignore"):
        shares = np.exp(scores - scores.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
    shares[np.arange(classes) >= known[:, None] + np.zeros((candidates, 1, 1), int)] = 7.5
    shares[alive == 0] = np.nan
    units = np.zeros(n), np.ones(n)
    return Said(shares.astype(dtype), alive, truth, known, units)


def _in_order(labels: NDArray[np.int32], told: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Labels numbered in the order in which they are told."""
    numbers: dict[int, int] = {}
    return np.array(
        [
            numbers.setdefault(label, len(numbers)) if tells else -1
            for label, tells in zip(labels.tolist(), told.tolist(), strict=True)
        ],
        np.int32,
    )


def _numbers(rng: np.random.Generator, alive: NDArray[np.uint8], told: NDArray[np.bool_]) -> Said:
    candidates, n = alive.shape
    target = 50.0 + 4.0 * np.sin(np.arange(n) / 3.0) + rng.normal(size=n)
    noise = np.linspace(5.0, 0.5, candidates)[:, None]
    answers = target + noise * rng.normal(size=(candidates, n))
    answers[alive == 0] = np.nan
    counts = np.arange(n)
    center = np.concatenate(([0.0], np.cumsum(target)[:-1])) / np.maximum(counts, 1)
    spread = np.where(counts > 1, 3.0 + rng.random(n), 1.0)
    truth = np.where(told, target, np.nan)
    return Said(answers, alive, truth, np.ones(n, np.int32), (center, spread))


def ensemble_of(task: Task, candidates: int, **settings: Any) -> Ensemble:
    kind = LabelEnsemble if task is Task.CLASSIFICATION else NumberEnsemble
    return kind(candidates, **settings)


def serve(ensemble: Ensemble, said: Said) -> NDArray[np.float64]:
    """What is served, with zeros for labels that are not known."""
    if isinstance(ensemble, LabelEnsemble):
        return ensemble.serve(said.answers, said.alive, said.truth, said.known)
    return ensemble.serve(said.answers, said.alive, said.truth, *said.units)


def ask(ensemble: Ensemble, said: Said, i: int, samples: Said | None = None) -> NDArray[np.float64]:
    """The answer to some samples, each as if it came as sample ``i``."""
    samples = samples or said.part(i, i + 1)
    if isinstance(ensemble, LabelEnsemble):
        return ensemble.answer(samples.answers, samples.alive, int(said.known[i]))
    center, spread = said.units
    return ensemble.answer(samples.answers, samples.alive, (float(center[i]), float(spread[i])))
