"""Parts of streamnet that need packages which not everybody installs."""

from __future__ import annotations

from importlib.util import find_spec

from streamnet.errors import ConfigurationError

__all__ = ("check_extra",)


def check_extra(extra: str, *packages: str) -> None:
    """Refuse to go on without the packages of an extra.

    Raises:
        ConfigurationError: If one is not installed.

    >>> check_extra("serve", "json", "nowhere")
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: nowhere is not installed, but is needed for this:
    pip install 'streamnet[serve]'
    """
    for package in packages:
        if find_spec(package) is None:
            raise ConfigurationError(
                f"{package} is not installed, but is needed for this: "
                f"pip install 'streamnet[{extra}]'"
            )
