"""``python -m streamnet`` and the command ``streamnet``."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit: 0 success, 1 failure, 2 usage error, 130 interrupted."""
    ended_by = _terminate_as_by_ctrl_c()
    _start_lightly()
    if sys.argv[1:2] in (["run"], ["serve"]):
        # They reload their run file on SIGHUP once they can: block one that comes earlier.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    code = _run()
    _exit(128 + ended_by[0] if ended_by and code == INTERRUPTED else code)


def _start_lightly() -> None:
    """Skip work that takes a quarter of the start-up and is useless in a process of our own."""
    # Start-up makes half a million lasting objects: scan them every 10,000 allocations, not 700.
    gc.set_threshold(10_000, *gc.get_threshold()[1:])
    # No matrices are multiplied, so threads for that would only spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _exit(code: int) -> None:
    """End the process, even while kernels are being compiled, which takes half a minute.

    All output is written by now. The compiling thread cannot be interrupted, and would run into an
    interpreter that is shutting down.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        with suppress(OSError, AttributeError):  # closed, or a broken pipe
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    try:
        # Imported late, so that Ctrl-C works during the tenth of a second that it takes.
        from streamnet.cli.app import run
    except KeyboardInterrupt:
        print("streamnet: interrupted", file=sys.stderr)
        return INTERRUPTED
    return run(sys.argv[1:])


def _terminate_as_by_ctrl_c() -> list[int]:
    """Make SIGTERM raise KeyboardInterrupt, so that half-written files are cleaned up.

    Returns:
        A list to which received signals are appended.
    """
    came: list[int] = []

    def terminate(number: int, _: FrameType | None) -> None:
        came.append(number)
        signal.raise_signal(signal.SIGINT)  # which event loops handle safely

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGTERM, terminate)
    return came


if __name__ == "__main__":
    main()
