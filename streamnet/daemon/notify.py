"""What a service manager is told: ready, reloading, stopping, still alive.

References:
    sd_notify(3) of systemd: a datagram to the socket that NOTIFY_SOCKET names.
"""

from __future__ import annotations

import os
import socket

__all__ = ("notify", "watchdog_seconds")


def notify(state: str) -> bool:
    """Tell a service manager; False if there is none, or it doesn't listen.

    >>> notify("READY=1")
    False
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # a name without a file
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(address)
            sender.sendall(state.encode())
    except OSError:
        return False
    return True


def watchdog_seconds() -> float | None:
    """The time after which a service manager takes silence for a failure; None: it doesn't."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    given = os.environ.get("WATCHDOG_USEC", "")
    return int(given) / 1e6 if given.isdecimal() and int(given) else None
