"""Settings of sinks: their URLs, rules, and that no secret can stand in them."""

from __future__ import annotations

from typing import Any

import pytest

from streamnet.errors import ConfigurationError
from streamnet.settings.fields import list_settings
from streamnet.settings.sinks import SINKS, check_sinks, find_sink, parse_sink_url
from streamnet.sinks.registry import DESTINATIONS
from tests.conftest import REPOSITORY


def test_settings_and_destinations_have_the_same_sinks() -> None:
    assert SINKS.keys() == DESTINATIONS.keys()
    extras = (REPOSITORY / "pyproject.toml").read_text()
    for name, destination in DESTINATIONS.items():
        assert f'\n{name} = ["' in extras
        assert (REPOSITORY / f"{destination.module.replace('.', '/')}.py").is_file()


def test_no_sink_has_a_setting_for_a_secret_itself() -> None:
    for settings in SINKS.values():
        assert {"password", "token", "secret"}.isdisjoint(list_settings(settings))


@pytest.mark.parametrize(
    ("url", "sink", "expected"),
    [
        ("kafka://b1,b2/a", "kafka", {"servers": ("b1", "b2"), "topic": "a", "partition": None}),
        ("kafkas://b/a?partition=3", "kafka", {"tls": True, "partition": 3}),
        ("valkey://h:1/a?database=2", "redis", {"server": "h:1", "stream": "a", "database": 2}),
        ("natss://h/a.b?user=me&password_env=P", "nats", {"subject": "a.b", "user": "me"}),
        ("mqtt://h/a/b?retain=true", "mqtt", {"topic": "a/b", "retain": True}),
        ("HTTPS://h/x?a=1#batch=5&seconds=0.5", "webhook", {"batch": 5, "seconds": 0.5}),
        ("http://h/x?a=1", "webhook", {"url": "http://h/x?a=1", "batch": 500}),
    ],
)
def test_a_url_names_a_sink(url: str, sink: str, expected: dict[str, Any]) -> None:
    assert find_sink(url) == sink
    found = parse_sink_url(url).as_dict()
    assert {name: found[name] for name in expected} == {
        name: list(value) if isinstance(value, tuple) else value for name, value in expected.items()
    }


@pytest.mark.parametrize("name", ["answers.csv", "s3://b/a.csv", "", "kafka:/x"])
def test_what_is_no_url_of_a_sink_is_a_file(name: str) -> None:
    assert find_sink(name) is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("kafka://me:pw@b/a", "kafka://b/a has a user or a password in front of it"),
        ("kafka://b/a?format=csv", "format is not a known setting of kafka://b/a"),
        ("kafka://b/", "topic is '', but must not be empty"),
        ("nats://b/a.>", "subject is 'a.>', but must have no wildcards"),
        ("mqtt://b/a/+", "topic is 'a/+', but must have no wildcards"),
        ("redis:///a", "server is '', but must not be empty"),
        ("https://me:pw@b/a", "url has a user or a password in it"),
        ("https:///a", "url is 'https:///a', but must be http://HOST or https://HOST"),
        ("https://b/a#batch=x", "batch of https://b/a is 'x', but must be a whole number"),
        ("https://b/a#seconds=x", "seconds of https://b/a is 'x', but must be a number"),
        ("https://b/a#btach=1", "btach is not a known setting of https://b/a; did you"),
    ],
)
def test_mistakes_in_a_url_are_named(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_sink_url(url)
    assert message in str(error.value)
    assert "pw" not in str(error.value)


def test_two_outputs_have_different_sessions_at_an_mqtt_broker() -> None:
    urls = {"predictions": "mqtt://h/a?client_id=me", "events": "mqtt://h/b?client_id=me"}
    with pytest.raises(ConfigurationError, match="client_id must be another one than that of pred"):
        check_sinks(urls, ["events"])
    check_sinks({**urls, "events": "mqtt://other/b?client_id=me"}, ["events"])
