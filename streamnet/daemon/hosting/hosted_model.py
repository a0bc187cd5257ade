"""A hosted model: its intake, predictions and status, whether its run works or has failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, final

from anyio import create_task_group, sleep
from msgspec.structs import asdict

from streamnet.client.schemas import (
    Champion,
    ClassChangeReply,
    ClassLine,
    FieldLine,
    Outcome,
    Overview,
    Receipt,
    Rejected,
    RejectedLine,
    ShadowOutcome,
    Status,
    Trouble,
    TroubleKind,
)
from streamnet.daemon.hosting.budgets import Budgets
from streamnet.daemon.hosting.keys import HostedKeys
from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.daemon.hosting.run_counts import (
    LEARNED_COUNTS,
    RUN_COUNTS,
    build_counts,
    count_rejected,
)
from streamnet.daemon.hosting.supervisor import Supervisor
from streamnet.daemon.hosting.troubles import Finding, ScoreWatch, TroubleLog, find_troubles
from streamnet.daemon.journal.delayed_labels import SentLabel, now
from streamnet.daemon.journal.frames import (
    count_lines,
    encode_sample,
    encode_samples,
    has_target,
    parse_label,
)
from streamnet.daemon.journal.shadows import ShadowPrediction
from streamnet.daemon.predictions import MicroBatcher, Predictions, compute_interval
from streamnet.durability.files import DISK, FileSystem
from streamnet.errors import BusyError, ConflictError, NotReadyError
from streamnet.learning.learner import Learner
from streamnet.learning.served_model import ServedModel
from streamnet.metrics import Horizon
from streamnet.modelfiles.formats import get_format
from streamnet.modelfiles.model import Model
from streamnet.pipeline.concurrency import Worker
from streamnet.pipeline.rejections import STATE_DEAD_LETTERS
from streamnet.reporting.builder import (
    build_candidates,
    build_class_scores,
    build_contenders,
    build_curve,
    build_history,
    build_outcomes,
    count_classes,
)
from streamnet.reporting.insight import build_insight
from streamnet.reporting.outcomes import MAX_LABELS, Confusion, Residuals
from streamnet.reporting.report import (
    Contender,
    FeatureDriftLine,
    History,
    Insight,
    LeaderBoardRow,
    Scores,
    ShadowReport,
)
from streamnet.samples import Block, ClassChange, Prediction, Sample
from streamnet.settings.daemon import ModelSettings
from streamnet.sources.unknown_columns import ColumnCheck


def describe_champion(model: Model, generation: int) -> Champion:
    """Describe a published model."""
    return Champion(
        generation=generation,
        settings=model.describe(),
        networks=len(model.networks),
        task=model.task,
        target=model.about.get("target"),
        labels=[label for label in model.labels if label not in model.changed_classes],
        fields=[FieldLine(name, str(kind)) for name, kind in model.fields],
        since=model.about.get("samples"),
    )


# Seconds until a refused sender should retry.
_MIN_RETRY_DELAY, _DEFAULT_RETRY_DELAY, _MAX_RETRY_DELAY = 0.1, 1.0, 60.0
_BYTES_PER_SAMPLE = 128  # of JSON, to estimate the work
_WATCH_SECONDS = 1.0  # between checks for troubles
_INSIGHT_SECONDS = 20.0  # for which an insight is kept
_CURVE_POINTS = 40  # in the overview of all models
_BATCH_SIZE = 1000  # labels or predictions taken before others have their turn


def check_backpressure(name: str, *, queued: int, most: int, pace: float) -> None:
    """Refuse more samples while the queue is full; ``pace`` a second are learned, or 0 if unknown.

    Raises:
        BusyError: If the queue is full, with the seconds until a tenth of it should be free.

    >>> check_backpressure("spam", queued=100, most=100, pace=20.0)
    Traceback (most recent call last):
    streamnet.errors.BusyError: model spam has 100 samples waiting to be learned; the limit is 100
    """
    if queued >= most:
        seconds = (queued - 0.9 * most) / pace if pace else _DEFAULT_RETRY_DELAY
        raise BusyError(
            f"model {name} has {queued:,} samples waiting to be learned; the limit is {most:,}",
            min(max(seconds, _MIN_RETRY_DELAY), _MAX_RETRY_DELAY),
        )


@final
class HostedModel(Supervisor):
    """A supervised model that learns from samples sent to it, predicts and reports.

    Whatever was acknowledged as durable is learned exactly once, even if the process is killed. All
    methods but `predict` and `encode_model` belong to the event loop. The folder is created if
    absent.

    >>> import anyio, tempfile
    >>> from streamnet.settings.daemon import parse_model
    >>> settings = parse_model({"source": {"target": "y"}, "population": {"candidates": 2}})
    >>> rows = [{"x": i % 2, "y": "ab"[i % 2]} for i in range(300)]
    >>> async def main():
    ...     hosted = HostedModel("spam", settings, Path(tempfile.mkdtemp()))
    ...     async with anyio.create_task_group() as group:
    ...         group.start_soon(hosted.run)
    ...         await hosted.opened()
    ...         receipt = await hosted.learn(rows, key="first")
    ...         await hosted.published()
    ...         predicted = hosted.predict({"x": 1}).values.tolist()
    ...         hosted.stop()
    ...     return receipt.last, predicted
    >>> anyio.run(main)
    (299, ['b'])
    """

    def __init__(
        self,
        name: str,
        settings: ModelSettings,
        folder: Path,
        *,
        files: FileSystem = DISK,
        budgets: Budgets | None = None,
    ) -> None:
        super().__init__(name, settings, folder, files=files, budgets=budgets)
        self.max_queued: int = settings.intake.max_queued
        self.predicted: int = 0  # samples, since the start of the process
        self.duplicates: int = 0  # repeated requests, likewise
        self.microbatcher: MicroBatcher = MicroBatcher(self.predict)
        self._started = monotonic()
        self._insight: Insight | None = None  # the last one
        self._insight_lock = Lock()
        self._insight_expires = 0.0
        self._troubles = TroubleLog(name, self.events)
        self._scores = ScoreWatch(settings.alerts.score)
        self._worker = Worker()
        self.keys: HostedKeys = HostedKeys(self, settings.keys.key)
        source = settings.source
        (self._target,) = source.targets
        others = self._target, source.weight, source.id, *(source.drop or ())
        expected = {name for name in others if name is not None}
        self.expected_columns: tuple[str, ...] = tuple(sorted(expected))  # besides the model's
        self._column_check = ColumnCheck(settings.intake.on_unknown, expected)
        # The run and generation of the model, and its interval.
        self._interval: tuple[tuple[int, int], tuple[float, float] | None] | None = None

    async def run(self) -> None:
        """Run the model until `stop`, and watch for troubles; see `Supervisor.run`."""
        async with create_task_group() as group:
            group.start_soon(self._watch)
            await super().run()
            group.cancel_scope.cancel()

    async def _watch(self) -> None:
        while True:
            self.check_troubles()
            await sleep(_WATCH_SECONDS)

    # --------------------------------------------------------------- senders

    async def learn(
        self, samples: Sequence[Sample] | bytes, *, key: str | None = None, durable: bool = True
    ) -> Receipt:
        """Accept samples with their target: dicts, or JSON lines as they arrived.

        Samples without a target are used without supervision, for scales and the auto-encoder.
        Lines that are not samples are rejected when they are read. A repeated request with the same
        key is accepted once. If ``durable``, it waits until they are on the disk, not only until
        they would survive the process.

        Raises:
            NotReadyError: If the model is starting, has failed or stopped.
            BusyError: If the queue is full; it says when to retry.
            ConflictError: If the key was used for other samples, or if the queue is full of samples
                without the target and so are these.
            ConfigurationError: If a sample can't be encoded as JSON, or a line is too long.
            OutputError: If the disk fails; nothing was accepted.
        """
        if isinstance(samples, bytes):
            lines = await self._worker.run(len(samples) / _BYTES_PER_SAMPLE, count_lines, samples)
        else:
            lines = await self._worker.run(len(samples), encode_samples, samples, self._target)
        run = self._writable_run()
        if key is None or not run.committer.intake.knows(key):  # duplicates need no space
            self._check_backpressure(run, lines.data)
        if key is None and not lines.samples:
            return Receipt(0)
        receipt, frame = run.committer.intake.take(
            lines.data, lines.samples, unlabeled=lines.unlabeled, rejected=lines.rejected, key=key
        )
        self.duplicates += receipt.duplicate
        await run.committer.commit(frame, durable=durable)
        return receipt

    def predict(self, samples: Sample | Sequence[Sample] | Block) -> Predictions:
        """Predict with what is served, immediately and in any thread.

        Raises:
            NotReadyError: If no model is published yet.
            ConfigurationError: If a sample can't be read.
        """
        predictions = self.current_run().publisher.predict(samples)
        self.predicted = len(predictions.values) + self.predicted  # read last: threads
        return predictions

    @property
    def has_learned_nothing(self) -> bool:
        """Whether there is no model to predict with before something is learned."""
        return self.model_run is not None and self.model_run.has_learned_nothing

    def check_columns(self, samples: Sequence[Sample]) -> str | None:
        """Check the columns of samples to predict; return a warning about unknown ones.

        Raises:
            NotReadyError: If no model is published yet.
            SampleError: If a sample has no column that the model knows, or one that it does not
                where ``intake.on_unknown`` is raise.
        """
        self._column_check.know(name for name, _ in self.served_model().fields)
        return self._column_check.rows(samples)

    async def remember(
        self,
        ids: Sequence[str],
        samples: Sequence[Sample],
        predictions: Predictions,
        *,
        durable: bool = True,
    ) -> list[Prediction]:
        """Remember predictions by ID until their labels arrive.

        A known ID returns the prediction made then, so a call may be repeated. Batches of 1,000 are
        taken one by one, so that others have their turn; if one fails, those before it stay.

        Returns:
            The predictions as they are remembered.

        Raises:
            NotReadyError: If the model is starting, has failed or stopped.
            ConflictError: If an ID was used for another sample, or has its label already.
            ConfigurationError: If a sample can't be encoded as JSON, or is too long.
            OutputError: If the disk fails.
        """
        lines = [encode_sample(k, sample, self._target) for k, sample in enumerate(samples)]
        rows, kept = predictions.rows(), []
        for batch in _slice_batches(len(lines)):
            committer = self.current_run().committer
            committer.check()
            found, frame = committer.intake.remember(ids[batch], lines[batch], rows[batch], now())
            kept += found
            await committer.commit(frame, durable=durable and batch.stop >= len(lines))
        return kept

    async def label(
        self, labels: Sequence[SentLabel | tuple[str, Any]], *, durable: bool = True
    ) -> list[Outcome]:
        """Join labels with the predictions of their IDs; the completed samples are learned.

        One with a weight gives it to its sample; one of weight 0 is neither learned nor scored.
        A label that comes before its prediction waits for it. A call may be repeated. Batches of
        1,000 are taken one by one, so that others have their turn; if one fails, those before it
        stay.

        Raises:
            NotReadyError: If the model is starting, has failed or stopped.
            BusyError: If the queue is full.
            ConfigurationError: If a label is invalid.
            OutputError: If the disk fails.
        """
        outcomes = []
        for batch in _slice_batches(len(labels)):
            run = self._writable_run()
            committer = run.committer
            if not committer.intake.knows_all(labels[batch]):
                self._check_backpressure(run)
            found, frame = committer.intake.label(labels[batch], now())
            outcomes += found
            await committer.commit(frame, durable=durable and batch.stop >= len(labels))
        return outcomes

    async def change_classes(self, label: Any, into: Any = None) -> ClassChangeReply:
        """Merge a class into another, or retire it; durable once it returns.

        It takes effect between the samples that were accepted before and after it. A repeated call
        changes nothing more.

        Raises:
            NotReadyError: If nothing was learned yet, or the model has failed or stopped.
            ConfigurationError: If the change is impossible.
            OutputError: If the disk fails.
        """
        run = self._writable_run()
        if run.learner is None:
            raise NotReadyError("there are no classes yet: nothing was learned")
        other = None if into is None else parse_label("into", into)
        change = ClassChange(parse_label("label", label), other)
        labels = run.learner.encoder.label_numbers
        if labels.is_done(change):
            return ClassChangeReply(*change, None)
        run.learner.check_change(change)
        record, frame = run.committer.intake.change(change)
        await run.committer.commit(frame, durable=True)
        return ClassChangeReply(*change, record)

    async def shadow_predict(
        self, shadow: str, predictions: Sequence[ShadowPrediction], *, durable: bool = True
    ) -> list[ShadowOutcome]:
        """Take predictions of another model, to be compared with what is served by their IDs.

        They are scored if they come before the label, and nothing is learned from them. A call may
        be repeated. Batches of 1,000 are taken one by one, as by `label`.

        Raises:
            NotReadyError: If the model is starting, has failed or stopped.
            ConfigurationError: If a prediction is invalid.
            ConflictError: If there are too many shadows.
            OutputError: If the disk fails.
        """
        outcomes = []
        for batch in _slice_batches(len(predictions)):
            run = self._writable_run()
            task = None if run.learner is None else run.learner.task
            found, frame = run.committer.intake.shadow(shadow, predictions[batch], now(), task)
            outcomes += found
            await run.committer.commit(frame, durable=durable and batch.stop >= len(predictions))
        return outcomes

    async def remove_shadow(self, shadow: str) -> bool:
        """Forget a shadow, its predictions and its scores; return whether there was one."""
        run = self._writable_run()
        if shadow not in run.committer.intake.shadows:
            return False
        await run.committer.commit(run.committer.intake.remove_shadow(shadow), durable=True)
        return True

    @property
    def queued(self) -> int:
        """Samples accepted and not yet learned."""
        return 0 if self.model_run is None else self.model_run.queued

    def _writable_run(self) -> ModelRun:
        """Return the current run, if its journal can be written."""
        run = self.current_run()
        run.committer.check()
        return run

    def _check_backpressure(self, run: ModelRun, lines: bytes | None = None) -> None:
        """Refuse samples while the queue is full, unless they, or labels, are what it waits for."""
        if run.waits_for_target:
            if self.queued < self.max_queued or lines is None or has_target(lines, self._target):
                return
            raise ConflictError(
                f"model {self.name} has {self.queued:,} samples and none has the target "
                f"{self._target!r}, nor has one of these: nothing can be learned"
            )
        pace = run.monitor.pace.value
        check_backpressure(self.name, queued=self.queued, most=self.max_queued, pace=pace)

    # --------------------------------------------------------------- reports

    def status(self) -> Status:
        """The status of the model."""
        counts = {} if self.model_run is None else build_counts(self.model_run)
        troubles = self.check_troubles()
        return Status(
            name=self.name,
            state=self.state,
            failure=self.failure,
            refusing=self._troubles.refusing,
            troubles=troubles,
            last_error=self._troubles.last,
            target=self._target,
            max_queued=self.max_queued,
            uptime=monotonic() - self._started,
            predicted=self.predicted,
            duplicates=self.duplicates,
            **counts,
        )

    def check_troubles(self) -> list[Trouble]:
        """Find what needs attention now, the oldest first."""
        found: dict[TroubleKind, Finding]
        if self.state == "failed":
            found = {"failed": Finding(self.failure or "it failed", refuses=True)}
        elif self.model_run is None:
            return self._troubles.current
        else:
            found = find_troubles(self.model_run, self.settings, max_queued=self.max_queued)
            learner = self.model_run.learner
            if learner is not None and (worse := self._scores.compare(learner)) is not None:
                found["score"] = Finding(worse)
        self._troubles.update(found)
        return self._troubles.current

    @property
    def unknown_counts(self) -> frozenset[str]:
        """Fields of `status` that are not known now, and 0 only for that reason."""
        if self.model_run is None:
            return RUN_COUNTS
        is_known = self._learner is not None or self.model_run.publisher.restored.is_set()
        return frozenset() if is_known else LEARNED_COUNTS

    def published_model(self) -> Model:
        """The published model to take home; raises NotReadyError if there is none yet."""
        return self.current_run().publisher.newest().model

    def served_model(self) -> ServedModel | Model:
        """What answers requests at this moment; raises NotReadyError if nothing does yet."""
        return self.current_run().publisher.newest().served

    def measures(self, horizon: Horizon = Horizon.OVERALL) -> dict[str, float]:
        """All prequential metrics of what was served, by name; empty before the first sample."""
        return {} if self._learner is None else self._learner.serving.measures(horizon)

    def features(self) -> list[FeatureDriftLine]:
        """How far the recent values of each column are from the first ones."""
        return [] if self.model_run is None else self.model_run.feature_drift.lines()

    def class_scores(self) -> dict[str, Scores]:
        """Metrics of the most frequent classes over the sliding window, by label; of numbers none.

        See `compute_per_class`. There are at most 30, so that the number of series is bounded.
        """
        return {} if self._learner is None else build_class_scores(self._learner, MAX_LABELS)

    @property
    def _learner(self) -> Learner | None:
        return None if self.model_run is None else self.model_run.learner

    def champion(self) -> Champion | None:
        """The published model; None before the first one."""
        published = None if self.model_run is None else self.model_run.publisher.published
        if published is None:
            return None
        return describe_champion(published.model, published.generation)

    def overview(self) -> Overview:
        """The status, with the score over time."""
        curve = [] if self._learner is None else build_curve(self._learner, _CURVE_POINTS)
        return Overview(**asdict(self.status()), curve=curve)

    def scores(self) -> list[Contender] | None:
        """The scores of everything that could be served; None before the first sample."""
        if self._learner is None:
            return None
        shadows = [
            Contender(one.shadow, False, one.overall.shadow, one.sliding.shadow, one)
            for one in self.shadows()
        ]
        return build_contenders(self._learner) + shadows

    def shadows(self) -> list[ShadowReport]:
        """How the models of others did, whose predictions are compared with what is served."""
        return [] if self.model_run is None else self.model_run.committer.intake.shadows.reports()

    def leaders(self) -> list[LeaderBoardRow]:
        """All candidates, the best first."""
        return [] if self._learner is None else build_candidates(self._learner)

    def history(self) -> History | None:
        """The score over time; None before the first sample."""
        run = self.model_run
        if run is None or run.learner is None:
            return None
        return build_history(run.learner, run.monitor.timeline.rows())

    def outcomes(self) -> Confusion | Residuals | None:
        """The confusion matrix or the recent residuals; None before the first sample."""
        return None if self._learner is None else build_outcomes(self._learner)

    def classes(self) -> list[ClassLine] | None:
        """All classes, and how many scored samples each had; None before the first sample."""
        if self._learner is None:
            return None
        changes = self._learner.encoder.label_numbers.changes
        return [
            ClassLine(label, count, changes.get(label), label in changes and not changes[label])
            for label, count in count_classes(self._learner).items()
        ]

    def interval(self, generation: int) -> tuple[float, float] | None:
        """Offsets of the bounds from 90 % of the recent residuals; None with too few.

        They are computed once per published model, and used where it has no `interval`.
        """
        model = (self.run_count, generation)  # after a reset, generations start again
        if self._interval is None or self._interval[0] != model:
            outcomes = self.outcomes()
            interval = compute_interval(outcomes) if isinstance(outcomes, Residuals) else None
            self._interval = (model, interval)
        return self._interval[1]

    @property
    def is_insight_due(self) -> bool:
        """Whether `insight` has to compute: at most every 20 s, and not while it already does."""
        return not self._insight_lock.locked() and monotonic() >= self._insight_expires

    def insight(self) -> Insight:
        """What matters to the model, as its last samples show; may take a second, in any thread.

        Raises:
            NotReadyError: If nothing was learned yet.
        """
        run = self.current_run()
        if run.learner is None:
            raise NotReadyError("nothing was learned yet")
        if self.is_insight_due or self._insight is None:
            with self._insight_lock:
                if self._insight is not None and monotonic() < self._insight_expires:
                    return self._insight  # another thread has just computed it
                published = run.publisher.published
                self._insight = build_insight(
                    run.journal_output.recent,
                    None if published is None else published.model,
                    run.learner.task,
                    list(run.learner.encoder.labels),
                )
                self._insight_expires = monotonic() + _INSIGHT_SECONDS
        return self._insight

    def rejected(self) -> Rejected:
        """How many records were rejected, why, and the latest of them."""
        run = self.model_run
        if run is None:
            return Rejected(0, {}, [])
        reasons = count_rejected(run)
        letters = [
            RejectedLine(
                letter.source,
                letter.line,
                letter.reason,
                letter.detail,
                letter.raw,
                when,
                None if letter.message is None else dict(letter.message),
            )
            for letter, when in list(run.journal_output.dead_letters)
        ]
        return Rejected(sum(reasons.values()), reasons, letters)

    @property
    def dead_letters(self) -> Path:
        """File of the rejected records as JSON lines; it exists once there is one."""
        return self.folder / "state" / STATE_DEAD_LETTERS

    def encode_model(self, name: str) -> bytes:
        """Encode the published model as a file of the format of this name.

        Raises:
            NotReadyError: If no model is published yet.
            ConfigurationError: If there is no such format, or it cannot represent the model.
        """
        model_format = get_format(name)
        return model_format.encode(self.published_model().document())


def _slice_batches(count: int) -> list[slice]:
    return [slice(start, start + _BATCH_SIZE) for start in range(0, count, _BATCH_SIZE)]
