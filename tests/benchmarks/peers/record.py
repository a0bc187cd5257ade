"""Record: what one run of one peer gave, and the file that keeps all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, final

import msgspec

from streamnet.errors import DataError

__all__ = ("Record", "Records", "Status")

Status = Literal["done", "failed", "too slow"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a peer over the first samples of a stream."""

    stream: str
    limit: int | None
    peer: str
    seed: int
    status: Status
    reason: str = ""  # why it is not done
    setting: str = ""
    version: str = ""  # the peer's package and its version
    samples: int = 0
    measures: dict[str, float] = {}
    cpu_seconds: float = 0.0  # of test-then-train, all threads
    peak_mib: float = 0.0  # of its whole process

    @property
    def rate(self) -> float:
        """Samples per second of CPU time."""
        return self.samples / max(self.cpu_seconds, 1e-9)


@final
class Records:
    """All runs so far, in a JSON file that is written anew after each.

    Args:
        path: The file; None keeps them in memory only.

    Raises:
        DataError: If the file holds something else.

    >>> records = Records(None)
    >>> run = Record(stream="s", limit=None, peer="p", seed=0, status="done")
    >>> records.add(run)
    >>> records.find("s", None, "p", 0) == run
    True
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._runs: dict[tuple[str, int | None, str, int], Record] = {}
        if path is None or not path.exists():
            return
        try:
            runs = msgspec.json.decode(path.read_bytes(), type=list[Record])
        except msgspec.MsgspecError as error:
            raise DataError(f"{path} holds no runs: {error}") from error
        self._runs = {(run.stream, run.limit, run.peer, run.seed): run for run in runs}

    def find(self, stream: str, limit: int | None, peer: str, seed: int) -> Record | None:
        """A run that took place; one that failed will be tried again."""
        run = self._runs.get((stream, limit, peer, seed))
        return None if run is None or run.status == "failed" else run

    def add(self, run: Record) -> None:
        """Keep a run, in place of an earlier one of the same kind."""
        self._runs[run.stream, run.limit, run.peer, run.seed] = run
        if self.path is not None:
            text = msgspec.json.format(msgspec.json.encode(list(self._runs.values())), indent=1)
            beside = self.path.with_name(f"{self.path.name}.new")
            beside.write_bytes(text + b"\n")
            beside.replace(self.path)

    def of(self, stream: str, limit: int | None) -> list[Record]:
        """All runs over these samples."""
        return [run for run in self._runs.values() if (run.stream, run.limit) == (stream, limit)]
