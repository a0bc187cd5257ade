"""Passwords and tokens, which are part of no setting and no message; certificates of servers."""

from __future__ import annotations

import os
from pathlib import Path

from streamnet.errors import ConfigurationError, StreamnetError


def read_secret(name: str, file: str | None, variable: str | None) -> str | None:
    """Read a secret from a file or an environment variable; None if neither is given.

    ``name`` is what the settings ``..._file`` and ``..._env`` begin with. White space around the
    content of a file, such as its last line end, is not part of the secret.

    Raises:
        ConfigurationError: If it can't be read, or is empty; the message does not hold it.
    """
    if file is not None:
        try:
            found = Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigurationError(f"{name}_file is {file!r}, but: {why}") from None
        if not found:
            raise ConfigurationError(f"{name}_file is {file!r}, but that file is empty")
        return found
    if variable is not None:
        if not (found := os.environ.get(variable, "")):
            rule = "that variable of the environment is not set"
            raise ConfigurationError(f"{name}_env is {variable!r}, but {rule}")
        return found
    return None


def is_untrusted(message: str) -> bool:
    """Whether a client's message says that the certificate of a server can't be verified."""
    return "certificate verify failed" in message.lower()


def make_failure(message: str, failure: type[StreamnetError]) -> StreamnetError:
    """The error for a server that can't be reached, which is final if it is not trusted.

    Args:
        message: What can't be done, and why.
        failure: What is raised for any other reason.

    >>> from streamnet.errors import ReadError
    >>> make_failure("it can't be read: it is away", ReadError)
    ReadError("it can't be read: it is away")
    """
    if not is_untrusted(message):
        return failure(message)
    return ConfigurationError(
        f"{message}. ca must name the PEM file of the authority that signed the server's "
        "certificate, and the server must be given by a name that is in it"
    )
