"""``streamnet serve``: start the daemon from its run file, and reload that file on SIGHUP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

# Seconds after which a learning thread yields the interpreter to the event loop. With Python's
# default of 5 ms each prediction could wait that long.
_SWITCH_INTERVAL = 0.0005


def serve(
    config: Annotated[
        Path | None,
        Parameter(
            help="Run file (TOML) with [serve], and a [model.NAME] for each model or [replica]."
        ),
    ] = None,
    /,
    *,
    replica_of: Annotated[
        str | None,
        Parameter(
            metavar="PLACE",
            help="Predict with the models of another daemon (http://HOST:PORT), or of a folder or "
            "bucket where a run or a daemon keeps its state. As replica.of in the run file, which "
            "may then be left out.",
        ),
    ] = None,
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Parameter(metavar="LEVEL", help="Lowest level to log, as JSON lines on standard error."),
    ] = "info",
) -> int:
    """Learn and predict over HTTP, with a live dashboard, until a signal arrives.

    With a replica's PLACE, nothing is learned here: a read replica follows the models that another
    process learns, and predicts with them.

    SIGTERM or Ctrl-C finishes active requests, saves the models and stops; a second one stops at
    once. SIGHUP reloads the run file: new models start, tokens, certificate and limits change, and
    what needs a restart is logged.
    """
    import anyio

    from streamnet.cli.terminal import Terminal
    from streamnet.validation import check_extra

    check_extra("serve", "starlette", "uvicorn", "uvloop", "httptools", "prometheus_client")
    from streamnet.daemon.hosting.budgets import Budgets
    from streamnet.daemon.hosting.registry import Registry
    from streamnet.daemon.hosting.webhooks import Webhooks
    from streamnet.daemon.http.access import Access
    from streamnet.daemon.logs import log_as_json, log_audit
    from streamnet.daemon.memory import limit_arenas
    from streamnet.daemon.reloading import ConfigReloader
    from streamnet.daemon.replicas.replica_set import ReplicaSet
    from streamnet.daemon.server import build_limits, build_oidc
    from streamnet.daemon.server import serve as serve_models
    from streamnet.settings.daemon import load_or_follow

    settings = load_or_follow(config, replica_of)
    access = Access.read(
        settings.serve.token_file, settings.serve.token_env, build_oidc(settings.oidc)
    )
    limits = build_limits(settings.serve)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    limit_arenas()
    log_as_json(log_level)
    log_audit(settings.serve)
    budgets = Budgets(settings.serve.checkpoint_bytes)
    folder = Path(settings.serve.dir)
    webhooks = Webhooks(settings.webhook, folder)
    served: Registry | ReplicaSet
    if settings.replica is not None:
        served = ReplicaSet(settings.replica, webhooks)
    else:
        served = Registry(
            folder,
            settings.model,
            budgets=budgets,
            webhooks=webhooks,
            archive_days=settings.serve.archive_days,
        )
    learning = served if isinstance(served, Registry) else None
    reload = None
    if config is not None:
        reload = ConfigReloader(config, settings, learning, access, limits, replica_of)

    async def main() -> int:
        return await serve_models(
            served, settings.serve, access=access, limits=limits, reload=reload, say=Terminal().say
        )

    # A prediction takes 12 % less processor time than with asyncio's own loop.
    anyio.run(main, backend_options={"use_uvloop": True})
    return 0
