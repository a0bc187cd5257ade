"""``python -m streamnet`` and the command ``streamnet``."""

from __future__ import annotations

import signal
import sys
from types import FrameType

__all__ = ("main",)

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrongly called, 130 interrupted."""
    # Whatever is half written is to be taken away, as after Ctrl-C.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        # Late, so that Ctrl-C is heeded while it takes its tenth of a second.
        from streamnet.cli.app import run
    except KeyboardInterrupt:
        print("streamnet: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(run(sys.argv[1:]))


def _terminate(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
