"""``streamnet client``: each command calls a daemon and prints its response as JSON."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from streamnet.cli.client import _read_chunks
from streamnet.client.operations import OPERATIONS
from tests.cli.invocation import Cli, write
from tests.daemon.processes import Server, running
from tests.daemon.stand_ins import learned_model

NOBODY = "--url http://127.0.0.1:1"  # reached only if the arguments are valid
SAMPLES = '{"x": 25, "number": 1}\n{"x": 2, "number": 2}\n'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def address(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMNET_URL", server.url)


def told(cli: Cli, *arguments: object) -> object:
    outcome = cli("client", *arguments)
    assert (outcome.code, outcome.err) == (0, "")
    return json.loads(outcome.out)


def test_a_model_is_created_trained_queried_and_deleted(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("beer.toml", "source.target = 'y'\n")
    write("samples.jsonl", SAMPLES)
    write("labels.jsonl", '{"id": 1, "label": "on"}\n{"id": 9, "label": "on"}\n')
    assert told(cli, "create", "beer", "beer.toml")["name"] == "beer"  # type: ignore[index]
    assert [line["name"] for line in told(cli, "models")] == ["beer", "wine"]  # type: ignore[attr-defined]
    receipt = told(cli, "learn", "beer", "samples.jsonl", "--key", "k", "--queued")
    counts = {"accepted": 2, "rejected": 0, "unlabeled": 0}
    assert receipt == {**counts, "duplicate": False, "first": 0, "last": 1}
    again = SimpleNamespace(buffer=io.BytesIO(SAMPLES.encode()))
    monkeypatch.setattr(sys, "stdin", again)
    assert told(cli, "learn", "beer", "-", "--key", "k")["duplicate"]  # type: ignore[index]
    predictions = told(cli, "predict", "beer", "samples.jsonl", "--ids", "number", "--explain")
    assert predictions["predictions"] == ["on", "off"]  # type: ignore[index]
    assert set(predictions["explanations"][0]) == {"x"}  # type: ignore[index]
    assert told(cli, "label", "beer", "labels.jsonl") == {"outcomes": ["joined", "early"]}
    assert told(cli, "status", "beer")["learned"] == 2  # type: ignore[index]
    for verb, state in (("pause", "paused"), ("resume", "learning"), ("reset", "learning")):
        assert told(cli, verb, "beer")["state"] == state  # type: ignore[index]
    for part in ("champion", "leaders", "scores", "insight", "confusion", "rejected"):
        assert told(cli, part, "beer")
    assert cli("client", "download", "beer", "beer.json") == (0, "", "")
    assert Path("beer.json").read_bytes() == b"json"
    assert cli("client", "download", "beer", "beer.c") == (0, "", "")
    assert Path("beer.c").read_bytes() == b"c"
    assert cli("client", "download", "beer", "beer.json", "--to", "gopher") == (0, "", "")
    assert Path("beer.json").read_bytes() == b"gopher"
    assert cli("client", "dead-letters", "beer", "letters.jsonl") == (0, "", "")
    assert Path("letters.jsonl").read_bytes() == b'{"line":3}\n{"line":4}\n'
    assert cli("client", "delete", "beer") == (0, "", "")
    learned_model().save("lamp.json")
    write("lamp.toml", "source.target = 'lit'\n")
    assert told(cli, "upload", "lamp", "lamp.json", "lamp.toml")["name"] == "lamp"  # type: ignore[index]
    refused = cli("client", "upload", "lamp", "lamp.json", "lamp.toml")
    assert refused.code == 1
    assert "already exists" in refused.complaint
    assert cli("client", "delete", "lamp") == (0, "", "")


def test_each_label_has_an_outcome_even_with_repeated_ids(cli: Cli) -> None:
    write("labels.jsonl", '{"id": 7, "label": "on"}\n{"id": 8, "label": "on"}\n' * 2)
    assert told(cli, "label", "wine", "labels.jsonl") == {"outcomes": ["early"] * 4}


@pytest.mark.parametrize(
    ("arguments", "code", "phrases"),
    [
        ("status absent", 1, ("no model of that name",)),
        ("history wine", 1, ("not learned anything",)),
        (f"models {NOBODY}", 1, ("at http://127.0.0.1:1 can't be reached",)),
        ("learn wine absent.jsonl", 1, ("absent.jsonl", "No such file")),
        ("predict wine bad.jsonl", 1, ("bad.jsonl, line 3 is not a JSON object",)),
        ("predict wine good.jsonl --ids key", 1, ("good.jsonl, line 2 has no 'key'",)),
        ("predict wine wrong.jsonl", 1, ("wrong.jsonl, line 1503: ", "'x'")),
        ("label wine labels.jsonl", 1, ("labels.jsonl, line 4: ", "length")),
        ("label wine unlabelled.jsonl", 1, ("unlabelled.jsonl, line 2 has no 'label'",)),
        (f"download wine wine.pkl {NOBODY}", 2, ("wine.pkl ends in '.pkl', but must end in .s",)),
        (f"download wine wine.c --to pdf {NOBODY}", 2, ("format is 'pdf', but must be one of",)),
        (f"upload beer good.jsonl {NOBODY}", 2, ("good.jsonl ends in '.jsonl', but must",)),
        (f"upload beer good {NOBODY}", 2, ("good ends in '', but must end in .safetensors or .j",)),
        (f"download wine nodir/x.json {NOBODY}", 2, ("'nodir/x.json', but its folder does not",)),
        (f"dead-letters wine nodir/x {NOBODY}", 2, ("'nodir/x', but its folder does not exist",)),
        ("upload beer absent.json", 1, ("absent.json",)),
        ("create beer bad.toml", 2, ("bad.toml",)),
        ("create beer empty.toml", 1, ("source.target",)),
    ],
)
def test_errors_are_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: str, code: int, phrases: tuple[str, ...]
) -> None:
    monkeypatch.setattr("streamnet.cli.client.RETRY_SECONDS", 0.0)
    write("bad.jsonl", "{}\n\n[1]\n")
    write("good.jsonl", '\n{"x": 1}\n')
    write("wrong.jsonl", "\n\n" + '{"x": 1}\n' * 1500 + '{"x": "many"}\n{"x": 1}\n')
    write("labels.jsonl", '{"id": 1, "label": 1}\n\n\n{"id": "", "label": 1}\n')
    write("unlabelled.jsonl", '{"id": 1, "label": 1}\n{"id": "zz"}\n')
    write("bad.toml", "source = [\n")
    write("empty.toml", "")
    outcome = cli("client", *arguments.split())
    assert outcome.code == code
    assert all(phrase in outcome.complaint for phrase in phrases)
    assert not re.search(r"line \d+: (sample|label) \d", outcome.err), "numbered twice"


@pytest.mark.parametrize("name", ["Mine", ""])
@pytest.mark.parametrize(
    "command",
    [
        "create NAME m.toml",
        "upload NAME m.json",
        "status NAME",
        "leaders NAME",
        "reset NAME",
        "delete NAME",
        "learn NAME m.jsonl",
        "predict NAME m.jsonl",
        "label NAME m.jsonl",
        "events NAME",
        "dead-letters NAME m.out",
        "download NAME m.json",
    ],
)
def test_an_invalid_model_name_is_reported_with_the_rule(cli: Cli, command: str, name: str) -> None:
    write("m.jsonl", "")
    outcome = cli("client", *(name if word == "NAME" else word for word in command.split()))
    assert outcome.code == 2
    assert outcome.err.startswith(f"streamnet: model is {name!r}, but must be lower-case letters, ")


def test_a_failed_write_names_the_output_file(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", ".wine.json.12-34.part")

    monkeypatch.setattr("streamnet.cli.client.write_durably", full)
    outcome = cli("client", "download", "wine", "wine.json")
    assert outcome.code == 1
    assert outcome.err == "streamnet: wine.json can't be written: No space left on device\n"


def test_a_refused_stream_reports_the_line_to_resume_at(cli: Cli) -> None:
    write("ale.toml", "source.target = 'y'\n")
    write("long.jsonl", '{"x": 1}\n' * 20_000 + '{"x": "' + "y" * (1 << 20) + '"}\n')
    told(cli, "create", "ale", "ale.toml")
    refused = cli("client", "learn", "ale", "long.jsonl")
    assert refused.code == 1
    assert "line 20001 is longer than 1048576 bytes; 20000 samples" in refused.complaint
    assert "resume at line 20001" in refused.complaint
    assert told(cli, "status", "ale")["learned"] == 20_000  # type: ignore[index]
    assert cli("client", "delete", "ale").code == 0


def test_events_are_printed_until_the_daemon_stops(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running() as own:
        monkeypatch.setenv("STREAMNET_URL", own.url)
        lines: list[str] = []

        def told_once(text: str, *, flush: bool) -> None:
            lines.append(text)
            own.process.terminate()

        monkeypatch.setattr("builtins.print", told_once)
        assert cli("client", "events", "wine", "--after", 0).code == 0
    assert [json.loads(line)["kind"] for line in lines] == ["state"]


def test_data_in_a_pipe_is_sent_before_the_pipe_closes() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        os.write(writing, b'{"x": 1}\n')
        pieces = iter(_read_chunks(pipe))
        assert next(pieces) == b'{"x": 1}\n'  # a plain read would wait for the end
        os.close(writing)
        assert list(pieces) == []


def test_every_operation_has_a_command(cli: Cli) -> None:
    commands = cli("client", "--help").out.split()
    assert {name.replace("_", "-") for name in OPERATIONS} <= set(commands)


def test_responses_other_than_json_are_printed_verbatim(cli: Cli) -> None:
    assert told(cli, "healthz") == {"status": "ok"}
    assert "streamnet_requests_total" in cli("client", "metrics").out
