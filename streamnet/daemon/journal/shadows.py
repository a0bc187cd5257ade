"""Shadows: models of others, whose predictions are scored beside what was served.

A shadow's prediction is joined with the label of its ID, like the served one, and nothing is
learned from it. Both are scored on the samples that both predicted before the label was known.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite, isnan, nan
from typing import Any, NamedTuple, final

import msgspec
import numpy as np

from streamnet.client.schemas import ShadowOutcome
from streamnet.errors import ConfigurationError, ConflictError
from streamnet.learning.evaluator import TrackMetrics, build_track_metrics
from streamnet.metrics import ClassificationEvaluator, Horizon, RegressionEvaluator
from streamnet.metrics.formulas import nan_to_none
from streamnet.reporting.report import ComparedScores, ShadowReport
from streamnet.samples import MAX_WEIGHT, Change, ClassChange, Prediction, Task
from streamnet.sources.base import Reason
from streamnet.sources.columns import ParseOptions, parse_number, parse_word
from streamnet.sources.inference import MISSING

_OPTIONS = ParseOptions(frozenset(MISSING), typed=True)
_OWN, _SERVED = range(2)  # tracks
_OF_PROBABILITIES = ("log_loss", "brier")
_ROUNDING = 0.01  # by which a sum of probabilities may differ from 1
_COUNTERS = ("predictions", "scored", "unscored", "late", "expired", "has_probabilities")
_decode_sample = msgspec.json.Decoder(dict[str, Any]).decode


class ShadowPrediction(NamedTuple):
    """What a shadow predicted: a label, perhaps with the probabilities of labels, or a number."""

    identity: str
    value: Any = None  # None: the most probable label
    probabilities: Mapping[str, float] | None = None


class LabeledSample(NamedTuple):
    """A sample whose label has come."""

    identity: str
    line: str  # the sample as JSON
    served: Prediction
    label: Any
    weight: float | None  # that was sent with the label


class _Waiting(NamedTuple):
    value: Any
    probabilities: Mapping[str, float] | None
    time: float


class _Pair(NamedTuple):
    """Both predictions of a sample, its label and its weight."""

    own: _Waiting
    served: Prediction
    label: Any
    weight: float


def parse_task_value(value: Any, task: Task) -> Any:
    """A label as a number or a word; None, NaN or a reason if it is neither."""
    parse = parse_number if task is Task.REGRESSION else parse_word
    return parse(value, _OPTIONS)


@final
class Shadow:
    """The predictions of one shadow that wait for their labels, and its scores."""

    def __init__(self, *, window: int, fading: float) -> None:
        self.predictions: int = 0  # that came in time
        self.scored: int = 0  # of them, those compared with what was served
        self.unscored: int = 0  # those whose label came, but one of both did not predict
        self.late: int = 0  # predictions that came after the label
        self.expired: int = 0  # that waited too long, or were too many
        self.has_probabilities: bool = True  # whether all that were scored had them
        self._window, self._fading = window, fading
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._settled: OrderedDict[str, None] = OrderedDict()  # IDs of others, not long ago
        self._classes: dict[str, int] = {}
        self._metrics: TrackMetrics | None = None  # of the shadow, and of what was served
        self._report: ShadowReport | None = None  # until something changes

    def add(
        self, prediction: ShadowPrediction, time: float, *, is_late: bool, is_expired: bool
    ) -> ShadowOutcome:
        """Add a prediction, unless one of the same ID came before, or its label did."""
        self._report = None
        identity, value, probabilities = prediction
        if identity in self._waiting or identity in self._settled:
            return ShadowOutcome.DUPLICATE
        if is_late:
            self.late += 1
            return ShadowOutcome.LATE
        if is_expired:
            self.expired += 1
            return ShadowOutcome.EXPIRED
        self.predictions += 1
        self._waiting[identity] = _Waiting(value, probabilities, time)
        return ShadowOutcome.WAITING

    def expire(self, before: float, most: int) -> None:
        """Drop predictions made until a time, and the oldest ones beyond a number."""
        while self._waiting and (len(self._waiting) > most or self._oldest <= before):
            identity, _ = self._waiting.popitem(last=False)
            self.expired += 1
            self._settle(identity, most)
            self._report = None
        while len(self._settled) > most:
            self._settled.popitem(last=False)

    def is_due(self, before: float) -> bool:
        """Whether a prediction was made until a time."""
        return bool(self._waiting) and self._oldest <= before

    @property
    def _oldest(self) -> float:
        return next(iter(self._waiting.values())).time

    def _settle(self, identity: str, most: int) -> None:
        self._settled[identity] = None
        if len(self._settled) > most:
            self._settled.popitem(last=False)

    def score(
        self, samples: Sequence[tuple[LabeledSample, float]], names: ClassNames, most: int
    ) -> None:
        """Score the predictions of samples with their weights, as far as there are any."""
        pairs = []
        for sample, weight in samples:
            own = self._waiting.pop(sample.identity, None)
            if own is None:
                continue
            self._report = None
            self._settle(sample.identity, most)
            pair = _complete(_Pair(own, sample.served, sample.label, weight), names)
            if pair is None:
                self.unscored += 1
            else:
                pairs.append(pair)
        if pairs:
            self._score_pairs(pairs)

    def _score_pairs(self, pairs: Sequence[_Pair]) -> None:
        self.scored += len(pairs)
        weight = np.array([pair.weight for pair in pairs])
        weights = None if (weight == 1.0).all() else weight
        task = pairs[0].served.task
        if self._metrics is None:
            assert task is not None
            self._metrics = build_track_metrics(
                2, task=task, window=self._window, fading=self._fading
            )
        if isinstance(self._metrics, RegressionEvaluator):
            both = [[pair.own.value for pair in pairs], [pair.served.value for pair in pairs]]
            self._metrics.update(both, [pair.label for pair in pairs], weight=weights)
            return
        self.has_probabilities &= all(pair.own.probabilities is not None for pair in pairs)
        truth = np.array([self._find_class(pair.label) for pair in pairs], np.int32)
        tracks = [[(pair.own.value, pair.own.probabilities) for pair in pairs]]
        tracks.append([(pair.served.value, pair.served.probabilities) for pair in pairs])
        rows = [[self._number(*one) for one in track] for track in tracks]
        answers = np.zeros((2, len(pairs), len(self._classes)), np.float32)
        predicted = np.empty((2, len(pairs)), np.int32)
        for k, i in np.ndindex(predicted.shape):
            predicted[k, i], probabilities = rows[k][i]
            answers[k, i, list(probabilities)] = list(probabilities.values())
        known = np.full(len(pairs), len(self._classes), np.int32)
        self._metrics.update(answers, truth, known, predicted=predicted, weight=weights)

    def _number(
        self, label: str, probabilities: Mapping[str, float] | None
    ) -> tuple[int, dict[int, float]]:
        given = {label: 1.0} if probabilities is None else probabilities
        number = self._find_class(label)
        return number, {self._find_class(name): p for name, p in given.items()}

    def _find_class(self, label: str) -> int:
        return self._classes.setdefault(label, len(self._classes))

    def merge(self, label: str, into: str) -> None:
        """Take a label for another one from now on."""
        if isinstance(self._metrics, ClassificationEvaluator) and label in self._classes:
            self._metrics.merge_classes(self._classes[label], self._find_class(into))

    def report(self, name: str) -> ShadowReport:
        """Its counts and scores."""
        if self._report is None:
            self._report = ShadowReport(
                shadow=name,
                predictions=self.predictions,
                waiting=len(self._waiting),
                scored=self.scored,
                unscored=self.unscored,
                late=self.late,
                expired=self.expired,
                overall=self._compare(Horizon.OVERALL),
                sliding=self._compare(Horizon.SLIDING),
                fading=self._compare(Horizon.FADING),
            )
        return self._report

    def _compare(self, horizon: Horizon) -> ComparedScores:
        if self._metrics is None:
            return ComparedScores(0, {}, {})
        table = self._metrics.table(horizon)
        own, served = (
            nan_to_none({name: float(values[track]) for name, values in table.items()})
            for track in (_OWN, _SERVED)
        )
        if not self.has_probabilities:
            own |= dict.fromkeys((name for name in _OF_PROBABILITIES if name in own), None)
        return ComparedScores(self._metrics.scored(_OWN, horizon), own, served)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume: JSON values, but for the scores."""
        return {
            "waiting": list(self._waiting.items()),
            "settled": list(self._settled),
            "classes": list(self._classes),
            "counters": {name: getattr(self, name) for name in _COUNTERS},
            "metrics": None if self._metrics is None else self._metrics.export_state(),
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Resume from an exported state."""
        self._waiting = OrderedDict((name, _Waiting(*one)) for name, one in state["waiting"])
        self._settled = OrderedDict.fromkeys(state["settled"])
        self._classes = {label: number for number, label in enumerate(state["classes"])}
        for name, value in state["counters"].items():
            setattr(self, name, value)
        kept = state["metrics"]
        if kept is not None:
            cls = RegressionEvaluator if "means" in kept else ClassificationEvaluator
            self._metrics = cls.restore_state(kept)


@final
class ClassNames:
    """What labels are read as, after classes were merged or retired.

    Changes that wait may contradict each other; like the learner, this then takes the first one.

    >>> names = ClassNames()
    >>> names.change(ClassChange("b", "a")), names.change(ClassChange("c", "b"))
    ('a', 'a')
    >>> names.change(ClassChange("a", "c"))  # which is read as "a" itself
    >>> names.find("c"), names.find("d"), names.add_up({"a": 0.5, "c": 0.25})
    ('a', 'd', {'a': 0.75})
    """

    def __init__(self) -> None:
        self.changes: dict[str, str | None] = {}  # what each label is read as, None: retired

    def change(self, change: ClassChange) -> str | None:
        """Note a change; return what the label is merged into, if it is."""
        label, into = change
        if self.changes.get(label) is not None:
            return None  # merged before
        if into is not None:
            into = self.find(into)
            if into is None or into == label:
                return None
        for other, target in self.changes.items():
            if target == label:
                self.changes[other] = into
        self.changes[label] = into
        return into

    def find(self, label: str) -> str | None:
        """What a label is read as; None if it is retired."""
        return self.changes.get(label, label)

    def add_up(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """The probabilities of what labels are read as."""
        sums: dict[str, float] = {}
        for label, probability in probabilities.items():
            name = self.find(label)
            name = label if name is None else name
            sums[name] = sums.get(name, 0.0) + probability
        return sums


def _complete(pair: _Pair, names: ClassNames) -> _Pair | None:
    """The predictions and the label as they are scored; None if one of them is missing."""
    task = pair.served.task
    if task is None or pair.served.value is None or not 0.0 < pair.weight <= MAX_WEIGHT:
        return None
    label = parse_task_value(pair.label, task)
    own = pair.own.value
    if own is None and pair.own.probabilities and task is Task.CLASSIFICATION:
        own = max(pair.own.probabilities, key=pair.own.probabilities.__getitem__)
    value = parse_task_value(own, task)
    if any(one is None or isinstance(one, Reason) or one != one for one in (label, value)):
        return None
    if task is Task.REGRESSION:
        return pair._replace(own=pair.own._replace(value=value), label=label)
    label = names.find(label)
    if label is None:
        return None
    probabilities = pair.own.probabilities
    return _Pair(
        pair.own._replace(
            value=names.find(value) or value,
            probabilities=None if probabilities is None else names.add_up(probabilities),
        ),
        pair.served._replace(
            value=names.find(str(pair.served.value)) or pair.served.value,
            probabilities=names.add_up(pair.served.probabilities or {}),
        ),
        label,
        pair.weight,
    )


@final
class Shadows:
    """The shadows of a model by their names.

    A shadow appears with its first prediction, so that one can be tried while a model runs; there
    are at most ``most``. Each keeps as many predictions, and for as long, as the model itself.

    Args:
        most: Largest number of shadows.
        window: Scored samples in the sliding window.
        fading: Factor of the weight of earlier samples.
        weight: Column of the samples that holds their weights, unless labels come with one.

    >>> shadows = Shadows(most=1)
    >>> posted = [ShadowPrediction("7", "spam", {"spam": 0.75, "ham": 0.25})]
    >>> shadows.add("rival", posted, 0.0, lambda identity: (False, False))
    [<ShadowOutcome.WAITING: 'waiting'>]
    >>> served = Prediction("ham", {"spam": 0.25, "ham": 0.75}, 1)
    >>> shadows.score([LabeledSample("7", "{}", served, "spam", None)], most=10)
    >>> (report,) = shadows.reports()
    >>> report.overall.samples, report.overall.shadow["accuracy"], report.overall.served["accuracy"]
    (1, 1.0, 0.0)
    """

    def __init__(
        self, *, most: int, window: int = 1000, fading: float = 0.999, weight: str | None = None
    ) -> None:
        self.most = most
        self._window, self._fading = window, fading
        self._weight = weight
        self._names = ClassNames()
        self._shadows: dict[str, Shadow] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._shadows

    def _build_shadow(self) -> Shadow:
        return Shadow(window=self._window, fading=self._fading)

    def check(self, name: str) -> None:
        """Raise ConflictError if a name would be that of one shadow too many."""
        if name not in self._shadows and len(self._shadows) >= self.most:
            known = ", ".join(sorted(self._shadows)) or "none"
            raise ConflictError(
                f"shadow {name!r} would be one more than intake.max_shadows, {self.most}: there "
                f"are {known}; remove one first"
            )

    def add(
        self,
        name: str,
        predictions: Sequence[ShadowPrediction],
        time: float,
        find: Callable[[str], tuple[bool, bool]],
    ) -> list[ShadowOutcome]:
        """Add predictions of a shadow.

        ``find`` tells of an ID whether its label came already, and whether it expired.
        """
        shadow = self._shadows.setdefault(name, self._build_shadow())
        outcomes = []
        for one in predictions:
            is_late, is_expired = find(one.identity)
            outcomes.append(shadow.add(one, time, is_late=is_late, is_expired=is_expired))
        return outcomes

    def score(self, samples: Sequence[LabeledSample], most: int) -> None:
        """Score what shadows predicted of samples whose labels have come, in their order.

        Each remembers the IDs of so many.
        """
        if not (self._shadows and samples):
            return
        weighed = [(sample, self._weigh(sample)) for sample in samples]
        for shadow in self._shadows.values():
            shadow.score(weighed, self._names, most)

    def _weigh(self, sample: LabeledSample) -> float:
        """The weight of a sample: that of its label, else its own, else 1; NaN if it is invalid."""
        if sample.weight is not None or self._weight is None:
            return 1.0 if sample.weight is None else sample.weight
        given = _decode_sample(sample.line).get(self._weight)
        weight = parse_number(given, _OPTIONS)
        if isinstance(weight, Reason):
            return nan
        return 1.0 if isnan(weight) else weight

    def expire(self, before: float, most: int) -> None:
        """Drop predictions made until a time, and of each shadow the oldest beyond a number."""
        for shadow in self._shadows.values():
            shadow.expire(before, most)

    def is_due(self, before: float) -> bool:
        """Whether a prediction was made until a time."""
        return any(shadow.is_due(before) for shadow in self._shadows.values())

    def change(self, change: Change) -> None:
        """Take a class for another one from now on, or for none."""
        if isinstance(change, ClassChange):
            into = self._names.change(change)
            if into is not None:
                for shadow in self._shadows.values():
                    shadow.merge(change.label, into)

    def remove(self, name: str) -> None:
        """Forget a shadow, its predictions and its scores."""
        del self._shadows[name]

    def reports(self) -> list[ShadowReport]:
        """Counts and scores of all shadows, by name."""
        return [shadow.report(name) for name, shadow in sorted(self._shadows.items())]

    def export_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Everything needed to resume: JSON values, and the scores of shadows that have any."""
        states = {name: shadow.export_state() for name, shadow in self._shadows.items()}
        found = {name: state.pop("metrics") for name, state in states.items()}
        metrics = {name: state for name, state in found.items() if state is not None}
        return {"shadows": states, "changes": self._names.changes}, metrics

    def restore_state(self, state: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
        """Resume from an exported state."""
        self._names.changes = dict(state["changes"])
        self._shadows = {}
        for name, kept in state["shadows"].items():
            self._shadows[name] = shadow = self._build_shadow()
            shadow.restore_state({**kept, "metrics": metrics.get(name)})


def parse_shadow_predictions(
    predictions: Sequence[ShadowPrediction], task: Task | None
) -> list[ShadowPrediction]:
    """Predictions as they are stored, and scored once the label comes.

    Raises:
        ConfigurationError: If one has no prediction, one of the wrong kind for the task, or
            probabilities that are none.
    """
    return [_parse_prediction(one, task) for one in predictions]


def _parse_prediction(given: ShadowPrediction, task: Task | None) -> ShadowPrediction:
    identity, value, probabilities = given
    where = f"prediction of {identity!r}"
    if probabilities is not None:
        for problem in _find_problems(probabilities, task):
            raise ConfigurationError(f"probabilities of {identity!r} {problem}")
        if value is None:
            return given
    number = task is Task.REGRESSION
    parsed = parse_task_value(value, task or Task.CLASSIFICATION)
    if parsed is None or isinstance(parsed, Reason) or (number and not isfinite(parsed)):
        kind = "a finite number" if number else "a string, a number or a boolean"
        raise ConfigurationError(f"{where} is {value!r}, but must be {kind}")
    return given if task is None else given._replace(value=parsed)


def _find_problems(probabilities: Mapping[str, float], task: Task | None) -> Iterator[str]:
    if task is Task.REGRESSION:
        yield "are given, but the model predicts numbers"
    total = sum(probabilities.values())
    if not all(0.0 <= one <= 1.0 for one in probabilities.values()):
        yield "must be from 0 to 1"
    if abs(total - 1.0) > _ROUNDING:
        yield f"sum to {total:g}, but must sum to 1"
