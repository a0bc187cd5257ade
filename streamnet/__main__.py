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
    """Run the command line and exit: 0 done, 1 failed, 2 wrongly called, 130 interrupted."""
    ended_by = _terminate_as_by_ctrl_c()
    _start_lightly()
    if sys.argv[1:2] in (["run"], ["serve"]):
        # They read their run file again at a hang-up, once they can: one that comes now waits.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    code = _run()
    _exit(128 + ended_by[0] if ended_by and code == INTERRUPTED else code)


def _start_lightly() -> None:
    """Leave out what takes a quarter of a start, and is for nothing in a process of our own."""
    # Half a million objects are made that stay: look for garbage among them every 10,000, not 700.
    gc.set_threshold(10_000, *gc.get_threshold()[1:])
    # Nothing here multiplies matrices, for which threads would wait by spinning.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _exit(code: int) -> None:
    """End the process, also while kernels are being compiled, which takes half a minute.

    All that was to be written is. But that thread, which nothing interrupts, would meet an
    interpreter that is being taken down, in the middle of foreign code.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        with suppress(OSError, AttributeError):  # closed, or nobody reads any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _run() -> int:
    try:
        # Late, so that Ctrl-C is heeded while it takes its tenth of a second.
        from streamnet.cli.app import run
    except KeyboardInterrupt:
        print("streamnet: interrupted", file=sys.stderr)
        return INTERRUPTED
    return run(sys.argv[1:])


def _terminate_as_by_ctrl_c() -> list[int]:
    """Let a termination take away whatever is half written, as Ctrl-C does.

    Returns:
        The signals that came, filled as they come.
    """
    came: list[int] = []

    def terminate(number: int, _: FrameType | None) -> None:
        came.append(number)
        signal.raise_signal(signal.SIGINT)  # which an event loop has its own, safe way to heed

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGTERM, terminate)
    return came


if __name__ == "__main__":
    main()
