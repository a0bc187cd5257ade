"""Request bodies: read within limits, decompressed, prefetched and decoded."""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import chain
from typing import Any, Self, TypeVar, final

import anyio
import msgspec
import numpy as np
from anyio.lowlevel import checkpoint
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from streamnet.daemon.http.access import Limits
from streamnet.daemon.http.responses import http_error
from streamnet.errors import StreamnetError
from streamnet.samples import Block, Field, Kind, Schema

__all__ = (
    "NDJSON",
    "Prefetcher",
    "decode_block",
    "decode_body",
    "is_ndjson",
    "must_close_connection",
    "prefetch",
    "read_body",
    "read_lines",
    "read_pieces",
    "require_json",
    "split_lines",
)


T = TypeVar("T")
JSON, NDJSON = "application/json", "application/x-ndjson"
_NDJSON_TYPES = frozenset({NDJSON, "application/jsonl", "application/ndjson"})
_PIECE_BYTES = 1 << 18  # bytes of decompressed data at a time: 64 KB of gzip may become 64 MB
_GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS
_BODY_READ = "streamnet.read"  # in the scope of a request whose body was read to its end
_DISCARDABLE_BYTES = 1 << 16  # bytes of a body that may as well be read and dropped


def is_ndjson(request: Request) -> bool:
    """Whether a body is JSON lines rather than one JSON document.

    Raises:
        HTTPException: 415, if it says that it is something else.
    """
    kind = _read_media_type(request)
    if kind in _NDJSON_TYPES:
        return True
    if kind != JSON:
        raise http_error(415, f"Content-Type is {kind!r}, but must be {JSON} or {NDJSON}")
    return False


def require_json(request: Request) -> None:
    """Take no body that says that it is something else than one JSON document.

    Raises:
        HTTPException: 415, if it does.
    """
    kind = _read_media_type(request)
    if kind != JSON:
        raise http_error(415, f"Content-Type is {kind!r}, but must be {JSON}")


def _read_media_type(request: Request) -> str:
    kind: str = request.headers.get("content-type", JSON)
    return kind.partition(";")[0].strip().lower()


def must_close_connection(scope: Scope) -> bool:
    """Whether a refusal must close the connection, since much of the body is not read.

    The server would read on, and drop it, for as long as it is sent; and who sends without an end
    would never look at the answer.
    """
    if scope.get(_BODY_READ):
        return False
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or not (
        length.isdigit() and int(length) <= _DISCARDABLE_BYTES
    )


