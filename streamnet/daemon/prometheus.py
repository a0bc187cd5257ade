"""Prometheus metrics of the hosted models, collected at each scrape, and of the requests.

They follow from the marks of `Status` and the registry of metrics. The only labels are model and
operation names, feeds, states, reasons, outcomes, baselines, and a few columns, classes and keys,
so the number of series is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from math import nan
from typing import Any, NamedTuple, final, get_args

import msgspec
from anyio import Lock, to_thread
from anyio.lowlevel import checkpoint
from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from streamnet.client.schemas import (
    Feed,
    FeedState,
    ModelState,
    Outcome,
    Output,
    Shadow,
    Status,
    TroubleKind,
)
from streamnet.daemon.hosting.hosted_model import HostedModel
from streamnet.daemon.hosting.run_counts import RUN_COUNTS
from streamnet.daemon.hosting.webhooks import Webhooks
from streamnet.daemon.replicas.replica_model import ReplicaModel
from streamnet.metrics import METRICS, Horizon
from streamnet.metrics.intervals import INTERVAL_DESCRIPTIONS
from streamnet.reporting.report import FeatureDriftLine, HorizonScores, KeysReport, Scores
from streamnet.samples import Task
from streamnet.sources.base import Reason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0)


@final
class Metrics:
    """All metrics of a daemon, in a registry of their own.

    >>> metrics = Metrics(dict)
    >>> metrics.observer("predict")(200, 0.003)
    >>> 'streamnet_requests_total{code="2xx",operation="predict"} 1.0' in metrics.text()
    True
    """

    def __init__(
        self,
        models: Callable[[], Mapping[str, HostedModel | ReplicaModel]],
        webhooks: Webhooks | None = None,
    ) -> None:
        self._models = models
        self._registry = CollectorRegistry()
        self._collector = _ModelCollector()
        self._registry.register(self._collector)
        self._scraping = Lock()
        if webhooks is not None:
            self._registry.register(_WebhookCollector(webhooks))
        # Those with standard names: process_cpu_seconds_total, process_resident_memory_bytes, ...
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "streamnet_requests",
            "Requests by operation and class of status.",
            ("operation", "code"),
            registry=self._registry,
        )
        self._reloads = Counter(
            "streamnet_reloads",
            "Reloads of the run file by outcome.",
            ("outcome",),
            registry=self._registry,
        )
        for outcome in ("taken", "refused"):
            self._reloads.labels(outcome)
        self._seconds = Histogram(
            "streamnet_request_seconds",
            "Seconds until the response starts.",
            ("operation",),
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def count_reload(self, *, refused: bool) -> None:
        """Count a reload of the run file."""
        self._reloads.labels("refused" if refused else "taken").inc()

    def observer(self, operation: str) -> Callable[[int, float], None]:
        """Return what records the status and the seconds of each request of an operation."""
        # A histogram has many series: only operations that are used have one.
        seconds = cache(partial(self._seconds.labels, operation))
        codes = {first: self._requests.labels(operation, f"{first}xx") for first in range(2, 6)}

        def observe(status: int, duration: float) -> None:
            codes[status // 100].inc()
            seconds().observe(duration)

        return observe

    def text(self) -> str:
        """The metrics in Prometheus's text format."""
        self._collector.readings = {
            name: _ModelReading(**dict(_read_model(hosted)))
            for name, hosted in self._models().items()
        }
        return self._format()

    async def scrape(self) -> str:
        """The same without keeping requests waiting: piece by piece.

        A thread would compete with the event loop for the interpreter.
        """
        async with self._scraping:
            readings = {}
            for name, hosted in list(self._models().items()):
                if not isinstance(hosted, ReplicaModel) and hosted.keys.columns:
                    await to_thread.run_sync(hosted.keys.summarize)  # ranks all keys
                parts = {}
                for key, value in _read_model(hosted):
                    parts[key] = value
                    await checkpoint()
                readings[name] = _ModelReading(**parts)
            self._collector.readings = readings
            pieces = []
            for family in self._registry.collect():
                pieces.append(format_family(family))
                await checkpoint()
            return "".join(pieces)

    def _format(self) -> str:
        return "".join(map(format_family, self._registry.collect()))


