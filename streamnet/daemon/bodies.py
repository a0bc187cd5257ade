"""Bodies: read within limits of time and size, decompressed piece by piece, decoded by type."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import TypeVar

import anyio
import msgspec
from anyio.lowlevel import checkpoint
from starlette.requests import ClientDisconnect
from starlette.requests import Request
from starlette.types import Scope

from streamnet.daemon.limits import Limits
from streamnet.daemon.problems import refusal

__all__ = (
    "NDJSON",
    "body_of",
    "check_json",
    "decoded",
    "ends_connection",
    "is_lines",
    "lines_of",
    "pieces_of",
)

T = TypeVar("T")
JSON, NDJSON = "application/json", "application/x-ndjson"
_LINES = frozenset({NDJSON, "application/jsonl", "application/ndjson"})
_PIECE = 1 << 18  # bytes of decompressed data at a time: 64 KB of gzip may become 64 MB
_GZIP = 16 + zlib.MAX_WBITS
_READ = "streamnet.read"  # in the scope of a request whose body was read to its end
_LITTLE = 1 << 16  # bytes of a body that may as well be read and dropped


def is_lines(request: Request) -> bool:
    """Whether a body is JSON lines rather than one JSON document.

    Raises:
        HTTPException: 415, if it says that it is something else.
    """
    kind = _kind_of(request)
    if kind in _LINES:
        return True
    if kind != JSON:
        raise refusal(415, f"Content-Type is {kind!r}, but must be {JSON} or {NDJSON}")
    return False


def check_json(request: Request) -> None:
    """Take no body that says that it is something else than one JSON document.

    Raises:
        HTTPException: 415, if it does.
    """
    kind = _kind_of(request)
    if kind != JSON:
        raise refusal(415, f"Content-Type is {kind!r}, but must be {JSON}")


def _kind_of(request: Request) -> str:
    kind: str = request.headers.get("content-type", JSON)
    return kind.partition(";")[0].strip().lower()


def ends_connection(scope: Scope) -> bool:
    """Whether a refusal must close the connection, since much of the body is not read.

    The server would read on, and drop it, for as long as it is sent; and who sends without an end
    would never look at the answer.
    """
    if scope.get(_READ):
        return False
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or not (length.isdigit() and int(length) <= _LITTLE)


def decoded(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The value of a JSON document.

    Raises:
        HTTPException: 400 if it is no JSON, 422 if it is not what it should be.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise refusal(422, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refusal(400, f"the body is no JSON: {error}") from error
    except RecursionError as error:
        raise refusal(400, "the body is nested too deeply") from error


async def body_of(request: Request, limits: Limits, most: int | None = None) -> bytes:
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
    async for piece in pieces_of(request, limits, most):
        parts.append(piece)
        size += len(piece)
        if size > most:
            raise _too_large(most)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def lines_of(
    request: Request, limits: Limits, most: int | None = None
) -> AsyncIterator[bytes]:
    """A body of lines, as it comes: each piece holds whole lines.

    Without a largest size it is a stream, which may take any time as long as it doesn't pause.

    Raises:
        HTTPException: As for `body_of`; 413 too if a line is too long, behind the lines before it.
    """
    rest, size, lines = b"", 0, 0
    async for piece in pieces_of(request, limits, most):
        size += len(piece)
        if most is not None and size > most:
            raise _too_large(most)
        text = rest + piece
        overlong = _overlong(text, limits.line)
        end = text.rfind(b"\n", len(rest)) + 1 if overlong is None else overlong
        if end:
            yield text[:end]
            lines += text.count(b"\n", 0, end)
        if overlong is not None:
            detail = f"line {lines + 1} is longer than {limits.line} bytes"
            raise refusal(413, detail, connection="close")
        rest = text[end:]
    if rest.strip():
        yield rest + b"\n"


def _overlong(text: bytes, longest: int) -> int | None:
    r"""Where the first line begins that is too long; None if there is none.

    >>> _overlong(b"abc\nabc\nabcd", 3)
    8
    """
    start = 0
    while start + longest < len(text):
        end = text.rfind(b"\n", start, start + longest + 1)
        if end < 0:
            return start
        start = end + 1
    return None


async def pieces_of(
    request: Request, limits: Limits, most: int | None = None
) -> AsyncIterator[bytes]:
    """The body as it comes, decompressed; see `body_of`."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise refusal(415, f"Content-Encoding is {encoding!r}, but must be gzip or identity")
    length = request.headers.get("content-length", "")
    if most is not None and length.isdecimal() and int(length) > most:
        raise _too_large(most)
    raw = _raw(request, limits, is_stream=most is None)
    async for piece in raw if encoding == "identity" else _inflated(raw):
        yield piece


async def _raw(request: Request, limits: Limits, *, is_stream: bool) -> AsyncIterator[bytes]:
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
            raise refusal(408, detail, connection="close") from error
        waited += anyio.current_time() - begun
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        if not more:
            request.scope[_READ] = True
        if body := message.get("body", b""):
            size += len(body)
            yield body


async def _inflated(raw: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    member = zlib.decompressobj(_GZIP)
    begun = False
    async for data in raw:
        while data:
            if member.eof:  # a file of several members is a file
                member = zlib.decompressobj(_GZIP)
            try:
                piece = member.decompress(data, _PIECE)
            except zlib.error as error:
                raise refusal(400, f"the body is no gzip: {error}") from error
            begun = True
            data = member.unconsumed_tail or member.unused_data
            if piece:
                yield piece
            await checkpoint()
    if begun and not member.eof:
        raise refusal(400, "the body's gzip ends too early")


def _too_large(most: int) -> Exception:
    return refusal(413, f"the body is larger than {most} bytes", connection="close")
