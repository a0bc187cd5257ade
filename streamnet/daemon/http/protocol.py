"""HTTP/1.1 protocol for uvicorn with limits on time, header size and connections.

Requests that offer a protocol upgrade, as Java's HTTP client sends by default, are handled as
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

_MAX_HEAD_BYTES = 1 << 15  # of the request line and all headers


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, one instance per connection, with limits."""

    limits: Limits = Limits()

    _in_head = True
    _size = 0  # of the head, except for what arrived together with the previous request
    _ended_in_piece = False  # whether a request ended in the current piece
    _piece = b""  # being parsed
    _again = b""  # the part of it to parse once more
    _timer: Any = None

    def connection_made(self, transport: Any) -> None:
        """Refuse a connection above the limit; else start the timer of the headers."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Parse some bytes; refuse a head that grows too large."""
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
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Start the timer of the headers; for the first request it runs since the connection."""
        self._in_head, self._size = True, 0
        if self._timer is None:
            self._start_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop the timer of the headers."""
        if self._is_upgrade:
            return  # they are parsed again without the upgrade
        self._in_head = False
        self._stop_timer()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Start the timer of a body that is still unread after its response."""
        super().on_response_complete()
        is_complete = self.cycle.response_complete  # it may be the next request's
        if is_complete and self.cycle.more_body and not self.transport.is_closing():
            self._start_timer()

    def on_message_complete(self) -> None:
        """Stop the timer of the body."""
        if self._is_upgrade:
            return
        self._ended_in_piece = True
        self._stop_timer()
        super().on_message_complete()

    @property
    def _is_upgrade(self) -> bool:
        """Whether the request offers an upgrade, for which the parser would skip its body."""
        should_upgrade = self.parser.should_upgrade()
        return should_upgrade and self.parser.get_method() != b"CONNECT"  # which has none

    def _unsupported_upgrade_warning(self) -> None:
        # Called when the parser has stopped after the head of such a request. There is no warning,
        # since clients could fill the log with it.
        upgrade: Any = sys.exception()
        if self._is_upgrade:
            behind = self._piece[upgrade.args[0] :]
            self._again = self._head_without_upgrade() + behind
            # The old parser drops a body that it thinks is not there.
            self.parser: HttpRequestParser = HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.logger.debug("a request for a protocol upgrade is handled as HTTP/1.1")

    def _head_without_upgrade(self) -> bytes:
        line = (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        headers = [b"%s: %s\r\n" % pair for pair in self.headers if pair[0] != b"upgrade"]
        return b"%s %s HTTP/%s\r\n%s\r\n" % (*line, b"".join(headers))

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self.limits.header_seconds, self._time_out)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self._timer = None
        if self._in_head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()  # the response is sent

    def _refuse(self, status: HTTPStatus) -> None:
        line = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        head = f"{line}content-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode())
        self.transport.close()


def build_protocol(limits: Limits) -> type[BoundedProtocol]:
    """Build the protocol with these limits."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
