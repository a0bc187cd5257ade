"""Reloading of the daemon's run file while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from streamnet.daemon.hosting.registry import Registry
from streamnet.daemon.http.access import Access, Limits
from streamnet.daemon.server import build_limits, build_oidc
from streamnet.errors import ConfigurationError
from streamnet.settings.daemon import DaemonSettings, load_or_follow

_RESTART = "which needs a restart"
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
    "audit_file",
    "audit_bytes",
    "audit_files",
    "archive_days",
    "telemetry",
    "checkpoint_bytes",
)


@final
@dataclass(frozen=True)
class ConfigReloader:
    """Applies tokens, limits and new models of a changed run file, all or nothing."""

    config: Path
    settings: DaemonSettings  # its content when the daemon started
    registry: Registry | None  # None in a read replica, which has no models of its own
    access: Access
    limits: Limits
    replica_of: str | None = None  # from the command line

    def __call__(self) -> str:
        """Reload the run file; return what has changed and what has not, in words.

        Raises:
            ConfigurationError: If it has an error; then nothing changes.
            ConflictError: If a model of a new one's name is being created or deleted; likewise.
        """
        fresh = load_or_follow(self.config, self.replica_of)
        # The keys that are known are kept while the provider stays the same.
        oidc = self.access.oidc
        if fresh.oidc != (None if oidc is None else oidc.settings):
            oidc = build_oidc(fresh.oidc)
        access = Access.read(fresh.serve.token_file, fresh.serve.token_env, oidc)
        limits = build_limits(fresh.serve)
        if access.is_open and not self.access.is_open:
            raise ConfigurationError(
                f"{self.config}: all tokens were removed, which needs a restart"
            )
        if (fresh.replica is None) != (self.registry is not None):
            raise ConfigurationError(f"{self.config}: [replica] was given or removed, {_RESTART}")
        for name in self._new_models(fresh):
            assert self.registry is not None
            self.registry.check_new(name)
        # From here on nothing can fail.
        self.access.replace_with(access)
        self.limits.replace_with(limits)
        if self.registry is not None:
            self.registry.released = set(self.registry.fixed) - set(fresh.model)
        changes = [f"{self.config} and its tokens were reloaded", *self._start_new(fresh)]
        return "; ".join([*changes, *self._describe_unchanged(fresh)])

    def _start_new(self, fresh: DaemonSettings) -> Iterator[str]:
        """Start the new models."""
        for name in self._new_models(fresh):
            assert self.registry is not None
            self.registry.add(name, fresh.model[name])
            yield f"model.{name} is new and starts"

    def _new_models(self, fresh: DaemonSettings) -> list[str]:
        there = {} if self.registry is None else self.registry.models
        return [name for name in fresh.model if name not in there]

    def _describe_unchanged(self, fresh: DaemonSettings) -> Iterator[str]:
        """Describe what differs from the run file until a restart."""
        for key in _RESTART_KEYS:
            old, new = getattr(self.settings.serve, key), getattr(fresh.serve, key)
            if old != new:
                yield f"serve.{key} stays {old!r} instead of {new!r}, {_RESTART}"
        if self.settings.webhook != fresh.webhook:
            yield f"webhook stays as it was, {_RESTART}"
        if self.settings.replica != fresh.replica:
            yield f"replica stays as it was, {_RESTART}"
        if self.registry is None:
            return
        fixed = self.registry.fixed
        for name, settings in fresh.model.items():
            if name not in fixed:
                yield f"model.{name} stays the one that was created over HTTP, {_RESTART}"
            elif fixed[name] != settings:
                changed = ", ".join(
                    f"model.{name}.{table}"
                    for table, value in settings
                    if getattr(fixed[name], table) != value
                )
                yield f"{changed} stays as it was, {_RESTART}"
        for name in self.registry.released:
            yield (
                f"model.{name} keeps running without its table until it is deleted, or the daemon "
                "is restarted"
            )
