"""A plain reference for ClassificationEvaluator."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from tests.metrics.streams import Answered

__all__ = ("FLOOR", "NaiveEvaluator", "Record")

FLOOR = 1e-4


class Record(NamedTuple):
    clock: int
    truth: int
    answer: int  # -1: none
    repeated: bool
    loss: float
    brier: float


class NaiveEvaluator:
    """Keeps every record and works everything out anew, with scikit-learn where it can."""

    def __init__(self, tracks: int, window: int, fading: float) -> None:
        self.records: list[list[Record]] = [[] for _ in range(tracks)]
        self.window = window
        self.fading = fading
        self.clock = 0
        self.last = -1

    def update(self, sample: Answered) -> list[float]:
        """Score the one sample of ``sample``; returns its losses."""
        truth, known, scored = (int(x[0]) for x in (sample.truth, sample.known, sample.scored))
        losses = []
        for k, full in enumerate(sample.answers[:, 0]):
            p = full[:known].astype(float)
            if not sample.alive[k, 0] or truth < 0 or not np.isfinite(p).all():
                losses.append(np.inf)
                continue
            everything = np.zeros(max(known, truth + 1))
            everything[:known] = p
            loss = float(-np.log(max(everything[truth], FLOOR)))
            brier = float(((everything - np.eye(len(everything))[truth]) ** 2).sum())
            losses.append(loss)
            if scored:
                answer = int(np.argmax(p)) if known else -1
                record = Record(self.clock, truth, answer, truth == self.last, loss, brier)
                self.records[k].append(record)
        self.clock += int(scored > 0 and truth >= 0)
        self.last = truth if truth >= 0 else self.last
        return losses

    def weighted(self, track: int, horizon: str) -> tuple[list[Record], NDArray[np.float64]]:
        records = self.records[track]
        if horizon == "sliding":
            records = records[-self.window :]
        fading = self.fading if horizon == "fading" else 1.0
        return records, np.array([fading ** (self.clock - 1 - r.clock) for r in records])

    def measures(self, track: int, horizon: str) -> dict[str, float]:
        records, w = self.weighted(track, horizon)
        truth = np.array([r.truth for r in records])
        answer = np.array([r.answer for r in records])
        p0 = metrics.accuracy_score(truth, answer, sample_weight=w)
        repeated = float(np.average([r.repeated for r in records], weights=w))
        gain = (p0 - repeated) / (1 - repeated) if repeated < 1 else 0.0 if p0 == 1 else np.nan
        classes = sorted({*truth.tolist(), *answer.tolist()} - {-1})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kappa = metrics.cohen_kappa_score(truth, answer, sample_weight=w)
            return {
                "accuracy": p0,
                "balanced_accuracy": metrics.balanced_accuracy_score(
                    truth, answer, sample_weight=w
                ),
                "macro_f1": metrics.f1_score(
                    truth, answer, labels=classes, average="macro", sample_weight=w, zero_division=0
                ),
                "kappa": 0.0 if np.isnan(kappa) else kappa,
                "kappa_temporal": gain,
                "mcc": metrics.matthews_corrcoef(truth, answer, sample_weight=w),
                "log_loss": float(np.average([r.loss for r in records], weights=w)),
                "brier": float(np.average([r.brier for r in records], weights=w)),
            }
