"""Builds reports from a learner: at the end of a run, or while it is learning.

A learner may be learning in other threads meanwhile, so whatever is counted twice is read in such
an order that no sum is ahead of its count.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from math import inf, isfinite, nan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from streamnet.keyed import KeyScores
from streamnet.learning.contenders import FIRST_BASELINE, SERVABLE
from streamnet.learning.evaluator import TrackMetrics
from streamnet.learning.intervals import ServedIntervals
from streamnet.learning.learner import Learner
from streamnet.learning.serving import FIRST_GUEST, ChampionChange
from streamnet.metrics import ClassificationEvaluator, Horizon
from streamnet.metrics.formulas import nan_to_none
from streamnet.metrics.per_class import compute_per_class
from streamnet.reporting.outcomes import (
    CalibrationPoint,
    Confusion,
    Residuals,
    build_confusion_matrix,
    build_residual_histogram,
)
from streamnet.reporting.report import (
    MAIN_METRICS,
    CandidateReport,
    CandidateState,
    ChampionReport,
    ClassChangeReport,
    Contender,
    Drift,
    Environment,
    ErrorCurve,
    History,
    HorizonScores,
    IntervalCurve,
    IntervalReport,
    IntervalStatus,
    KeyDetails,
    KeyReport,
    KeysReport,
    LeaderBoard,
    LeaderBoardRow,
    LearningStatus,
    Mark,
    Report,
    Scores,
    Switch,
    TimedHistory,
    describe_guest,
    error_to_score,
)
from streamnet.settings.candidate import CandidateSettings
from streamnet.version import __version__

_MAX_SWITCHES = 4  # on a leader board
MAX_KEYS = 20  # of the worst and of the best in a report


class RunTimes(NamedTuple):
    """How long a run took, in seconds of wall time, and what was learned before it."""

    startup: float
    running: float
    earlier: int  # samples that previous runs learned


def build_report(
    learner: Learner,
    *,
    target: str | None,
    horizon: int | str | None = None,
    rejected: dict[str, Any],
    times: RunTimes,
    settings: dict[str, Any],
    threads: int,
) -> Report:
    """Build the report of a run that has ended; ``rejected`` is of `Rejections.statistics`."""
    serving = learner.serving
    contenders = serving.contenders
    learned, seconds = learner.trainer.number, times.running
    measures = contenders.scores.measures
    tracks = {name: nan_to_none(measures(track)) for track, name in enumerate(contenders.names)}
    baselines = {name: tracks.pop(name) for name in _baseline_names(learner)}
    champion = serving.champion
    return Report(
        streamnet=__version__,
        task=learner.task,
        target=target,
        horizon=UNSET if horizon is None else horizon,
        samples=learned + rejected["total"],
        learned=learned,
        scored=serving.scored,
        pending=learner.pending,
        unlabeled=serving.unlabeled,
        rejected=rejected["total"],
        rejected_reasons=rejected["reasons"],
        rejected_not_kept=rejected["not_kept"],
        seconds=round(seconds, 6),
        startup_seconds=round(times.startup, 6),
        samples_per_second=round((learned - times.earlier) / seconds, 1) if seconds > 0 else None,
        serves=SERVABLE[serving.served_track],
        served=nan_to_none(serving.measures()),
        served_sliding=nan_to_none(serving.measures(Horizon.SLIDING)),
        served_fading=nan_to_none(serving.measures(Horizon.FADING)),
        alternatives=tracks,
        baselines=baselines,
        champion=None
        if champion is None
        else ChampionReport(champion.serial, champion.settings.as_dict(), serving.selector.since),
        switches=serving.selector.switched,
        last_switches=[_build_switch(change) for change in serving.changes],
        drifts=serving.drift.detections,
        last_drifts=[Drift(*event) for event in serving.drift.events],
        quarantines=_count_quarantines(learner),
        candidates=_build_candidate_reports(learner),
        curve=_build_curve(learner),
        outcomes=build_outcomes(learner),
        classes=_build_classes(learner),
        class_changes=_build_class_changes(learner),
        encoder=learner.encoder.statistics()._asdict(),
        settings=settings,
        seed=learner.seed,
        environment=Environment(
            python=platform.python_version(),
            numpy=np.__version__,
            numba=version("numba"),
            cpu=_read_cpu_model(),
            threads=threads,
        ),
        intervals=_build_interval_report(serving.intervals),
        keys=build_keys(learner),
    )


def build_keys(learner: Learner, count: int = MAX_KEYS) -> KeysReport | UnsetType:
    """The worst and the best keys, at most ``count`` of each."""
    keyed, models = learner.keyed, learner.serving.contenders.keyed
    if keyed is None or models is None:
        return UNSET
    worst, best = (
        [_build_key(scores) for scores in models.rank(count, worst=worst)]
        for worst in (True, False)
    )
    return KeysReport(list(keyed.columns), len(models.rows), worst, best)


def build_key_details(learner: Learner, key: str) -> KeyDetails | None:
    """What is known about a key; None if there is no such key."""
    keyed, models = learner.keyed, learner.serving.contenders.keyed
    if keyed is None or models is None or (scores := models.describe(key)) is None:
        return None
    targets = {name.strip("()"): value for name, value in keyed.history.read_last(key).items()}
    return KeyDetails(**_plain(scores._asdict()), targets=_plain(targets))


def _build_key(scores: KeyScores) -> KeyReport:
    return KeyReport(**_plain(scores._asdict()))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values in which None stands for NaN and infinity."""
    undefined = {n: None for n, v in values.items() if isinstance(v, float) and not isfinite(v)}
    return values | undefined


