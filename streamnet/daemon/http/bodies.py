"""Request bodies: read within limits, decompressed, prefetched and decoded."""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, Self, TypeVar, final

import anyio
import msgspec
import numpy as np
from anyio.lowlevel import checkpoint
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from streamnet.client.contents import JSON
from streamnet.client.operation import NDJSON
from streamnet.daemon.http.access import Limits
from streamnet.daemon.http.responses import http_error
from streamnet.errors import StreamnetError
from streamnet.samples import Block, Field, Kind, Schema

T = TypeVar("T")
_NDJSON_TYPES = frozenset({NDJSON, "application/jsonl", "application/ndjson"})
_PIECE_BYTES = 1 << 18  # decompressed at a time: 64 KB of gzip may become 64 MB
_GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS
_BODY_READ = "streamnet.body_read"  # scope key: the body was read to its end
_DISCARDABLE_BYTES = 1 << 16  # of a body that the server may read and discard


def is_ndjson(request: Request) -> bool:
    """Whether a body is JSON lines rather than one JSON document; raises 415 if it is neither."""
    media_type = _read_media_type(request)
    if media_type in _NDJSON_TYPES:
        return True
    if media_type != JSON:
        raise http_error(415, f"Content-Type is {media_type!r}, but must be {JSON} or {NDJSON}")
    return False


def require_json(request: Request) -> None:
    """Raise 415 if a body is not declared as JSON."""
    media_type = _read_media_type(request)
    if media_type != JSON:
        raise http_error(415, f"Content-Type is {media_type!r}, but must be {JSON}")


def _read_media_type(request: Request) -> str:
    content_type: str = request.headers.get("content-type", JSON)
    return content_type.partition(";")[0].strip().lower()


def must_close_connection(scope: Scope) -> bool:
    """Whether an error response must close the connection, since much of the body is unread.

    The server would read and discard the rest; a client that sends without end would never read the
    response.
    """
    if scope.get(_BODY_READ):
        return False
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or not (
        length.isdigit() and int(length) <= _DISCARDABLE_BYTES
    )


