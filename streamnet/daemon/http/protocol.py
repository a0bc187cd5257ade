"""HTTP/1.1 protocol for uvicorn with limits on time, header size and connections.

Requests that offer a protocol upgrade, as Java's HTTP client sends by default, are answered as
HTTP/1.1; uvicorn would lose their body and parse it as the next request.

References:
    R. Fielding, M. Nottingham, J. Reschke. HTTP Semantics. RFC 9110, 2022, section 7.8.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import Any

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streamnet.daemon.http.access import Limits
from streamnet.daemon.http.responses import CLIENT_LEFT, ENDS_WITH_CLIENT

__all__ = ("BoundedProtocol", "build_protocol")

_MAX_HEAD_BYTES = 1 << 15  # bytes of the address and all headers of a request


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's own, which makes one for each connection, within limits."""

    limits = Limits()

    _in_head = True
    _size = 0  # of the head, but for what came in one piece with the request before
    _ended_in_piece = False  # a request that ended in this piece
    _piece = b""  # that is read just now
    _again = b""  # what of it is to be read once more
    _timer: Any = None

    def connection_made(self, transport: Any) -> None:
        """Refuse one connection too many; and headers must come in time."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self._arm()

    def data_received(self, data: bytes) -> None:
        """Some bytes; a head that is still not whole must not be large."""
        self._ended_in_piece = False
        self._piece = data
        while self._piece:
            self._again = b""
            super().data_received(self._piece)
            self._piece = self._again
        if self._in_head and not self._ended_in_piece and not self.transport.is_closing():
            self._size += len(data)
            if self._size > _MAX_HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more has to come in time."""
        self._disarm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins; the first one's time has run since the connection was made."""
        self._in_head, self._size = True, 0
        if self._timer is None:
            self._arm()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """They came in time."""
        if self._is_offer:
            return  # they come again without it
        self._in_head = False
        self._disarm()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A request is answered; what is left of a body that nobody reads must come in time."""
        super().on_response_complete()
        is_answered = self.cycle.response_complete  # it may be the one behind
        if is_answered and self.cycle.more_body and not self.transport.is_closing():
            self._arm()

    def on_message_complete(self) -> None:
        """It came in time."""
        if self._is_offer:
            return
        self._ended_in_piece = True
        self._disarm()
        super().on_message_complete()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client says no more; the answer to what it has asked is sent all the same.

        Returns:
            Whether the connection stays open for that. Nobody can half-close what TLS is spoken on.
        """
        cycle: Any = self.cycle  # None before the first request
        if self.scheme == "https" or cycle is None or cycle.response_complete or cycle.more_body:
            return False
        cycle.keep_alive = False
        cycle.scope[CLIENT_LEFT] = True
        return not cycle.scope.get(ENDS_WITH_CLIENT, False)

    @property
    def _is_offer(self) -> bool:
        """Whether the request offers another protocol, and so the parser would skip its body."""
        is_left = self.parser.should_upgrade()
        return is_left and self.parser.get_method() != b"CONNECT"  # which has none

    def _unsupported_upgrade_warning(self) -> None:
        # This is called as the parser has stopped behind the head of such a request. No warning:
        # anybody could fill the log with advice to install what is off on purpose.
        stopped: Any = sys.exception()
        if self._is_offer:
            behind = self._piece[stopped.args[0] :]
            self._again = self._head_without_offer() + behind
            self.parser = self._new_parser()  # where no more is to come, the old one drops it
        self.logger.debug("a request for another protocol is answered as one of HTTP/1.1")

    def _new_parser(self) -> HttpRequestParser:
        parser = HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        return parser

    def _head_without_offer(self) -> bytes:
        line = (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [b"%s: %s\r\n" % pair for pair in self.headers if pair[0] != b"upgrade"]
        return b"%s %s HTTP/%s\r\n%s\r\n" % (*line, b"".join(headers))

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.limits.header_seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._in_head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()  # it has its answer

    def _refuse(self, status: HTTPStatus) -> None:
        line = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        head = f"{line}content-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode())
        self.transport.close()


def build_protocol(limits: Limits) -> type[BoundedProtocol]:
    """The protocol with these limits."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