def build_status(learner: Learner) -> LearningStatus:
    """Counts and scores of this moment."""
    serving = learner.serving
    sums, scored = serving.errors, serving.scored
    served, *baselines = [
        error_to_score(learner.task, error) for error in (sums / (scored or nan)).tolist()
    ]
    return LearningStatus(
        task=learner.task,
        learned=learner.trainer.number,
        scored=scored,
        requested=serving.requested,
        unlabeled=serving.unlabeled,
        metric=MAIN_METRICS[learner.task],
        served=served,
        baselines=dict(zip(_baseline_names(learner), baselines, strict=True)),
        switches=serving.selector.switched,
        drifts=serving.drift.detections,
        quarantined=_count_quarantines(learner),
        intervals=None if serving.intervals is None else _build_interval_status(serving.intervals),
        sliding=build_horizon_scores(learner, Horizon.SLIDING),
        fading=build_horizon_scores(learner, Horizon.FADING),
    )


def build_horizon_scores(learner: Learner, horizon: Horizon) -> HorizonScores:
    """The main metric over a horizon, of what was served and of the baselines."""
    serving, scores = learner.serving, learner.serving.contenders.scores
    values = scores.values(MAIN_METRICS[learner.task], horizon).tolist()
    named = zip(serving.contenders.names, map(_finite_or_none, values), strict=True)
    tracks = dict(named)
    served = tracks[SERVABLE[serving.served_track]]
    baselines = {name: tracks[name] for name in _baseline_names(learner)}
    return HorizonScores(scores.scored(serving.served_track, horizon), served, baselines)


def build_leader_board(learner: Learner, *, rows: int = 8, points: int = 60) -> LeaderBoard:
    """Build what a person sees of a run: at most ``rows`` candidates, ``points`` of the curve."""
    changes = list(learner.serving.changes)[-_MAX_SWITCHES:]
    return LeaderBoard(
        build_status(learner),
        build_candidates(learner, rows),
        [(change.number, change.after.settings.describe()) for change in reversed(changes)],
        _build_curve(learner).resample(learner.task, points),
    )


def build_curve(learner: Learner, points: int) -> list[float | None]:
    """The main metric of what was served, over at most ``points`` equal stretches of the stream."""
    return [
        _finite_or_none(score) for score in _build_curve(learner).resample(learner.task, points)
    ]


def build_contenders(learner: Learner) -> list[Contender]:
    """The scores of everything that could be served, and of the baselines."""
    serving = learner.serving
    contenders = serving.contenders
    overall, sliding = (
        contenders.scores.table(horizon) for horizon in (Horizon.OVERALL, Horizon.SLIDING)
    )
    return [
        Contender(
            name, track == serving.served_track, _select(overall, track), _select(sliding, track)
        )
        for track, name in enumerate(contenders.names)
    ]


def build_candidates(learner: Learner, rows: int | None = None) -> list[LeaderBoardRow]:
    """The leader board, best first; ``rows`` limits its length."""
    champion = learner.serving.selector.champion
    ranked = _rank(learner)[:rows]
    scores = {id(row.scores): row.scores for row in ranked}
    # All at once: one by one they would take ten times as long.
    tables = {key: one.table() for key, one in scores.items()}
    return [
        LeaderBoardRow(
            row.number,
            row.describe(),
            row.loss,
            row.state,
            row.slot == champion,
            row.born,
            _select(tables[id(row.scores)], row.track),
            weight=row.weight,
        )
        for row in ranked
    ]


