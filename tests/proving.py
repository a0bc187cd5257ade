"""Proofs that are programs: processes of their own that print what they have found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.conftest import REPOSITORY

__all__ = ("found_by",)

_TRACING = "COVERAGE_PROCESS"
"""How variables begin that let coverage trace a process."""


def found_by(module: str, *arguments: object, **environment: str) -> dict[str, Any]:
    """What a program of the tests found, which it prints as one JSON object.

    It runs without coverage: its forks are killed, or end by themselves at once, so that what was
    traced would be lost, and tracing takes a third of their time.
    """
    untraced = {name: value for name, value in os.environ.items() if not name.startswith(_TRACING)}
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**untraced, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
