"""Troubles of a model: what needs attention, since when, and what samples are refused for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import sqrt
from time import time
from typing import NamedTuple, final

from streamnet.client.schemas import Feed, Trouble, TroubleKind
from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.hosting.model_run import ModelRun
from streamnet.learning.learner import Learner
from streamnet.metrics import METRICS, Horizon
from streamnet.reporting.builder import build_horizon_scores
from streamnet.reporting.report import MAIN_METRICS
from streamnet.samples import Task
from streamnet.settings.daemon import ModelSettings
from streamnet.sinks.outbox import MAX_WAITING, OutboxStatus

_LOG = logging.getLogger("streamnet.daemon")
_PATIENCE = 10.0  # seconds: a queue fills again and again, and brokers are restarted
_MIN_UNLABELED = 100  # samples without a target before that is a trouble
_MIN_SCORED = 200  # samples in the sliding window before a baseline may be better
_DEVIATIONS = 3.0  # by how many standard deviations it must be
_MAX_NAMES = 8  # of columns in a message


class Finding(NamedTuple):
    """A trouble of this moment."""

    message: str
    refuses: bool = False
    patience: float = 0.0  # seconds that it must last before it is a trouble


@final
class TroubleLog:
    """Keeps what needs attention with the time since when, and logs where it begins and ends.

    >>> log = TroubleLog("spam", EventLog(clock=lambda: 5.0), clock=lambda: 5.0)
    >>> log.update({"queue": Finding("it is full", refuses=True)})
    >>> log.update({"queue": Finding("it is still full", refuses=True)})
    >>> log.update({})
    >>> log.current, log.last
    ([], Trouble(kind='queue', message='it is still full', since=5.0, refuses=True))
    """

    def __init__(self, name: str, events: EventLog, *, clock: Callable[[], float] = time) -> None:
        self.last: Trouble | None = None  # also once it has ended
        self.refusing: str | None = None  # why samples are refused now
        self._name = name
        self._events = events
        self._clock = clock
        self._current: dict[TroubleKind, Trouble] = {}
        self._since: dict[TroubleKind, float] = {}  # also of what has not lasted long enough

    @property
    def current(self) -> list[Trouble]:
        """The troubles of this moment, the oldest first."""
        return list(self._current.values())

    def update(self, found: Mapping[TroubleKind, Finding]) -> None:
        """Replace what was found before."""
        now = self._clock()
        self.refusing = next((one.message for one in found.values() if one.refuses), None)
        self._since = {kind: self._since.get(kind, now) for kind in found}
        for kind in [kind for kind in self._current if kind not in found]:
            self._report(self._current.pop(kind), "ended", logging.INFO)
        for kind, finding in found.items():
            if now - self._since[kind] < finding.patience:
                continue
            before = self._current.get(kind)
            trouble = Trouble(kind, finding.message, self._since[kind], finding.refuses)
            self._current[kind] = trouble
            if before is None or self.last is before:
                self.last = trouble
            if before is None:
                self._report(trouble, "began", logging.WARNING)

    def _report(self, trouble: Trouble, change: str, level: int) -> None:
        ended = "" if change == "began" else " (it has ended)"
        extra = {"model": self._name, "trouble": trouble.kind, "change": change}
        _LOG.log(level, "model %s: %s%s", self._name, trouble.message, ended, extra=extra)
        self._events.add("trouble", trouble=trouble.kind, change=change, message=trouble.message)


def find_troubles(
    run: ModelRun, settings: ModelSettings, *, max_queued: int
) -> dict[TroubleKind, Finding]:
    """Find what needs attention in a run."""
    found: dict[TroubleKind, Finding] = {}
    if (problem := run.committer.problem) is not None:
        found["disk"] = Finding(
            f"{problem}: free or repair the disk", refuses=run.committer.refuses
        )
    if (finding := _find_missing_target(run, settings, max_queued)) is not None:
        found["target"] = finding
    if run.queued >= max_queued and not run.waits_for_target:
        message = f"{run.queued:,} samples wait to be learned; the limit is {max_queued:,}"
        found["queue"] = Finding(message, refuses=True, patience=_PATIENCE)
    if (finding := _find_stopped_feed(run.feeds.describe())) is not None:
        found["feed"] = finding
    if (finding := _find_stalled_output(run.outputs)) is not None:
        found["output"] = finding  # checkpoints wait for it
    elif (statistics := run.statistics()).failures:
        attempts = f"{statistics.failures} attempts to write a checkpoint failed"
        found["checkpoint"] = Finding(f"{attempts}: {statistics.error}")
    if (finding := _find_rejected(run, settings.alerts.rejected)) is not None:
        found["rejected"] = finding
    return found


def _find_rejected(run: ModelRun, limit: float) -> Finding | None:
    """More rejected records than the limit allows, recently."""
    rejecting, learning = run.monitor.rejecting.value, run.monitor.learning.value
    if rejecting <= max(limit * (rejecting + learning), _MIN_REJECTED):
        return None
    share = rejecting / (rejecting + learning)
    return Finding(
        f"{100 * share:.0f} % of the recent records are rejected; the limit is "
        f"{100 * limit:.0f} %: {', '.join(_describe_reasons(run))}"
    )


@final
class ScoreWatch:
    """Compares what is served with a bound and the baselines, after every so many scored samples.

    Args:
        bound: The worst score over the sliding window; None leaves it to the baselines.
        every: Samples between two comparisons.
    """

    def __init__(self, bound: float | None = None, every: int = 100) -> None:
        self._bound, self._every = bound, every
        self._learner: Learner | None = None
        self._scored = 0
        self._message: str | None = None

    def compare(self, learner: Learner) -> str | None:
        """Say what is better than the score over the sliding window, if that is beyond doubt."""
        scored = learner.serving.scored
        if learner is not self._learner or scored - self._scored >= self._every:
            self._learner, self._scored = learner, scored
            self._message = _compare_with_bound(learner, self._bound)
            self._message = self._message or _compare_with_baselines(learner)
        return self._message


def _find_stopped_feed(feeds: Sequence[Feed]) -> Finding | None:
    """A feed that has stopped, or whose broker is away for long."""
    troubled = [feed for feed in feeds if feed.failure is not None]
    for feed in troubled:
        if feed.state == "failed":
            return Finding(f"feed {feed.name}: {feed.failure}; resume the model to read on")
    for feed in troubled:
        return Finding(f"feed {feed.name}: {feed.failure}; trying again", patience=_PATIENCE)
    return None


def _find_stalled_output(outputs: Sequence[OutboxStatus]) -> Finding | None:
    """An output that takes nothing for long."""
    for name, waiting, error in outputs:
        if error:
            effect = "learning waits for it" if waiting >= MAX_WAITING else "trying again"
            message = f"output {name}: {waiting:,} records wait: {error}; {effect}"
            return Finding(message, patience=_PATIENCE)
    return None


_MIN_REJECTED = 0.01  # records a second, recently


def _describe_reasons(run: ModelRun) -> Iterator[str]:
    for reason, count in run.pipeline.rejections.reasons.most_common(3):
        yield f"{count:,} {reason}"


def _find_missing_target(run: ModelRun, settings: ModelSettings, max_queued: int) -> Finding | None:
    """A model that has learned from no label, since no sample has the target."""
    learner = run.learner
    if learner is None:
        count, names = run.source.consumed, run.source.seen_columns
        missing = run.source.infers_task
    else:
        count, names = learner.trainer.number, [name for name, _ in learner.encoder.fields]
        missing = not learner.serving.scored and learner.serving.unlabeled == count
    if not missing or count < _MIN_UNLABELED:
        return None
    listed = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
    message = (
        f"none of the {count:,} samples so far has the target {settings.source.targets[0]!r}; "
        f"their columns are {listed or 'unreadable'}: send samples that have it, or create the "
        "model with another source.target"
    )
    return Finding(message, refuses=run.waits_for_target and run.queued >= max_queued)


def _compare_with_bound(learner: Learner, bound: float | None) -> str | None:
    """Say that the score over the sliding window is worse than a bound."""
    if bound is None:
        return None
    scores, metric = build_horizon_scores(learner, Horizon.SLIDING), _main_metric(learner)
    if scores.served is None or scores.samples < _MIN_SCORED:
        return None
    if metric.sign * (bound - scores.served) <= 0:
        return None
    return (
        f"over the last {scores.samples:,} samples {metric.title} is "
        f"{metric.format(scores.served)}; the bound is {metric.format(bound)}"
    )


def _compare_with_baselines(learner: Learner) -> str | None:
    """Say which baseline is better over the sliding window, if one is beyond doubt."""
    scores, metric = build_horizon_scores(learner, Horizon.SLIDING), _main_metric(learner)
    known = {name: value for name, value in scores.baselines.items() if value is not None}
    if scores.served is None or not known or scores.samples < _MIN_SCORED:
        return None
    best = max(known, key=lambda name: metric.sign * known[name])
    margin = _compute_margin(learner.task, scores.served, known[best], scores.samples)
    if metric.sign * (known[best] - scores.served) <= margin:
        return None
    return (
        f"over the last {scores.samples:,} samples {metric.title} is "
        f"{metric.format(scores.served)}, and that of the baseline {best.replace('_', ' ')} "
        f"{metric.format(known[best])}"
    )


class _MainMetric(NamedTuple):
    """The metric by which a task is judged."""

    title: str
    sign: float  # 1 if a larger score is better, -1 if a smaller one is
    percentage: bool

    def format(self, value: float) -> str:
        """A score in a message."""
        return f"{value:.1%}".replace("%", " %") if self.percentage else f"{value:.4g}"


def _main_metric(learner: Learner) -> _MainMetric:
    metric = METRICS[learner.task][MAIN_METRICS[learner.task]]
    return _MainMetric(metric.title, 1.0 if metric.larger_is_better else -1.0, metric.percentage)


def _compute_margin(task: Task, served: float, other: float, samples: int) -> float:
    """Difference of two scores that chance does not explain; of errors a tenth."""
    if task is Task.REGRESSION:
        return 0.1 * served
    # As if the two fractions were independent; those over the same samples differ by less.
    variance = served * (1.0 - served) + other * (1.0 - other)
    return _DEVIATIONS * sqrt(variance / samples)
