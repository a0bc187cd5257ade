"""`FolderSource`: the files of a folder in name order, including those still to come."""

from __future__ import annotations

import os
from bisect import insort
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, final

from anyio import sleep, to_thread

from streamnet.errors import DataError
from streamnet.samples import Block, DeadLetter, Position, Schema, schema_from_dict
from streamnet.sources.base import Source
from streamnet.sources.files.byte_stream import check_file_name, make_open_error
from streamnet.sources.files.text_file import OnGap
from streamnet.sources.rejection import Reason, make_rejection_block
from streamnet.sources.wrappers.retry import open_or_close

__all__ = ("FolderSource",)

PAUSE = 0.2  # seconds between two looks at the folder
SETTLED = 1.0  # seconds without a change after which a file is complete
MAX_NAMES = 4096  # of files read that are remembered, to notice those that come too late
UNFINISHED = (".tmp", ".part", ".partial", "~")


class _FileState(NamedTuple):
    """How a file looked, and when that was first seen."""

    size: int
    time: int
    seen: float


@final
class FolderSource(Source):
    """Samples of the files of a folder, in the order of their names, without end.

    A file is taken when its size and time have not changed for a second, and no file with a name
    before it is still being written; so write it elsewhere, or under a hidden name or one that
    ends in .tmp or .part, and rename it. Hidden files, those endings and folders are left out.
    A file whose name comes before one that was taken is not read any more: it is a gap. Only the
    last 4,096 names are remembered to tell.

    A packed file that is cut off, as one that was taken while it was still being written, ends
    reading with an error once what is there was given; where it is whole later, reading resumes in
    it with nothing lost. The file of the position that is gone when reading resumes is a gap.

    Args:
        folder: Where files appear.
        make_source: Makes the source of one file.
        on_gap: Whether a gap breaks reading off, or is a rejected record.
    """

    def __init__(
        self, folder: str, make_source: Callable[[str], Source], *, on_gap: OnGap = "stop"
    ) -> None:
        self._folder = folder
        self._make_source = make_source
        self._on_gap = on_gap
        self._taken: list[str] = []  # the last names, in order
        self._changes: dict[str, _FileState] = {}  # of files that were not taken yet, in order
        self._folder_time = 0  # of the folder's own last change before the last look at all files
        self._look_again = 0.0  # when the next one is due
        self._empty = ""  # the first file without content, which it may get unseen; "" for none
        self._source: Source | None = None  # of the file that is read
        self._last_reader: Source | None = None  # of the last block
        self._end = Position()  # of the last block
        self._schema = Schema(())
        self._learned: dict[str, Any] = {}  # what the files before have told
        self._known: Mapping[str, Any] = {}  # what another source exported
        self._lost: DeadLetter | None = None  # a gap that was not told yet
        self._closed = False

    async def open(self, after: Position | None = None) -> Schema:
        """Wait for the first file, or go on in the one of ``after``."""
        if after is None or not after.source:
            while self._source is None:
                await self._look()
            return self._schema
        if not self._known:
            raise DataError(f"{self._folder} can't be resumed at {after.source} without a state")
        self._taken = list(self._known["taken"])
        self._end = after
        self._learned = _drop_place(self._known["source"])
        self._schema = schema_from_dict(self._learned["schema"])
        gone = not await to_thread.run_sync(Path(after.source).exists)
        if gone and not self._known["ended"]:
            detail = f"{after.source} is gone, and with it what it may have held behind "
            self._lost = self._letter(after.source, f"{detail}byte or row {after.offset}")
        elif not self._known["ended"]:
            self._schema = await self._begin(after.source, self._known["source"], after)
        return self._schema

    async def receive(self) -> Block | None:
        """The next samples, once there are some; None only after `aclose`."""
        while not self._closed:
            if self._lost is not None:
                lost, self._lost = self._lost, None
                return make_rejection_block(self._schema, self._end, lost)
            if self._source is None:
                await self._look()
                continue
            block = await self._source.receive()
            if block is not None:
                self._last_reader, self._end, self._schema = self._source, block.end, block.schema
                return block
            self._learned = _drop_place(self._source.export_state(None))
            await self._source.aclose()
            self._source = None
        return None

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The names of the files that were taken, and the state of the last one's source."""
        if after is None or not after.source:
            return {}
        giver = self._last_reader or self._source
        state = dict(self._known.get("source", {})) if giver is None else giver.export_state(after)
        ended = self._source is None and after == self._end
        return {"taken": self._taken, "source": state, "ended": ended}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over which files were read."""
        self._known = state

    async def aclose(self) -> None:
        """Close the file that is read."""
        self._closed = True
        if self._source is not None:
            await self._source.aclose()

    async def _look(self) -> None:
        """Begin the next file, note one that came too late, or wait a little."""
        late, name = await to_thread.run_sync(self._scanned)
        if late is not None:
            path = str(Path(self._folder, late))
            detail = f"{path} came when {self._taken[-1]} had been read, so it is left out"
            self._lost = self._letter(path, detail)
            self._take(late)
        elif name is not None:
            self._schema = await self._begin(str(Path(self._folder, name)), self._learned, None)
            self._take(name)
        else:
            await sleep(PAUSE)

    async def _begin(self, path: str, state: Mapping[str, Any], after: Position | None) -> Schema:
        source = await to_thread.run_sync(self._make_source, path)
        source.restore_state(state)
        schema = await open_or_close(source, after)
        self._source = source
        return schema

    def _scanned(self) -> tuple[str | None, str | None]:
        """A file that came too late, and the next one if it is complete."""
        now = monotonic()
        if (name := self._as_seen(now)) is not None:
            return None, name
        folder_time = _stat_folder(self._folder).st_mtime_ns
        last = self._taken[-1] if self._taken else ""
        taken = frozenset(self._taken)
        coming: dict[str, _FileState] = {}
        empty = ""
        for name, status in _files(self._folder):
            size, time = status.st_size, status.st_mtime_ns
            if not size:
                empty = empty or (name if name > last else "")
                continue
            if name <= last:
                remembered = len(self._taken) < MAX_NAMES or name > self._taken[0]
                if remembered and name not in taken:
                    return name, None
                continue
            before = self._changes.get(name)
            same = before is not None and (before.size, before.time) == (size, time)
            coming[name] = before if before and same else _FileState(size, time, now)
        # Only a look at all of them is one to go by.
        self._changes, self._folder_time, self._empty = coming, folder_time, empty
        done = monotonic()
        self._look_again = done + max(PAUSE, done - now)
        first = next(iter(coming), None)
        if first is None or now < coming[first].seen + SETTLED:
            return None, None
        return None, first

    def _as_seen(self, now: float) -> str | None:
        """The next file if neither it nor the folder has changed since the last look, else None.

        A look at all files before each of thousands would take time by their square.
        """
        first = next(iter(self._changes), None)
        if first is None or now > self._look_again or "" < self._empty < first:
            return None
        before = self._changes[first]
        try:
            status = Path(self._folder, first).stat()
        except OSError:
            return None
        same = (before.size, before.time) == (status.st_size, status.st_mtime_ns)
        unchanged = same and _stat_folder(self._folder).st_mtime_ns == self._folder_time
        return first if unchanged and now >= before.seen + SETTLED else None

    def _take(self, name: str) -> None:
        self._changes.pop(name, None)
        insort(self._taken, name)
        del self._taken[:-MAX_NAMES]

    def _letter(self, path: str, detail: str) -> DeadLetter:
        """The record of a gap, or the error in its place."""
        if self._on_gap == "stop":
            raise DataError(f"{detail} (on_gap 'go_on' would go on nevertheless)")
        return DeadLetter(path, 0, None, str(Reason.GAP), detail, "")


def _files(folder: str) -> list[tuple[str, os.stat_result]]:
    """Names of the files, in order."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in filter(_counts, entries):
                with suppress(FileNotFoundError):  # files that were read may be taken away
                    found.append((entry.name, entry.stat()))
    except OSError as error:
        raise make_open_error(folder, error) from None
    for name, _ in found:
        check_file_name(os.path.join(folder, name))  # noqa: PTH118 - at each look, at thousands
    return sorted(found)


def _stat_folder(folder: str) -> os.stat_result:
    try:
        return Path(folder).stat()
    except OSError as error:
        raise make_open_error(folder, error) from None


def _counts(entry: os.DirEntry[str]) -> bool:
    name = entry.name
    return not name.startswith(".") and not name.endswith(UNFINISHED) and entry.is_file()


def _drop_place(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in ("before", "mark")}
