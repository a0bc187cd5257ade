"""HTTP/1.1 on a connection, with limits that uvicorn leaves to a proxy.

Who opens connections and sends headers slowly, or without an end, would else keep them for ever.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streamnet.daemon.limits import Limits

__all__ = ("BoundedProtocol", "protocol_of")

_MOST_HEAD = 1 << 15  # bytes of the address and all headers of a request


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's own, which makes one for each connection, within limits."""

    limits = Limits()

    _size = 0
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
        super().data_received(data)
        if self._timer is not None and not self.transport.is_closing():
            self._size += len(data)
            if self._size > _MOST_HEAD:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more has to come in time."""
        self._disarm()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins; the first one's time has run since the connection was made."""
        self._size = 0
        if self._timer is None:
            self._arm()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """They came in time."""
        self._disarm()
        super().on_headers_complete()

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.limits.header_seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse(self, status: HTTPStatus) -> None:
        line = f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        head = f"{line}content-length: 0\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode())
        self.transport.close()


def protocol_of(limits: Limits) -> type[BoundedProtocol]:
    """The protocol with these limits."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
