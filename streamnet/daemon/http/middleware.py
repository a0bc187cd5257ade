"""Middleware: host and origin checks, CORS, rate limits and security headers.

A foreign page must not reach the daemon through its reader's browser: neither by DNS rebinding (the
Host is unknown) nor directly (the Origin is unknown).

References:
    WHATWG. Fetch Standard, section 3.3: CORS protocol.
"""

from __future__ import annotations

from collections.abc import Collection
from math import ceil
from typing import final

import anyio
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamnet.daemon.http.access import Limits, RateLimiter
from streamnet.daemon.http.bodies import must_close_connection
from streamnet.daemon.http.responses import problem_response

__all__ = (
    "ALWAYS_ANSWERED",
    "CorsPolicy",
    "GuardMiddleware",
    "RawHeaders",
)


RawHeaders = tuple[tuple[bytes, bytes], ...]

_VARY = (b"vary", b"origin")
_EXPOSE_HEADERS = (b"access-control-expose-headers", b"retry-after")
_PREFLIGHT_HEADERS = {
    "access-control-allow-methods": "GET, HEAD, POST, PUT, DELETE",
    "access-control-allow-headers": "authorization, content-type, idempotency-key, last-event-id",
    "access-control-max-age": "600",  # seconds in which a browser need not ask again
}


@final
class CorsPolicy:
    """The origins that are allowed beside the daemon's own.

    Args:
        origins: As in ``https://example.org``, in any case.
    """

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origin.lower().encode() for origin in origins)

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin may ask; it is in lower case."""
        return origin in self._origins

    def headers(self, scope: Scope) -> RawHeaders:
        """What is added to the answer to a request."""
        if not self._origins:
            return ()
        origin = dict(scope["headers"]).get(b"origin")
        if origin is None or not self.allows(origin.lower()):
            return (_VARY,)
        return (_VARY, (b"access-control-allow-origin", origin), _EXPOSE_HEADERS)

    def preflight(self, scope: Scope) -> Response | None:
        """The answer to a preflight; None where a request is none, or of no allowed origin."""
        if scope["method"] != "OPTIONS" or not self._origins:
            return None
        headers = dict(scope["headers"])
        asks = b"access-control-request-method" in headers
        if not asks or not self.allows(headers.get(b"origin", b"").lower()):
            return None
        return Response(status_code=204, headers=_PREFLIGHT_HEADERS)


ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz"})  # however many are inside
_LARGE_BYTES = 1 << 16  # bytes: smaller pieces fit into the socket's buffer
_SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"; ".join(
            (
                b"default-src 'none'",
                b"script-src 'self'",
                b"style-src 'self'",
                b"connect-src 'self'",
                b"img-src 'self' data:",
                b"base-uri 'none'",
                b"form-action 'none'",
                b"frame-ancestors 'none'",
            )
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@final
class GuardMiddleware:
    """ASGI middleware.

    Args:
        app: What it guards.
        hosts: What the Host header may be, with the port where it isn't the scheme's own, in lower
            case. None lets all in: someone else's application looks after that.
        origins: What the Origin header may be, beside the host's own.
        limits: Rates and numbers.
        rates: The buckets of the clients, which wrong tokens also draw from.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str] | None,
        origins: Collection[str],
        limits: Limits,
        rates: RateLimiter,
    ) -> None:
        self._app = app
        self._hosts = None if hosts is None else frozenset(host.encode() for host in hosts)
        self._others = CorsPolicy(origins)
        self._limits = limits
        self._rates = rates
        self.inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it with a problem."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._request(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = _GuardedSend(send, self._limits.answer_seconds, self._others.headers(scope))
        refused = self._refusal(scope)
        if refused is not None:
            status, detail, headers = refused
            if must_close_connection(scope):
                headers["connection"] = "close"
            await problem_response(status, detail, headers)(scope, receive, guarded)
            return
        preflight = self._others.preflight(scope)
        if preflight is not None:
            await preflight(scope, receive, guarded)
            return
        self.inside += 1
        try:
            await self._app(scope, receive, guarded)
        except Exception:
            if not guarded.timed_out:
                raise  # and who took no more of the answer is left alone
        finally:
            self.inside -= 1

    def _refusal(self, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        host = origin = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    return 400, "there are two Host headers, but must be one", {}
                host = value.lower()
            elif name == b"origin":
                origin = value.lower()
        if self._hosts is not None and host not in self._hosts:
            return 421, "the Host is none of this daemon's names", {}
        if origin is not None and not self._is_ours(origin, host, scope["scheme"]):
            return 403, "the Origin is not allowed to ask this daemon", {}
        if scope["path"] in ALWAYS_ANSWERED:
            return None
        if self.inside >= self._limits.requests:
            return 503, "too many requests are at work", {"retry-after": "1"}
        client = scope["client"][0] if scope.get("client") else ""
        if wait := self._rates.take(client):
            return 429, "too many requests a second", {"retry-after": str(ceil(wait))}
        return None

    def _is_ours(self, origin: bytes, host: bytes | None, scheme: str) -> bool:
        own = None if host is None else scheme.encode() + b"://" + host
        return origin == own or self._others.allows(origin)


@final
class _GuardedSend:
    """Adds headers that the answer doesn't have, and gives up on who doesn't read it."""

    def __init__(self, send: Send, seconds: float, more: RawHeaders) -> None:
        self._send = send
        self._seconds = seconds
        self._more = more
        self.timed_out = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name for name, _ in given}
            ours = [pair for pair in _SECURITY_HEADERS if pair[0] not in names]
            message["headers"] = [*given, *ours, *self._more]
        if len(message.get("body", b"")) < _LARGE_BYTES and not message.get("more_body"):
            await self._send(message)
            return
        try:
            with anyio.fail_after(self._seconds):
                await self._send(message)
        except TimeoutError:
            self.timed_out = True
            raise
