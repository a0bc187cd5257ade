"""``streamnet serve``: the daemon of a run file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated
from typing import Literal

from cyclopts import Parameter

__all__ = ("serve",)

# Seconds after which a thread that learns lets the one that answers have the interpreter: at
# Python's own 5 ms an answer would wait so long each time that it has to.
_SWITCH = 0.0005


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

    from streamnet.cli.extras import check_extra
    from streamnet.cli.reloading import Reloading
    from streamnet.cli.section import access_of
    from streamnet.cli.section import address_of
    from streamnet.cli.section import limits_of
    from streamnet.cli.terminal import Terminal

    check_extra("serve", "starlette", "uvicorn", "uvloop", "httptools", "prometheus_client")
    from streamnet.daemon.logs import log_as_json
    from streamnet.daemon.registry import Registry
    from streamnet.daemon.server import serve as serve_models
    from streamnet.settings_daemon import load

    settings = load(config)
    access, limits = access_of(settings.serve), limits_of(settings.serve)
    sys.setswitchinterval(_SWITCH)
    log_as_json(log_level)
    registry = Registry(Path(settings.serve.dir), settings.model)

    async def main() -> int:
        return await serve_models(
            registry,
            address_of(settings.serve),
            access=access,
            limits=limits,
            reload=Reloading(config, settings, registry, access, limits),
            say=Terminal().say,
        )

    # A prediction takes .88 of the processor time that it takes with Python's own loop.
    anyio.run(main, backend_options={"use_uvloop": True})
    return 0
