"""Clients of the daemon's HTTP API: `Client` blocks, `AsyncClient` is awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamnet.client.clients import AsyncClient, Client

__all__ = ("AsyncClient", "Client")


def __getattr__(name: str) -> object:
    # The daemon imports the schemas from here, and must not load an HTTP client for them.
    if name in __all__:
        from streamnet.client import clients

        return getattr(clients, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
