"""Columns that change within a stream are handled by the policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_type_hints

import anyio
import polars as pl
import pytest

from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.samples import Block, Position
from streamnet.settings.run import SchemaDriftSettings
from streamnet.sources import (
    Columns,
    GuardedSource,
    IterableSource,
    SchemaDrift,
    Source,
    open_files,
)
from tests.sources.harness import numbers, places, read, resumed, write

ROWS: list[dict[str, Any]] = [
    {"x": 1, "w": "a"},
    {"x": 2, "w": "b"},
    {"x": 3, "w": "c", "new": 1},
    {"x": 4},
    {"x": "word", "w": "d"},
    {"x": 6, "w": "e"},
]


def jsonl(folder: Path, drift: SchemaDrift) -> Source:
    path = write(folder, "f.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    return open_files([path], columns=Columns(head=1, drift=drift))


def outcome(source: Source, after: Position | None = None) -> tuple[list[float], list[str], str]:
    """Numbers, reasons of rejected records, and the error that ended it."""
    blocks: list[Block] = []

    async def main() -> str:
        try:
            await source.open(after)
            while (block := await source.receive()) is not None:
                blocks.append(block)
        except DataError as error:
            return str(error)
        finally:
            await source.aclose()
        return ""

    error = anyio.run(main)
    return numbers(blocks), [letter.reason for b in blocks for letter in b.rejected], error


@pytest.mark.parametrize(
    ("drift", "found", "reasons"),
    [
        (SchemaDrift(), [1, 2, 3, 4, 6], ["number"]),
        (SchemaDrift(new="adapt", missing="adapt", changed="reject"), [1, 2, 3, 4, 6], ["number"]),
        (SchemaDrift(new="ignore"), [1, 2, 3, 4, 6], ["number"]),
        (SchemaDrift(new="reject"), [1, 2, 4, 6], ["new-column", "number"]),
        (SchemaDrift(new="ignore", missing="reject"), [1, 2, 3, 6], ["missing-column", "number"]),
    ],
)
def test_json_lines_follow_the_policy(
    tmp_path: Path, drift: SchemaDrift, found: list[float], reasons: list[str]
) -> None:
    assert outcome(jsonl(tmp_path, drift)) == (found, reasons, "")
    if drift.new == "ignore":
        assert len(read(jsonl(tmp_path, drift))[1][-1].schema.fields) == 2


@pytest.mark.parametrize(
    ("drift", "found", "reasons", "line", "why"),
    [
        (SchemaDrift(new="stop"), [1, 2], [], 3, "'new' is a new feature"),
        (SchemaDrift(missing="stop", new="ignore"), [1, 2, 3], [], 4, "the feature 'w' is absent"),
        (SchemaDrift(changed="stop"), [1, 2, 3, 4], [], 5, "column 'x' has 'word'"),
        (SchemaDrift(changed="stop", new="reject"), [1, 2, 4], ["new-column"], 5, "column 'x' has"),
    ],
)
def test_a_stop_comes_after_every_earlier_sample(
    tmp_path: Path, drift: SchemaDrift, found: list[float], reasons: list[str], line: int, why: str
) -> None:
    got, rejected, error = outcome(jsonl(tmp_path, drift))
    assert (got, rejected) == (found, reasons)
    assert f"f.jsonl, line {line}: {why}" in error
    assert error.endswith("(source.drift says stop)")


def test_a_resumed_run_stops_at_the_same_record(tmp_path: Path) -> None:
    rows = [*ROWS[:4], {"x": "bad", "w": "a", "y": [1]}, {"x": "word"}, *ROWS[4:]]
    path = write(tmp_path, "f.jsonl", "".join(json.dumps(row) + "\n\n" for row in rows))

    def make(changed: Any) -> Source:
        return open_files([path], columns=Columns(head=1, drift=SchemaDrift(changed=changed)))

    async def main() -> tuple[Any, dict[str, Any]]:
        source = make("stop")
        await source.open()
        blocks = [await source.receive() for _ in range(3)]
        with pytest.raises(DataError, match="line 9: column"):
            await source.receive()
        last = blocks[-1]
        assert last is not None
        end = last.end
        state = source.export_state(end)
        await source.aclose()
        return end, state

    end, state = anyio.run(main)
    assert (end.record, end.line) == (4, 9)
    for changed, found, reasons in (("stop", [], []), ("reject", [6], ["type"] + ["number"] * 2)):
        source = make(changed)
        source.restore_state(state)
        got, rejected, error = outcome(source, end)
        assert got == found
        assert len(rejected) == len(reasons)
        assert bool(error) is (changed == "stop")


def test_a_source_that_stops_resumes_everywhere(tmp_path: Path) -> None:
    drift = SchemaDrift(changed="stop")
    kept = [row for row in ROWS if row["x"] != "word"]
    path = write(tmp_path, "f.jsonl", "".join(json.dumps(row) + "\n" for row in kept))

    def make() -> Source:
        return open_files([path], columns=Columns(head=1, drift=drift))

    for place in places(make):
        assert resumed(make(), place) == place.rest


def test_dicts_follow_the_policy() -> None:
    def source_of(**drift: Any) -> Source:
        return IterableSource(ROWS, columns=Columns(drift=SchemaDrift(**drift)))

    reasons = ["new-column", "missing-column", "number"]
    assert outcome(source_of(new="reject", missing="reject")) == ([1, 2, 6], reasons, "")
    assert outcome(source_of(new="ignore")) == ([1, 2, 3, 4, 6], ["number"], "")
    found, _, error = outcome(GuardedSource(source_of(new="stop"), SchemaDrift(new="stop").stops))
    assert (found, error[:20]) == ([1, 2], "iterable, record at ")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_new_columns_of_a_later_table_may_be_ignored(tmp_path: Path, form: str) -> None:
    paths = []
    for number, columns in enumerate(({"x": [1.0]}, {"new": [9.0], "x": [2.0]})):
        frame = pl.DataFrame(columns | {"y": ["a"]})
        path = tmp_path / f"{number}.{form}"
        frame.write_csv(path) if form == "csv" else frame.write_parquet(path)
        paths.append(path)

    def source_of(**drift: Any) -> Source:
        return open_files(paths, columns=Columns(target="y", drift=SchemaDrift(**drift)))

    assert numbers(read(source_of(new="ignore"))[1]) == [1, 2]
    for policy in (None, "stop", "adapt", "reject"):
        with pytest.raises(SchemaError, match=r"has 'new', but .*drift.new 'ignore' would leave"):
            read(source_of(new=policy))


@pytest.mark.parametrize("given", [{"new": "maybe"}, {"missing": "ignore"}, {"changed": "adapt"}])
def test_a_policy_that_does_not_exist_is_refused(given: dict[str, Any]) -> None:
    ((name, value),) = given.items()
    with pytest.raises(ConfigurationError, match=f"drift.{name} is '{value}', but must be '"):
        SchemaDrift(**given)


def test_the_policies_of_settings_are_those_of_the_source() -> None:
    assert get_type_hints(SchemaDriftSettings) == get_type_hints(SchemaDrift)
