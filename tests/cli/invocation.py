"""Calls the command line within the test process, and writes small files for it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from streamnet.cli import app

__all__ = ("Cli", "Outcome", "csv_text", "json_lines", "read_csv", "rows", "write")

SHADES = ("red", "green", "blue")
Row = dict[str, Any]


class Outcome(NamedTuple):
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on standard error."""
        assert self.err.count("\n") == 1, f"not one line: {self.err!r}"
        return self.complaints[0]

    @property
    def complaints(self) -> list[str]:
        """The lines on standard error."""
        assert "Traceback" not in self.out + self.err
        lines = self.err.splitlines()
        assert all(line.startswith("streamnet: ") for line in lines)
        return [line.removeprefix("streamnet: ") for line in lines]


class Cli:
    """Calls a command; the working directory is the test's own folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Outcome:
        self._capsys.readouterr()
        code = app.run([str(argument) for argument in arguments])
        return Outcome(code, *self._capsys.readouterr())

    def replay(self, *arguments: object) -> Outcome:
        """A quiet run of two candidates on the column ``label``."""
        return self("replay", *arguments, "--target", "label", "--candidates", 2, "--quiet")

    def report(self, *arguments: object) -> Any:
        """The report of such a run, which has to succeed."""
        outcome = self.replay(*arguments, "--report", "report.json")
        assert outcome == (0, "", "")
        return json.loads(Path("report.json").read_text(encoding="utf-8"))


def rows(count: int, start: int = 0) -> list[Row]:
    """Samples whose label follows from their number."""
    return [
        {"number": i % 7, "shade": SHADES[i % 3], "label": "high" if i % 7 > 3 else "low"}
        for i in range(start, start + count)
    ]


def csv_text(samples: Iterable[Mapping[str, Any]], delimiter: str = ",") -> str:
    samples = list(samples)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(samples[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(samples)
    return file.getvalue()


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def write(name: str, text: str) -> Path:
    """A file in the working directory."""
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path
