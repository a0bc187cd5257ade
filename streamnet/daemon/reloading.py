"""Reloads the run file of a running daemon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TypeVar, final

from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits
from streamnet.daemon.server import Address
from streamnet.errors import ConfigurationError
from streamnet.settings.daemon import DaemonSettings, ServeSection, load

_Section = TypeVar("_Section", Address, Limits)


def build_from_section(kind: type[_Section], section: ServeSection) -> _Section:
    """Build an address or limits from the fields of the same names.

    Raises:
        ConfigurationError: If fields contradict each other.
    """
    values = {field.name: getattr(section, field.name, None) for field in fields(kind)}
    return kind(**{name: value for name, value in values.items() if value is not None})


def read_access(section: ServeSection) -> Access:
    """Read the tokens.

    Raises:
        ConfigurationError: If they can't be read.
    """
    return Access.read(section.token_file, section.token_env)


# Keys of [serve] that apply at the start only. The server reloads the files of the certificate.
_RESTART_KEYS = (
    "dir",
    "host",
    "port",
    "tls_certificate",
    "tls_key",
    "hosts",
    "origins",
    "drain_seconds",
)


@final
class ConfigReloader:
    """Applies tokens, limits and new models of a changed run file, all or nothing.

    Args:
        config: The run file.
        settings: Its content when the daemon started.
        registry: The models.
        access: The tokens.
        limits: Limits of requests.
    """

    def __init__(
        self,
        config: Path,
        settings: DaemonSettings,
        registry: Registry,
        access: Access,
        limits: Limits,
    ) -> None:
        self._config = config
        self._settings = settings
        self._registry = registry
        self._access = access
        self._limits = limits

    def __call__(self) -> str:
        """Reload the run file; return what has changed and what has not, in words.

        Raises:
            ConfigurationError: If it has an error; then nothing changes.
            ConflictError: If a model of a new one's name is being created or deleted; likewise.
        """
        fresh = load(self._config)
        access, limits = read_access(fresh.serve), build_from_section(Limits, fresh.serve)
        build_from_section(Address, fresh.serve)
        if access.is_open and not self._access.is_open:
            raise ConfigurationError(
                f"{self._config}: all tokens were removed, which needs a restart"
            )
        for name in self._new_models(fresh):
            self._registry.check_new(name)
        # From here on nothing can fail.
        self._access.replace_with(access)
        self._limits.replace_with(limits)
        changes = [f"{self._config} and its tokens were reloaded", *self._start_new(fresh)]
        return "; ".join([*changes, *self._describe_unchanged(fresh)])

    def _start_new(self, fresh: DaemonSettings) -> Iterator[str]:
        """Start the new models."""
        for name in self._new_models(fresh):
            self._registry.add(name, fresh.model[name])
            yield f"model.{name} is new and starts"

    def _new_models(self, fresh: DaemonSettings) -> list[str]:
        return [name for name in fresh.model if name not in self._registry.models]

    def _describe_unchanged(self, fresh: DaemonSettings) -> Iterator[str]:
        """Describe what differs from the run file until a restart."""
        restart = "which needs a restart"
        for key in _RESTART_KEYS:
            old, new = getattr(self._settings.serve, key), getattr(fresh.serve, key)
            if old != new:
                yield f"serve.{key} stays {old!r} instead of {new!r}, {restart}"
        fixed = self._registry.fixed
        for name, settings in fresh.model.items():
            if name not in fixed:
                yield f"model.{name} stays the one that was created over HTTP, {restart}"
            elif fixed[name] != settings:
                changed = ", ".join(
                    f"model.{name}.{table}"
                    for table, value in settings
                    if getattr(fixed[name], table) != value
                )
                yield f"{changed} stays as it was, {restart}"
        for name in fixed:
            if name not in fresh.model:
                yield f"model.{name} keeps running without its table; stopping it needs a restart"
