"""Prometheus metrics of the hosted models, collected at each scrape, and of the requests.

The only labels are model and operation names, states, reasons and outcomes, so the number of
series is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import nan
from typing import Any, final, get_args

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streamnet.client.schemas import ModelState, Status
from streamnet.daemon.hosting.hosted_model import HostedModel

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0)


@final
class Metrics:
    """All metrics of a daemon, in a registry of their own.

    Args:
        models: Returns the models by name, at each scrape.

    >>> metrics = Metrics(dict)
    >>> metrics.observer("predict")(200, 0.003)
    >>> 'streamnet_requests_total{code="2xx",operation="predict"} 1.0' in metrics.text()
    True
    """

    def __init__(self, models: Callable[[], Mapping[str, HostedModel]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_ModelCollector(models))
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
        seconds = self._seconds.labels(operation)
        codes = {first: self._requests.labels(operation, f"{first}xx") for first in range(2, 6)}

        def observe(status: int, duration: float) -> None:
            codes[status // 100].inc()
            seconds.observe(duration)

        return observe

    def text(self) -> str:
        """The metrics in Prometheus's text format."""
        return generate_latest(self._registry).decode()


def _list_fields(metric: str) -> dict[str, str]:
    """Fields of `Status` that are declared as a kind of metric, with their descriptions."""
    described = {}
    for field in msgspec.inspect.type_info(Status).fields:  # type: ignore[attr-defined]
        kind = field.type
        if isinstance(kind, msgspec.inspect.Metadata) and kind.extra == {"metric": metric}:
            assert kind.extra_json_schema is not None
            described[field.name] = kind.extra_json_schema["description"]
    return described


@final
class _ModelCollector(Collector):
    def __init__(self, models: Callable[[], Mapping[str, HostedModel]]) -> None:
        self._models = models

    def describe(self) -> Iterator[Metric]:
        return iter(())  # nothing is collected before the first scrape

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, each with a sample for every model."""
        models = self._models().items()
        statuses = {name: (hosted.status(), hosted.unknown_counts) for name, hosted in models}
        for key, description in _list_fields("counter").items():
            counter = CounterMetricFamily(f"streamnet_{key}", description, labels=("model",))
            for name, (status, unknown) in statuses.items():
                # A 0 for what is not known now would make its return look like growth.
                if key not in unknown:
                    counter.add_metric((name,), getattr(status, key))
            yield counter
        for key, description in _list_fields("gauge").items():
            gauge = GaugeMetricFamily(f"streamnet_{key}", description, labels=("model",))
            for name, (status, unknown) in statuses.items():
                value = None if key in unknown else getattr(status, key)
                gauge.add_metric((name,), _to_float(value))
            yield gauge
        known = {name: status for name, (status, _) in statuses.items()}
        yield _count_by(known, "rejected", "reason", "Records rejected, by reason.")
        yield _count_by(known, "outcomes", "outcome", "Labels received, by outcome.")
        yield _build_baselines(known)
        yield _build_states(known)


def _count_by(
    statuses: Mapping[str, Status], key: str, label: str, description: str
) -> CounterMetricFamily:
    counter = CounterMetricFamily(f"streamnet_{key}", description, labels=("model", label))
    for name, status in statuses.items():
        counts: Mapping[str, Any] = getattr(status, key)
        for value, count in counts.items():
            counter.add_metric((name, value), count)
    return counter


def _build_baselines(statuses: Mapping[str, Status]) -> GaugeMetricFamily:
    description = "Prequential scores of the baselines."
    gauge = GaugeMetricFamily("streamnet_baseline", description, labels=("model", "baseline"))
    for name, status in statuses.items():
        for baseline, score in status.baselines.items():
            gauge.add_metric((name, baseline), _to_float(score))
    return gauge


def _build_states(statuses: Mapping[str, Status]) -> GaugeMetricFamily:
    description = "1 for the state of the model, 0 for the others."
    gauge = GaugeMetricFamily("streamnet_state", description, labels=("model", "state"))
    for name, status in statuses.items():
        for state in get_args(ModelState):
            gauge.add_metric((name, state), float(status.state == state))
    return gauge


def _to_float(value: float | None) -> float:
    return nan if value is None else float(value)
