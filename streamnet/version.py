"""The version of streamnet, and the command that installs an extra."""

from __future__ import annotations

# Not read from metadata: another distribution may be called like this package.
__version__ = "0.1.0"
DISTRIBUTION = "streamnet-learn"
"""Name of the distribution, which is not that of the package."""


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra.

    >>> install_command("kafka")
    "pip install 'streamnet-learn[kafka]'"
    """
    return f"pip install '{DISTRIBUTION}[{extra}]'"
