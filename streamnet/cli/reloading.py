"""Reloading: a daemon's run file read again while it runs; what can't change then is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import final

from streamnet.errors import ConfigurationError

if TYPE_CHECKING:
    from streamnet.daemon.access import Access
    from streamnet.daemon.limits import Limits
    from streamnet.daemon.registry import Registry
    from streamnet.settings_daemon import DaemonSettings

__all__ = ("Reloading",)

# Keys of [serve] that are only looked at when the daemon starts. A certificate's file is read again
# by the server, which has it in use.
_LASTING = (
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
class Reloading:
    """Takes over tokens, limits and new models of a run file, all or nothing.

    Args:
        config: The run file.
        settings: What it said when the daemon was started.
        registry: The models.
        access: The tokens.
        limits: How much clients may take.
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
        """Read it again; what has changed and what has not, in a sentence.

        Raises:
            ConfigurationError: If there is a fault in it; then nothing is changed.
            ConflictError: If a model of a new one's name is being made or deleted; likewise.
        """
        from streamnet.cli.section import access_of
        from streamnet.cli.section import address_of
        from streamnet.cli.section import limits_of
        from streamnet.settings_daemon import load

        fresh = load(self._config)
        access, limits = access_of(fresh.serve), limits_of(fresh.serve)
        address_of(fresh.serve)
        if access.is_open and not self._access.is_open:
            raise ConfigurationError(
                f"{self._config}: there is no token any more, which needs a new start"
            )
        for name in self._new(fresh):
            self._registry.check_new(name)
        # From here on nothing can fail.
        self._access.take_over(access)
        self._limits.take_over(limits)
        said = [f"{self._config} and its tokens were read again", *self._begun(fresh)]
        return "; ".join([*said, *self._left(fresh)])

    def _begun(self, fresh: DaemonSettings) -> Iterator[str]:
        """Start the models that are new."""
        for name in self._new(fresh):
            self._registry.add(name, fresh.model[name])
            yield f"model.{name} is new, and starts"

    def _new(self, fresh: DaemonSettings) -> list[str]:
        return [name for name in fresh.model if name not in self._registry.models]

    def _left(self, fresh: DaemonSettings) -> Iterator[str]:
        """Name what is not as the run file has it now."""
        later = "which needs a new start"
        for key in _LASTING:
            now, given = getattr(self._settings.serve, key), getattr(fresh.serve, key)
            if now != given:
                yield f"serve.{key} stays {now!r}, not {given!r}, {later}"
        fixed = self._registry.fixed
        for name, settings in fresh.model.items():
            if name not in fixed:
                yield f"model.{name} stays the one that was made over HTTP, {later}"
            elif fixed[name] != settings:
                changed = ", ".join(
                    f"model.{name}.{table}"
                    for table, value in settings
                    if getattr(fixed[name], table) != value
                )
                yield f"{changed} stays as it was, {later}"
        for name in fixed:
            if name not in fresh.model:
                yield f"model.{name} goes on without its table, to end it {later}"
