"""Settings of brokers: URLs, rules, and that no secret can stand in them."""

from __future__ import annotations

from typing import Any

import pytest

from streamnet.errors import ConfigurationError
from streamnet.settings.brokers import BROKERS, KafkaSettings, is_broker_url, parse_broker_url
from streamnet.settings.fields import list_settings
from streamnet.settings.run import RunSettings, apply_overrides, parse
from streamnet.sources.brokers.formats.registry import FORMATS
from streamnet.sources.brokers.registry import SOURCES
from tests.conftest import REPOSITORY

KAFKA = {"servers": "b1:9092", "topic": "events"}


def test_settings_and_sources_have_the_same_brokers() -> None:
    assert BROKERS.keys() == SOURCES.keys()
    extras = (REPOSITORY / "pyproject.toml").read_text()
    for name, broker in SOURCES.items():
        assert f'\n{name} = ["' in extras
        assert name in RunSettings().source.__class__.model_fields
        assert (REPOSITORY / f"{broker.module.replace('.', '/')}.py").is_file()


@pytest.mark.parametrize("settings", BROKERS.values())
def test_settings_and_registry_have_the_same_formats(settings: type) -> None:
    hint = list_settings(settings)["format"].hint
    assert set(hint.__args__) == FORMATS.keys()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("kafka://b1:9092/events", {"servers": ["b1:9092"], "topic": "events"}),
        ("KAFKA://b1,b2/a.b", {"servers": ["b1", "b2"], "topic": "a.b"}),
        ("kafkas://b1/e", {"servers": ["b1"], "topic": "e", "tls": True}),
        ("kafka://b/e?partition=3", {"servers": ["b"], "topic": "e", "partition": 3}),
        ("kafka://b/e?key=k", {"servers": ["b"], "topic": "e", "key": "k"}),
        ("kafka://b/e?tls=true", {"servers": ["b"], "topic": "e", "tls": True}),
        ("kafka://b/e?format=avro", {"servers": ["b"], "topic": "e", "format": "avro"}),
        ("kafka://b/with%20space", {"servers": ["b"], "topic": "with space"}),
        ("redis://b:1/s", {"server": "b:1", "stream": "s"}),
        ("valkeys://b/s?database=2", {"server": "b", "stream": "s", "tls": True, "database": 2}),
    ],
)  # fmt: skip
def test_a_url_names_a_stream(url: str, expected: dict[str, Any]) -> None:
    assert is_broker_url(url)
    broker, values = parse_broker_url(url)
    assert broker in BROKERS
    assert values == expected
    BROKERS[broker](**values)


@pytest.mark.parametrize("name", ["events.csv", "-", "http://a/b", "C://x", "kafka:/b/e", ""])
def test_what_is_not_the_url_of_a_broker_is_a_file(name: str) -> None:
    assert not is_broker_url(name)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "kafka://me:topsecret@b1/events",
            (
                "kafka://b1/events has a user or a password in front of it, but passwords must not "
                "stand in URLs: user, and password_file or password_env, say where they are"
            ),
        ),
        (
            "kafka://b1/events?partitoin=1",
            "partitoin is not a known setting of kafka://b1/events; did you mean 'partition'?",
        ),
        (
            "kafka://b1/events?partition=one",
            "partition of kafka://b1/events is 'one', but must be a whole number",
        ),
        ("kafka://b1/events?tls=1", "tls of kafka://b1/events is '1', but must be true or false"),
        (
            "kafka://b1/events?headers=a",
            "kafka://b1/events has headers, but that must be given in a run file",
        ),
    ],
)
def test_what_is_wrong_in_a_url_is_said_without_its_password(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_broker_url(url)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"servers": ()}, "servers is not given, but must name a broker as HOST:PORT"),
        ({"topic": None}, "topic is not given, but must name the topic"),
        ({"partition": -1}, "partition is -1, but must be >= 0"),
        ({"key": "a", "timestamp": "a"}, "headers has 'a', but two columns can't be called so"),
        ({"certificate": "c"}, "certificate is 'c', but then private_key must be given, too"),
        (
            {"user": "me", "password_file": "p", "password_env": "P"},
            "password_file is 'p', but password_env is given, too; one is enough",
        ),
        ({"user": "me"}, "user is 'me', but then password_file or password_env must be given, too"),
        ({"mechanism": "PLAIN"}, "mechanism is 'PLAIN', but then user must be given, too"),
        (
            {"mechanism": "OAUTHBEARER"},
            "mechanism is 'OAUTHBEARER', but then token_file or token_env must be given, too",
        ),
        ({"token_env": "T"}, "token_env is 'T', but then mechanism must be 'OAUTHBEARER'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        KafkaSettings(**{**KAFKA, **settings})
    assert str(caught.value) == message


def test_a_mistake_in_a_run_file_is_said_with_its_line() -> None:
    text = "[source]\ntarget = 'y'\n[source.kafka]\nservers = 'b1'\ntopik = 'events'\n"
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "run.toml")
    assert str(caught.value) == (
        "run.toml:5: source.kafka.topik is not a known key; did you mean 'topic'?"
    )
    with pytest.raises(ConfigurationError) as caught:
        parse("[source.kafka]\nservers = 'b1'\n", "run.toml")
    assert str(caught.value) == (
        "run.toml:1: source.kafka.topic is not given, but must name the topic"
    )


def test_the_url_of_the_command_line_replaces_files_and_streams_of_a_run_file() -> None:
    start = parse("source.kafka = { servers = 'b1', topic = 'events' }\nsource.target = 'y'")
    settings = apply_overrides(start, {"source.files": ("kafka://b2/other?partition=2",)})
    assert settings.source.files == ()
    assert settings.source.kafka is not None
    assert settings.source.kafka.to_kwargs() == {
        "servers": ("b2",), "topic": "other", "partition": 2
    }  # fmt: skip
    assert settings.source.target == "y"


def test_a_stream_is_the_only_source() -> None:
    with pytest.raises(ConfigurationError, match="a stream of messages must be the only source"):
        parse("source.files = ['a.csv', 'kafka://b1/events']")
