"""Prometheus metrics of the hosted models, collected at each scrape, and of the requests.

The only labels are model and operation names, states, reasons and outcomes, so the number of
series is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import nan
from typing import Any, final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streamnet.daemon.hosting.hosted_model import HostedModel

__all__ = ("CONTENT_TYPE", "Metrics")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0)
_STATES = ("starting", "learning", "paused", "failed", "stopped")
# Of `shapes.Status`, by what Prometheus calls them.
_COUNTERS = {
    "accepted": "Samples that were taken into the journal.",
    "learned": "Samples that were learned.",
    "duplicates": "Requests whose idempotency key had been seen before.",
    "predicted": "Samples that were answered.",
    "switches": "Changes of the champion.",
    "drifts": "Drifts that were noticed.",
    "quarantined": "Candidates that were quarantined.",
}
_GAUGES = {
    "in_flight": "Samples that were taken and are not learned yet.",
    "max_queued": "So many of them are allowed.",
    "pending": "Predictions that wait for their label.",
    "learned_per_second": "Samples learned a second, lately.",
    "predicted_per_second": "Samples answered a second, lately.",
    "checkpoint_age": "Seconds since the last checkpoint.",
    "generation": "Generation of the model that answers.",
    "served": "Score of what was answered before it was learned: accuracy, or mean absolute error.",
}


@final
class Metrics:
    """All metrics of a daemon, in a registry of their own.

    Args:
        models: The models by name, asked at each scrape.

    >>> metrics = Metrics(dict)
    >>> metrics.watch("predict")(200, 0.003)
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
            "Times that the run file was read again, by what became of it.",
            ("outcome",),
            registry=self._registry,
        )
        for outcome in ("taken", "refused"):
            self._reloads.labels(outcome)
        self._seconds = Histogram(
            "streamnet_request_seconds",
            "Time to the beginning of the answer.",
            ("operation",),
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def reloaded(self, *, refused: bool) -> None:
        """Count that the run file was read again."""
        self._reloads.labels("refused" if refused else "taken").inc()

    def watch(self, operation: str) -> Callable[[int, float], None]:
        """What notes the status and the seconds of each request of an operation."""
        seconds = self._seconds.labels(operation)
        codes = {first: self._requests.labels(operation, f"{first}xx") for first in range(2, 6)}

        def note(status: int, took: float) -> None:
            codes[status // 100].inc()
            seconds.observe(took)

        return note

    def text(self) -> str:
        """The text that Prometheus reads."""
        return generate_latest(self._registry).decode()


@final
class _ModelCollector(Collector):
    def __init__(self, models: Callable[[], Mapping[str, HostedModel]]) -> None:
        self._models = models

    def describe(self) -> Iterator[Metric]:
        return iter(())  # so that nobody is asked before the first scrape

    def collect(self) -> Iterator[Metric]:
        """One family after the other, with a line for each model."""
        told = {name: hosted.status() for name, hosted in self._models().items()}
        for key, text in _COUNTERS.items():
            counter = CounterMetricFamily(f"streamnet_{key}", text, labels=("model",))
            for name, status in told.items():
                # Not 0 for what is not known just now: its way back would look like growth.
                if (count := status.get(key)) is not None:
                    counter.add_metric((name,), count)
            yield counter
        for key, text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"streamnet_{key}", text, labels=("model",))
            for name, status in told.items():
                gauge.add_metric((name,), _number_or_nan(status.get(key)))
            yield gauge
        yield _build_labeled_counter(
            told, "rejected", "reason", "Records that were rejected, by reason."
        )
        yield _build_labeled_counter(
            told, "outcomes", "outcome", "Labels that came, by what became of them."
        )
        yield _build_baselines(told)
        yield _build_states(told)


def _build_labeled_counter(
    told: dict[str, dict[str, Any]], key: str, label: str, text: str
) -> CounterMetricFamily:
    counter = CounterMetricFamily(f"streamnet_{key}", text, labels=("model", label))
    for name, status in told.items():
        for value, count in (status.get(key) or {}).items():
            counter.add_metric((name, value), count)
    return counter


def _build_baselines(told: dict[str, dict[str, Any]]) -> GaugeMetricFamily:
    text = "The same score of the baselines."
    gauge = GaugeMetricFamily("streamnet_baseline", text, labels=("model", "baseline"))
    for name, status in told.items():
        for baseline, score in (status.get("baselines") or {}).items():
            gauge.add_metric((name, baseline), _number_or_nan(score))
    return gauge


def _build_states(told: dict[str, dict[str, Any]]) -> GaugeMetricFamily:
    text = "1 for the state that the model is in."
    gauge = GaugeMetricFamily("streamnet_state", text, labels=("model", "state"))
    for name, status in told.items():
        for state in _STATES:
            gauge.add_metric((name, state), float(status["state"] == state))
    return gauge


def _number_or_nan(value: float | None) -> float:
    return nan if value is None else float(value)
