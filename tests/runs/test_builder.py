"""From settings to candidates and sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from streamnet.errors import ConfigurationError
from streamnet.pipeline.pipeline import Pipeline
from streamnet.runs.builder import (
    build_candidates,
    build_source,
    build_state,
    check_files,
    check_source,
)
from streamnet.runs.storage import RunStorage
from streamnet.selection.search import default_population
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.run import apply_overrides, parse
from streamnet.sources.brokers.registry import SOURCES
from tests.sources.harness import numbers, read


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", len(default_population())),
        ("population.candidates = 5", 5),
        ("population.hidden = ['20', 'linear']\npopulation.learning_rate = [0.1, 0.2, 0.3]", 6),
        ("population.hidden = ['20', 'linear']\npopulation.candidates = 3", 3),
        ("population.rehearsal = [0, 4]\npopulation.candidates = 5", 5),
        ("population.candidate = [{ hidden = [3] }, {}]", 2),
        ("population.candidate = [{ hidden = [3] }, {}]\npopulation.candidates = 5", 5),
    ],
)
def test_there_are_as_many_candidates_as_requested(text: str, count: int) -> None:
    assert len(build_candidates(parse(text))) == count


def test_the_candidates_are_those_requested() -> None:
    assert build_candidates(parse("")) == default_population()
    assert build_candidates(parse("population.hidden = '64-32'")) == [
        CandidateSettings(hidden=(64, 32))
    ]
    assert build_candidates(parse("population.hidden = 20")) == [CandidateSettings(hidden=(20,))]
    tables = "population.candidate = [{ hidden = [3] }, { optimizer = 'sgd' }]"
    first, second, third = build_candidates(parse(f"{tables}\npopulation.candidates = 3"))
    assert first == third == CandidateSettings(hidden=(3,))
    assert second == CandidateSettings(optimizer="sgd")


@pytest.mark.parametrize("hidden", ["[20]", "[64, 32]", "[[64, 32]]", "20.0", "true"])
def test_several_numbers_may_be_networks_or_layers_and_so_are_refused(hidden: str) -> None:
    with pytest.raises(ConfigurationError, match="must be text in quotes"):
        parse(f"population.hidden = {hidden}")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file of 60 samples whose number is their place."""
    path = tmp_path / "a.csv"
    path.write_text("x,y\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(60)))
    return str(path)


def numbers_read(path: str, text: str) -> list[float]:
    """The samples of a run with these settings, as far as they are known by their number."""
    settings = apply_overrides(parse(text), {"source.files": [path], "source.target": "y"})
    _, blocks = read(build_source(settings))
    return numbers(blocks)


def test_a_source_yields_as_many_samples_as_requested_in_each_epoch(path: str) -> None:
    assert numbers_read(path, "") == list(range(60))
    assert numbers_read(path, "source.limit = 7") == list(range(7))
    assert numbers_read(path, "source = { limit = 7, epochs = 3 }") == [*range(7)] * 3


def test_shuffling_depends_on_the_seed_alone_and_loses_nothing(path: str) -> None:
    text = "source.shuffle_buffer = 20\nrun.seed = "
    one, again, other = (numbers_read(path, f"{text}{seed}") for seed in (1, 1, 2))
    assert one == again != other
    assert sorted(one) == sorted(other) == list(range(60)) != one


def test_shuffled_samples_are_those_within_the_limit(path: str) -> None:
    found = numbers_read(path, "source = { shuffle_buffer = 20, limit = 7 }")
    assert sorted(found) == list(range(7))


def test_without_a_target_the_possible_columns_are_listed(path: str) -> None:
    settings = apply_overrides(parse(""), {"source.files": [path]})

    async def main() -> None:
        async with Pipeline(build_source(settings)) as pipeline:
            async for _ in pipeline.champions():
                pass

    with pytest.raises(ConfigurationError, match=r"must be one of the columns 'x', 'y'$"):
        anyio.run(main)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files = 'a.csv'", "source.kafka is given, so source.files must not be"),
        ("format = 'csv'", "format is 'csv', but with source.kafka it is a key of that table"),
        ("header = true", "header is True, but with source.kafka it must not be given"),
        ("shuffle_buffer = 9", "shuffle_buffer is 9, but with source.kafka it must be 0"),
        ("epochs = 2", "epochs is 2, but must be 1, since a stream is read once"),
    ],
)
def test_what_is_about_files_is_refused_where_messages_are_read(text: str, message: str) -> None:
    stream = "[source]\nkafka = { servers = 'b1:9092', topic = 'events' }\n"
    with pytest.raises(ConfigurationError, match=message):
        check_source(parse(f"{stream}{text}").source)


def test_how_a_broker_is_reached_may_change_when_a_run_resumes(tmp_path: Path) -> None:
    def identity(kafka: str) -> dict[str, Any]:
        settings = parse(f"source.kafka = {{ {kafka} }}\nstate.dir = '{tmp_path / 'state'}'")
        state = build_state(settings, RunStorage(settings, resume=True).state, resume=True)
        assert state is not None
        found: dict[str, Any] = state.identity["source"]["kafka"]
        return found

    one = identity("servers = 'b1', topic = 'events', partition = 1")
    assert one == identity(
        "servers = 'b2', topic = 'events', partition = 1, tls = true, user = 'me', "
        "password_env = 'P', group = 'g'"
    )
    assert one != identity("servers = 'b1', topic = 'events', partition = 2")
    assert one != identity("servers = 'b1', topic = 'events', partition = 1, key = 'device'")


def test_mqtt_needs_a_state_directory() -> None:
    text = "source.mqtt = { server = 'b1', topic = 't', spool = 's' }\nsource.follow = true"
    with pytest.raises(ConfigurationError, match=r"state.dir is not given, but source.mqtt needs"):
        check_files(parse(text))


def test_a_client_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "kafka", SOURCES["kafka"]._replace(client="no_such_client"))
    with pytest.raises(ConfigurationError, match=r"pip install 'streamnet-learn\[kafka\]'"):
        build_source(parse("source.kafka = { servers = 'b1', topic = 'events' }"))
