"""``dead-letters``: rejected records are listed, shown, and written out to be learned."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.cli.invocation import Cli

STATE = ("--state", "state")


def test_dead_letters_that_ended_a_run_are_listed(cli: Cli) -> None:
    lines = ["x,y", *(f"{i % 7},{'ab'[i % 7 > 3]}" if i % 3 else "oops" for i in range(1500))]
    Path("stream.csv").write_text("\n".join(lines) + "\n")
    files = ("stream.csv", "--target", "y", "--candidates", 2, "--quiet")
    outcome = cli("replay", *files, *STATE)
    assert outcome.code == 1
    assert "they are in state/dead-letters.jsonl" in outcome.complaint
    letters = len(Path("state/dead-letters.jsonl").read_text().splitlines())
    assert letters > 100
    assert cli("status", "state").code == 0
    assert len(cli("dead-letters", "list", "state").out.splitlines()) == letters
    assert "oops" in cli("dead-letters", "show", "state", letters).out
    with Path("state/dead-letters.jsonl").open("a") as file:
        file.write('{"source": "str')  # as a process leaves it that is killed
    assert len(cli("dead-letters", "list", "state").out.splitlines()) == letters


@pytest.fixture
def in_two_orders(cli: Cli) -> Cli:
    """The command, after a run over two files whose columns stand in different orders."""
    good = [(i + 0.5, "ab"[i % 7 > 3]) for i in range(1100)]
    lines = ["x,z,y", *(f"{x},p,{y}" for x, y in good), "many,q,a", "broken"]
    Path("a.csv").write_text("\n".join(lines) + "\n")
    lines = ["y,z,x", *(f"{y},p,{x}" for x, y in good), 'a,"3,5",more', "short", 'a,"4"4,5']
    with gzip.open("b.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    files = ("a.csv", "b.csv.gz", "--target", "y", "--candidates", 2, "--quiet")
    assert cli("replay", *files, *STATE) == (0, "", "")
    return cli


def test_dead_letters_of_files_with_different_column_orders_are_written_in_one(
    in_two_orders: Cli,
) -> None:
    written = in_two_orders("dead-letters", "replay", "state", "--to", "again.csv")
    assert written.out == "3 records written to again.csv\n"
    assert written.complaint.startswith(
        "2 records left out: their files have the columns in another order"
    )
    assert Path("again.csv").read_text() == 'x,z,y\nmany,q,a\nbroken\nmore,"3,5",a\n'


def test_dead_letters_of_a_file_whose_header_is_gone_are_not_written(in_two_orders: Cli) -> None:
    Path("b.csv.gz").unlink()
    refused = in_two_orders("dead-letters", "replay", "state", "--to", "again.csv")
    assert refused.code == 1
    assert refused.complaint == (
        "b.csv.gz no longer exists, but its header is needed to reorder the columns of its records"
    )
    assert not Path("again.csv").exists()


def test_a_missing_dead_letter_file_is_an_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("stream.csv").write_text("x,y\n" + "1,a\n2,b\n" * 50 + "broken\n")
    files = ("stream.csv", "--target", "y", "--candidates", 2, "--quiet")
    assert cli("replay", *files, *STATE, "--dead-letters", "bad.jsonl") == (0, "", "")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    refused = cli("dead-letters", "list", "../state")
    assert (refused.code, refused.out) == (1, "")
    assert refused.complaint.startswith("bad.jsonl does not exist, but ")


def test_without_rejected_records_there_is_none_to_show(cli: Cli) -> None:
    Path("stream.csv").write_text("x,y\n" + "1,a\n2,b\n" * 50)
    files = ("stream.csv", "--target", "y", "--candidates", 2, "--quiet")
    assert cli("replay", *files, *STATE) == (0, "", "")
    assert cli("dead-letters", "list", "state").out == "no record was rejected\n"
    shown = cli("dead-letters", "show", "state", 1)
    assert (shown.code, shown.complaint) == (2, "NUMBER is 1, but no record was rejected")


NOT_UTF8 = [
    b"caf\xe9,a",
    b"\xff\xfe\xef\xbf,b",
    "\N{REPLACEMENT CHARACTER},c,d".encode(),
    b"\xed\xa0\x80,a",
]


def rejecting(cli: Cli, *lines: bytes, options: tuple[object, ...] = ()) -> list[dict[str, object]]:
    """The dead letters of a run over good records, and below them these."""
    Path("stream.csv").write_bytes(b"x,y\n" + b"1,a\n2,b\n" * 600 + b"\n".join([*lines, b""]))
    files = ("stream.csv", "--target", "y", "--candidates", 2, "--quiet")
    assert cli("replay", *files, *STATE, *options) == (0, "", "")
    kept = Path("state/dead-letters.jsonl").read_text().splitlines()
    return list(map(json.loads, kept))


def test_records_that_are_not_utf_8_are_written_byte_for_byte(cli: Cli) -> None:
    letters = rejecting(cli, *NOT_UTF8)
    assert ["raw_base64" in letter for letter in letters] == [True, True, False, True]
    assert cli("dead-letters", "replay", "state", "--to", "again.csv").code == 0
    assert Path("again.csv").read_bytes() == b"\n".join([b"x,y", *NOT_UTF8, b""])


def test_truncated_records_are_not_written(cli: Cli) -> None:
    Path("run.toml").write_text("[source]\nmax_record_bytes = 20\n")
    rejecting(cli, b"oops", b"1" * 30 + b",a", options=("--config", "run.toml"))
    written = cli("dead-letters", "replay", "state", "--to", "again.csv")
    assert written.complaint == "1 record left out: only the beginning of long records is kept"
    assert Path("again.csv").read_text() == "x,y\noops\n"


def test_labels_beyond_the_maximum_are_not_written_as_records(cli: Cli) -> None:
    Path("run.toml").write_text("[encoder]\nmax_classes = 2\n")
    letters = rejecting(cli, b"3,c", b"oops", b"4,d", options=("--config", "run.toml"))
    assert [letter["raw"] for letter in letters] == ["c", "oops", "d"]
    written = cli("dead-letters", "replay", "state", "--to", "again.csv")
    assert written.out == "1 record written to again.csv\n"
    assert written.complaint == (
        "2 records left out: of those with one label too many, only the label is kept"
    )
    assert Path("again.csv").read_text() == "x,y\noops\n"