def decode_body(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The value of a JSON document.

    Raises:
        HTTPException: 400 if it is no JSON, 422 if it is not what it should be.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise http_error(422, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise http_error(400, f"the body is no JSON: {error}") from error
    except RecursionError as error:
        raise http_error(400, "the body is nested too deeply") from error


async def read_body(request: Request, limits: Limits, most: int | None = None) -> bytes:
    """The whole body, decompressed.

    Args:
        request: Whose body.
        limits: Of time, and of size unless ``most`` says more.
        most: Largest size in bytes, after decompression.

    Raises:
        HTTPException: 400 if it ends too early or its compression is damaged, 408 if it comes too
            slowly, 413 if it is too large, 415 if it is compressed in another way than gzip.
    """
    most = limits.body if most is None else most
    parts, size = [], 0
    async for piece in read_pieces(request, limits, most):
        parts.append(piece)
        size += len(piece)
        if size > most:
            raise _build_too_large(most)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_lines(
    request: Request, limits: Limits, most: int | None = None
) -> AsyncIterator[bytes]:
    """A body of lines, as it comes: each piece holds whole lines.

    Without a largest size it is a stream, which may take any time as long as it doesn't pause.

    Raises:
        HTTPException: As for `read_body`; 413 too if a line is too long, behind the lines before
        it.
    """
    rest, size, lines = b"", 0, 0
    async for piece in read_pieces(request, limits, most):
        size += len(piece)
        if most is not None and size > most:
            raise _build_too_large(most)
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
    r"""Where the first line begins that is too long; None if there is none.

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


async def read_pieces(
    request: Request, limits: Limits, most: int | None = None
) -> AsyncIterator[bytes]:
    """The body as it comes, decompressed; see `read_body`."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise http_error(415, f"Content-Encoding is {encoding!r}, but must be gzip or identity")
    length = request.headers.get("content-length", "")
    if most is not None and length.isdecimal() and int(length) > most:
        raise _build_too_large(most)
    raw = _receive_pieces(request, limits, is_stream=most is None)
    async for piece in raw if encoding == "identity" else _decompress(raw):
        yield piece


async def _receive_pieces(
    request: Request, limits: Limits, *, is_stream: bool
) -> AsyncIterator[bytes]:
    more, size, waited = True, 0, 0.0  # seconds for the client, not for who works on the pieces
    while more:
        seconds = longest = limits.body_seconds
        if not is_stream:  # a byte now and then would keep a connection, and a place, for ever
            seconds = min(longest, max(0.0, longest + size / limits.body_rate - waited))
        begun = anyio.current_time()
        try:
            with anyio.fail_after(seconds):
                message = await request.receive()
        except TimeoutError as error:
            detail = f"nothing more of the body came for {longest:g} seconds"
            if seconds < longest:
                detail = f"the body came at less than {limits.body_rate:g} bytes a second"
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
            if member.eof:  # a file of several members is a file
                member = zlib.decompressobj(_GZIP_WINDOW_BITS)
            try:
                piece = member.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise http_error(400, f"the body is no gzip: {error}") from error
            begun = True
            data = member.unconsumed_tail or member.unused_data
            if piece:
                yield piece
            await checkpoint()
    if begun and not member.eof:
        raise http_error(400, "the body's gzip ends too early")


def _build_too_large(most: int) -> Exception:
    return http_error(413, f"the body is larger than {most} bytes", connection="close")


# Seconds between two looks at what ends reading early; not the 0.1 between two looks of anyio's
# `wait_all_tasks_blocked`, which would find it awake each time.
_POLL_SECONDS = 0.15


@final
class Prefetcher:
    """The pieces of a body, in their order; behind the last one comes what ended it too early."""

    def __init__(self, pieces: AsyncIterator[bytes], most: int) -> None:
        self._pieces = pieces
        self._send, self._receive = anyio.create_memory_object_stream[bytes](most)
        self._failure: HTTPException | ClientDisconnect | None = None
        self._reading = anyio.CancelScope()
        self._whole = False

    async def read(self) -> None:
        """Read until the body ends; not more than the channel holds before it is taken."""
        async with self._send:
            with self._reading:
                try:
                    async for piece in self._pieces:
                        await self._send.send(piece)
                    self._whole = True
                except (HTTPException, ClientDisconnect) as error:
                    self._failure = error

    async def stop_on(self, event: anyio.Event, why: HTTPException) -> None:
        """Read no more once that has happened; behind what was read, ``why`` is raised."""
        # An event is one event loop's; an application may be asked by several, as tests do.
        while not event.is_set():  # noqa: ASYNC110
            await anyio.sleep(_POLL_SECONDS)
        if not self._whole:
            self._failure = why
            self._reading.cancel()

    def drain(self, piece: bytes) -> bytes:
        """This piece and all that have come meanwhile."""
        pieces = [piece]
        while self._receive.statistics().current_buffer_used:
            pieces.append(self._receive.receive_nowait())
        return b"".join(pieces)

    def close(self) -> None:
        """Take no more."""
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
    pieces: AsyncIterator[bytes], most: int, until: tuple[anyio.Event, HTTPException] | None = None
) -> AsyncIterator[Prefetcher]:
    """Read ``pieces`` by a task of its own, which ends with the block.

    Args:
        pieces: A body as it comes.
        most: Pieces that may wait before they are taken.
        until: What ends reading early once it has happened, and what is raised then.

    Raises:
        HTTPException: What reading raised, behind all that was read before, as for the others.
        ClientDisconnect: The client is gone.
        StreamnetError: What the block raised, by itself and in no group.
    """
    ahead = Prefetcher(pieces, most)
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(ahead.read)
        if until is not None:
            group.start_soon(ahead.stop_on, *until)
        try:
            yield ahead
        except (HTTPException, ClientDisconnect, StreamnetError) as error:
            failure = error
        finally:
            group.cancel_scope.cancel()
            ahead.close()
    if failure is not None:
        raise failure


async def split_lines(lines: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same lines, cut at the first end of a line behind each ``size`` bytes.

    Where they are cut does not depend on how they came.

    Args:
        lines: Pieces of whole lines.
        size: Bytes; a part has more by less than a line, and the last one may have fewer.
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


def decode_block(lines: bytes, fields: tuple[Field, ...]) -> Block | None:
    r"""The samples of these lines with these columns; None if they can't go the short way.

    Args:
        lines: A JSON object a line.
        fields: What a model reads; other names in the lines are left out, unread.

    >>> block = decode_block(b'{"x": 1}\n{"y": "a", "x": null}\n', (Field("x", Kind.NUMBER),))
    >>> block.numbers.tolist()
    [[1.0], [nan]]
    """
    if not fields or any(kind is not Kind.NUMBER for _, kind in fields):
        return None
    try:
        rows = _build_decoder(fields).decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the way by dicts says what is wrong, or can read it after all
    numbers = _collect_numbers(rows, len(fields))
    marks = np.repeat(np.arange(len(rows) + 1)[:, None], 3, axis=1)
    schema = Schema(fields, None, None)
    return Block(schema, "samples", numbers, (), None, marks)


def _collect_numbers(rows: Sequence[msgspec.Struct], columns: int) -> NDArray[np.float64]:
    values = chain.from_iterable(map(msgspec.structs.astuple, rows))
    try:
        numbers = np.fromiter(values, np.float64, len(rows) * columns)
    except TypeError:  # there is a null, which becomes NaN by the longer way only
        numbers = np.array([msgspec.structs.astuple(row) for row in rows], np.float64)
    return numbers.reshape(len(rows), columns)


@lru_cache(maxsize=64)
def _build_decoder(fields: tuple[Field, ...]) -> msgspec.json.Decoder[Any]:
    names = {f"column_{number}": name for number, (name, _) in enumerate(fields)}
    row = msgspec.defstruct(
        "Row", [(name, float | None, math.nan) for name in names], rename=names, gc=False
    )
    return msgspec.json.Decoder(row)
