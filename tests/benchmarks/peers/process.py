"""Process: starts a run in a process of its own and tells how it ended."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.benchmarks.peers.child import TOO_SLOW, Order
from tests.benchmarks.peers.record import Record, Status
from tests.benchmarks.peers.streams import REPOSITORY

__all__ = ("run",)

_PATIENCE = 6  # wall time over CPU time, on a machine that others use too
_PREPARING = 600  # seconds to load, warm up and tune
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def run(order: Order) -> Record:
    """Run a peer; whatever becomes of it is told in the record."""
    environment = dict.fromkeys(_ONE_THREAD, "1") | {"PYTHONHASHSEED": "0"}
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, "record.json")
        command = [sys.executable, "-m", "tests.benchmarks.peers.child"]
        command += [msgspec.json.encode(order).decode(), str(written)]
        try:
            done = subprocess.run(
                command,
                cwd=REPOSITORY,
                env=os.environ | environment,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PREPARING + _PATIENCE * order.seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _ended(order, "too slow", f"stopped after {_PATIENCE} times the time limit")
        if done.returncode == 0:
            return msgspec.json.decode(written.read_bytes(), type=Record)
    if done.returncode == TOO_SLOW:
        return _ended(order, "too slow", f"over {order.seconds} s of CPU time")
    last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
    return _ended(order, "failed", (last[0].strip() if last else f"exit {done.returncode}")[:200])


def _ended(order: Order, status: Status, reason: str) -> Record:
    return Record(
        stream=order.stream,
        limit=order.limit,
        peer=order.peer,
        seed=order.seed,
        status=status,
        reason=reason,
    )
