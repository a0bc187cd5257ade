"""`SqlSource`: the rows of a query, resumed by a column that orders them."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar, final
from uuid import UUID

from anyio import sleep, to_thread

from streamnet.errors import ConfigurationError, DataError, ReadError
from streamnet.samples import Block, Position, Schema, make_marks, schema_from_dict, schema_to_dict
from streamnet.sources.base import (
    MAX_BLOCK_ROWS,
    OnGap,
    Reason,
    Rejection,
    Source,
    check_gap,
    make_rejection_block,
)
from streamnet.sources.columns import Columns, UnknownTaskError, format_names, suggest_column
from streamnet.sources.files.byte_stream import digest
from streamnet.sources.files.detection import TextOptions
from streamnet.sources.files.jsonl import JsonLinesFormat, encode_record
from streamnet.sources.files.text_source import FIRST_ROWS, HEAD_GROWTH
from streamnet.sources.text.records import Chunk, Head, find_records
from streamnet.version import install_command

POLL_SECONDS = 1.0  # between two looks for new rows
_LONGEST = 1 << 30  # bytes of a row
_VARIABLE = re.compile(r"\$\{(\w+)\}")

Result = TypeVar("Result")


class _Row(NamedTuple):
    """A row of the query."""

    key: Any  # its value of the column that orders
    line: bytes  # as JSON


@final
class SqlSource(Source):
    """Samples of a query of a database, in the order of one of its columns.

    That column has a different value in each row, and none is NULL. Rows are fetched in portions,
    each from the last value on, so that reading resumes there without reading what precedes it.
    When it does, the last row has to be what it was; otherwise something is lost.

    Args:
        url: URL of the database as SQLAlchemy writes it, such as ``postgresql+psycopg://host/db``.
            ``${NAME}`` stands for a variable of the environment; a password must be one.
        query: A SELECT without ORDER BY.
        order_by: The column that orders the rows.
        columns: Which columns are used, and as what.
        follow: Never end, but look for new rows every second.
        on_gap: What to do when the row after which reading resumes has changed.

    Raises:
        ConfigurationError: If a setting is invalid, or SQLAlchemy is not installed.
    """

    def __init__(
        self,
        url: str,
        query: str,
        *,
        order_by: str,
        columns: Columns | None = None,
        follow: bool = False,
        on_gap: OnGap = "stop",
    ) -> None:
        self._name = url
        self._url = _parse_url(url)
        self._query = query.strip().rstrip(";")
        self._order_by = order_by
        self._columns = columns or Columns()
        self._follow = follow
        self._on_gap = on_gap
        options = TextOptions(self._columns, max_record_bytes=_LONGEST)
        self._format = JsonLinesFormat(options)
        self._engine: Any = None
        self._schema = Schema(())
        self._next = 0  # number of the next row
        self._last: _Row | None = None  # fetched last
        # Key and digest of the row before the kept ones.
        self._before: tuple[Any, str] | None = None
        self._kept: deque[_Row] = deque()  # rows of the last block
        self._kept_from = 0  # number of the first of them
        self._waiting: list[_Row] = []  # rows that are no part of a block yet
        self._pending: Block | None = None
        self._ended = False
        self._restored: Mapping[str, Any] = {}

    async def open(self, after: Position | None = None) -> Schema:
        """Infer the schema from the first rows, then go behind ``after``."""
        await to_thread.run_sync(self._open, after)
        return self._schema

    async def receive(self) -> Block | None:
        """The next rows; None at the end."""
        while True:
            if self._pending is not None:
                block, self._pending = self._pending, None
                return block
            if self._ended or self._engine is None:
                return None
            if not await to_thread.run_sync(self._read):
                await sleep(POLL_SECONDS)

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema, and the last row before a position."""
        state: dict[str, Any] = {
            "schema": schema_to_dict(self._schema),
            "format": self._format.export_state(),
        }
        if after is None or not after.source or not after.record:
            return state
        at = after.record - 1 - self._kept_from
        if at >= 0:
            row = self._kept[at]
            return {**state, "mark": [_encode_key(row.key), digest(row.line)]}
        assert self._before is not None
        return {**state, "mark": [_encode_key(self._before[0]), self._before[1]]}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the schema, so that nothing is inferred again."""
        self._restored = state

    async def aclose(self) -> None:
        """Close the connections."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await to_thread.run_sync(engine.dispose)

    # ------------------------------------------------------------ in a thread

    def _open(self, after: Position | None) -> None:
        self._engine = self._explained(self._connect)
        self._check_order()
        if self._restored:
            self._schema = schema_from_dict(self._restored["schema"])
            self._format.restore_state(self._restored["format"], self._schema)
        else:
            self._infer_schema(self._columns.head)
        if after is not None and after.source:
            self._resume(after)

    def _connect(self) -> Any:
        from sqlalchemy import create_engine

        return create_engine(_VARIABLE.sub(_read_variable, self._url), pool_pre_ping=True)

    def _check_order(self) -> None:
        """Refuse a column that does not exist, or has no value somewhere."""
        import sqlalchemy as sql

        names = self._explained(lambda: self._fetch(sql.select(sql.text("*")), 0))[0]
        if self._order_by not in names:
            raise DataError(
                f"{self._name}: the query has no column {self._order_by!r} (order_by), but only "
                f"{format_names(names)}.{suggest_column(self._order_by, names)}"
            )
        column: Any = sql.column(self._order_by)
        missing = sql.select(column).where(column.is_(None))
        if self._explained(lambda: self._fetch(missing, 1))[1]:
            raise DataError(
                f"{self._name}: column {self._order_by!r} (order_by) is NULL in a row, but must "
                "have a value in each"
            )

    def _fetch(self, select: Any, most: int) -> tuple[list[str], Sequence[Any]]:
        """Names and rows of a selection from the query."""
        import sqlalchemy as sql

        rows = sql.text(self._query.replace(":", "\\:")).columns(sql.column(self._order_by))
        with self._engine.connect() as connection:
            found = connection.execute(select.select_from(rows.subquery("q")).limit(most))
            return list(found.keys()), found.all()

    def _select(self, key: Any, most: int) -> list[_Row]:
        """The next rows after a key."""
        import sqlalchemy as sql

        column: Any = sql.column(self._order_by)
        select = sql.select(sql.text("*")).order_by(column)
        if key is not None:
            select = select.where(column > key)
        found = self._fetch_rows(select, most + 1)
        for row, follower in pairwise(found):
            if row.key == follower.key:
                raise DataError(
                    f"{self._name}: column {self._order_by!r} (order_by) is {row.key!r} in two "
                    "rows, but must differ in all of them"
                )
        return found[:most]

    def _fetch_rows(self, select: Any, most: int) -> list[_Row]:
        """The rows of a selection of all columns."""
        names, rows = self._explained(lambda: self._fetch(select, most))
        at = names.index(self._order_by)
        return [_Row(row[at], encode_record(dict(zip(names, row, strict=True)))) for row in rows]

    def _infer_schema(self, head: int) -> None:
        rows = self._select(None, head + 1)
        if not rows:
            raise DataError(f"{self._name}: the query has no rows")
        data = b"\n".join(row.line for row in rows)
        self._format.look_further(head)
        try:
            self._schema = self._format.infer_schema(Head(self._name, data, 0, len(rows) <= head))
        except UnknownTaskError:
            if len(rows) <= head:
                raise
            self._infer_schema(HEAD_GROWTH * head)

    def _resume(self, after: Position) -> None:
        import sqlalchemy as sql

        if not self._restored.get("mark"):
            if after.record:
                raise DataError(f"{self._name} can't be resumed without a state")
            return
        key, mark = self._restored["mark"]
        key = _decode_key(key)
        self._next = self._kept_from = after.record
        self._before = key, mark
        self._last = _Row(key, b"")
        column: Any = sql.column(self._order_by)
        select = sql.select(sql.text("*")).where(column == key)
        lines = [row.line for row in self._fetch_rows(select, 1)]
        if [digest(line) for line in lines] != [mark]:
            what = "has changed" if lines else "is gone"
            gap = (
                f"{self._name}: the row with {self._order_by} {key!r}, which was read last, {what}"
            )
            check_gap(gap, self._on_gap)
            letter = Rejection(Reason.GAP, gap).letter(
                self._name, make_marks(self._next, 0)[0], b"".join(lines)
            )
            self._pending = make_rejection_block(self._schema, after, letter)

    def _read(self) -> bool:
        """Make the next block; False if there are no rows, but some may come."""
        if not self._waiting:
            most = MAX_BLOCK_ROWS if self._next else FIRST_ROWS
            self._waiting = self._select(None if self._last is None else self._last.key, most)
            if not self._waiting:
                self._ended = not self._follow
                return self._ended
            self._last = self._waiting[-1]
        data = b"".join(row.line + b"\n" for row in self._waiting)
        records = find_records(data, 0, True, self._format.rules, len(self._waiting))
        marks = make_marks(self._next, len(self._waiting))
        block, used = self._format.read(Chunk(self._name, data, records, marks, {}))
        if self._kept:
            self._before = self._kept[-1].key, digest(self._kept[-1].line)
        self._kept, self._kept_from = deque(self._waiting[:used]), self._next
        del self._waiting[:used]
        self._next += used
        self._schema = block.schema
        self._pending = block
        return True

    def _explained(self, act: Callable[[], Result]) -> Result:
        """Call a function of SQLAlchemy; its errors name the database."""
        from sqlalchemy import exc

        try:
            return act()
        except exc.NoSuchModuleError as error:
            raise ConfigurationError(f"{self._name} can't be used: {error}") from None
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"{self._name} needs the driver {error.name}, which is not installed"
            ) from None
        except (exc.OperationalError, exc.InterfaceError) as error:
            # SQLite calls mistakes in a query so, too; only a lock is temporary there.
            local = self._url.startswith("sqlite")
            kind = DataError if local and "locked" not in str(error.orig) else ReadError
            raise kind(f"{self._name} can't be read: {_shorten(error.orig)}") from None
        except exc.DBAPIError as error:
            raise DataError(f"{self._name} can't be read: {_shorten(error.orig)}") from None
        except exc.SQLAlchemyError as error:
            raise DataError(f"{self._name} can't be read: {_shorten(error)}") from None


