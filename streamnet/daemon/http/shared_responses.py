"""Responses that requests share which accept somewhat older ones, as those of the page do.

References:
    R. Fielding, M. Nottingham, J. Reschke. HTTP Caching. RFC 9111, 2022; section 5.2.1.1: max-age
    of requests.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from gzip import compress
from hashlib import sha256
from time import monotonic
from typing import NamedTuple, final

from starlette.requests import Request
from starlette.responses import Response

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=([0-9]{1,6})(?:$|[\s,])", re.IGNORECASE)
_MIN_COMPRESSED = 1024  # bytes, as in the middleware that compresses all others
_COMPRESSION = 3
_MAX_BYTES = 1 << 18  # larger ones are not kept


class _Kept(NamedTuple):
    built: float
    body: bytes
    headers: dict[str, str]


@final
class SharedResponses:
    """Keeps responses for requests with ``Cache-Control: max-age=SECONDS``.

    Requests share one only if they are for the same, with the same token. So however many pages are
    open, a view is built, encoded and compressed about once a second.

    Args:
        most: How many responses are kept.
        clock: A monotonic clock, in seconds.
    """

    def __init__(self, most: int = 1000, *, clock: Callable[[], float] = monotonic) -> None:
        self._most, self._clock = most, clock
        self._kept: dict[tuple[object, ...], _Kept] = {}  # the oldest first

    async def respond(self, request: Request, build: Callable[[], Awaitable[Response]]) -> Response:
        """Return a response as new as a request demands; only small successes are kept."""
        headers = request.headers
        found = _MAX_AGE.search(headers.get("cache-control", ""))
        if found is None:
            return await build()
        is_compressed = "gzip" in headers.get("accept-encoding", "")
        token = sha256(headers.get("authorization", "").encode("latin-1")).digest()
        key = (request.scope["path"], request.scope["query_string"], token, is_compressed)
        kept, now = self._kept.get(key), self._clock()
        if kept is None or now - kept.built >= int(found[1]):
            response = await build()
            if response.status_code != 200 or len(response.body) > _MAX_BYTES:
                return response
            kept = _keep(response, now, is_compressed=is_compressed)
            self._kept.pop(key, None)
            self._kept[key] = kept
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
        return Response(kept.body, headers=kept.headers | {"age": str(int(now - kept.built))})

    def clear(self) -> None:
        """Forget all responses, since something was changed."""
        self._kept.clear()


def _keep(response: Response, now: float, *, is_compressed: bool) -> _Kept:
    body, headers = bytes(response.body), {"content-type": response.headers["content-type"]}
    if is_compressed and len(body) >= _MIN_COMPRESSED:
        body = compress(body, _COMPRESSION, mtime=0)
        headers |= {"content-encoding": "gzip", "vary": "Accept-Encoding"}
    return _Kept(now, body, headers)
