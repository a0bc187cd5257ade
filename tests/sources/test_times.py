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
