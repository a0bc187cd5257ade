"""Guard: stands before every request, and asks whether it may come in at all.

A page of somebody else's may not speak to the daemon by way of its reader's browser: neither under
a name of its own that leads here (DNS rebinding: the Host is not one of ours) nor under ours (the
Origin is not one of ours). It also counts who is inside, and sends the headers that tell browsers
what they may do with an answer.
"""

from __future__ import annotations

from collections.abc import Collection
from math import ceil
from typing import final

import anyio
from starlette.types import ASGIApp
from starlette.types import Message
from starlette.types import Receive
from starlette.types import Scope
from starlette.types import Send

from streamnet.daemon.bodies import ends_connection
from streamnet.daemon.cross_origin import CrossOrigin
from streamnet.daemon.cross_origin import Headers
from streamnet.daemon.limits import Limits
from streamnet.daemon.limits import Rates
from streamnet.daemon.problems import problem

__all__ = ("ALWAYS_ANSWERED", "Guard")

ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz"})  # however many are inside
_LARGE = 1 << 16  # bytes: smaller pieces fit into the socket's buffer
_HEADERS = (
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
class Guard:
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
        rates: Rates,
    ) -> None:
        self._app = app
        self._hosts = None if hosts is None else frozenset(host.encode() for host in hosts)
        self._others = CrossOrigin(origins)
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
        guarded = _Guarded(send, self._limits.answer_seconds, self._others.headers(scope))
        refused = self._refusal(scope)
        if refused is not None:
            status, detail, headers = refused
            if ends_connection(scope):
                headers["connection"] = "close"
            await problem(status, detail, headers)(scope, receive, guarded)
            return
        preflight = self._others.preflight(scope)
        if preflight is not None:
            await preflight(scope, receive, guarded)
            return
        self.inside += 1
        try:
            await self._app(scope, receive, guarded)
        except Exception:
            if not guarded.gave_up:
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
class _Guarded:
    """Adds headers that the answer doesn't have, and gives up on who doesn't read it."""

    def __init__(self, send: Send, seconds: float, more: Headers) -> None:
        self._send = send
        self._seconds = seconds
        self._more = more
        self.gave_up = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", ()))
            names = {name for name, _ in given}
            ours = [pair for pair in _HEADERS if pair[0] not in names]
            message["headers"] = [*given, *ours, *self._more]
        if len(message.get("body", b"")) < _LARGE and not message.get("more_body"):
            await self._send(message)
            return
        try:
            with anyio.fail_after(self._seconds):
                await self._send(message)
        except TimeoutError:
            self.gave_up = True
            raise
