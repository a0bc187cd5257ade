"""Speaking ASGI with an application: what a client that misbehaves looks like from inside."""

from __future__ import annotations

from typing import Any

import anyio

__all__ = ("Talk", "http_scope", "lines_scope")

Headers = list[tuple[bytes, bytes]]


def http_scope(path: str, headers: Headers | None = None, method: str = "GET") -> dict[str, Any]:
    """A request, as a server would tell of it."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost")] if headers is None else headers,
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "http_version": "1.1",
    }


def lines_scope(path: str) -> dict[str, Any]:
    """A request with a body of lines, of a length that nobody knows yet."""
    kind, length = (b"content-type", b"application/x-ndjson"), (b"transfer-encoding", b"chunked")
    return http_scope(path, [(b"host", b"localhost"), kind, length], "POST")


class Talk:
    """One request: what is received comes from a list, what is sent is kept."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = list(messages)
        self.sent: list[dict[str, Any]] = []
        self.reads = True  # whether the client takes what is sent

    async def receive(self) -> dict[str, Any]:
        if not self._messages:
            await anyio.sleep_forever()
        return self._messages.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if not self.reads and message["type"] == "http.response.body":
            await anyio.sleep_forever()

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])
