"""What `[serve]` of a run file says, as an address, limits and tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamnet.daemon.access import Access
    from streamnet.daemon.limits import Limits
    from streamnet.daemon.server import Address
    from streamnet.settings_daemon import ServeSection

__all__ = ("access_of", "address_of", "limits_of")

_LIMITS = {
    "body": "max_body",
    "model": "max_model",
    "connections": "max_connections",
    "rate": "max_rate",
    "body_seconds": "body_seconds",
    "body_rate": "min_body_rate",
}


def address_of(given: ServeSection) -> Address:
    """Where to listen.

    Raises:
        ConfigurationError: If keys contradict each other.
    """
    from streamnet.daemon.server import Address

    names = ("host", "port", "hosts", "origins", "drain_seconds")
    values = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    certificate, key = given.tls_certificate, given.tls_key
    return Address(
        **values,
        certificate=None if certificate is None else Path(certificate),
        key=None if key is None else Path(key),
    )


def limits_of(given: ServeSection) -> Limits:
    """How much clients may take."""
    from streamnet.daemon.limits import Limits

    values = {name: getattr(given, key) for name, key in _LIMITS.items()}
    return Limits(**{name: value for name, value in values.items() if value is not None})


def access_of(given: ServeSection) -> Access:
    """The tokens.

    Raises:
        ConfigurationError: If they can't be had.
    """
    from streamnet.daemon.access import Access

    return Access.read(given.token_file, given.token_env)
