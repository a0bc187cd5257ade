"""The daemon's run file: what it holds, and what its messages say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from streamnet.errors import ConfigurationError
from streamnet.settings.daemon import DaemonSettings, IntakeSection, load, parse, parse_model
from streamnet.settings.run import load as load_run

GOOD = """
[serve]
dir = "models"
port = 8000

[model.spam]
source.target = "label"
population.candidates = 4
intake.max_queued = 1000

[model.noise]
source = {target = "decibel", task = "regression"}
"""


def test_each_model_has_its_own_tables(tmp_path: Path) -> None:
    path = tmp_path / "daemon.toml"
    path.write_text(GOOD)
    settings = load(path)
    assert settings.serve.to_kwargs() == {"dir": "models", "port": 8000}
    assert list(settings.model) == ["spam", "noise"]
    assert settings.model["spam"].intake.max_queued == 1000
    assert settings.model["noise"].source.task == "regression"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[model.spam]\n",
            "d.toml:1: model.spam.source.target is not given, but a model needs one",
        ),
        (
            "[model.spam]\nsource = {target = 'y', files = ['a.csv', '-']}\n",
            "model.spam.source.files has '-', but a daemon has no such input",
        ),
        (
            "[model.spam]\nsource.target = 'y'\nstate.dir = 'x'\n",
            "model.spam.state.dir is given, but state is kept in serve.dir",
        ),
        (
            "[model.spam]\nsource.target = 'y'\nsource.tsak = 'regression'\n",
            "d.toml:3: model.spam.source.tsak is not a known key; did you mean 'task'?",
        ),
        (
            "[model.Spam]\nsource.target = 'y'\n",
            "model is 'Spam', but must be lower-case letters, digits, - and _",
        ),
        ("[serve]\nport = 70000\n", "d.toml:2: serve.port is 70000, but must be <= 65535"),
        (
            "[serve]\ndir = 's3://bucket/models'\n",
            "d.toml:2: serve.dir is 's3://bucket/models', but must be a folder of this machine",
        ),
        (
            "[serve]\ntls_key = 'k.pem'\n",
            "d.toml:2: serve.tls_key is 'k.pem', but then tls_certificate must be given, too",
        ),
        ("[serve]\nprot = 1\n", "d.toml:2: serve.prot is not a known key; did you mean 'port'?"),
        ("[source]\n", "d.toml:1: source is not a known key; did you mean model.NAME.source?"),
        ("[model.spam\n", "d.toml:1"),
    ],
)
def test_errors_name_line_and_key(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "d.toml")
    assert message in str(caught.value)


def test_the_example_file_shows_each_intake_limit_with_its_default() -> None:
    path = Path(__file__).parents[2] / "config" / "serve.toml"
    lines = path.read_text().partition("[model.wine.intake]")[2].partition("\n\n")[0].splitlines()
    assert all(line.endswith("(default)") for line in lines[1:])
    shown = load(path).model["wine"].intake
    assert shown.model_fields_set == set(IntakeSection.model_fields)
    assert shown == IntakeSection()


@pytest.mark.parametrize(
    ("name", "brokers"),
    [
        ("serve-kafka", {"history": "kafka", "outcomes": "kafka"}),
        ("serve-mqtt", {"source": "mqtt"}),
    ],
)
def test_the_examples_of_feeds_load(name: str, brokers: dict[str, str]) -> None:
    (model,) = load(Path(__file__).parents[2] / "config" / f"{name}.toml").model.values()
    assert {feed: section.broker for feed, section in model.feeds.items()} == brokers
    assert all(section.follow for section in model.feeds.values())


def test_each_output_has_a_stream_of_its_own_also_among_models() -> None:
    def read(*outputs: str) -> DaemonSettings:
        models = (
            f"[model.m{i}]\nsource.target = 'y'\noutput = {{{output}}}\n"
            for i, output in enumerate(outputs)
        )
        return parse("".join(models))

    place = "kafka://b1/answers?partition=0"
    found = read(f"predictions = '{place}'", "events = 'https://b2/hook'")
    assert found.model["m0"].output.urls == {"predictions": place}
    for outputs, message in (
        (["predictions = 'answers.csv'"], "predictions is 'answers.csv', but must be the URL of a"),
        ([f"predictions = '{place}', events = '{place}'"], "that is where predictions go"),
        ([f"predictions = '{place}'", f"events = '{place}'"], "that is model.m0.output.pred"),
        (["send_models = true"], "send_models is true, but then champions must be given, too"),
        (["model = 'm.json'"], "model.m0.output.model is not a known key"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            read(*outputs)
        assert message in str(caught.value), str(caught.value)


def test_running_a_daemons_run_file_is_an_error() -> None:
    path = Path(__file__).parents[2] / "config" / "serve.toml"
    with pytest.raises(
        ConfigurationError, match=r"serve\.toml is a daemon's run file; use streamnet serve"
    ):
        load_run(path)


def test_a_model_over_http_is_validated_in_the_same_way() -> None:
    with pytest.raises(ConfigurationError, match=r"run\.seed is -1, but must be >= 0"):
        parse_model({"source": {"target": "y"}, "run": {"seed": -1}})
    with pytest.raises(ConfigurationError, match=r"^source\.target is not given"):
        parse_model({})


def test_a_hosted_model_has_one_target_and_no_horizon() -> None:
    refused = r"^source\.target is 'a,b', but must be one column: host a model for each"
    with pytest.raises(ConfigurationError, match=refused):
        parse_model({"source": {"target": "a,b"}})
    refused = r"^evaluation\.horizon is 24, but a hosted model predicts the target of each sample"
    with pytest.raises(ConfigurationError, match=refused):
        parse_model({"source": {"target": "y"}, "evaluation": {"horizon": 24}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("origins", "https://other.example/"),
        ("origins", "foo"),
        ("origins", "*"),
        ("origins", "https://other.example:443"),
        ("origins", "https://me@other.example"),
        ("hosts", "http://foo/"),
        ("hosts", "foo/"),
        ("hosts", "*.example.org"),
        ("hosts", "foo:"),
        ("hosts", "10.0.0.0/33"),
        ("hosts", "10.0.0.1/8"),
    ],
)
def test_a_host_or_an_origin_that_no_client_can_send_is_rejected(key: str, value: str) -> None:
    message = f"d.toml:3: serve.{key} has {value!r}, but each must be "
    good = {"origins": "https://Good.example", "hosts": "Good.example"}[key]
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}"):
        parse(f"[serve]\nport = 1\n{key} = {[good, value]}\n", "d.toml")


def test_hosts_and_origins_may_have_ports_and_be_numbers() -> None:
    hosts = ["a.example:8443", "[fd00::7]:443", "10.0.0.7", "10.0.0.0/8", "fd00::/8", "*"]
    origins = ["http://localhost:5173", "https://[fd00::7]", "app-extension://abc"]
    given = parse(f"[serve]\nhosts = {hosts}\norigins = {origins}\n").serve.to_kwargs()
    assert (list(given["hosts"]), list(given["origins"])) == (hosts, origins)


def test_streams_of_a_daemon_are_followed_unless_they_are_to_end() -> None:
    text = """
        [model.a.source]
        target = "y"
        kafka = { servers = "b1", topic = "events" }
        [model.a.feed.old]
        files = "nats://b2/events"
        follow = false
        [model.a.feed.outcomes]
        files = "outcomes/*.csv"
        id = "order"
        """
    feeds = parse(text).model["a"].feeds
    assert {name: feed.follow for name, feed in feeds.items()} == {
        "source": True,
        "old": False,
        "outcomes": False,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id = 'z'", "d.toml:3: model.a.feed.b.files is not given, but a feed must name files"),
        ("files = 'a'\nlabel = 'z'", "d.toml:5: model.a.feed.b.label is 'z', but then id must"),
        ("files = 'a'\nid = 'z'\nlabel = 'z'", "feed.b.label is 'z', but that is the column of"),
        ("files = 'a'\nid = 'y'", "model.a.feed.b.id is 'y', but that is the target"),
        ("files = 'a'\nid = 'z'\nepochs = 2", "feed.b.epochs is 2, but labels are read once"),
        ("files = '-'", "model.a.feed.b.files has '-', but a daemon has no such input"),
        (
            "files = 'a'\nflies = 'b'",
            "model.a.feed.b.flies is not a known key; did you mean 'files'",
        ),
        ("files = 'a'\ntask = 'regression'", "did you mean model.NAME.source.task?"),
        ("kafka = { topic = 'z' }", "model.a.feed.b.kafka.servers is not given"),
    ],
)
def test_mistakes_in_feeds_are_errors_with_their_place(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f"[model.a.source]\ntarget = 'y'\n[model.a.feed.b]\n{text}\n", "d.toml")
    assert message in str(caught.value)


def test_the_name_of_the_source_is_no_name_of_a_feed() -> None:
    with pytest.raises(ConfigurationError, match="feed is 'source', but must be"):
        parse("[model.a.source]\ntarget = 'y'\n[model.a.feed.source]\nfiles = 'b'\n")


@pytest.mark.parametrize(
    "tables",
    [
        {"source": {"target": "y", "files": "kafka://b1/events"}},
        {"source": {"target": "y", "redis": {"server": "b1", "stream": "events"}}},
        {"source": {"target": "y"}, "feed": {"a": {"files": "a.csv"}}},
    ],
)
def test_streams_and_feeds_cannot_be_named_over_http(tables: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="cannot be named over HTTP"):
        parse_model(tables)
