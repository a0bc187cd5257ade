"""What a run is: every setting counts, given or not, and also those that a release adds."""

from __future__ import annotations

from typing import Any

import pytest

from streamnet.pipeline.state import build_identity, describe_changes
from streamnet.selection.search import default_population

FEW = default_population(2)


def identity(**settings: Any) -> dict[str, Any]:
    return build_identity(**{"candidates": FEW, "start": None, "seed": 3, **settings})


@pytest.mark.parametrize(
    ("setting", "phrase"),
    [
        ({"serve": "champion"}, "serve is champion, but was ensemble"),
        ({"criterion": "accuracy"}, "criterion is accuracy, but was not given"),
        ({"drift": "none"}, "drift is none, but was adwin"),
        ({"evolution": {"every": 0, "grace": 2}}, "evolution.grace is 2, but was 8"),
        ({"evolution": {"every": 0, "budget": 1.0}}, "evolution.budget is 1.0, but was not given"),
        ({"encoder": {"max_rows": 99}}, "encoder.max_rows is 99, but was 8192"),
        ({"encoder": {"scalings": {"x": "rank"}}}, "encoder.scalings.x is rank, but was not given"),
    ],
)
def test_an_absent_setting_is_described_by_its_default(
    setting: dict[str, Any], phrase: str
) -> None:
    assert describe_changes(identity(), identity(**setting)) == [phrase]
    (reverse,) = describe_changes(identity(**setting), identity())
    assert reverse.partition(" is ")[0] == phrase.partition(" is ")[0]


@pytest.mark.parametrize(
    "setting",
    [
        {"alpha": 0.05},
        {"window": 1000},
        {"serve": "ensemble"},
        {"evolution": {"every": 0}},
        {"encoder": {"clip": 8.0}},
        {"encoder": {}},
    ],
)
def test_an_explicit_default_is_no_change(setting: dict[str, Any]) -> None:
    assert identity(**setting) == identity()


def test_an_auto_encoder_is_a_change_also_with_all_its_defaults() -> None:
    phrases = describe_changes(identity(), identity(encoder={"autoencoder": {}}))
    assert "encoder.autoencoder.code is 16, but was not given" in phrases
    assert identity(encoder={"autoencoder": {}}) == identity(
        encoder={"autoencoder": {"code": 16, "seed": 3}}
    )


def test_the_same_candidates_with_and_without_a_search_are_not_the_same() -> None:
    (phrase,) = describe_changes(
        identity(candidates=None), identity(candidates=default_population())
    )
    assert phrase == "evolution.every is 0, but was 4"


def test_settings_unknown_before_the_source_is_opened_are_no_change() -> None:
    saved = identity(task="regression", target="y")
    assert describe_changes(saved, identity()) == []
    assert describe_changes(saved, identity(task="classification", target="y")) == [
        "task is classification, but was regression"
    ]


def test_a_table_of_names_is_compared_whole() -> None:
    before, now = identity(source={"kinds": None}), identity(source={"kinds": {"c": "text"}})
    assert describe_changes(before, now) == ["source.kinds.c is text, but was not given"]
    assert describe_changes(now, before) == ["source.kinds.c is not given, but was text"]


def test_a_drift_that_would_have_stopped_the_run_may_be_handled_differently_on_resume() -> None:
    def source(**drift: str) -> dict[str, Any]:
        return identity(source={"drift": {"new": None, "missing": None, "changed": None, **drift}})

    plain = identity(source={"drift": None})
    for now in (source(changed="reject"), plain):
        assert describe_changes(source(changed="stop"), now) == []
    assert describe_changes(source(changed="stop"), source(new="ignore")) == [
        "source.drift.new is ignore, but was not given"
    ]
    assert describe_changes(source(changed="reject"), source(changed="stop")) == [
        "source.drift.changed is stop, but was reject"
    ]
    assert describe_changes(plain, source(changed="stop")) == [
        "source.drift.changed is stop, but was not given"
    ]
