"""A helper that compiles kernels the first time: one process compiles only one after the other."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL
from subprocess import PIPE
from subprocess import Popen
from subprocess import TimeoutExpired
from threading import Thread
from typing import final

__all__ = ("Helper", "end_with_parent", "processors")

PATIENCE = 60.0  # seconds after which a helper is not waited for any more
PROGRAM = """
import json, sys
sys.path[:] = {path}
from streamnet.learning.compiling import end_with_parent
end_with_parent()
from {module} import {name}
{name}(*json.loads({arguments}))
"""


def processors() -> int:
    """On how many this process may run."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@final
class Helper:
    """Another process that calls a function, to fill the cache of kernels.

    Where it can't be started, or fails, they are compiled here, as they would have been without it.
    It ends when this process does, however that ends.

    Args:
        work: A function of a module.
        arguments: What it is called with: what JSON can hold.
    """

    def __init__(self, work: Callable[..., object], *arguments: object) -> None:
        self._process = _started(work, arguments)

    def wait(self) -> None:
        """Wait until it is done."""
        if self._process is not None:
            with suppress(TimeoutExpired):
                self._process.wait(PATIENCE)

    def end(self) -> None:
        """End it, whatever it is at; to be called in any case, and no harm if it is again."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def _started(work: Callable[..., object], arguments: Sequence[object]) -> Popen[bytes] | None:
    if not Path(sys.executable or "").name.startswith("python"):
        return None  # a program that Python is a part of, and that would start once more
    try:
        program = PROGRAM.format(
            # What was imported here, and nothing that lies where the helper starts.
            path=sys.path,
            module=work.__module__,
            name=work.__name__,
            arguments=repr(json.dumps(arguments)),
        )
        command = [sys.executable, "-c", program]
        # This interpreter with a program of ours.
        return Popen(command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL)  # noqa: S603
    except (OSError, TypeError):  # no room for another process, or a setting of a type of its own
        return None


def end_with_parent() -> None:
    """In a helper: end once nobody holds the other end of the pipe any more."""

    def wait() -> None:
        os.read(0, 1)
        os._exit(1)

    Thread(target=wait, daemon=True).start()
