"""The typed report of a run, its leader board, curves and confusion matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import isfinite, nan
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from streamnet.errors import ConfigurationError
from streamnet.reporting.outcomes import Confusion, Residuals
from streamnet.samples import ClassChange, Task
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.horizon import describe_target
from streamnet.sinks.outbox import OutboxStatus

Scores = dict[str, float | None]
"""Metrics by name; None where one is undefined."""

MAIN_METRICS = {Task.CLASSIFICATION: "accuracy", Task.REGRESSION: "mae"}
"""The metric by which progress is shown, also of the baselines and over time."""


def error_to_score(task: Task, error: float) -> float | None:
    """The main metric for a mean error: error rate or mean absolute error; None if undefined.

    >>> error_to_score(Task.CLASSIFICATION, 0.25), error_to_score(Task.REGRESSION, 0.25)
    (0.75, 0.25)
    """
    if not isfinite(error):
        return None
    return 1.0 - error if task is Task.CLASSIFICATION else error


class IntervalStatus(Struct, frozen=True):
    """How well the served intervals of numbers, or sets of labels, held the truths so far."""

    level: float  # fraction that they should hold
    scored: int  # samples
    recent: int  # samples in the sliding window
    overall: Scores  # coverage, and mean_width and interval_score, or mean_set_size
    sliding: Scores  # the same of the last samples

    def describe(self) -> str:
        """Level and metrics in words.

        >>> scores = {"coverage": 0.9012, "mean_set_size": 1.5}
        >>> IntervalStatus(0.9, 5000, 1000, scores, scores).describe()
        '90 %: coverage 90.1 %, mean set size 1.5; of the last 1,000 90.1 %, 1.5'
        """
        words = ", ".join(_describe_scores(self.overall, named=True))
        if self.recent < self.scored:
            lately = ", ".join(_describe_scores(self.sliding, named=False))
            words = f"{words}; of the last {self.recent:,} {lately}"
        return f"{100 * self.level:g} %: {words}"


def _describe_scores(scores: Scores, *, named: bool) -> Iterator[str]:
    for name, value in scores.items():
        words = "-" if value is None else f"{value:.4g}"
        if name == "coverage" and value is not None:
            words = f"{value:.1%}".replace("%", " %")
        yield f"{name.replace('_', ' ')} {words}" if named else words


class IntervalCurve(Struct, frozen=True):
    """Metrics of intervals over time: point i is over the samples up to ``samples[i]``."""

    samples: list[int]  # scored
    series: dict[str, list[float]]  # coverage, and mean_width or mean_set_size


class IntervalReport(IntervalStatus, frozen=True):
    """The same at the end, and over time."""

    curve: IntervalCurve

    @property
    def status(self) -> IntervalStatus:
        """The metrics without those over time."""
        names = IntervalStatus.__struct_fields__
        return IntervalStatus(**{name: getattr(self, name) for name in names})


class HorizonScores(Struct, frozen=True):
    """The main metric over recent samples: of what was served, and of the baselines by name."""

    samples: int  # that count: those in the sliding window, or all, where weights fade
    served: float | None  # None before the first scored sample
    baselines: Scores


class LearningStatus(Struct, frozen=True, kw_only=True, rename={"metric": "measure"}):
    """Counts and scores at one moment."""

    task: Task
    learned: int  # samples
    scored: int  # samples; lags behind `learned` by a moment
    requested: int = 0  # of them, those scored by the answer that a caller got
    unlabeled: int = 0  # learned without a label, only for scales and the auto-encoder
    metric: str  # see `MAIN_METRICS`
    served: float | None  # that metric of what was served; None before the first scored sample
    baselines: Scores  # that metric of the baselines
    switches: int  # of champion
    drifts: int
    quarantined: int  # candidates so far
    intervals: IntervalStatus | None = None  # if there is an `interval`
    # The same over the last samples, and with exponential forgetting; None of a finished report.
    sliding: HorizonScores | None = None
    fading: HorizonScores | None = None


CandidateState = Literal["competing", "resting", "quarantined", "replaced"]


class LeaderBoardRow(Struct, frozen=True):
    """A candidate on the leader board."""

    candidate: int
    settings: str
    loss: float | None  # faded mean; None before its first sample
    state: CandidateState
    champion: bool
    born: int  # number of its first sample
    scores: Scores  # over all samples since it was born
    left: int | None = None  # number of the first sample after it was replaced
    weight: float | None = None  # share in the ensemble, from 0 to 1; None if it is not served


class LeaderBoard(Struct, frozen=True):
    """A moment of a run, for a person who watches."""

    status: LearningStatus
    rows: list[LeaderBoardRow]  # best first
    switches: list[tuple[int, str]]  # latest first: number of the sample, new champion
    curve: list[float]  # the main metric over equal stretches of the stream


class ComparedScores(Struct, frozen=True):
    """All metrics of a shadow, and of what was served on the same samples."""

    samples: int
    shadow: Scores  # None where it gave no probabilities to score
    served: Scores


class ShadowReport(Struct, frozen=True, kw_only=True):
    """A model of somebody else, whose predictions are scored but never learned from."""

    shadow: str
    predictions: int  # that came before their label
    waiting: int  # of them, those whose label has not come
    scored: int  # those that are compared with what was served
    unscored: int  # those where the shadow or the model gave none
    late: int  # predictions that came after the label
    expired: int  # whose label never came
    overall: ComparedScores
    sliding: ComparedScores  # over the last samples that both predicted
    fading: ComparedScores


class Contender(Struct, frozen=True, omit_defaults=True):
    """What could be served, a baseline or a shadow: its scores on the samples that were scored.

    A shadow's are on the samples that both it and the model predicted: see ``shadow``.
    """

    track: str
    served: bool
    overall: Scores
    sliding: Scores  # of the last samples; empty if they are no longer known
    shadow: ShadowReport | None = None


class ColumnImportance(Struct, frozen=True):
    """How much worse recent samples are predicted once a column is permuted among them."""

    column: str
    loss: float  # of the mean probability of the true label; or more mean absolute error


class RecentError(Struct, frozen=True):
    """A recent sample that was predicted wrongly."""

    number: int
    sample: dict[str, str | float]
    truth: str | float
    prediction: str | float
    error: float  # 1 minus the probability of the truth; or the absolute error


class Insight(Struct, frozen=True, kw_only=True):
    """What matters to a model, as its last samples show."""

    task: Task
    samples: int  # recent ones whose truth is known
    permuted: int  # those that the importance is of; 0 if they are too few
    importance: list[ColumnImportance]  # the most important first
    errors: list[RecentError]  # the biggest first
    last: dict[str, str | float] | None  # sample, without its target; missing values are left out


class Mark(Struct, frozen=True):
    """A change of champion, a drift, or a change of the classes, at a point of the curve."""

    number: int
    kind: Literal["champion", "drift", "classes"]
    text: str

    @classmethod
    def of_champion(cls, number: int, candidate: int, settings: str | None) -> Mark:
        """The mark of a new champion; its settings are None if they are no longer known."""
        return cls(number, "champion", f"#{candidate} {settings or ''}".rstrip())

    @classmethod
    def of_drift(cls, drift: Drift) -> Mark:
        """The mark of a drift."""
        text = f"loss rose from {drift.before:.3g} to {drift.after:.3g}"
        return cls(drift.number, "drift", text)

    @classmethod
    def of_class_change(cls, change: ClassChangeReport) -> Mark:
        """The mark of a class that was merged or retired."""
        return cls(change.sample, "classes", change.describe())


class TimedHistory(Struct, frozen=True):
    """The main metric by the clock: point i is over the samples from point i - 1 to ``samples[i]``.

    Points are dense in the last hour, and the sparser the older they are.
    """

    times: list[float]  # seconds since 1970 at which the last sample of each point was scored
    samples: list[int]
    series: dict[str, list[float | None]]


class History(Struct, frozen=True, rename={"metric": "measure"}):
    """The main metric over time: point i is over the samples from point i - 1 to ``samples[i]``."""

    metric: str
    samples: list[int]
    series: dict[str, list[float | None]]  # of what was served, and of the baselines
    marks: list[Mark]
    intervals: IntervalCurve | None = None  # if there is an `interval`
    timed: TimedHistory | None = None  # of a daemon


class ErrorCurve(Struct, frozen=True):
    """Errors summed from the first sample to each point."""

    samples: list[int]
    columns: list[str]  # "served" and the baselines
    summed_errors: list[list[float]]  # a row for each point

    def history(
        self, task: Task, marks: Sequence[Mark], intervals: IntervalCurve | None = None
    ) -> History:
        """The main metric between the points."""
        series = self.series(task)
        ordered = sorted(marks, key=lambda mark: mark.number)
        return History(MAIN_METRICS[task], self.samples, series, ordered, intervals)

    def series(self, task: Task) -> dict[str, list[float | None]]:
        """The main metric of each column between the points."""
        sums = [[0.0] * len(self.columns), *self.summed_errors]
        widths = [later - now for now, later in pairwise([0, *self.samples])]
        return {
            name: [
                error_to_score(task, (later[column] - now[column]) / width)
                for (now, later), width in zip(pairwise(sums), widths, strict=True)
            ]
            for column, name in enumerate(self.columns)
        }

    def resample(self, task: Task, points: int) -> list[float]:
        """The main metric of what was served, over at most ``points`` equal stretches."""
        if not self.samples:
            return []
        errors = [0.0, *(row[0] for row in self.summed_errors)]
        edges = np.linspace(0, self.samples[-1], min(points, len(self.samples)) + 1)
        means = np.diff(np.interp(edges, [0, *self.samples], errors)) / np.diff(edges)
        scores = [error_to_score(task, mean) for mean in means.tolist()]
        return [nan if score is None else score for score in scores]


class ChampionReport(Struct, frozen=True):
    """The champion at the end."""

    candidate: int
    settings: dict[str, Any]
    since: int  # number of the sample from which on it was champion


class Switch(Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """A change of champion."""

    sample: int  # number of the first one for the new champion
    before: int | None  # candidates
    after: int
    loss_from: float | None  # faded mean loss of each at that time
    loss_to: float | None
    evidence: float  # e-value of the new one's being better; 0 where none was required


class Drift(Struct, frozen=True):
    """A rise of the loss of what was served."""

    number: int  # of the sample at which it was detected
    since: int  # estimated number of the first sample with the higher loss
    before: float  # mean loss, from 0 to 1, before that sample
    after: float  # and since then


class ClassChangeReport(Struct, frozen=True):
    """A class that an operator merged into another, or retired."""

    sample: int  # number of the first one after the change
    label: str
    into: str | None  # None: it was retired

    def describe(self) -> str:
        """What happened, in words."""
        return ClassChange(self.label, self.into).describe()


def describe_guest(guest: str, model: str) -> str:
    """A guest in words, by its name and the type of its model."""
    return f"guest {guest} ({model})"


class CandidateReport(Struct, frozen=True, kw_only=True):
    """A candidate; of a replaced one there is only what is known of all."""

    candidate: int
    settings: dict[str, Any]
    quarantined: bool
    born: int
    scores: Scores  # since it was born
    sliding: Scores | UnsetType = UNSET
    fading: Scores | UnsetType = UNSET
    loss: float | UnsetType | None = UNSET  # faded mean; None before its first sample
    weight: float | UnsetType | None = UNSET  # share in the ensemble; None if it is not served
    left: int | UnsetType = UNSET  # number of the first sample after it was replaced
    failure: str | UnsetType = UNSET  # why a guest is quarantined
    resting: bool | UnsetType = UNSET  # whether it rehearses nothing at present

    def describe(self) -> str:
        """Its settings in words."""
        if "guest" in self.settings:
            return describe_guest(**self.settings)
        return CandidateSettings.from_dict(self.settings).describe()

    def as_leader_board_row(self, champion: int | None) -> LeaderBoardRow:
        """Its row on the leader board, where ``champion`` is the number of the champion."""
        state: CandidateState = "resting" if self.resting is True else "competing"
        if self.quarantined or self.left is not UNSET:
            state = "quarantined" if self.quarantined else "replaced"
        return LeaderBoardRow(
            self.candidate,
            self.describe(),
            None if self.loss is UNSET else self.loss,
            state,
            self.candidate == champion,
            self.born,
            self.scores,
            None if self.left is UNSET else self.left,
            None if self.weight is UNSET else self.weight,
        )


class KeyReport(Struct, frozen=True, kw_only=True):
    """A key with a model of its own; losses are absolute errors, or log-losses of labels."""

    key: str
    samples: int  # with a target
    loss: float | None  # mean of what was served for this key
    shared_loss: float | None  # and of the shared model alone on the same samples
    recent_loss: float | None  # faded mean, of some 50 samples
    error: float | None  # root mean square error, or fraction of wrong labels
    shared_error: float | None
    drifts: int
    drifted_at: int | None  # samples of the key before its last drift
    experts: dict[str, float]  # weight of each part of its model


class KeyDetails(KeyReport, frozen=True, kw_only=True):
    """All that is known about a key."""

    targets: dict[str, float | str | None]  # its last targets, their mean, that of a season ago


class KeysReport(Struct, frozen=True):
    """What is known of all keys."""

    columns: list[str]
    count: int
    worst: list[KeyReport]  # of at least 10 samples, by mean loss
    best: list[KeyReport]


class FeatureDriftLine(Struct, frozen=True):
    """How far the recent values of a column are from its first 1,000; None with too few."""

    name: str
    samples: int  # recent ones
    drift: float | None  # Jensen-Shannon distance of the two distributions, from 0 to 1
    missing: float | None  # fraction of the recent values that are missing
    reference_missing: float | None  # and of the first ones


class Environment(Struct, frozen=True):
    """Where the run took place."""

    python: str
    numpy: str
    numba: str
    cpu: str
    threads: int


class Report(Struct, frozen=True, kw_only=True):
    """Everything that is known at the end of a run."""

    streamnet: str  # version
    task: Task
    target: str | None
    horizon: int | str | UnsetType = UNSET  # of a forecast: samples, or a duration
    samples: int  # read
    learned: int
    scored: int
    pending: int  # predictions whose labels have not arrived
    unlabeled: int  # learned without a label, only for scales and the auto-encoder
    rejected: int
    rejected_reasons: dict[str, int]
    rejected_not_kept: int
    seconds: float
    startup_seconds: float
    samples_per_second: float | None
    serves: str  # one of `alternatives`
    served: Scores
    served_sliding: Scores
    served_fading: Scores
    alternatives: dict[str, Scores]
    baselines: dict[str, Scores]
    champion: ChampionReport | None
    switches: int
    last_switches: list[Switch]
    drifts: int
    last_drifts: list[Drift]
    quarantines: int
    candidates: list[CandidateReport]  # best first, then those that were replaced
    curve: ErrorCurve
    outcomes: Confusion | Residuals
    classes: dict[str, Scores] = {}  # all metrics of each class; of numbers none
    class_changes: list[ClassChangeReport] = []
    encoder: dict[str, Any]
    settings: dict[str, Any]
    seed: int
    environment: Environment
    intervals: IntervalReport | UnsetType = UNSET  # if there is an `interval`
    keys: KeysReport | UnsetType = UNSET  # if there is a `key`

    def __post_init__(self) -> None:
        metric = MAIN_METRICS[self.task]
        if not all(metric in scores for scores in (self.served, *self.baselines.values())):
            raise ValueError(f"{metric} is missing from served or baselines")
        samples, columns = self.curve.samples, len(self.curve.columns)
        if not all(before < after for before, after in pairwise([0, *samples])):
            raise ValueError("curve.samples must ascend")
        if [len(row) for row in self.curve.summed_errors] != [columns or 1] * len(samples):
            raise ValueError("curve.summed_errors must have a row per sample, a value per column")

    def as_dict(self) -> dict[str, Any]:
        """The JSON report, as plain values."""
        values: dict[str, Any] = msgspec.to_builtins(self, enc_hook=_to_builtin)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Report:
        """The report that `as_dict` returned, also after it was read from a file."""
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"the report is damaged: {error}") from error

    def describe_target(self, name: str | None = None) -> str:
        """What was predicted, in words; ``name`` stands for the target."""
        horizon = None if self.horizon is UNSET else self.horizon
        return describe_target(str(self.target) if name is None else name, horizon)

    @property
    def status(self) -> LearningStatus:
        """Counts and scores at the end."""
        metric = MAIN_METRICS[self.task]
        return LearningStatus(
            task=self.task,
            learned=self.learned,
            scored=self.scored,
            unlabeled=self.unlabeled,
            metric=metric,
            served=self.served[metric],
            baselines={name: scores[metric] for name, scores in self.baselines.items()},
            switches=self.switches,
            drifts=self.drifts,
            quarantined=self.quarantines,
            intervals=None if self.intervals is UNSET else self.intervals.status,
        )

    @property
    def leader_board(self) -> list[LeaderBoardRow]:
        """All candidates, best first."""
        champion = None if self.champion is None else self.champion.candidate
        return [candidate.as_leader_board_row(champion) for candidate in self.candidates]

    @property
    def history(self) -> History:
        """The main metric over time, with the last changes of champion and drifts."""
        names = {candidate.candidate: candidate.describe() for candidate in self.candidates}
        marks = [
            Mark.of_champion(switch.sample, switch.after, names.get(switch.after))
            for switch in self.last_switches
        ]
        intervals = None if self.intervals is UNSET else self.intervals.curve
        marks += map(Mark.of_drift, self.last_drifts)
        marks += map(Mark.of_class_change, self.class_changes)
        return self.curve.history(self.task, marks, intervals)

    @property
    def contenders(self) -> list[Contender]:
        """What was served, then the alternatives to it, and the baselines."""
        others = {name: value for name, value in self.alternatives.items() if name != self.serves}
        served = Contender(self.serves, True, self.served, self.served_sliding)
        scores = {**others, **self.baselines}
        return [served, *(Contender(name, False, values, {}) for name, values in scores.items())]


def _to_builtin(value: Any) -> Any:
    """Numbers of numpy."""
    return value.item()


class PipelineStatistics(NamedTuple):
    """Progress of a run."""

    samples: int  # learned so far
    rejected: int
    seconds: float  # since the first sample could be learned
    startup: float  # seconds before that
    progress: float | None  # fraction of the source that was learned or rejected
    champion: str  # description of its settings, empty before there is one
    switches: int
    waiting: tuple[int, ...]  # blocks waiting before each stage
    earlier: int  # samples that previous runs learned
    outputs: tuple[OutboxStatus, ...] = ()  # that are sent to sinks
