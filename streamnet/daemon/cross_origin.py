"""Cross origin: what a browser is told, so that pages of allowed origins may ask and read.

Browsers send what is more than a form only after an OPTIONS request, the preflight, which carries
no token; and they keep an answer from the page unless its headers name the page's origin.

References:
    WHATWG. Fetch Standard, section 3.3: CORS protocol.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import final

from starlette.responses import Response
from starlette.types import Scope

__all__ = ("CrossOrigin", "Headers")

Headers = tuple[tuple[bytes, bytes], ...]

_VARY = (b"vary", b"origin")
_EXPOSED = (b"access-control-expose-headers", b"retry-after")
_ALLOWED = {
    "access-control-allow-methods": "GET, HEAD, POST, PUT, DELETE",
    "access-control-allow-headers": "authorization, content-type, idempotency-key, last-event-id",
    "access-control-max-age": "600",  # seconds in which a browser need not ask again
}


@final
class CrossOrigin:
    """The origins that are allowed beside the daemon's own.

    Args:
        origins: As in ``https://example.org``, in any case.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origin.lower().encode() for origin in origins)

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin may ask; it is in lower case."""
        return origin in self._origins

    def headers(self, scope: Scope) -> Headers:
        """What is added to the answer to a request."""
        if not self._origins:
            return ()
        origin = dict(scope["headers"]).get(b"origin")
        if origin is None or not self.allows(origin.lower()):
            return (_VARY,)
        return (_VARY, (b"access-control-allow-origin", origin), _EXPOSED)

    def preflight(self, scope: Scope) -> Response | None:
        """The answer to a preflight; None where a request is none, or of no allowed origin."""
        if scope["method"] != "OPTIONS" or not self._origins:
            return None
        headers = dict(scope["headers"])
        asks = b"access-control-request-method" in headers
        if not asks or not self.allows(headers.get(b"origin", b"").lower()):
            return None
        return Response(status_code=204, headers=_ALLOWED)
