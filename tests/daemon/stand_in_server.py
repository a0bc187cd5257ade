"""A server of stand-ins as a process: ``python -m tests.daemon.stand_in_server OPTIONS``."""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio

from streamnet.daemon.http.access import Access, Limits
from streamnet.daemon.logs import log_as_json
from streamnet.daemon.server import serve
from streamnet.settings.daemon import ServeSection
from tests.daemon.stand_ins import StandInRegistry


async def main(options: dict[str, Any]) -> None:
    file = options.get("token_file")
    access = Access.read(file)
    address = dict(options.get("address", {}))

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def reload() -> str:
        access.replace_with(Access.read(file))
        return "tokens were reloaded"

    registry = StandInRegistry("wine")
    registry.models["wine"].state = options.get("state", "learning")
    await serve(
        registry,  # type: ignore[arg-type]
        ServeSection(**{"port": 0, **address}),
        access=access,
        limits=Limits(**options.get("limits", {})),
        reload=reload,
        say=say,
    )


if __name__ == "__main__":
    log_as_json()
    anyio.run(main, json.loads(sys.argv[1]), backend_options={"use_uvloop": True})