def is_database_url(text: str) -> bool:
    """Whether a text is the URL of a database, given that it is not one of objects or of a broker.

    >>> is_database_url("sqlite:///shop.db"), is_database_url("shop.csv")
    (True, False)
    """
    return re.match(r"[a-z][a-z0-9_]*(\+[a-z0-9_]+)?://", text) is not None


def _parse_url(url: str) -> str:
    """Check a URL, in which a password must be a variable of the environment."""
    try:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError:
        raise ConfigurationError(
            f"{_hide_password(url)} can't be read without SQLAlchemy: {install_command('sql')}"
        ) from None
    try:
        password = make_url(_VARIABLE.sub("variable", url)).password
    except ArgumentError:
        raise ConfigurationError(f"{_hide_password(url)} is no URL of a database") from None
    given = re.search(r"//[^@/]*:([^@]*)@", url)
    if password and (given is None or not _VARIABLE.fullmatch(given[1])):
        raise ConfigurationError(
            f"{_hide_password(url)} holds a password, which would end up in reports and "
            "checkpoints: write ${NAME}, and set that variable of the environment"
        )
    return url


def _hide_password(url: str) -> str:
    return re.sub(r"(//[^@/]*:)[^@]*@", r"\1...@", url)


def _read_variable(found: re.Match[str]) -> str:
    from urllib.parse import quote_plus

    value = os.environ.get(found[1])
    if value is None:
        raise ConfigurationError(f"{found[0]} is in a URL, but that variable is not set")
    return quote_plus(value)


def _encode_key(key: Any) -> Any:
    """A key as plain values."""
    if isinstance(key, datetime):
        return {"datetime": key.isoformat()}
    if isinstance(key, date):
        return {"date": key.isoformat()}
    if isinstance(key, Decimal | UUID):
        return {type(key).__name__.lower(): str(key)}
    if isinstance(key, int | float | str):
        return key
    raise DataError(
        f"the column of order_by has {key!r}, but must have numbers, texts, times or UUIDs"
    )


_DECODERS: dict[str, Callable[[str], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "decimal": Decimal,
    "uuid": UUID,
}


def _decode_key(key: Any) -> Any:
    if not isinstance(key, Mapping):
        return key
    ((kind, text),) = key.items()
    return _DECODERS[kind](text)


def _shorten(error: object) -> str:
    return str(error).partition("\n")[0][:300]
