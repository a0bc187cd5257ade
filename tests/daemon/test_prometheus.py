"""Metrics: counters tell nothing but what is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from streamnet.daemon.prometheus import Metrics


def told(**status: Any) -> str:
    model = SimpleNamespace(status=lambda: status)
    return Metrics(lambda: {"wine": model}).text()  # type: ignore[dict-item]


def test_a_counter_is_left_out_while_it_is_not_known_since_its_return_would_look_like_growth() -> (
    None
):
    text = told(state="failed", predicted=3)
    assert 'streamnet_predicted_total{model="wine"} 3.0' in text
    assert 'streamnet_accepted_total{model="wine"}' not in text
    assert 'streamnet_accepted_total{model="wine"} 0.0' in told(state="learning", accepted=0)
