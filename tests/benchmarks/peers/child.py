"""Child: one run of one peer, in a process of its own; ``process`` starts it.

The peer first learns a few hundred samples with a learner that is thrown away, so that what is
compiled or loaded at first use (kernels, Java's, Python's) weighs on none of them.
"""

from __future__ import annotations

import os
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Event, Thread
from time import process_time

import msgspec

from tests.benchmarks.peers.measures import measures_of
from tests.benchmarks.peers.peer import Answers, Learn, Scored
from tests.benchmarks.peers.record import Record
from tests.benchmarks.peers.registry import peers_of
from tests.benchmarks.peers.rows import read_rows
from tests.benchmarks.peers.streams import stream_of

__all__ = ("TOO_SLOW", "Order", "carry_out", "peak_mib", "timed")

TOO_SLOW = 75  # exit status
WARM_UP = 500


class Order(msgspec.Struct, frozen=True):
    """What to run."""

    stream: str
    limit: int | None
    peer: str
    seed: int
    folder: str  # of the data
    seconds: int  # most CPU time for the part that is timed


def carry_out(order: Order) -> Record:
    """Run a peer; past its time this process ends with `TOO_SLOW`."""
    (peer,) = peers_of(order.peer)
    rows = read_rows(stream_of(order.stream), Path(order.folder), order.limit)
    peer.prepare(rows.head(WARM_UP), order.seed).learn()
    learn, setting = peer.prepare(rows, order.seed)
    answers, seconds = timed(learn, order.seconds)
    return Record(
        stream=order.stream,
        limit=order.limit,
        peer=peer.name,
        seed=order.seed,
        status="done",
        setting=setting,
        version=_version(peer.package),
        samples=len(rows.target),
        measures=measures_of(rows, answers),
        cpu_seconds=seconds,
        peak_mib=peak_mib(),
    )


def timed(learn: Learn, most: float) -> tuple[Answers | Scored, float]:
    """The answers, and the CPU time that they took; ends this process once it is over ``most``.

    RLIMIT_CPU would do that too, but Linux then counts CPU time in whole ticks.
    """
    done = Event()
    start = process_time()

    def watch() -> None:
        while not done.wait(0.5):
            if process_time() - start > most:
                os._exit(TOO_SLOW)

    Thread(target=watch, daemon=True).start()
    start = process_time()
    answers = learn()
    seconds = process_time() - start
    done.set()
    return answers, seconds


def peak_mib() -> float:
    """The most memory that this process has held.

    Linux adds to ``ru_maxrss`` what the process held that started this one: hence VmHWM.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}" if package else ""
    except PackageNotFoundError:  # a checkout that is not installed
        return ""


if __name__ == "__main__":
    given, written = sys.argv[1:]
    record = carry_out(msgspec.json.decode(given, type=Order))
    # To a file, for peers print what they like.
    Path(written).write_bytes(msgspec.json.encode(record))
