"""The engine's report: how training went and how good the result is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from streamnet.engine.contest import Contest
from streamnet.engine.data import DataSplit
from streamnet.metrics import Evaluation, RegressionEvaluation
from streamnet.metrics.formulas import nan_to_none
from streamnet.modelfiles.model import Model
from streamnet.samples import Block, Task
from streamnet.version import __version__

AnyEvaluation = Evaluation | RegressionEvaluation


def evaluate_model(model: Model, block: Block, threshold: float) -> AnyEvaluation:
    """Evaluate a model on labeled samples."""
    assert block.target is not None
    if model.task is Task.REGRESSION:
        answers = model.predict(block)
        return RegressionEvaluation.of(block.target, answers, threshold=threshold or None)
    probabilities = model.predict_proba(block)
    answers = model.predict(block).tolist()
    return Evaluation.of(
        block.target.tolist(), answers, probabilities=probabilities, labels=model.labels
    )


def evaluate_baselines(
    training: Block, reported: Block, evaluation: AnyEvaluation
) -> dict[str, dict[str, float | None]]:
    """Evaluate the constant prediction of the training part's majority label or mean.

    Args:
        training: Samples that determine the prediction.
        reported: Samples to predict.
        evaluation: A model's evaluation on them.
    """
    assert training.target is not None
    assert reported.target is not None
    size = len(reported)
    if isinstance(evaluation, RegressionEvaluation):
        mean = float(np.sum(training.target / len(training)))  # no sum of large ones overflows
        answers, threshold = np.full(size, mean), evaluation.threshold
        baseline = RegressionEvaluation.of(reported.target, answers, threshold=threshold)
        return {"mean": nan_to_none(baseline.measures())}
    ((label, _),) = Counter(training.target.tolist()).most_common(1)
    same = Evaluation.of(reported.target.tolist(), [label] * size, labels=evaluation.labels)
    return {"majority": nan_to_none(same.measures())}


def build_report(
    contest: Contest,
    parts: DataSplit,
    evaluation: AnyEvaluation,
    rejected: int,
    times: tuple[float, float],
) -> dict[str, Any]:
    """Build the report as JSON-serializable values.

    Args:
        contest: The finished contest.
        parts: The samples.
        evaluation: The evaluation of the model.
        rejected: Number of records that could not be read.
        times: Seconds of start-up and of training.
    """
    settings, best_epochs = contest.settings, contest.best_epochs
    return {
        "streamnet": __version__,
        "task": str(contest.task),
        "target": parts.training.schema.target,
        "protocol": settings.protocol,
        "criterion": contest.criterion.name,
        "samples": parts.sizes(),
        "rejected": rejected,
        "candidates": len(contest.contestants),
        "epochs": best_epochs.epoch,
        "passes": best_epochs.epoch * len(contest.contestants),
        "seconds": times[1],
        "startup_seconds": times[0],
        "stopped": contest.stopped,
        "refitted": contest.refitting,
        "members": [_member(contest, slot) for slot in contest.members],
        "history": [
            {**improvement._asdict(), "settings": _describe(contest, improvement.candidate)}
            for improvement in best_epochs.history
        ],
        "reported": "validation" if parts.test is None else "test",
        "evaluation": evaluation.as_dict(),
        "baselines": evaluate_baselines(parts.training, parts.reported, evaluation),
        "settings": settings.as_dict(),
        "seed": settings.seed,
    }


def _member(contest: Contest, slot: int) -> dict[str, Any]:
    """Describe a network of the model."""
    contestant, best_epochs = contest.contestants[slot], contest.best_epochs
    return {
        "candidate": slot,
        "try": contestant.attempt + 1,
        "learning_rate": contestant.settings.learning_rate,
        "epoch": int(best_epochs.epochs[slot]),
        "value": float(best_epochs.values[slot]),
        "settings": contestant.settings.as_dict(),
    }


def _describe(contest: Contest, slot: int) -> str:
    return contest.contestants[slot].describe()