def decode_body(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a JSON body; raises 400 if it is not JSON, 422 if it doesn't match the schema."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise http_error(422, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise http_error(400, f"the body is not JSON: {error}") from error
    except RecursionError as error:
        raise http_error(400, "the body is nested too deeply") from error


async def read_body(request: Request, limits: Limits, most: int | None = None) -> bytes:
    """Read and decompress the whole body, of at most ``most`` bytes after decompression.

    Raises:
        HTTPException: 400 if it is truncated or its compression is damaged, 408 if it is too slow,
            413 if it is too large, 415 if it is compressed by another method than gzip.
    """
    most = limits.max_body if most is None else most
    parts = [piece async for piece in _read_pieces(request, limits, most)]
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_lines(
    request: Request, limits: Limits, most: int | None = None
) -> AsyncIterator[bytes]:
    """Read a body of lines as it arrives, in pieces of whole lines.

    Without a largest size it is a stream, which may take any time as long as it doesn't pause.

    Raises:
        HTTPException: As for `read_body`; also 413 if a line is too long, after those before it.
    """
    rest, lines = b"", 0
    async for piece in _read_pieces(request, limits, most):
        text = rest + piece
        overlong = _find_overlong_line(text, limits.line)
        end = text.rfind(b"\n", len(rest)) + 1 if overlong is None else overlong
        if end:
            yield text[:end]
            lines += text.count(b"\n", 0, end)
        if overlong is not None:
            detail = f"line {lines + 1} is longer than {limits.line} bytes"
            raise http_error(413, detail, connection="close")
        rest = text[end:]
    if rest.strip():
        yield rest + b"\n"


def _find_overlong_line(text: bytes, longest: int) -> int | None:
    r"""Offset of the first line that is too long; None if there is none.

    >>> _find_overlong_line(b"abc\nabc\nabcd", 3)
    8
    """
    start = 0
    while start + longest < len(text):
        end = text.rfind(b"\n", start, start + longest + 1)
        if end < 0:
            return start
        start = end + 1
    return None


async def _read_pieces(request: Request, limits: Limits, most: int | None) -> AsyncIterator[bytes]:
    """Read and decompress the body as it arrives; raises as `read_body`."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise http_error(415, f"Content-Encoding is {encoding!r}, but must be gzip or identity")
    length = request.headers.get("content-length", "")
    if length.isdecimal():
        _check_size(int(length), most)
    raw = _receive_pieces(request, limits, is_stream=most is None)
    size = 0
    async for piece in raw if encoding == "identity" else _decompress(raw):
        size += len(piece)
        _check_size(size, most)
        yield piece


def _check_size(size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise http_error(413, f"the body is larger than {most} bytes", connection="close")


async def _receive_pieces(
    request: Request, limits: Limits, *, is_stream: bool
) -> AsyncIterator[bytes]:
    more, size, waited = True, 0, 0.0  # seconds spent waiting for the client
    while more:
        seconds = longest = limits.body_seconds
        if not is_stream:  # a byte now and then would hold a connection and a slot forever
            seconds = min(longest, max(0.0, longest + size / limits.min_body_rate - waited))
        begun = anyio.current_time()
        try:
            with anyio.fail_after(seconds):
                message = await request.receive()
        except TimeoutError as error:
            detail = f"no data of the body arrived for {longest:g} seconds"
            if seconds < longest:
                detail = f"the body arrived at less than {limits.min_body_rate:g} bytes per second"
            raise http_error(408, detail, connection="close") from error
        waited += anyio.current_time() - begun
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        if not more:
            request.scope[_BODY_READ] = True
        if body := message.get("body", b""):
            size += len(body)
            yield body


async def _decompress(raw: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    member = zlib.decompressobj(_GZIP_WINDOW_BITS)
    begun = False
    async for data in raw:
        while data:
            if member.eof:  # a gzip file may have several members
                member = zlib.decompressobj(_GZIP_WINDOW_BITS)
            try:
                piece = member.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise http_error(400, f"the body is not gzip: {error}") from error
            begun = True
            data = member.unconsumed_tail or member.unused_data
            if piece:
                yield piece
            await checkpoint()
    if begun and not member.eof:
        raise http_error(400, "the body's gzip data is truncated")


# Seconds between checks for the end of reading. Not the 0.1 of anyio's `wait_all_tasks_blocked`,
# which would find the task awake each time.
_POLL_SECONDS = 0.15


@final
class Prefetcher:
    """The pieces of a body in order, read ahead; then the error that ended it early, if any."""

    def __init__(self, pieces: AsyncIterator[bytes], most: int) -> None:
        self._pieces = pieces
        self._send, self._receive = anyio.create_memory_object_stream[bytes](most)
        self._failure: HTTPException | ClientDisconnect | None = None
        self._reading = anyio.CancelScope()
        self._is_complete = False

    async def read(self) -> None:
        """Read until the body ends, as far ahead as the channel holds."""
        async with self._send:
            with self._reading:
                try:
                    async for piece in self._pieces:
                        await self._send.send(piece)
                    self._is_complete = True
                except (HTTPException, ClientDisconnect) as error:
                    self._failure = error

    async def stop_on(self, event: anyio.Event, error: HTTPException) -> None:
        """Stop reading once the event is set; ``error`` is raised after what was read."""
        # An event belongs to one event loop, but several may call an application, as tests do.
        while not event.is_set():  # noqa: ASYNC110
            await anyio.sleep(_POLL_SECONDS)
        if not self._is_complete:
            self._failure = error
            self._reading.cancel()

    def drain(self, piece: bytes) -> bytes:
        """Join a piece with all that are waiting."""
        pieces = [piece]
        while self._receive.statistics().current_buffer_used:
            pieces.append(self._receive.receive_nowait())
        return b"".join(pieces)

    def close(self) -> None:
        """Take no more pieces."""
        self._receive.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            if self._failure is not None:
                raise self._failure from None
            raise StopAsyncIteration from None


@asynccontextmanager
async def prefetch(
    pieces: AsyncIterator[bytes], most: int, stop: tuple[anyio.Event, HTTPException] | None = None
) -> AsyncIterator[Prefetcher]:
    """Read a body at most ``most`` pieces ahead in a task that ends with the block.

    ``stop`` is an event that ends reading early, and the error to raise then. HTTPException,
    ClientDisconnect and StreamnetError are raised as they are, other errors in an exception group.
    """
    prefetcher = Prefetcher(pieces, most)
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(prefetcher.read)
        if stop is not None:
            group.start_soon(prefetcher.stop_on, *stop)
        try:
            yield prefetcher
        except (HTTPException, ClientDisconnect, StreamnetError) as error:
            failure = error
        finally:
            group.cancel_scope.cancel()
            prefetcher.close()
    if failure is not None:
        raise failure


async def split_lines(lines: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """Regroup pieces of whole lines into parts of about ``size`` bytes, however they arrived.

    A part exceeds ``size`` by less than a line; the last part may be smaller.
    """
    waiting = b""
    async for piece in lines:
        waiting += piece
        start = 0
        while end := waiting.find(b"\n", start + size) + 1:
            yield waiting[start:end]
            start = end
        waiting = waiting[start:]
    if waiting:
        yield waiting


def decode_block(
    lines: bytes, fields: tuple[Field, ...], expected: tuple[str, ...] = ()
) -> Block | None:
    r"""Decode JSON lines into a block of numeric columns; None if this fast path doesn't apply.

    It doesn't if a line has another column than these and the ``expected`` ones, or no value.

    >>> fields = Field("x", Kind.NUMBER), Field("z", Kind.NUMBER)
    >>> block = decode_block(b'{"x": 1}\n{"y": "a", "z": 2, "x": null}\n', fields, ("y",))
    >>> block.numbers.tolist()
    [[1.0, nan], [nan, 2.0]]
    """
    if not fields or any(kind is not Kind.NUMBER for _, kind in fields):
        return None
    try:
        rows = _build_decoder(fields, expected).decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # decoding to dicts reads them after all, or reports what is wrong
    numbers = _collect_numbers(rows, len(fields))
    if np.isnan(numbers).all(axis=1).any():
        return None
    marks = np.repeat(np.arange(len(rows) + 1)[:, None], 3, axis=1)
    schema = Schema(fields, None, None)
    return Block(schema, "samples", numbers, (), None, marks)


def _collect_numbers(rows: Sequence[msgspec.Struct], columns: int) -> NDArray[np.float64]:
    names = [_name_column(number) for number in range(columns)]
    read: Callable[[Any], Any] = attrgetter(*names)
    values = map(read, rows) if columns == 1 else chain.from_iterable(map(read, rows))
    try:
        numbers = np.fromiter(values, np.float64, len(rows) * columns)
    except TypeError:  # a null, which only the slower conversion turns into NaN
        numbers = np.array([read(row) for row in rows], np.float64)
    return numbers.reshape(len(rows), columns)


def _name_column(number: int) -> str:
    return f"column_{number}"


@lru_cache(maxsize=64)
def _build_decoder(
    fields: tuple[Field, ...], expected: tuple[str, ...]
) -> msgspec.json.Decoder[Any]:
    known = [name for name, _ in fields]
    others = [name for name in expected if name not in known]
    names = {_name_column(number): name for number, name in enumerate((*known, *others))}
    kinds = [(float | None, math.nan)] * len(known) + [(msgspec.Raw, msgspec.Raw())] * len(others)
    values: list[Any] = [(name, *kind) for name, kind in zip(names, kinds, strict=True)]
    row = msgspec.defstruct("Row", values, rename=names, forbid_unknown_fields=True)
    return msgspec.json.Decoder(row)
