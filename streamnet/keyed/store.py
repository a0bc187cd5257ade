"""RowStore: rows of keys that are not in memory, in a SQLite database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import NamedTuple, final
from weakref import finalize

from streamnet.errors import StateError

_LOOKUP = 500  # keys in one query
_SELECT = """
SELECT key, shape, numbers, samples, loss FROM rows JOIN scores USING (key)
WHERE key IN (SELECT value FROM json_each(?))
"""
_TABLES = """
CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, shape TEXT NOT NULL, numbers BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS scores (
    key TEXT PRIMARY KEY, samples REAL NOT NULL, loss REAL NOT NULL
) WITHOUT ROWID;
"""


class StoredRow(NamedTuple):
    """The numbers of one key, and the score by which keys are ranked."""

    key: str
    shape: str  # its name, see `RowShape`
    numbers: bytes
    samples: float
    loss: float


@final
class RowStore:
    """Rows by key on disk, in a folder of their own that is deleted with the store.

    The row of a key that is in memory as well is out of date.

    >>> store = RowStore()
    >>> store.put([StoredRow("a", "1", b"x", 2.0, 0.5), StoredRow("b", "1", b"y", 1.0, 0.1)])
    >>> [row.numbers for row in store.get(["b", "c"])], sorted(store.list_keys()), len(store)
    ([b'y'], ['a', 'b'], 2)
    """

    def __init__(self) -> None:
        self._folder = Path(mkdtemp(prefix="streamnet-keys-"))
        # Calls come from one thread at a time, though not always from the same one.
        self._database = sqlite3.connect(
            self._folder / "keys.sqlite", isolation_level=None, check_same_thread=False
        )
        self._delete = finalize(self, _delete, self._database, self._folder)
        # What is here is not needed after a crash: checkpoints have copies of all rows.
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-65536"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(_TABLES)

    def __len__(self) -> int:
        (count,) = self._database.execute("SELECT count(*) FROM rows").fetchone()
        return int(count)

    def list_keys(self) -> Iterator[str]:
        """All keys, in no particular order."""
        for (key,) in self._database.execute("SELECT key FROM scores"):
            yield key

    def put(self, rows: Iterable[StoredRow]) -> None:
        """Write rows, in place of earlier ones of the same keys."""
        listed = list(rows)
        scores = [(key, samples, loss) for key, _, _, samples, loss in listed]
        self._run("BEGIN")
        self._run_many("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", [row[:3] for row in listed])
        self._run_many("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", scores)
        self._run("COMMIT")

    def get(self, keys: Sequence[str]) -> list[StoredRow]:
        """The rows of those keys that have one."""
        found: list[StoredRow] = []
        for start in range(0, len(keys), _LOOKUP):
            part = keys[start : start + _LOOKUP]
            found += map(StoredRow._make, self._run(_SELECT, (json.dumps(part),)))
        return found

    def remove(self, keys: Sequence[str]) -> int:
        """Delete rows; return how many there were."""
        removed = 0
        for key in keys:
            removed += self._run("DELETE FROM rows WHERE key = ?", (key,)).rowcount
            self._run("DELETE FROM scores WHERE key = ?", (key,))
        return removed

    def rank(self, *, least: float, worst: bool) -> Iterator[tuple[float, str]]:
        """Losses and keys with ``least`` samples, from the highest loss or from the lowest."""
        order = "loss DESC, key" if worst else "loss, key"
        query = f"SELECT loss, key FROM scores WHERE samples >= ? ORDER BY {order}"  # noqa: S608 - no value from outside
        yield from self._run(query, (least,))

    def close(self) -> None:
        """Close the database and delete its folder."""
        self._delete()

    def _run(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _run_many(self, statement: str, values: Sequence[Sequence[object]]) -> None:
        try:
            self._database.executemany(statement, values)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: sqlite3.Error) -> StateError:
        return StateError(f"{self._folder}: the models of keys can't be stored there: {error}")


def _delete(database: sqlite3.Connection, folder: Path) -> None:
    database.close()
    rmtree(folder, ignore_errors=True)
