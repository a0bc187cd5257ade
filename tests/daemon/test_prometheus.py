"""Metrics: counters show only what is known."""

from __future__ import annotations

import re
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.testclient import TestClient

from streamnet.client.schemas import Status
from streamnet.daemon.prometheus import Metrics, format_family
from streamnet.metrics import METRICS
from streamnet.reporting.report import IntervalStatus, Scores


def scrape(status: Status, *unknown: str) -> str:
    model = SimpleNamespace(
        status=lambda: status,
        unknown_counts=frozenset(unknown),
        measures=lambda horizon: {"accuracy": 0.75, "log_loss": 0.5},
        features=list,
        class_scores=lambda: {"red": {"recall": 0.8, "precision": None, "positives": 3.0}},
        keys=SimpleNamespace(summarize=lambda: None),
    )
    return Metrics(lambda: {"wine": model}).text()  # type: ignore[dict-item]


def test_an_unknown_counter_is_omitted_since_its_return_would_look_like_growth() -> None:
    text = scrape(Status(name="wine", state="failed", predicted=3), "accepted", "in_flight")
    assert 'streamnet_predicted_total{model="wine"} 3.0' in text
    assert 'streamnet_accepted_total{model="wine"}' not in text
    assert 'streamnet_in_flight{model="wine"} NaN' in text
    text = scrape(Status(name="wine", state="learning"))
    assert 'streamnet_accepted_total{model="wine"} 0.0' in text


def test_numbers_of_the_status_are_metrics_with_their_descriptions() -> None:
    text = scrape(Status(name="wine", state="learning", learned=7, served=0.5))
    assert "# HELP streamnet_learned_total Samples learned." in text
    assert 'streamnet_learned_total{model="wine"} 7.0' in text
    assert 'streamnet_served{horizon="overall",model="wine"} 0.5' in text
    assert 'streamnet_state{model="wine",state="learning"} 1.0' in text


def test_dictionaries_of_the_status_are_metrics_with_a_label() -> None:
    status = Status(
        name="wine",
        state="learning",
        rejected={"json": 2},
        outcomes={"joined": 3},
        baselines={"majority": 0.5, "no_change": None},
    )
    text = scrape(status)
    assert 'streamnet_rejected_total{model="wine",reason="json"} 2.0' in text
    assert 'streamnet_outcomes_total{model="wine",outcome="joined"} 3.0' in text
    assert 'streamnet_baseline{baseline="majority",horizon="overall",model="wine"} 0.5' in text
    assert 'streamnet_baseline{baseline="no_change",horizon="overall",model="wine"} NaN' in text


def test_metrics_of_intervals_are_exported_where_there_are_intervals() -> None:
    assert "streamnet_interval_coverage{" not in scrape(Status(name="wine", state="learning"))
    scores: Scores = {"coverage": 0.91, "mean_width": 2.5, "interval_score": 4.5}
    intervals = IntervalStatus(0.9, 5000, 1000, scores, {**scores, "coverage": None})
    text = scrape(Status(name="wine", state="learning", intervals=intervals))
    assert 'streamnet_interval_level{model="wine"} 0.9' in text
    assert 'streamnet_interval_coverage{horizon="overall",model="wine"} 0.91' in text
    assert 'streamnet_interval_coverage{horizon="sliding",model="wine"} NaN' in text
    assert 'streamnet_interval_mean_width{horizon="sliding",model="wine"} 2.5' in text
    assert 'streamnet_interval_score{horizon="overall",model="wine"} 4.5' in text
    assert "streamnet_interval_mean_set_size{" not in text


def test_every_registered_metric_of_streams_is_exported() -> None:
    text = scrape(Status(name="wine", state="learning"))
    assert 'streamnet_served_accuracy{horizon="sliding",model="wine"} 0.75' in text
    assert 'streamnet_served_log_loss{horizon="fading",model="wine"} 0.5' in text
    assert "streamnet_served_mae{" not in text
    exported = set(re.findall("^# TYPE streamnet_served_(.*) gauge$", text, re.MULTILINE))
    everywhere = [metric for metrics in METRICS.values() for metric in metrics.values()]
    assert exported == {metric.name for metric in everywhere if metric.scope != "batch"}


def test_the_page_of_metrics_names_exactly_those_that_are_served(
    http: TestClient, repository: Path
) -> None:
    http.get("/v1/models")
    text = http.get("/metrics").text
    served = {
        name: kind
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
        if not name.endswith("_created")  # by the client library, for its own counters
    }
    page = (repository / "docs" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.+) \|$", page, re.MULTILINE)
    assert {name: kind for name, kind, _, _ in rows} == served
    for name, kind, labels, _ in rows:
        part = "_count" if kind == "histogram" else ""
        found = re.search(rf"^{name}{part}(?:{{(.*?)}})? ", text, re.MULTILINE)
        if found is not None:
            own = set(re.findall(r"(\w+)=", found[1] or ""))
            assert own == set(re.findall(r"\w+", labels)), name


def test_the_latest_scores_of_each_class_are_exported() -> None:
    text = scrape(Status(name="wine", state="learning"))
    assert 'streamnet_class_recall{class="red",model="wine"} 0.8' in text
    assert 'streamnet_class_precision{class="red",model="wine"} NaN' in text
    assert 'streamnet_class_positives{class="red",model="wine"} 3.0' in text


def test_the_text_is_that_of_the_client_library() -> None:
    registry = CollectorRegistry()
    odd = 'a "b"\\c\nd'
    counter = Counter("odd", odd, ("name", "a"), registry=registry)
    counter.labels(odd, "x").inc(1234567.5)
    Histogram("waits", "Seconds.", ("z", "a"), registry=registry).labels("1", "2").observe(0.03)
    gauge = Gauge("levels", "Levels.", ("model",), registry=registry)
    for name, value in (("nan", nan), ("inf", inf), ("low", -1e-7), ("high", 1e22)):
        gauge.labels(name).set(value)
    Gauge("plain", "Without labels.", registry=registry).set(3)
    text = "".join(map(format_family, registry.collect()))
    assert text == generate_latest(registry).decode()
