"""Metrics: counters show only what is known."""

from __future__ import annotations

from types import SimpleNamespace

from streamnet.client.schemas import Status
from streamnet.daemon.prometheus import Metrics


def scrape(status: Status, *unknown: str) -> str:
    model = SimpleNamespace(status=lambda: status, unknown_counts=frozenset(unknown))
    return Metrics(lambda: {"wine": model}).text()  # type: ignore[dict-item]


def test_an_unknown_counter_is_left_out_since_its_return_would_look_like_growth() -> None:
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
    assert 'streamnet_served{model="wine"} 0.5' in text
    assert 'streamnet_state{model="wine",state="learning"} 1.0' in text
