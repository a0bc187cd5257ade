"""Middleware: host and origin checks, CORS, rate limits and security headers.

A foreign page must not reach the daemon through the browser of someone who may: neither by DNS
rebinding (unknown Host) nor directly (unknown Origin).

References:
    WHATWG. Fetch Standard, section 3.3: CORS protocol.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_address
from math import ceil
from typing import final

import anyio
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streamnet.daemon.http.access import Limits, RateLimiter
from streamnet.daemon.http.bodies import must_close_connection
from streamnet.daemon.http.responses import problem_response
from streamnet.settings.daemon import ANY_HOST, parse_network

RawHeaders = tuple[tuple[bytes, bytes], ...]

_VARY = (b"vary", b"origin")
_EXPOSE_HEADERS = (b"access-control-expose-headers", b"retry-after")
_PREFLIGHT_HEADERS = {
    "access-control-allow-methods": "GET, HEAD, POST, PUT, DELETE",
    "access-control-allow-headers": "authorization, content-type, idempotency-key, last-event-id",
    "access-control-max-age": "600",  # seconds that a browser may cache the preflight
}


@final
class CorsPolicy:
    """The origins that are allowed besides the daemon's own, as in ``https://example.org``."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origin.lower().encode() for origin in origins)

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin, in lower case, may send requests."""
        return origin in self._origins

    def headers(self, scope: Scope) -> RawHeaders:
        """Headers to add to the response to a request."""
        if not self._origins:
            return ()
        origin = dict(scope["headers"]).get(b"origin")
        if origin is None or not self.allows(origin.lower()):
            return (_VARY,)
        return (_VARY, (b"access-control-allow-origin", origin), _EXPOSE_HEADERS)

    def preflight(self, scope: Scope) -> Response | None:
        """Respond to a preflight; None if the request is none, or its origin is not allowed."""
        if scope["method"] != "OPTIONS" or not self._origins:
            return None
        headers = dict(scope["headers"])
        is_preflight = b"access-control-request-method" in headers
        if not is_preflight or not self.allows(headers.get(b"origin", b"").lower()):
            return None
        return Response(status_code=204, headers=_PREFLIGHT_HEADERS)


_PORT = re.compile(r":[0-9]{1,5}")


@final
class AllowedHosts:
    """The Host headers by which the daemon may be called.

    Exact ones in lower case; networks, for IP addresses in them with any port; ``*`` for all. None
    is all as well.

    >>> hosts = AllowedHosts({"a.example:80", "10.0.0.0/8"})
    >>> [hosts.allows(host) for host in (b"a.example:80", b"b.example", b"10.1.2.3:8000", None)]
    [True, False, True, False]
    """

    def __init__(self, hosts: Collection[str] | None) -> None:
        self._allows_all = hosts is None or ANY_HOST in hosts
        found = {host: parse_network(host) for host in hosts or ()}
        self._networks = [network for network in found.values() if network is not None]
        self._names = frozenset(name.encode() for name, one in found.items() if one is None)

    def allows(self, host: bytes | None) -> bool:
        """Whether a Host header, in lower case, is one of them."""
        if self._allows_all or host in self._names:
            return True
        return host is not None and bool(self._networks) and self._is_in_network(host)

    def _is_in_network(self, host: bytes) -> bool:
        name, closed, port = host.decode("latin-1").rpartition("]")
        if closed:  # [address] of IPv6
            name = name.removeprefix("[")
        else:
            name, colon, number = port.partition(":")
            port = colon + number
        if port and not _PORT.fullmatch(port):
            return False
        with suppress(ValueError):
            return any(ip_address(name) in network for network in self._networks)
        return False


UNLIMITED_PATHS = frozenset({"/healthz", "/readyz"})
"""Exempt from limits of rate and concurrency, and called by any name, as orchestrators do."""
_LARGE_BYTES = 1 << 16  # smaller pieces fit into the socket's buffer
_CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = (
    (b"content-security-policy", _CONTENT_SECURITY_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@final
class GuardMiddleware:
    """Admits requests to the application, or responds with a problem; see `create_app`."""

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
        self._hosts = AllowedHosts(hosts)
        self._cors = CorsPolicy(origins)
        self._limits = limits
        self._rates = rates
        self.active_requests: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit a request, or respond with a problem."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._request(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = _GuardedSend(send, self._limits.response_seconds, self._cors.headers(scope))
        response = self._check(scope)
        if response is not None and must_close_connection(scope):
            response.headers["connection"] = "close"
        response = response or self._cors.preflight(scope)
        if response is not None:
            await response(scope, receive, guarded)
            return
        self.active_requests += 1
        try:
            await self._app(scope, receive, guarded)
        except Exception:
            if not guarded.timed_out:
                raise  # a client that stopped reading is disconnected silently
        finally:
            self.active_requests -= 1

    def _check(self, scope: Scope) -> Response | None:
        host = origin = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    return problem_response(400, "there are two Host headers, but must be one")
                host = value.lower()
            elif name == b"origin":
                origin = value.lower()
        is_probe = scope["path"] in UNLIMITED_PATHS
        if not is_probe and not self._hosts.allows(host):
            return problem_response(421, "the Host header is not one of the daemon's names")
        if origin is not None and not self._is_allowed(origin, host, scope["scheme"]):
            return problem_response(403, "the Origin header is not allowed")
        if is_probe:
            return None
        if self.active_requests >= self._limits.requests:
            return problem_response(503, "too many concurrent requests", {"retry-after": "1"})
        client = scope["client"][0] if scope.get("client") else ""
        if wait := self._rates.take(client):
            headers = {"retry-after": str(ceil(wait))}
            return problem_response(429, "too many requests per second", headers)
        return None

    def _is_allowed(self, origin: bytes, host: bytes | None, scheme: str) -> bool:
        own = None if host is None else scheme.encode() + b"://" + host
        return origin == own or self._cors.allows(origin)


@final
class _GuardedSend:
    """Adds missing headers to a response, and gives up on a client that stops reading it."""

    def __init__(self, send: Send, seconds: float, headers: RawHeaders) -> None:
        self._send = send
        self._seconds = seconds
        self._headers = headers
        self.timed_out = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            names = {name for name, _ in headers}
            missing = [pair for pair in _SECURITY_HEADERS if pair[0] not in names]
            message["headers"] = [*headers, *missing, *self._headers]
        if len(message.get("body", b"")) < _LARGE_BYTES and not message.get("more_body"):
            await self._send(message)
            return
        try:
            with anyio.fail_after(self._seconds):
                await self._send(message)
        except TimeoutError:
            self.timed_out = True
            raise
