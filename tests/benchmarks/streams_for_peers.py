"""Small data files that bear the names of streams of the comparison."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.peers.rows import Rows, read_rows
from tests.benchmarks.peers.streams import Stream


def write(folder: Path, name: str, lines: Sequence[str]) -> None:
    with gzip.open(folder / f"{name}.csv.gz", "wt", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


SMALL = Stream("small", "y")


def rows_of(
    folder: Path, lines: Sequence[str], limit: int | None = None, stream: Stream = SMALL
) -> Rows:
    write(folder, "small", lines)
    return read_rows(stream, folder, limit)
