"""The journal on disk: frames appended to segment files of bounded size."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from errno import ESTALE
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import NamedTuple, final

from streamnet.daemon.journal.frames import (
    HEADER_BYTES,
    Frame,
    FrameKind,
    decode_frames,
    encode,
    read_frame_size,
)
from streamnet.durability.files import (
    DISK,
    FileSystem,
    remove_partial_files,
    write_all,
    write_durably,
)
from streamnet.errors import ConfigurationError, DamagedStateError, StateError

__all__ = ("Journal", "Segment")

logger = logging.getLogger("streamnet.daemon")

SEGMENT_BYTES = 64 << 20
_MIN_SEGMENT_BYTES = 1 << 10
_MAX_UNSYNCED_BYTES = 16 << 20
_SEARCH_BYTES = 1 << 20  # bytes that are read at once to find a frame
_SEGMENT_NAME = re.compile(r"([0-9]{16})-([0-9]{16})\.segment")


class Segment(NamedTuple):
    """A file of the journal; its first frame is a snapshot."""

    base: int  # offset of its first byte in the journal
    samples: int  # samples in the journal before it

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.base:016d}-{self.samples:016d}.segment"


@final
class Journal:
    """What is appended stays, whole and in order; only what a crash tore off at the end is gone.

    An offset counts bytes since the journal began, whichever segment they are in. What is written
    can be read at once; it survives the process, and once it is synced, a power cut too. What was
    written since the last `sync` is remembered, since nobody knows what a disk holds after an fsync
    that failed: it is written again. One thread appends, one syncs, any may read.

    Args:
        folder: Where the segments are; it must exist.
        segment_bytes: Bytes after which another segment begins.
        files: The file system.

    Raises:
        ConfigurationError: If ``segment_bytes`` is below 1,024.

    >>> import tempfile
    >>> journal = Journal(Path(tempfile.mkdtemp()))
    >>> journal.open(b"snapshot")
    >>> journal.append([Frame(FrameKind.SAMPLES, b"", b'{"x": 1}' + bytes([10]), 1)])
    >>> journal.sync()
    >>> journal.samples, journal.synced == journal.end
    (1, True)
    >>> [frame.kind.name for frame in journal.since_snapshot()]
    ['SNAPSHOT', 'SAMPLES']
    >>> journal.close()
    """

    def __init__(
        self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, files: FileSystem = DISK
    ) -> None:
        if segment_bytes < _MIN_SEGMENT_BYTES:
            raise ConfigurationError(
                f"segment_bytes is {segment_bytes}, but must be >= {_MIN_SEGMENT_BYTES}"
            )
        self.folder = folder
        self.end = 0  # offset behind the last frame
        self.synced = 0  # offset up to which all is on the disk for sure
        self.samples = 0
        self._segment_bytes = segment_bytes
        self._files = files
        self._segments: list[Segment] = []
        self._snapshot_bytes = 0  # of the newest segment
        self._handle: int | None = None
        self._has_torn_tail = False  # whether there may be bytes behind `end`
        self._is_lost = False  # whether an fsync failed
        self._next: tuple[Segment, bytes] | None = None  # a segment that could not be begun
        self._unsynced = bytearray()  # what is between `synced` and `end`
        self._syncing = Lock()  # held while the file is synced or mended; to be taken first
        self._lock = Lock()  # held while the file is written

    # -------------------------------------------------------------- opening

    def open(self, snapshot: bytes) -> None:
        """Go on behind the last whole frame; a new journal begins with ``snapshot``.

        Raises:
            DamagedStateError: If segments are missing or damaged.
            OSError: If the files can't be read or written.
        """
        remove_partial_files(self.folder, files=self._files)
        self._segments = self._found()
        if not self._segments:
            self._begin(Segment(0, 0), snapshot)
            return
        newest = self._segments[-1]
        data = self._files.read(self.folder / newest.name)
        size, samples = 0, newest.samples
        for offset, frame in decode_frames(data):
            size, samples = offset + frame.size, samples + frame.samples
            self._snapshot_bytes = self._snapshot_bytes or frame.size
        if not size:
            raise DamagedStateError(f"{self.folder / newest.name} is damaged at its start")
        if size < len(data):
            logger.warning(
                "%s: its last %d bytes were torn off by a crash",
                self.folder / newest.name,
                len(data) - size,
            )
        self._handle = self._files.open_truncated_at(self.folder / newest.name, size)
        # Whatever was there before may not be on the disk yet.
        self._files.fsync(self._handle)
        self.end = self.synced = newest.base + size
        self.samples = samples

    def _found(self) -> list[Segment]:
        matches = (_SEGMENT_NAME.fullmatch(name) for name in self._files.names(self.folder))
        segments = [Segment(int(match[1]), int(match[2])) for match in matches if match]
        for before, after in pairwise(segments):
            size = self._files.size(self.folder / before.name)
            if before.base + size != after.base:
                raise DamagedStateError(
                    f"{self.folder / before.name} has {size:,} bytes, but must have "
                    f"{after.base - before.base:,}: a segment behind it is missing, or it is "
                    "damaged"
                )
        return segments

    def _begin(self, segment: Segment, snapshot: bytes) -> None:
        """Make a segment, whole or not at all, and go on in it."""
        first = encode(Frame(FrameKind.SNAPSHOT, snapshot))
        path = self.folder / segment.name
        write_durably(path, first, files=self._files)
        handle = self._files.open_truncated_at(path, len(first))
        self._replace_handle(handle)
        self._segments = [*self._segments, segment]
        self._snapshot_bytes = len(first)
        self.end = self.synced = segment.base + len(first)

    def close(self) -> None:
        """Let go of the file. Closing twice is allowed."""
        with self._syncing, self._lock:
            self._replace_handle(None)

    def _replace_handle(self, handle: int | None) -> None:
        old, self._handle = self._handle, handle
        if old is not None:
            self._files.close(old)

    # -------------------------------------------------------------- writing

    @property
    def is_full(self) -> bool:
        """Whether another segment is to begin: a large snapshot is not written too often."""
        size = self.end - self._segments[-1].base - self._snapshot_bytes
        return size >= max(self._segment_bytes, self._snapshot_bytes)

    @property
    def waits_for_sync(self) -> bool:
        """Whether so much is not on the disk yet that it should be synced before more comes."""
        return len(self._unsynced) >= _MAX_UNSYNCED_BYTES

    def append(self, frames: Sequence[Frame]) -> None:
        """Write frames, all or none of them.

        Raises:
            OSError: If that fails: none of them is there.
        """
        data = b"".join(map(encode, frames))
        if self._is_broken:
            with self._syncing, self._lock:
                self._repair()
        with self._lock:
            assert self._handle is not None
            # Until all is written, what is behind the end does not count.
            self._has_torn_tail = True
            write_all(self._files, self._handle, data)
            self._has_torn_tail = False
            self._unsynced += data
            self.samples += sum(frame.samples for frame in frames)
            self.end += len(data)

    def probe(self, size: int) -> None:
        """See whether so many bytes could be appended: zeros, which are no frame, come and go.

        Raises:
            OSError: If not.
        """
        with self._syncing, self._lock:
            self._repair()
            if self._handle is not None:
                self._has_torn_tail = True
                write_all(self._files, self._handle, bytes(size))
                self._repair()

    def sync(self) -> None:
        """Put all that was appended before on the disk.

        Raises:
            OSError: If that fails, or what is on the disk could not be found again.
        """
        with self._syncing:
            with self._lock:
                self._repair()
                handle, end = self._handle, self.end
            if handle is None or self.synced == end:
                return
            try:
                self._files.fsync(handle)
                self._check_file()
            except OSError:
                self._is_lost = True
                raise
            with self._lock:
                del self._unsynced[: end - self.synced]
                self.synced = end

    def _check_file(self) -> None:
        """See that a file is written that somebody who opens the journal would find.

        Raises:
            OSError: If it was removed or replaced.
        """
        path = self.folder / self._segments[-1].name
        if self._handle is not None and not self._files.is_same_file(self._handle, path):
            raise OSError(ESTALE, f"{path.name} was replaced")

    def roll(self, snapshot: bytes) -> None:
        """Begin another segment; ``snapshot`` is what all frames so far have led to.

        Raises:
            OSError: If that fails; it is tried again before anything else is appended.
        """
        self.sync()
        with self._syncing, self._lock:
            self._next = Segment(self.end, self.samples), snapshot
            self._repair()

    @property
    def _is_broken(self) -> bool:
        return self._is_lost or self._has_torn_tail or self._next is not None

    def _repair(self) -> None:
        """Finish what went wrong before, while nobody else writes."""
        if self._handle is None:
            return
        if self._is_lost:
            self._check_file()  # another one of its name would be spoilt
            # What an fsync that failed may have lost is still in memory.
            self._reopen(self.synced)
            write_all(self._files, self._handle, bytes(self._unsynced))
            self._is_lost = self._has_torn_tail = False
        if self._has_torn_tail:
            self._reopen(self.end)
            self._has_torn_tail = False
        if self._next is not None:
            self._begin(*self._next)
            self._next = None

    def _reopen(self, offset: int) -> None:
        """Cut what is behind an offset."""
        segment = self._segments[-1]
        path = self.folder / segment.name
        self._replace_handle(self._files.open_truncated_at(path, offset - segment.base))

    def can_trim(self, samples: int) -> bool:
        """Whether `trim` has something to remove."""
        return len(self._segments) > 1 and self._segments[1].samples <= samples

    def trim(self, samples: int) -> None:
        """Remove segments of which nobody needs anything: all before sample ``samples`` is learned.

        One that can't be removed stays until the next time.
        """
        while self.can_trim(samples):
            with suppress(OSError):
                self._files.unlink(self.folder / self._segments[0].name)
            self._segments = self._segments[1:]

    # -------------------------------------------------------------- reading

    @property
    def begin(self) -> int:
        """Offset of the first frame that is there."""
        return self._segments[0].base

    @property
    def samples_before(self) -> int:
        """Samples that were appended before the first frame that is there."""
        return self._segments[0].samples

    def since_snapshot(self) -> Iterator[Frame]:
        """The newest snapshot and the frames behind it.

        Raises:
            OSError: If they can't be read.
        """
        segment = self._segments[-1]
        with self._lock:
            synced, rest = self.synced, bytes(self._unsynced)
        path = self.folder / segment.name
        data = self._files.read_part(path, 0, synced - segment.base) + rest
        return (frame for _, frame in decode_frames(data))

    def read(self, offset: int, most: int) -> list[tuple[int, Frame]]:
        """The frames from ``offset`` on, each with its offset: at least one, if there is one.

        Args:
            offset: Where a frame begins.
            most: Bytes that they may take, but for the first one.

        Raises:
            StateError: If there is no whole frame, or it is in a segment that was removed.
            OSError: If it can't be read.
        """
        with self._lock:
            if offset >= self.synced:
                # Files are read only as far as they are synced: an fsync that fails may spoil them.
                start = offset - self.synced
                rest = self._unsynced
                data = _read_first(
                    lambda at, size: bytes(rest[start + at : start + at + size]), most
                )
                return [(offset + place, frame) for place, frame in decode_frames(data)]
            segment, limit = self._segment_of(offset)
        path, start = self.folder / segment.name, offset - segment.base

        def part(at: int, size: int) -> bytes:
            return self._files.read_part(path, start + at, min(size, limit - offset - at))

        found = [(offset + place, frame) for place, frame in decode_frames(_read_first(part, most))]
        if not found:
            raise DamagedStateError(f"{path} is damaged at byte {start:,}")
        return found

    def frame_before(self, offset: int) -> int:
        """Where the frame begins that an offset lies in; the offset itself at a frame's start.

        Raises:
            StateError: If it lies in no segment that is there.
            OSError: If the journal can't be read.
        """
        if offset >= self.end:
            return self.end
        at = max((s.base for s in self._segments if s.base <= offset), default=self.begin)
        while True:
            for begin, frame in self.read(at, _SEARCH_BYTES):
                at = begin + frame.size
                if at > offset:
                    return begin

    def _segment_of(self, offset: int) -> tuple[Segment, int]:
        """The segment of an offset that is synced, and the offset behind what is synced of it."""
        limit = self.synced
        for segment in reversed(self._segments):
            if segment.base <= offset < limit:
                return segment, limit
            limit = min(limit, segment.base)
        raise StateError(
            f"{self.folder} has no byte {offset:,}, but {self.begin:,} to {self.end:,}: it is not "
            "the same journal any more"
        )


def _read_first(part: Callable[[int, int], bytes], most: int) -> bytes:
    """The first ``most`` bytes of what ``part`` reads, or all of its first frame."""
    data = part(0, max(most, HEADER_BYTES))
    if len(data) >= HEADER_BYTES and read_frame_size(data) > len(data):
        data += part(len(data), read_frame_size(data) - len(data))
    return data
