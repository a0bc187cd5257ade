"""``streamnet serve``: the daemon of a run file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from streamnet.daemon.access import Access
    from streamnet.daemon.limits import Limits
    from streamnet.daemon.server import Address
    from streamnet.settings_daemon import ServeSection

__all__ = ("access_of", "address_of", "limits_of", "reload", "serve")

# Seconds after which a thread that learns lets the one that answers have the interpreter: at
# Python's own 5 ms an answer would wait so long each time that it has to.
_SWITCH = 0.0005
_LIMITS = {
    "body": "max_body",
    "model": "max_model",
    "connections": "max_connections",
    "rate": "max_rate",
}


def serve(
    config: Annotated[
        Path, Parameter(help="Run file (TOML) with [serve] and a [model.NAME] for each model.")
    ],
    /,
    *,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Parameter(help="From which level on it logs, as JSON lines on standard error."),
    ] = "info",
) -> int:
    """Learn and answer over HTTP, with a page to watch it, until a signal comes.

    SIGTERM or Ctrl-C answers what is at work, saves the models and ends; a second one ends at once.
    SIGHUP reads the tokens again.
    """
    import anyio

    from streamnet.cli.extras import check_extra
    from streamnet.cli.terminal import Terminal

    check_extra("serve", "starlette", "uvicorn", "httptools", "prometheus_client")
    from streamnet.daemon.logs import log_as_json
    from streamnet.daemon.registry import Registry
    from streamnet.daemon.server import serve as serve_models
    from streamnet.settings_daemon import load

    settings = load(config)
    access = access_of(settings.serve)
    sys.setswitchinterval(_SWITCH)
    log_as_json(log_level)
    registry = Registry(Path(settings.serve.dir), settings.model)

    async def main() -> int:
        return await serve_models(
            registry,
            address_of(settings.serve),
            access=access,
            limits=limits_of(settings.serve),
            reload=lambda: reload(access, config),
            say=Terminal().say,
        )

    anyio.run(main)
    return 0


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


def reload(access: Access, config: Path) -> str:
    """Read the run file and its tokens again; a sentence on that.

    Raises:
        ConfigurationError: If there is a fault in them; then nothing is changed.
    """
    from streamnet.errors import ConfigurationError
    from streamnet.settings_daemon import load

    fresh = access_of(load(config).serve)
    if fresh.is_open and not access.is_open:
        raise ConfigurationError(f"{config}: there is no token any more, which needs a new start")
    access.take_over(fresh)
    return f"{config} and its tokens were read again"
