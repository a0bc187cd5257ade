"""What is asked of owners, and what is said of them: settings, totals, words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamnet import replay, replay_fleet
from streamnet.cli.views import fleet as views
from streamnet.errors import ConfigurationError
from streamnet.runs.fleet import FleetResult, FleetRun, check_fleet
from streamnet.runs.fleet_status import OwnerStatus
from streamnet.runs.owner import PartitionStatus
from streamnet.settings.run import load
from tests.conftest import REPOSITORY
from tests.runs.test_fleet import make_settings, write_stream


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_report(scored: int, weight: str | None = None, **served: float) -> dict[str, Any]:
    settings = {"source": {} if weight is None else {"weight": weight}}
    counts = {"samples": scored + 3, "learned": scored + 2, "scored": scored, "rejected": 1}
    return {"": {**counts, "served": served, "settings": settings}}


def test_totals_are_means_over_scored_samples_of_the_same_weight() -> None:
    one, other = make_report(1, mae=4.0, mape=9.0), make_report(3, mae=8.0, mape=1.0)
    empty = {"": {"samples": 2, "learned": 0, "scored": 0, "rejected": 2, "served": {}}}
    total = FleetResult({0: one, 1: other, 2: empty}).table[-1]
    counts = {"partition": "all", "part": "", "samples": 12, "learned": 8, "rejected": 4, "keys": 0}
    assert total == {**counts, "mae": 7.0}
    weighted = FleetResult({0: one, 1: make_report(3, "w", mae=8.0), 2: empty}).table[-1]
    assert weighted == counts


def test_what_is_shown_of_an_owner_is_true_from_the_first_moment() -> None:
    new = PartitionStatus(3, "learning", samples=7, keys=1)
    owner = OwnerStatus(1, True, 1, (new,))
    assert views._describe(owner) == ("owner 1", "partition 3", "7 samples", "1 key")
    saved = new._replace(number=4, age=20.0)
    owner = owner._replace(partitions=(new, saved))
    assert views._describe(owner)[1::3] == ("partitions 3, 4", "oldest checkpoint 20 s")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"keys.key": []}, "owners is 2, but then key must name columns, too"),
        ({"fleet.owners": 0}, "owners is 0, but must be >= 1 for a fleet"),
        ({"fleet.owners": 5}, "owners is 5, but must be <= 4, the number of partitions"),
        ({"fleet.partition": 1}, "partition is 1, but owners must be 0 then: it is learned here"),
        (
            {"fleet.owners": 0, "fleet.partition": 4},
            "partition is 4, but must be < 4, the number of partitions",
        ),
        ({"source.shuffle_buffer": 9}, "shuffle_buffer is 9, but must be 0 with owners"),
        ({"source.files": ["-"]}, "owners is 2, but then standard input must not be read"),
        ({"run.shards": 2}, "shards is 2, but must be 0 with owners"),
        (
            {"population.start": "m.json"},
            "start is 'm.json', but must not be given with owners: a model file has no models of",
        ),
        (
            {"source.on_gap": "go_on"},
            "on_gap is 'go_on', but must be 'stop' with owners: partitions count the records of",
        ),
        ({"evaluation.label_delay": "20"}, "label_delay is 20, but must be a duration with owners"),
        (
            {"source.files": [], "source.kafka": {"servers": ["h"], "topic": "t", "group": "g"}},
            "group is 'g', but must not be given with owners: each partition of the keys has a",
        ),
        (
            {"state.dir": "s3://b/x", "output.predictions": "nats://h/a"},
            "predictions is 'nats://h/a', but must be a file with owners and a state in a bucket",
        ),
    ],
)
def test_settings_that_contradict_owners_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as found:
        FleetRun(make_settings(**{"owners": 2, **given}))
    assert message in str(found.value)


def test_owners_need_a_state_and_are_not_for_a_run_of_one_process(tmp_path: Path) -> None:
    write_stream(tmp_path / "stream.csv", 20)
    with pytest.raises(ConfigurationError, match="state must be given with owners: a folder or"):
        replay_fleet("stream.csv", target="y", key="device", owners=2)
    (tmp_path / "run.toml").write_text("fleet.owners = 2")
    with pytest.raises(ConfigurationError, match="owners is 2, but must be 0 for a run of this"):
        replay("stream.csv", target="y", key="device", config="run.toml")
    for given in ({"partitions": 4}, {"owner_executor": "ray"}):
        (name,) = given
        rule = f"{name} is .*, but then owners or partition must be given, too"
        with pytest.raises(ConfigurationError, match=rule):
            replay("stream.csv", target="y", key="device", **given)


def test_the_run_file_of_the_example_is_one_of_a_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    settings = load("examples/cluster/fleet.toml")
    check_fleet(settings)
    assert settings.fleet.owner_executor == "ray"
    assert all(map(Path.exists, map(Path, settings.source.files)))
