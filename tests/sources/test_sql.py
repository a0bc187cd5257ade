"""Rows of a query are read in the order of a column, and resumed at any of them."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import anyio
import pytest

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.samples import Kind
from streamnet.sources import Columns, Source, SqlSource, sql
from tests.object_servers import find_free_port
from tests.sources.brokers.servers import open_folder
from tests.sources.harness import (
    assert_resumes_everywhere,
    content,
    drain,
    firsts,
    go_on,
    is_quiet,
    left,
    letters,
    places,
    read,
    take,
)

pytest.importorskip("sqlalchemy")
COLUMNS = Columns(target="y", drop=("id",), head=20)
QUERY = "SELECT id, x, w, y FROM sales"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database of 50 sales, of which the ids have gaps."""
    path = tmp_path / "shop.db"
    insert(path, range(50))
    return path


def insert(path: Path, numbers: Any) -> None:
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE IF NOT EXISTS sales (id INTEGER, x REAL, w TEXT, y TEXT)")
        rows = [(3 * n, n / 2, f"w{n % 3}", "uv"[n % 2]) for n in numbers]
        base.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", reversed(rows))
    base.close()


def execute(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as base:
        base.execute(statement)
    base.close()


def source(path: Path, query: str = QUERY, order_by: str = "id", **options: Any) -> Source:
    given = {"columns": COLUMNS, **options}
    return SqlSource(f"sqlite:///{path}", query, order_by=order_by, **given)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "FIRST_ROWS", 4)
    monkeypatch.setattr(sql, "MAX_BLOCK_ROWS", 7)
    monkeypatch.setattr(sql, "POLL_SECONDS", 0.05)


def test_rows_come_in_the_order_of_the_column(database: Path) -> None:
    schema, blocks = read(source(database))
    assert dict(schema.fields) == {"x": Kind.NUMBER, "w": Kind.CATEGORY}
    assert firsts(blocks) == [n / 2 for n in range(50)]
    assert [word for block in blocks for word in block.words[0]] == [f"w{n % 3}" for n in range(50)]
    assert [block.end.record for block in blocks] == [4, 11, 18, 25, 32, 39, 46, 50]
    descending = read(source(database, f"{QUERY} WHERE x > 3;", "x"))[1]
    assert firsts(descending) == [n / 2 for n in range(7, 50)]


@pytest.mark.usefixtures("without_threads")
def test_a_query_resumes_everywhere(database: Path) -> None:
    found = places(lambda: source(database))
    assert len(found) == 51
    assert_resumes_everywhere(lambda: source(database), found)


@pytest.mark.usefixtures("without_threads")
def test_a_query_with_bad_and_new_values_resumes_everywhere(database: Path) -> None:
    execute(database, "UPDATE sales SET x = 'word' WHERE id IN (75, 90, 93)")
    query = f"SELECT *, CASE WHEN id > 100 THEN x END AS late FROM ({QUERY})"
    blocks = read(source(database, query))[1]
    assert [letter.offset for letter in letters(blocks)] == [25, 30, 31]
    assert [field.name for field in blocks[-1].schema.fields] == ["x", "w", "late"]
    found = places(lambda: source(database, query))
    assert_resumes_everywhere(lambda: source(database, query), found)


def test_what_precedes_the_position_is_not_read_again(database: Path) -> None:
    place = places(lambda: source(database))[40]
    execute(database, "DELETE FROM sales WHERE id < 100")
    assert_resumes_everywhere(lambda: source(database), [place])


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM sales WHERE id = 57", "is gone"),
        ("UPDATE sales SET x = 99 WHERE id = 57", "has changed"),
    ],
)
def test_a_row_that_was_read_last_and_has_changed_is_a_gap(
    database: Path, statement: str, what: str
) -> None:
    place = places(lambda: source(database))[20]
    execute(database, statement)
    with pytest.raises(DataError, match=f"the row with id 57, which was read last, {what}"):
        assert_resumes_everywhere(lambda: source(database), [place])
    resumed = source(database, on_gap="go_on")
    _, blocks = anyio.run(drain, resumed, place.position, place.state)
    (letter,) = letters(blocks)
    assert (letter.reason, letter.offset) == ("gap", 20)
    assert content(blocks).samples == place.rest.samples


def test_new_rows_are_followed(database: Path) -> None:
    async def main() -> list[float]:
        reading = source(database, follow=True)
        await reading.open()
        blocks = await take(reading, 50)
        assert await is_quiet(reading, 0.2)
        insert(database, range(50, 53))
        blocks += await take(reading, 3)
        place = left(reading, blocks[-1])
        await reading.aclose()
        insert(database, range(53, 55))
        reading = await go_on(source(database, follow=True), place)
        blocks += await take(reading, 2)
        await reading.aclose()
        return firsts(blocks)

    assert anyio.run(main) == [n / 2 for n in range(55)]


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("UPDATE sales SET id = 60 WHERE id = 63", r"'id' \(order_by\) is 60 in two rows"),
        ("UPDATE sales SET id = 18 WHERE id = 15", r"'id' \(order_by\) is 18 in two rows"),
        ("UPDATE sales SET id = NULL WHERE id = 63", r"'id' \(order_by\) is NULL in a row"),
        ("DELETE FROM sales", "the query has no rows"),
        ("DROP TABLE sales", "can't be read: no such table: sales"),
    ],
)
def test_rows_without_an_order_are_refused(database: Path, statement: str, rule: str) -> None:
    execute(database, statement)
    with pytest.raises(DataError, match=f"sqlite:///{database}.*{rule}"):
        read(source(database))


