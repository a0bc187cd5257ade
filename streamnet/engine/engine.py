"""The engine: trains many networks in epochs, keeps the best ones, and reports on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, Unpack, final

import numpy as np
from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from streamnet.engine.contest import Contest
from streamnet.engine.data import Data, DataSplit, read_data, split_data
from streamnet.engine.holdout import Improvement
from streamnet.errors import ConfigurationError, NoCandidateError
from streamnet.learning.warmup import warm_up
from streamnet.metrics import Evaluation, RegressionEvaluation
from streamnet.metrics.formulas import nan_to_none
from streamnet.modelfiles.model import Model
from streamnet.pipeline.concurrency import run_abandonable
from streamnet.samples import Block, DeadLetter, Kind, Task
from streamnet.selection.criteria import find_criterion
from streamnet.settings.engine import EngineSettings
from streamnet.settings.fields import build_settings, with_settings
from streamnet.settings.keywords import EngineKeywords
from streamnet.sources import Columns
from streamnet.sources.inference import MISSING
from streamnet.version import __version__

AnyEvaluation = Evaluation | RegressionEvaluation


def evaluate_model(model: Model, block: Block, threshold: float) -> AnyEvaluation:
    """Evaluate a model on labeled samples."""
    assert block.target is not None
    given: dict[str, Any] = {"sample_weight": block.weight}
    if model.task is Task.REGRESSION:
        answers = model.predict(block)
        return RegressionEvaluation.of(block.target, answers, threshold=threshold or None, **given)
    probabilities = model.predict_proba(block)
    answers = model.predict(block).tolist()
    given |= {"probabilities": probabilities, "labels": model.labels}
    return Evaluation.of(block.target.tolist(), answers, **given)


def evaluate_baselines(
    training: Block, reported: Block, evaluation: AnyEvaluation
) -> dict[str, dict[str, float | None]]:
    """Evaluate the training part's majority label or mean as a constant prediction of another.

    Both are weighted, if samples have weights.
    """
    assert training.target is not None
    assert reported.target is not None
    size, weight = len(reported), training.weight
    given: dict[str, Any] = {"sample_weight": reported.weight}
    if isinstance(evaluation, RegressionEvaluation):
        # No sum of large ones overflows.
        parts = training.target / len(training)
        if weight is not None:
            parts = training.target * (weight / weight.sum())
        mean = float(np.sum(parts))
        answers, threshold = np.full(size, mean), evaluation.threshold
        baseline = RegressionEvaluation.of(reported.target, answers, threshold=threshold, **given)
        return {"mean": nan_to_none(baseline.measures())}
    counts: Counter[str] = Counter()
    weights = [1] * len(training) if weight is None else weight.tolist()
    for label, own in zip(training.target.tolist(), weights, strict=True):
        counts[label] += own
    ((label, _),) = counts.most_common(1)
    given["labels"] = evaluation.labels
    same = Evaluation.of(reported.target.tolist(), [label] * size, **given)
    return {"majority": nan_to_none(same.measures())}


def build_report(
    contest: Contest,
    parts: DataSplit,
    evaluation: AnyEvaluation,
    rejected: int,
    times: tuple[float, float],
) -> dict[str, Any]:
    """Build the report as JSON-serializable values; times are those of start-up and of training."""
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
            {**one._asdict(), "settings": contest.contestants[one.candidate].describe()}
            for one in best_epochs.history
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


class Trained(NamedTuple):
    """The result of an engine."""

    model: Model
    evaluation: AnyEvaluation  # on the test part; with protocol gopher on the validation part
    report: dict[str, Any]


class EngineProgress(NamedTuple):
    """The progress of an engine."""

    epoch: int  # epochs scored
    epochs: int
    candidates: int
    best: Improvement | None
    refitting: bool
    seconds: float  # since training began


@final
@with_settings(EngineSettings)
class Engine:
    """Trains many networks for several epochs and keeps those that generalize best.

    All tries with all learning rates train at the same time as one population. After each epoch
    they are scored on the validation part. The best, each with the weights of its best epoch, make
    up the model, which is evaluated on the held-out test part.

    Args:
        task: Classification or regression; None infers it from the target.
        on_improvement: Callback for each improvement, in a worker thread or in the event loop.

    Attributes:
        rejected: Records that could not be read.

    Raises:
        ConfigurationError: If a setting is unknown or invalid.

    >>> from streamnet.datasets import Sample, Set
    >>> rows = Set("classification", columns=("x", "y"))
    >>> for i in range(200):
    ...     rows.add(Sample([i % 10, i % 7], label="more" if i % 10 > i % 7 else "less"))
    >>> trained = Engine(seed=1, epochs=40, tries=2).fit(rows)
    >>> trained.evaluation.measures()["accuracy"] > 0.9
    True
    >>> trained.model.predict({"x": 9, "y": 1}).tolist()
    ['more']
    """

    def __init__(
        self,
        task: Task | str | None = None,
        *,
        on_improvement: Callable[[Improvement], None] | None = None,
        **settings: Unpack[EngineKeywords],
    ) -> None:
        self.settings: EngineSettings = build_settings(EngineSettings, settings, "Engine")
        self.task: Task | None = None if task is None else Task(task)
        find_criterion(self.settings.criterion, self.task)
        if self.task is not None:
            self.settings.template().for_task(self.task)
        self.rejected: tuple[DeadLetter, ...] = ()
        self.trained: Trained | None = None
        self._on_improvement = on_improvement
        self._contest: Contest | None = None
        self._stopped = False
        self._started = 0.0

    def fit(self, data: Data, **reading: Any) -> Trained:
        """Train on ``data`` like `run`, in a thread with its own event loop, and wait for it.

        Args:
            data: The data to train on.
            reading: Further arguments of `run`.
        """
        with start_blocking_portal() as portal:
            trained: Trained = portal.call(partial(self.run, data, **reading))
        return trained

    async def run(
        self,
        data: Data,
        *,
        target: str | None = None,
        drop: Sequence[str] = (),
        kinds: Mapping[str, Kind] | None = None,
        missing: Sequence[str] = MISSING,
        thousands: str | None = None,
        weight: str | None = None,
        **shape: Any,
    ) -> Trained:
        """Train on a set, blocks, or files.

        Weights multiply the gradients of samples, and their part in all metrics; samples of weight
        0 are left out. Blocks may have weights of their own.

        Args:
            data: The data to train on.
            target: Target column of files, by name or number; None uses the last one.
            drop: Columns of files to ignore.
            kinds: Kinds of columns of files that would be inferred wrongly.
            missing: Strings in files that stand for a missing value.
            thousands: Separator of thousands in numbers; None finds it where it is clear.
            weight: Column of files with the weights of samples, which is no feature.
            shape: Options for files: format, delimiter, header, ..., see `open_files`.

        Raises:
            DataError: If a file cannot be read, or contains no samples with a target.
            ConfigurationError: If a part would be empty, or criterion, loss or output do not suit
                the task.
            NoCandidateError: If training was stopped before the first epoch was scored, or no
                network stayed finite.
        """
        begun = perf_counter()
        columns = Columns(
            target=target,
            task=self.task,
            drop=tuple(drop),
            kinds=dict(kinds or {}),
            missing=tuple(missing),
            thousands=thousands,
            weight=weight,
            labels_required=True,
        )
        block, self.rejected = await read_data(data, columns, **shape)
        task = block.schema.task
        assert task is not None
        if self.task not in (None, task):
            raise ConfigurationError(f"task is '{self.task}', but that of the data is '{task}'")
        criterion = find_criterion(self.settings.criterion, task)
        self.settings.template().for_task(task)
        parts = split_data(block, self.settings)
        await run_abandonable(partial(warm_up, task, self.settings.dtype))
        self._started = perf_counter()
        self._contest = Contest(task, parts, criterion, self.settings, self._on_improvement)
        if self._stopped:
            self._contest.stop()
        await self._contest.run()
        model = await to_thread.run_sync(self._contest.model, weight)
        times = self._started - begun, perf_counter() - self._started
        threshold, rejected = self.settings.regression_threshold, len(self.rejected)
        evaluation = await to_thread.run_sync(evaluate_model, model, parts.reported, threshold)
        about = self._contest, parts, evaluation, rejected, times
        report = await to_thread.run_sync(build_report, *about)
        self.trained = Trained(model, evaluation, report)
        return self.trained

    def stop(self) -> None:
        """Stop training and keep the best so far; must be called in the event loop."""
        self._stopped = True
        if self._contest is not None:
            self._contest.stop()

    @property
    def winner(self) -> Model:
        """The trained model.

        Raises:
            NoCandidateError: If training has not finished.
        """
        return self._done.model

    @property
    def evaluation(self) -> AnyEvaluation:
        """The evaluation of the model.

        Raises:
            NoCandidateError: If training has not finished.
        """
        return self._done.evaluation

    @property
    def history(self) -> tuple[Improvement, ...]:
        """All improvements so far."""
        return () if self._contest is None else tuple(self._contest.best_epochs.history)

    def describe(self, candidate: int) -> str:
        """Describe a candidate, such as that of an improvement."""
        assert self._contest is not None
        return self._contest.contestants[candidate].describe()

    def progress(self) -> EngineProgress | None:
        """Return the progress; None before training begins."""
        contest = self._contest
        if contest is None:
            return None
        history = contest.best_epochs.history
        return EngineProgress(
            epoch=contest.epoch_tracker.epoch,
            epochs=contest.epochs,
            candidates=len(contest.contestants),
            best=history[-1] if history else None,
            refitting=contest.refitting,
            seconds=perf_counter() - self._started,
        )

    @property
    def _done(self) -> Trained:
        if self.trained is None:
            raise NoCandidateError("nothing was learned yet")
        return self.trained
