"""`FolderSource`: the files of a folder in name order, including those still to come."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, NamedTuple, final

from anyio import sleep, to_thread

from streamnet.errors import DataError
from streamnet.samples import Block, DeadLetter, Position, Schema, schema_from_dict
from streamnet.sources.base import OnGap, Reason, Source, check_gap, make_rejection_block
from streamnet.sources.storage.folders import Folder
from streamnet.sources.wrappers import open_or_close

MAX_NAMES = 4096  # names of files read that are kept, to notice files that come too late


class _FileState(NamedTuple):
    """Size and version of a file, and when they were first seen."""

    size: int
    version: object
    seen: float


@final
class FolderSource(Source):
    """Samples of the files of a folder, in the order of their names, without end.

    A file is read once its size and time have not changed for a second, and no file with an earlier
    name is still being written; an object in a bucket is read at once. To be safe, write files
    elsewhere, or under a hidden name or one that ends in .tmp or .part, and rename them; such files
    and folders are ignored. A file whose name precedes one that was read already is a gap: it is
    skipped. Only the last 4,096 names are kept to detect that.

    A truncated compressed file, such as one that was read while it was still being written, ends
    reading with an error after its last sample; once it is complete, reading resumes in it without
    loss. If the file of a position is gone when reading resumes, that is a gap.
    """

    def __init__(
        self, folder: Folder, make_source: Callable[[str], Source], *, on_gap: OnGap = "stop"
    ) -> None:
        self._folder = folder
        self._make_source = make_source
        self._on_gap = on_gap
        self._taken: list[str] = []  # the last names read, in order
        self._changes: dict[str, _FileState] = {}  # of files that were not read yet, in order
        self._folder_version: object = None  # of the folder itself before the last full scan
        self._next_scan = 0.0  # when the next full scan is due
        self._empty = ""  # the first empty file, which may be filled unnoticed; "" for none
        self._source: Source | None = None  # of the current file
        self._last_source: Source | None = None  # of the last block
        self._end = Position()  # of the last block
        self._schema = Schema(())
        self._learned: dict[str, Any] = {}  # state after the previous files
        self._restored: Mapping[str, Any] = {}
        self._gap: DeadLetter | None = None  # a gap that was not returned yet
        self._closed = False

    async def open(self, after: Position | None = None) -> Schema:
        """Wait for the first file, or resume in the file of ``after``."""
        if after is None or not after.source:
            while self._source is None:
                await self._advance()
            return self._schema
        if not self._restored:
            where = f"{self._folder.path} can't be resumed at {after.source}"
            raise DataError(f"{where} without a state")
        self._taken = list(self._restored["taken"])
        self._end = after
        self._learned = _drop_position(self._restored["source"])
        self._schema = schema_from_dict(self._learned["schema"])
        path = self._find_path(after.source)
        gone = not await to_thread.run_sync(self._folder.exists, path)
        if gone and not self._restored["ended"]:
            detail = f"{after.source} is gone, and with it what it may have held after "
            self._gap = self._make_gap(after.source, f"{detail}byte or row {after.offset}")
        elif not self._restored["ended"]:
            self._schema = await self._open_file(path, self._restored["source"], after)
        return self._schema

    def _find_path(self, source: str) -> str:
        """The file of a position, which may be in a member of it if it is an archive."""
        name = self._taken[-1] if self._taken else ""
        path = self._folder.join(name)
        return path if source.startswith(f"{path}/") else source

    async def receive(self) -> Block | None:
        """The next samples, once there are some; None only after `aclose`."""
        while not self._closed:
            if self._gap is not None:
                gap, self._gap = self._gap, None
                return make_rejection_block(self._schema, self._end, gap)
            if self._source is None:
                await self._advance()
                continue
            block = await self._source.receive()
            if block is not None:
                self._last_source, self._end, self._schema = self._source, block.end, block.schema
                return block
            self._learned = _drop_position(self._source.export_state(None))
            await self._source.aclose()
            self._source = None
        return None

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The names of the files read so far, and the state of the source of the last one."""
        if after is None or not after.source:
            return {}
        source = self._last_source or self._source
        restored = self._restored.get("source", {})
        state = dict(restored) if source is None else source.export_state(after)
        ended = self._source is None and after == self._end
        return {"taken": self._taken, "source": state, "ended": ended}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore which files were read."""
        self._restored = state

    async def aclose(self) -> None:
        """Close the current file."""
        self._closed = True
        if self._source is not None:
            await self._source.aclose()

    async def _advance(self) -> None:
        """Open the next file, note one that came too late, or wait a little."""
        late, name = await to_thread.run_sync(self._scan)
        if late is not None:
            path = self._folder.join(late)
            detail = f"{path} came after {self._taken[-1]} had been read, so it is skipped"
            self._gap = self._make_gap(path, detail)
            self._take(late)
        elif name is not None:
            self._schema = await self._open_file(self._folder.join(name), self._learned, None)
            self._take(name)
        else:
            await sleep(self._folder.pause_seconds)

    async def _open_file(
        self, path: str, state: Mapping[str, Any], after: Position | None
    ) -> Schema:
        source = await to_thread.run_sync(self._make_source, path)
        source.restore_state(state)
        schema = await open_or_close(source, after)
        self._source = source
        return schema

    def _scan(self) -> tuple[str | None, str | None]:
        """Find a file that came too late, and the next one if it is complete."""
        now = monotonic()
        if (name := self._find_unchanged(now)) is not None:
            return None, name
        folder_version = self._folder.version()
        last = self._taken[-1] if self._taken else ""
        taken = frozenset(self._taken)
        coming: dict[str, _FileState] = {}
        empty = ""
        for name, size, version in self._folder.list():
            if not size:
                empty = empty or (name if name > last else "")
                continue
            if name <= last:
                remembered = len(self._taken) < MAX_NAMES or name > self._taken[0]
                if remembered and name not in taken:
                    return name, None
                continue
            before = self._changes.get(name)
            same = before is not None and (before.size, before.version) == (size, version)
            coming[name] = before if before and same else _FileState(size, version, now)
        # Only a complete scan counts.
        self._changes, self._folder_version, self._empty = coming, folder_version, empty
        done = monotonic()
        self._next_scan = done + max(self._folder.pause_seconds, done - now)
        first = next(iter(coming), None)
        if first is None or now < coming[first].seen + self._folder.settled_seconds:
            return None, None
        return None, first

    def _find_unchanged(self, now: float) -> str | None:
        """The next file if neither it nor the folder has changed since the last scan, else None.

        Scanning all files before each of thousands would take quadratic time.
        """
        first = next(iter(self._changes), None)
        if first is None or now > self._next_scan or "" < self._empty < first:
            return None
        before = self._changes[first]
        found = self._folder.look(first)
        if found is None or (before.size, before.version) != (found.size, found.version):
            return None
        unchanged = self._folder.version() == self._folder_version
        return first if unchanged and now >= before.seen + self._folder.settled_seconds else None

    def _take(self, name: str) -> None:
        self._changes.pop(name, None)
        insort(self._taken, name)
        del self._taken[:-MAX_NAMES]

    def _make_gap(self, path: str, detail: str) -> DeadLetter:
        """The rejected record for a gap, or the error in its place."""
        check_gap(detail, self._on_gap)
        return DeadLetter(path, 0, None, str(Reason.GAP), detail, "")


def _drop_position(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in ("before", "mark")}
