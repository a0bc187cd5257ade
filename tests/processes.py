"""Processes of their own that coverage does not trace, which would take a third of their time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.conftest import REPOSITORY, TRACING

__all__ = ("environment", "found_by")


def environment(**more: str) -> dict[str, str]:
    """This process's environment and ``more``, for one that is not to be traced."""
    kept = {name: value for name, value in os.environ.items() if name != TRACING}
    return {**kept, **more}


def found_by(module: str, *arguments: object, **more: str) -> dict[str, Any]:
    """What a program of the tests found, which it prints as one JSON object.

    Those kill their forks, or let them end at once, so what was traced there would be lost anyway.
    """
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
