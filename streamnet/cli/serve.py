"""``streamnet serve``: start the daemon from its run file, and reload that file on SIGHUP."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, final

from cyclopts import Parameter

from streamnet.errors import ConfigurationError

if TYPE_CHECKING:
    from streamnet.daemon.hosting.registry import Registry
    from streamnet.daemon.http.access import Access, Limits
    from streamnet.daemon.server import Address
    from streamnet.settings.daemon import DaemonSettings, ServeSection

__all__ = (
    "ConfigReloader",
    "build_address",
    "build_limits",
    "read_access",
    "serve",
)


# Seconds after which a thread that learns lets the one that answers have the interpreter: at
# Python's own 5 ms an answer would wait so long each time that it has to.
_SWITCH_INTERVAL = 0.0005


def serve(
    config: Annotated[
        Path, Parameter(help="Run file (TOML) with [serve] and a [model.NAME] for each model.")
    ],
    /,
    *,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Parameter(
            metavar="LEVEL", help="From which level on it logs, as JSON lines on standard error."
        ),
    ] = "info",
) -> int:
    """Learn and answer over HTTP, with a page to watch it, until a signal comes.

    SIGTERM or Ctrl-C answers what is at work, saves the models and ends; a second one ends at once.
    SIGHUP reads the run file again: new models start; tokens, certificate and limits are taken
    over; what needs a new start is told.
    """
    import anyio

    from streamnet.cli.terminal import Terminal
    from streamnet.validation import check_extra

    check_extra("serve", "starlette", "uvicorn", "uvloop", "httptools", "prometheus_client")
    from streamnet.daemon.hosting.registry import Registry
    from streamnet.daemon.server import log_as_json
    from streamnet.daemon.server import serve as serve_models
    from streamnet.settings.daemon import load

    settings = load(config)
    access, limits = read_access(settings.serve), build_limits(settings.serve)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    log_as_json(log_level)
    registry = Registry(Path(settings.serve.dir), settings.model)

    async def main() -> int:
        return await serve_models(
            registry,
            build_address(settings.serve),
            access=access,
            limits=limits,
            reload=ConfigReloader(config, settings, registry, access, limits),
            say=Terminal().say,
        )

    # A prediction takes .88 of the processor time that it takes with Python's own loop.
    anyio.run(main, backend_options={"use_uvloop": True})
    return 0


_LIMITS = {
    "body": "max_body",
    "model": "max_model",
    "connections": "max_connections",
    "rate": "max_rate",
    "body_seconds": "body_seconds",
    "body_rate": "min_body_rate",
}


def build_address(given: ServeSection) -> Address:
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


def build_limits(given: ServeSection) -> Limits:
    """How much clients may take."""
    from streamnet.daemon.http.access import Limits

    values = {name: getattr(given, key) for name, key in _LIMITS.items()}
    return Limits(**{name: value for name, value in values.items() if value is not None})


def read_access(given: ServeSection) -> Access:
    """The tokens.

    Raises:
        ConfigurationError: If they can't be had.
    """
    from streamnet.daemon.http.access import Access

    return Access.read(given.token_file, given.token_env)


# Keys of [serve] that are only looked at when the daemon starts. A certificate's file is read again
# by the server, which has it in use.
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
        from streamnet.settings.daemon import load

        fresh = load(self._config)
        access, limits = read_access(fresh.serve), build_limits(fresh.serve)
        build_address(fresh.serve)
        if access.is_open and not self._access.is_open:
            raise ConfigurationError(
                f"{self._config}: there is no token any more, which needs a new start"
            )
        for name in self._new_models(fresh):
            self._registry.check_new(name)
        # From here on nothing can fail.
        self._access.take_over(access)
        self._limits.take_over(limits)
        said = [f"{self._config} and its tokens were read again", *self._begun(fresh)]
        return "; ".join([*said, *self._left(fresh)])

    def _begun(self, fresh: DaemonSettings) -> Iterator[str]:
        """Start the models that are new."""
        for name in self._new_models(fresh):
            self._registry.add(name, fresh.model[name])
            yield f"model.{name} is new, and starts"

    def _new_models(self, fresh: DaemonSettings) -> list[str]:
        return [name for name in fresh.model if name not in self._registry.models]

    def _left(self, fresh: DaemonSettings) -> Iterator[str]:
        """Name what is not as the run file has it now."""
        later = "which needs a new start"
        for key in _RESTART_KEYS:
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
