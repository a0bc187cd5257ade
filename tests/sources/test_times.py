from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from streamnet.samples import Kind
from streamnet.sources import Columns
from streamnet.sources import IterableSource
from streamnet.sources import Source
from streamnet.sources import open_files
from streamnet.sources.times import seconds_of_number
from tests.sources.reading import read

MOMENTS = [1_700_000_000, 1_700_000_000.25, -86_400, 0, 1_700_000_000_250, 1_700_000_000_250_000]
MOMENTS += [1_700_000_000_500_000_000]
SECONDS = [1.7e9, 1.7e9 + 0.25, -86_400.0, 0.0, 1.7e9 + 0.25, 1.7e9 + 0.25, 1.7e9 + 0.5]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_size_of_a_number_tells_its_unit(sign: int) -> None:
    for least, parts in ((1e11, 1e3), (1e14, 1e6), (1e17, 1e9)):
        assert seconds_of_number(sign * least) == sign * least / parts
        below = least - least / 1e15
        assert seconds_of_number(sign * below) == sign * below / (parts / 1e3)


def sources(folder: Path, kinds: dict[str, Kind]) -> dict[str, Source]:
    """The same numbers from everywhere."""
    rows = [{"t": moment, "y": "ab"[i % 2]} for i, moment in enumerate(MOMENTS)]
    texts = [str(moment) for moment in MOMENTS]
    comma = (f"{text.replace('.', ',')};a" for text in texts)
    (folder / "a.csv").write_text("\n".join(["t,y", *(f"{text},a" for text in texts), ""]))
    (folder / "b.csv").write_text("\n".join(["t;y", *comma, ""]))
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pl.DataFrame({"t": list(map(float, MOMENTS)), "y": "a"}).write_parquet(folder / "d.parquet")
    columns = Columns(target="y", kinds=kinds)
    found = {path.name: open_files([path], columns=columns) for path in folder.iterdir()}
    found["numbers"] = IterableSource(rows, columns=columns)
    found["texts"] = IterableSource([{"t": t, "y": "a"} for t in texts], columns=columns)
    return found


def test_a_number_is_the_same_time_in_every_source(tmp_path: Path) -> None:
    for name, source in sources(tmp_path, {"t": Kind.TIME}).items():
        blocks = read(source)[1]
        assert blocks[-1].schema.fields[0].kind is Kind.TIME, name
        assert [float(n) for block in blocks for n in block.numbers[:, 0]] == SECONDS, name


def test_a_column_of_numbers_stays_one_unless_it_is_said_to_be_a_time(tmp_path: Path) -> None:
    for name, source in sources(tmp_path, {}).items():
        blocks = read(source)[1]
        assert blocks[-1].schema.fields[0].kind is Kind.NUMBER, name
        assert [float(n) for block in blocks for n in block.numbers[:, 0]] == MOMENTS, name


@pytest.mark.parametrize(
    ("days", "kind"),
    [
        (["31/12/2023", "1/1/2024 9:05", "2/1/2024 9:05 PM"], Kind.DAY_FIRST),
        (["12-31-2023", "1-1-2024 9:05", "1-2-2024 9:05 PM"], Kind.MONTH_FIRST),
        (["31.12.2023", "2024/1/1 9:05", "Jan 2, 2024 9:05 PM"], Kind.TIME),
    ],
)
def test_dates_are_the_same_times_in_every_source_however_they_are_written(
    days: list[str], kind: Kind, tmp_path: Path
) -> None:
    rows = [{"t": day, "y": "ab"[i % 2]} for i, day in enumerate(days)]
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame(rows).write_csv(tmp_path / "b.csv")
    pl.DataFrame(rows).write_csv(tmp_path / "c.csv", separator=";")
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = Columns(target="y")
    found = {path.name: open_files([path], columns=columns) for path in tmp_path.iterdir()}
    found["rows"] = IterableSource(rows, columns=columns)
    for name, source in found.items():
        blocks = read(source)[1]
        assert blocks[-1].schema.fields[0].kind is kind, name
        seconds = [float(n) for block in blocks for n in block.numbers[:, 0]]
        assert seconds == [1703980800.0, 1704099900.0, 1704229500.0], name
        assert not any(block.rejected for block in blocks), name


def test_what_is_no_date_in_the_columns_order_is_rejected_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("t,y\n" + "13/1/2024,a\n2/1/2024,b\n" * 9 + "1/13/2024,a\n")
    source = open_files([path], columns=Columns(target="y", head=5))
    (letter,) = (letter for block in read(source)[1] for letter in block.rejected)
    assert (letter.line, letter.reason) == (20, "time")
    assert "'1/13/2024', which is not a date or time" in letter.detail
