"""The JSON report of a run; its layout is stable and documented in the README."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamnet.learning.contenders import BASELINES, SERVABLE
from streamnet.learning.learner import Learner
from streamnet.learning.serving import ChampionChange, RetiredCandidate
from streamnet.metrics import ClassificationEvaluator, Horizon
from streamnet.metrics.formulas import nan_to_none
from streamnet.modelfiles.model import Model
from streamnet.networks.parameters import Member

__all__ = (
    "Result",
    "RunTimes",
    "build_confusion_matrix",
    "build_outcomes",
    "build_report",
    "build_residual_histogram",
)


MAX_LABELS = 30
OTHERS = "(others)"
HISTOGRAM_BINS = 25
MAX_RESIDUAL = 1e308  # a residual beyond it counts as this one


def build_outcomes(learner: Learner) -> dict[str, Any]:
    """Of what a learner served: a confusion matrix of all samples, or residuals of the last ones.

    Its ``kind`` is ``"confusion"`` or ``"residuals"``; see `build_confusion_matrix` and `build_residual_histogram`.
    """
    server = learner.server
    evaluator = server.alternatives.scores.evaluator
    if isinstance(evaluator, ClassificationEvaluator):
        counts = evaluator.confusion(server.serves)
        return {"kind": "confusion", **build_confusion_matrix(counts, learner.encoder.labels)}
    return {"kind": "residuals", **build_residual_histogram(evaluator.recent(server.serves))}


def build_confusion_matrix(counts: NDArray[np.float64], labels: list[str]) -> dict[str, Any]:
    """A matrix with one row for each true label and one column for each answer.

    Of more than 30 labels the most frequent 29 are kept, in their order, and the others count as
    one, the last. Samples without an answer are in no column.

    Args:
        counts: shape=(labels, labels + 1), as `ClassificationEvaluator.confusion` gives it.
        labels: Their names, at least as many.

    >>> build_confusion_matrix(np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]]), ["a", "b"])
    {'labels': ['a', 'b'], 'matrix': [[3, 1], [0, 2]]}
    """
    square = counts[:, :-1]
    names = list(labels[: len(square)])
    if len(square) > MAX_LABELS:
        # Stable, so that of equally frequent labels the earlier ones are kept.
        order = np.argsort(-counts.sum(axis=1), kind="stable")[: MAX_LABELS - 1]
        kept = np.sort(order)
        groups = np.full(len(square), len(kept))
        groups[kept] = np.arange(len(kept))
        folded = np.zeros((len(kept) + 1, len(kept) + 1))
        np.add.at(folded, (groups[:, None], groups[None, :]), square)
        square, names = folded, [*(names[i] for i in kept), OTHERS]
    return {"labels": names, "matrix": square.astype(np.int64).tolist()}


def build_residual_histogram(pairs: NDArray[np.float64]) -> dict[str, Any]:
    """A histogram: ``counts[i]`` lie between ``edges[i]`` and ``edges[i + 1]``, in 25 equal bins.

    A residual is an answer minus its truth. The edges are symmetric about 0 and hold 98 % of the
    residuals; those beyond are counted in the outermost bins.

    Args:
        pairs: Truth and answer, finite, shape=(n, 2), as `RegressionEvaluator.recent` gives them.

    >>> histogram = build_residual_histogram(np.array([[1.0, 0.0], [2.0, 2.0], [3.0, 3.0], [0.0, 1.0]]))
    >>> histogram["counts"][12], sum(histogram["counts"]), len(histogram["edges"])
    (2, 4, 26)
    """
    if not len(pairs):
        return {"edges": [], "counts": []}
    with np.errstate(over="ignore"):
        residuals = np.clip(pairs[:, 1] - pairs[:, 0], -MAX_RESIDUAL, MAX_RESIDUAL)
    reach = float(np.quantile(np.abs(residuals), 0.98)) or float(np.abs(residuals).max()) or 1.0
    edges = reach * np.linspace(-1.0, 1.0, HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(np.clip(residuals, -reach, reach), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


class Result(NamedTuple):
    """What a run leaves: `report`, whose keys README.md tells, and `model`, what to take home."""

    report: dict[str, Any]
    model: Model


class RunTimes(NamedTuple):
    """How long a run took, in seconds of wall time, and what was there before it."""

    startup: float
    running: float
    earlier: int  # samples that the runs before it learned


def build_report(
    learner: Learner,
    *,
    target: str | None,
    read: int,
    rejected: dict[str, Any],
    times: RunTimes,
    settings: dict[str, Any],
    threads: int,
) -> dict[str, Any]:
    """All that is known at the end of a run, as JSON can hold it."""
    server = learner.server
    alternatives = server.alternatives
    learned = learner.trainer.number
    new, seconds = learned - times.earlier, times.running
    champion = server.champion
    tracks = {
        name: nan_to_none(alternatives.measures(track))
        for track, name in enumerate(alternatives.names)
    }
    baselines = {
        alternatives.names[track]: tracks.pop(alternatives.names[track]) for track in BASELINES
    }
    return {
        "streamnet": version("streamnet"),
        "task": str(learner.task),
        "target": target,
        "samples": read,
        "learned": learned,
        "scored": server.scored,
        "rejected": rejected["total"],
        "rejected_reasons": rejected["reasons"],
        "rejected_not_kept": rejected["not_kept"],
        "seconds": round(times.running, 6),
        "startup_seconds": round(times.startup, 6),
        "samples_per_second": round(new / seconds, 1) if seconds > 0 else None,
        "serves": SERVABLE[server.serves],
        "served": nan_to_none(server.measures()),
        "served_sliding": nan_to_none(server.measures(Horizon.SLIDING)),
        "served_fading": nan_to_none(server.measures(Horizon.FADING)),
        "alternatives": tracks,
        "baselines": baselines,
        "champion": None if champion is None else _champion_row(champion, server.selector.since),
        "switches": server.selector.switched,
        "last_switches": [_switch_row(change) for change in server.changes],
        "drifts": server.drift.noticed,
        "last_drifts": [event._asdict() for event in server.drift.events],
        "quarantines": server.quarantines,
        "candidates": _candidate_rows(learner),
        "curve": {
            "samples": server.curve.samples().tolist(),
            "columns": ["served", *baselines],
            "summed_errors": server.curve.values().tolist(),
        },
        "outcomes": build_outcomes(learner),
        "encoder": learner.encoder.statistics()._asdict(),
        "settings": settings,
        "seed": learner.seed,
        "environment": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": version("numba"),
            "cpu": _read_cpu_model(),
            "threads": threads,
        },
    }


def _champion_row(member: Member, since: int) -> dict[str, Any]:
    return {"candidate": member.serial, "settings": member.settings.as_dict(), "since": since}


def _switch_row(change: ChampionChange) -> dict[str, Any]:
    return {
        "sample": change.number,
        "from": None if change.before is None else change.before.serial,
        "to": change.after.serial,
        "loss_from": _finite_or_none(change.loss_before),
        "loss_to": _finite_or_none(change.loss_after),
        "evidence": change.evidence,
    }


def _candidate_rows(learner: Learner) -> list[dict[str, Any]]:
    server = learner.server
    losses = server.selector.losses()
    tables = {
        name: learner.evaluator.candidates.table(horizon)
        for name, horizon in (
            ("scores", Horizon.OVERALL),
            ("sliding", Horizon.SLIDING),
            ("fading", Horizon.FADING),
        )
    }
    rows = []
    for slot, member in enumerate(server.members):
        row = _candidate_row(member, quarantined=server.quarantined(slot))
        for name, table in tables.items():
            row[name] = nan_to_none({measure: float(of[slot]) for measure, of in table.items()})
        row["loss"] = _finite_or_none(float(losses[slot]))
        rows.append(row)
    rows.sort(key=lambda row: (row["loss"] is None, row["loss"], row["candidate"]))
    return rows + [_departed_row(departed) for departed in server.departed]


def _candidate_row(member: Member, *, quarantined: bool) -> dict[str, Any]:
    return {
        "candidate": member.serial,
        "settings": member.settings.as_dict(),
        "quarantined": quarantined,
        "born": member.born,
    }


def _departed_row(departed: RetiredCandidate) -> dict[str, Any]:
    row = _candidate_row(departed.member, quarantined=departed.exploded)
    return {**row, "scores": {}, "left": departed.number}


def _finite_or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _read_cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