def format_family(family: Metric) -> str:
    """Format a counter, a gauge or a histogram as the client library does, but faster.

    >>> print(format_family(CounterMetricFamily("seen", "Samples.", value=3)), end="")
    # HELP seen_total Samples.
    # TYPE seen_total counter
    seen_total 3.0
    """
    name, created = family.name, f"{family.name}_created"
    title = f"{name}_total" if family.type == "counter" else name
    description = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
    lines = [f"# HELP {title} {description}\n# TYPE {title} {family.type}\n"]
    last: list[str] = []  # when each of them was created, which is a family of its own
    for one in family.samples:
        series = _format_series(one.name, tuple(one.labels.items()))
        line = f"{series} {floatToGoString(one.value)}\n"  # type: ignore[no-untyped-call]
        (last if one.name == created else lines).append(line)
    if last:
        lines.append(f"# HELP {created} {description}\n# TYPE {created} gauge\n")
    return "".join(lines + last)


@lru_cache(maxsize=1 << 16)
def _format_series(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return name
    parts = [f'{key}="{value.translate(_ESCAPES)}"' for key, value in sorted(labels)]
    return f"{name}{{{','.join(parts)}}}"


_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


_WEBHOOK_METRICS = {
    "waiting": (GaugeMetricFamily, "Events that wait to be delivered."),
    "delivered": (CounterMetricFamily, "Events delivered."),
    "failures": (CounterMetricFamily, "Attempts to deliver an event that failed."),
    "dropped": (CounterMetricFamily, "Events that were never delivered."),
}


@final
class _WebhookCollector(Collector):
    """What became of the events of each webhook."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    def collect(self) -> Iterator[Metric]:
        counts = [(hook.name, hook.counts) for hook in self._webhooks.hooks]
        for name, (family, description) in _WEBHOOK_METRICS.items():
            metric = family(f"streamnet_webhook_{name}", description, labels=["webhook"])
            for hook, found in counts:
                metric.add_metric([hook], getattr(found, name))
            yield metric


_Family = CounterMetricFamily | GaugeMetricFamily
_FAMILIES: dict[str, type[_Family]] = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


class _Field(NamedTuple):
    """A field of `Status` that is declared as a metric, perhaps of numbers by ``label``."""

    kind: str
    label: str | None
    description: str


@cache
def _list_fields(cls: type[Struct]) -> dict[str, _Field]:
    found = {}
    for field in msgspec.inspect.type_info(cls).fields:  # type: ignore[attr-defined]
        kind = field.type
        if isinstance(kind, msgspec.inspect.Metadata) and kind.extra is not None:
            assert kind.extra_json_schema is not None
            found[field.name] = _Field(**kind.extra, **kind.extra_json_schema)
    return found


class _ModelReading(NamedTuple):
    """What is exported of a model, at one moment."""

    status: Status
    unknown: frozenset[str]  # fields of the status
    measures: Mapping[Horizon, dict[str, float]] = {}
    features: Sequence[FeatureDriftLine] = ()
    classes: Mapping[str, Scores] = {}
    keys: KeysReport | None = None


def _read_model(hosted: HostedModel | ReplicaModel) -> Iterator[tuple[str, Any]]:
    """Read what is exported of a model, piece by piece, by the fields of `_ModelReading`."""
    yield "status", hosted.status()
    if isinstance(hosted, ReplicaModel):  # who learns knows the rest
        yield "unknown", RUN_COUNTS
        return
    yield "unknown", hosted.unknown_counts
    measures: dict[Horizon, dict[str, float]] = {}
    for horizon in Horizon:
        measures[horizon] = hosted.measures(horizon)
        yield "measures", measures
    yield "features", hosted.features()
    yield "classes", hosted.class_scores()
    yield "keys", hosted.keys.summarize()


@final
class _ModelCollector(Collector):
    def __init__(self) -> None:
        self.readings: dict[str, _ModelReading] = {}

    def describe(self) -> Iterator[Metric]:
        return iter(())  # nothing is collected before the first scrape

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, each with a sample for every model."""
        readings = self.readings
        statuses = {name: (one.status, one.unknown) for name, one in readings.items()}
        for key, (kind, label, description) in _list_fields(Status).items():
            values: dict[Any, float | None] = {}
            for name, (status, unknown) in statuses.items():
                value = getattr(status, key)
                if label is not None:
                    if key not in unknown:  # from 0 on, so that the first one is an increase
                        value = dict.fromkeys(_PARTS.get(key, ()), 0) | value
                    values |= {(name, part): number for part, number in value.items()}
                elif key not in unknown:
                    values[name,] = value
                elif kind == "gauge":
                    # A counter's return after a 0 would look like growth.
                    values[name,] = None
            if key in _BY_HORIZON:
                continue
            yield _build_family(kind, key, description, values, label)
        states = {
            (name, state): float(status.state == state)
            for name, (status, _) in statuses.items()
            for state in get_args(ModelState)
        }
        description = "1 for the state of the model, 0 for the others."
        yield _build_family("gauge", "state", description, states, "state")
        troubles = {
            (name, kind): float(any(one.kind == kind for one in status.troubles))
            for name, (status, _) in statuses.items()
            for kind in get_args(TroubleKind)
        }
        description = "1 while something needs attention, by kind; see the status for its message."
        yield _build_family("gauge", "trouble", description, troubles, "trouble")
        refusing = {
            (name,): float(status.refusing is not None) for name, (status, _) in statuses.items()
        }
        description = "1 while samples to learn are refused; see the status for the reason."
        yield _build_family("gauge", "refusing", description, refusing)
        yield from _collect_scores({name: status for name, (status, _) in statuses.items()})
        yield from _collect_intervals({name: status for name, (status, _) in statuses.items()})
        yield from _collect_feeds({name: status for name, (status, _) in statuses.items()})
        yield from _collect_shadows({name: status for name, (status, _) in statuses.items()})
        yield from _collect_outputs({name: status for name, (status, _) in statuses.items()})
        served = {
            (name, horizon): measures
            for name, one in readings.items()
            for horizon, measures in one.measures.items()
        }
        for key, metric in {**METRICS[Task.CLASSIFICATION], **METRICS[Task.REGRESSION]}.items():
            if metric.scope != "batch":
                values = {names: found[key] for names, found in served.items() if key in found}
                description = f"Prequential {metric.title} of what was served, by horizon."
                yield _build_family("gauge", f"served_{key}", description, values, "horizon")
        yield from _collect_features({name: one.features for name, one in readings.items()})
        yield from _collect_classes({name: one.classes for name, one in readings.items()})
        yield from _collect_keys({name: one.keys for name, one in readings.items()})


_BY_HORIZON = ("served", "baselines")
# Values of the label of a counter that are known in advance.
_PARTS: dict[str, list[str]] = {
    "rejected": [str(reason) for reason in Reason],
    "outcomes": [*map(str, Outcome), "given_up"],
}


def _collect_scores(statuses: Mapping[str, Status]) -> Iterator[Metric]:
    """Yield the main metric, of what was served and of the baselines, over each horizon."""
    served: dict[Any, float | None] = {}
    baselines: dict[Any, float | None] = {}
    for name, status in statuses.items():
        known = HorizonScores(status.scored, status.served, status.baselines)
        for horizon, scores in (
            (Horizon.OVERALL, known),
            (Horizon.SLIDING, status.sliding),
            (Horizon.FADING, status.fading),
        ):
            if scores is not None:
                served[name, horizon] = scores.served
                for baseline, value in scores.baselines.items():
                    baselines[name, baseline, horizon] = value
    description = "Prequential score by horizon: accuracy, or mean absolute error."
    yield _build_family("gauge", "served", description, served, "horizon")
    description = "The same score of the baselines."
    yield _build_family("gauge", "baseline", description, baselines, "baseline", "horizon")


_CLASS_SCORES = {
    "recall": "Fraction of the samples of a class that were predicted as it, lately.",
    "precision": "Fraction of the predictions of a class that were right, lately.",
    "positives": "Samples of a class in the sliding window.",
}


_MAX_FEATURES = 50  # of a model that have series: the first ones
_FEATURE_SERIES = {
    "drift": "Distance of the recent values of a column from its first ones, from 0 to 1.",
    "missing": "Fraction of the recent values of a column that are missing.",
}


def _collect_features(models: Mapping[str, Sequence[FeatureDriftLine]]) -> Iterator[Metric]:
    """Yield how far the columns of each model have drifted."""
    for key, description in _FEATURE_SERIES.items():
        values = {
            (name, line.name): getattr(line, key)
            for name, lines in models.items()
            for line in lines[:_MAX_FEATURES]
        }
        yield _build_family("gauge", f"feature_{key}", description, values, "feature")


def _collect_classes(models: Mapping[str, Mapping[str, Scores]]) -> Iterator[Metric]:
    """Yield what is known of each class over the sliding window."""
    for key, description in _CLASS_SCORES.items():
        values = {
            (name, label): scores[key]
            for name, classes in models.items()
            for label, scores in classes.items()
        }
        yield _build_family("gauge", f"class_{key}", description, values, "class")


_KEY_SERIES = {
    "loss": "Mean loss of one of the worst or best keys: absolute error, or log-loss of labels.",
    "shared_loss": "What the shared model alone would have lost for it.",
}


def _collect_keys(models: Mapping[str, KeysReport | None]) -> Iterator[Metric]:
    """Yield the losses of the worst and the best keys."""
    for series, description in _KEY_SERIES.items():
        values = {
            (name, rank, key.key): getattr(key, series)
            for name, keys in models.items()
            if keys is not None
            for rank, ranked in (("worst", keys.worst), ("best", keys.best))
            for key in ranked
        }
        yield _build_family("gauge", f"key_{series}", description, values, "rank", "key")


def _collect_feeds(statuses: Mapping[str, Status]) -> Iterator[Metric]:
    """Yield the numbers of the feeds of all models, and their states."""
    feeds = {(name, feed.name): feed for name, one in statuses.items() for feed in one.feeds}
    for key, (kind, _, description) in _list_fields(Feed).items():
        values = {names: getattr(feed, key) for names, feed in feeds.items()}
        yield _build_family(kind, f"feed_{key}", description, values, "feed")
    states = {
        (*names, state): float(feed.state == state)
        for names, feed in feeds.items()
        for state in get_args(FeedState)
    }
    description = "1 for the state of the feed, 0 for the others."
    yield _build_family("gauge", "feed_state", description, states, "feed", "state")


def _collect_outputs(statuses: Mapping[str, Status]) -> Iterator[Metric]:
    """Yield the numbers of what models send to streams and web addresses."""
    outputs = {(name, one.name): one for name, status in statuses.items() for one in status.outputs}
    for key, (kind, _, description) in _list_fields(Output).items():
        values = {names: getattr(output, key) for names, output in outputs.items()}
        yield _build_family(kind, f"output_{key}", description, values, "output")


def _collect_shadows(statuses: Mapping[str, Status]) -> Iterator[Metric]:
    """Yield the counts of shadows, and the main metric of each beside that of what was served."""
    shadows = {(name, one.name): one for name, status in statuses.items() for one in status.shadows}
    for key, (kind, _, description) in _list_fields(Shadow).items():
        values = {names: getattr(shadow, key) for names, shadow in shadows.items()}
        yield _build_family(kind, f"shadow_{key}", description, values, "shadow")
    scores = {
        (*names, horizon): getattr(shadow, horizon)
        for names, shadow in shadows.items()
        for horizon in Horizon
    }
    description = "Score of a shadow by horizon: accuracy, or mean absolute error."
    own = {names: one.shadow for names, one in scores.items()}
    yield _build_family("gauge", "shadow_score", description, own, "shadow", "horizon")
    description = "The same score of what was served, on the samples of the shadow."
    served = {names: one.served for names, one in scores.items()}
    yield _build_family("gauge", "shadow_served_score", description, served, "shadow", "horizon")


def _collect_intervals(statuses: Mapping[str, Status]) -> Iterator[Metric]:
    """Yield level and metrics of intervals, over all samples and over the sliding window."""
    known = {name: one.intervals for name, one in statuses.items() if one.intervals is not None}
    levels = {(name,): one.level for name, one in known.items()}
    description = "Fraction of the truths that prediction intervals or sets should hold."
    yield _build_family("gauge", "interval_level", description, levels)
    for key, description in INTERVAL_DESCRIPTIONS.items():
        values = {
            (name, horizon): scores[key]
            for name, one in known.items()
            for horizon, scores in (("overall", one.overall), ("sliding", one.sliding))
            if key in scores
        }
        title = f"interval_{key.removeprefix('interval_')}"
        yield _build_family("gauge", title, description, values, "horizon")


def _build_family(
    kind: str, key: str, description: str, values: Mapping[Any, float | None], *labels: str | None
) -> Metric:
    names = ["model", *filter(None, labels)]
    family = _FAMILIES[kind](f"streamnet_{key}", description, labels=names)
    for parts, value in values.items():
        family.add_metric(parts, nan if value is None else float(value))
    return family