def build_history(
    learner: Learner, timeline: Sequence[tuple[float, int, list[float]]] = ()
) -> History:
    """The main metric over time, with changes of champion, drifts, and changes of the classes.

    ``timeline`` has times with how many samples were scored until then, and the sums of errors.
    """
    marks = [
        Mark.of_champion(change.number, change.after.serial, change.after.settings.describe())
        for change in list(learner.serving.changes)
    ]
    marks += [Mark.of_drift(Drift(*event)) for event in list(learner.serving.drift.events)]
    marks += map(Mark.of_class_change, _build_class_changes(learner))
    intervals = learner.serving.intervals
    curve = None if intervals is None else IntervalCurve(*intervals.scores.curve())
    history = _build_curve(learner).history(learner.task, marks, curve)
    return replace(history, timed=_build_timed_history(learner, timeline)) if timeline else history


def _build_timed_history(
    learner: Learner, timeline: Sequence[tuple[float, int, list[float]]]
) -> TimedHistory:
    times, samples, sums = (list(column) for column in zip(*timeline, strict=True))
    curve = ErrorCurve(samples, _curve_columns(learner), sums)
    return TimedHistory(times, samples, curve.series(learner.task))


def build_outcomes(learner: Learner) -> Confusion | Residuals:
    """What was served against the truth: of all samples, or for numbers of the last ones."""
    serving = learner.serving
    evaluator = serving.contenders.scores
    if isinstance(evaluator, ClassificationEvaluator):
        counts = evaluator.confusion(serving.served_track)
        histograms = serving.histograms
        if histograms is None:
            return build_confusion_matrix(counts, learner.encoder.labels)
        matrix = build_confusion_matrix(counts, learner.encoder.labels, histograms.per_class())
        points = [
            CalibrationPoint(predicted, observed, round(count))
            for predicted, observed, count in histograms.calibration().tolist()
        ]
        return replace(matrix, calibration=points)
    return build_residual_histogram(evaluator.recent(serving.served_track))


def _build_classes(learner: Learner) -> dict[str, Scores]:
    """All metrics of each class, by label; none for numbers."""
    serving = learner.serving
    evaluator, histograms = serving.contenders.scores, serving.histograms
    if not isinstance(evaluator, ClassificationEvaluator) or histograms is None:
        return {}
    counts = evaluator.confusion(serving.served_track)
    labels = learner.encoder.labels[: len(counts)]
    found = compute_per_class(labels, counts, histograms.per_class())
    return {label: nan_to_none(values) for label, values in found.items()}


def build_class_scores(learner: Learner, most: int) -> dict[str, Scores]:
    """Metrics of the ``most`` frequent classes over the sliding window; of numbers none."""
    serving = learner.serving
    evaluator = serving.contenders.scores
    if not isinstance(evaluator, ClassificationEvaluator):
        return {}
    counts = evaluator.confusion(serving.served_track, Horizon.SLIDING)
    found = compute_per_class(learner.encoder.labels[: len(counts)], counts)
    frequent = sorted(found, key=lambda label: -found[label]["positives"])[:most]
    return {label: nan_to_none(found[label]) for label in found if label in frequent}


def count_classes(learner: Learner) -> dict[str, int]:
    """Scored samples of each class, by label; of numbers none."""
    serving = learner.serving
    evaluator = serving.contenders.scores
    if not isinstance(evaluator, ClassificationEvaluator):
        return {}
    counts = dict(enumerate(evaluator.confusion(serving.served_track).sum(axis=1).tolist()))
    labels = list(learner.encoder.labels)
    return {label: round(counts.get(number, 0.0)) for number, label in enumerate(labels)}


def _build_class_changes(learner: Learner) -> list[ClassChangeReport]:
    changes = list(learner.serving.class_changes)
    return [ClassChangeReport(number, *change) for number, change in changes]


def _build_interval_report(intervals: ServedIntervals | None) -> IntervalReport | UnsetType:
    if intervals is None:
        return UNSET
    status = asdict(_build_interval_status(intervals))
    return IntervalReport(**status, curve=IntervalCurve(*intervals.scores.curve()))


def _build_interval_status(intervals: ServedIntervals) -> IntervalStatus:
    scores = intervals.scores
    overall, sliding = (
        nan_to_none(scores.measures(horizon)) for horizon in (Horizon.OVERALL, Horizon.SLIDING)
    )
    return IntervalStatus(intervals.level, scores.scored, scores.recent, overall, sliding)


def _baseline_names(learner: Learner) -> Sequence[str]:
    return learner.serving.contenders.names[FIRST_BASELINE:]


class _Ranked(NamedTuple):
    """A network or guest on the leader board."""

    number: int
    candidate: CandidateSettings | dict[str, str]  # of a guest: its name and model
    loss: float | None
    weight: float | None  # share in the ensemble; None if that is not served, or has no weight
    born: int
    slot: int | None  # of a network
    resting: bool
    failure: str | None
    scores: TrackMetrics
    track: int  # in the scores

    @property
    def quarantined(self) -> bool:
        return self.failure is not None

    @property
    def state(self) -> CandidateState:
        if self.quarantined:
            return "quarantined"
        return "resting" if self.resting else "competing"

    @property
    def settings(self) -> dict[str, Any]:
        given = self.candidate
        return given if isinstance(given, dict) else given.as_dict()

    def describe(self) -> str:
        given = self.candidate
        return describe_guest(**given) if isinstance(given, dict) else given.describe()