def test_mistakes_in_the_query_are_explained(database: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'ID' \(order_by\), but .*Did you mean 'id'"):
        read(source(database, order_by="ID"))
    with pytest.raises(DataError, match="has no column 'z'"):
        read(source(database, columns=Columns(target="z")))
    with pytest.raises(DataError, match="can't be read: near"):
        read(source(database, "SELEKT 1"))
    with sqlite3.connect(database, isolation_level=None) as base:
        base.execute("BEGIN EXCLUSIVE")
        url = f"sqlite:///{database}?timeout=0.1"
        with pytest.raises(ReadError, match="can't be read: database is locked"):
            read(SqlSource(url, QUERY, order_by="id", columns=COLUMNS))
    base.close()


def test_a_colon_in_a_query_is_no_parameter(database: Path) -> None:
    query = f"SELECT *, 'a:b' AS c FROM ({QUERY})"
    blocks = read(source(database, query))[1]
    assert blocks[0].words[1][0] == "a:b"


def test_passwords_are_variables_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"postgresql://me:\.\.\.@host/db holds") as caught:
        SqlSource("postgresql://me:secret@host/db", QUERY, order_by="id")
    assert "secret" not in str(caught.value)
    asked = SqlSource("sqlite:///${SHOP}", QUERY, order_by="id", columns=COLUMNS)
    with pytest.raises(ConfigurationError, match=r"\$\{SHOP\} is in a URL, but that variable is"):
        read(asked)
    with pytest.raises(ConfigurationError, match="is no URL of a database"):
        SqlSource("shop.db", QUERY, order_by="id")


def test_the_library_that_is_missing_is_named(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy.engine", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'streamnet-learn\[sql\]'"):
        source(database)
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="mysql://host/db needs the driver MySQLdb"):
        read(SqlSource("mysql://host/db", QUERY, order_by="id"))


# ------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server on loopback, whose password is ${PGWORD}."""
    pytest.importorskip("psycopg")
    programs = [shutil.which(name) for name in ("initdb", "postgres")]
    if not all(programs):
        pytest.skip("no PostgreSQL server")
    with open_folder() as folder:
        yield from run_postgres(folder, *map(str, programs))


def run_postgres(folder: Path, initdb: str, program: str) -> Iterator[str]:
    user: dict[str, Any] = {}
    if os.getuid() == 0:  # the server refuses to run as root
        user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    secret = folder / "secret"
    secret.write_text("pass@word")
    secret.chmod(0o644)
    data, port = folder / "data", find_free_port()
    command = [initdb, "-D", data, "-U", "me", "-A", "scram-sha-256", "--pwfile", secret, "-N"]
    made = subprocess.run(
        [*map(str, command)], cwd=folder, capture_output=True, text=True, check=False, **user
    )
    if made.returncode:
        pytest.fail(f"initdb fails: {made.stderr[-200:]}")
    options = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder]
    server = subprocess.Popen(
        [*map(str, (program, *options))],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **user,
    )
    import psycopg

    try:
        deadline = monotonic() + 60
        address = {"host": "127.0.0.1", "port": port, "user": "me", "password": "pass@word"}
        while True:
            try:
                psycopg.connect(dbname="postgres", **address).close()  # type: ignore[arg-type]
                break
            except psycopg.OperationalError:
                assert monotonic() < deadline
                assert server.poll() is None
                sleep(0.1)
        os.environ["PGWORD"] = "pass@word"
        yield f"postgresql+psycopg://me:${{PGWORD}}@127.0.0.1:{port}/postgres"
    finally:
        os.environ.pop("PGWORD", None)
        server.terminate()
        server.wait()


@pytest.mark.usefixtures("without_threads")
def test_keys_of_postgresql_resume_everywhere(postgres: str) -> None:
    import psycopg

    port = int(postgres.rpartition(":")[2].partition("/")[0])
    address = {"host": "127.0.0.1", "port": port, "user": "me", "password": "pass@word"}
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with psycopg.connect(dbname="postgres", **address) as base:  # type: ignore[arg-type]
        base.execute(
            "CREATE TABLE events (number numeric, moment timestamptz, id uuid, word text, "
            "day date, ok boolean, data bytea, y text)"
        )
        for n in range(20):
            base.execute(
                "INSERT INTO events VALUES (%s, %s, gen_random_uuid(), %s, %s, %s, %s, %s)",
                (
                    Decimal(n) / 3,
                    start + dt.timedelta(hours=n),
                    f"Größe {n:02d}",
                    start.date() + dt.timedelta(days=n),
                    n % 3 == 0,
                    b"bytes",
                    "uv"[n % 2],
                ),
            )
    for order_by in ("number", "moment", "id", "word", "day"):
        columns = Columns(target="y", head=10)

        def make(order_by: str = order_by, columns: Columns = columns) -> Source:
            query = "SELECT * FROM events"
            return SqlSource(postgres, query, order_by=order_by, columns=columns)

        schema, blocks = read(make())
        assert sum(map(len, blocks)) == 20
        kinds = dict(schema.fields)
        assert (kinds["number"], kinds["moment"], kinds["day"]) == (
            Kind.NUMBER,
            Kind.TIME,
            Kind.TIME,
        )
        found = places(make)
        assert "pass@word" not in json.dumps([place.state for place in found])
        assert_resumes_everywhere(make, found[::3])