def _rank(learner: Learner) -> list[_Ranked]:
    """Networks and guests, best first."""
    serving, guests = learner.serving, learner.guests
    count = len(serving.members)
    hosted = range(0 if guests is None else len(guests))
    slots = [*range(count), *(slot - len(hosted) for slot in hosted)]
    influence = serving.contenders.ensemble.influence()[slots]
    shares: list[float | None] = [None] * len(slots)
    if serving.serves_ensemble and influence.sum() > 0:
        shares = (influence / influence.sum()).tolist()
    ranked = [*_list_networks(learner, shares), *_list_guests(learner, shares[count:])]
    ranked.sort(key=lambda row: (row.quarantined, inf if row.loss is None else row.loss))
    return ranked


def _list_networks(learner: Learner, shares: Sequence[float | None]) -> list[_Ranked]:
    """All networks, in the order of their numbers."""
    serving, scores = learner.serving, learner.evaluator.candidates
    resting = learner.trainer.population.resting.tolist()
    found = [
        _Ranked(
            number=member.serial,
            candidate=member.settings,
            loss=_finite_or_none(loss),
            weight=shares[slot],
            born=member.born,
            slot=slot,
            resting=resting[slot],
            failure="" if serving.is_quarantined(slot) else None,
            scores=scores,
            track=slot,
        )
        for slot, (member, loss) in enumerate(
            zip(serving.members, serving.selector.losses().tolist(), strict=True)
        )
    ]
    return sorted(found, key=lambda row: row.number)


def _list_guests(learner: Learner, shares: Sequence[float | None]) -> list[_Ranked]:
    """All guests, in the order in which they were given."""
    if (guests := learner.guests) is None:
        return []
    failures = [guests.failure(place) for place in range(len(guests))]
    return [
        _Ranked(
            number=FIRST_GUEST - place,
            candidate=guests.describe(place),
            loss=_finite_or_none(loss),
            weight=shares[place],
            born=0,
            slot=None,
            resting=False,
            failure=None if failure is None else f"at sample {failure.number:,}: {failure.reason}",
            scores=guests.scores,
            track=place,
        )
        for place, (loss, failure) in enumerate(
            zip(guests.losses().tolist(), failures, strict=True)
        )
    ]


def _count_quarantines(learner: Learner) -> int:
    guests = learner.guests
    return learner.serving.quarantines + (0 if guests is None else guests.quarantined)


def _build_switch(change: ChampionChange) -> Switch:
    return Switch(
        change.number,
        None if change.before is None else change.before.serial,
        change.after.serial,
        _finite_or_none(change.loss_before),
        _finite_or_none(change.loss_after),
        change.evidence,
    )


def _build_candidate_reports(learner: Learner) -> list[CandidateReport]:
    serving, guests = learner.serving, learner.guests
    own = learner.evaluator.candidates
    horizons = Horizon.OVERALL, Horizon.SLIDING, Horizon.FADING
    tables = {
        id(scores): [scores.table(horizon) for horizon in horizons]
        for scores in ((own,) if guests is None else (own, guests.scores))
    }
    present = []
    for row in _rank(learner):
        overall, sliding, fading = (_select(one, row.track) for one in tables[id(row.scores)])
        present.append(
            CandidateReport(
                candidate=row.number,
                settings=row.settings,
                quarantined=row.quarantined,
                born=row.born,
                scores=overall,
                sliding=sliding,
                fading=fading,
                loss=row.loss,
                weight=row.weight,
                failure=row.failure or UNSET,
                resting=row.resting,
            )
        )
    replaced = [
        CandidateReport(
            candidate=retired.member.serial,
            settings=retired.member.settings.as_dict(),
            quarantined=retired.exploded,
            born=retired.member.born,
            scores={},
            left=retired.number,
        )
        for retired in serving.retired
    ]
    return present + replaced


def _select(table: dict[str, Any], slot: int) -> dict[str, float | None]:
    """The metrics of one candidate."""
    return nan_to_none({name: float(values[slot]) for name, values in table.items()})


def _build_curve(learner: Learner) -> ErrorCurve:
    samples, sums = learner.serving.curve.points()
    return ErrorCurve(samples.tolist(), _curve_columns(learner), sums.tolist())


def _curve_columns(learner: Learner) -> list[str]:
    return ["served", *_baseline_names(learner)]


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
