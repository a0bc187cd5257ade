"""The journal on disk: frames appended to segment files of bounded size."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, final

from streamnet.daemon.journal.frames import (
    HEADER_BYTES,
    Frame,
    FrameKind,
    decode_frames,
    encode_frame,
    read_frame_size,
)
from streamnet.durability.files import DISK, FileSystem, remove_partial_files, write_durably
from streamnet.durability.safe_file import SafeFile
from streamnet.errors import DamagedStateError, StateError
from streamnet.settings.daemon import IntakeSection

_LOG = logging.getLogger("streamnet.daemon")

_MAX_UNSYNCED_BYTES = 16 << 20
_SEARCH_BYTES = 1 << 20  # read at once to find a frame
IDENTITY_FILE = "identity"
_SEGMENT_NAME = re.compile(r"([0-9]{16})-([0-9]{16})\.segment")


class Segment(NamedTuple):
    """A file of the journal; its first frame is a snapshot."""

    base: int  # offset of its first byte in the journal
    samples: int  # samples in the journal before it

    @property
    def name(self) -> str:
        """Name of the file."""
        return f"{self.base:016d}-{self.samples:016d}.segment"


class JournalPart(NamedTuple):
    """Bytes of a segment."""

    segment: Segment
    offset: int  # in the segment
    data: bytes


@final
class Journal:
    """An append-only log that stays whole and in order; a crash can only cut off its end.

    Offsets count bytes since the journal began, across segments. What is written can be read at
    once; it survives the process, and after `sync` a power cut. One thread appends, one syncs, any
    may read. Methods raise OSError if the disk fails.

    >>> import tempfile
    >>> journal = Journal(Path(tempfile.mkdtemp()))
    >>> journal.open(b"snapshot")
    >>> journal.append([Frame(FrameKind.SAMPLES, b"", b'{"x": 1}' + bytes([10]), 1)])
    >>> journal.sync()
    >>> journal.samples, journal.synced == journal.end
    (1, True)
    >>> [frame.kind.name for frame in journal.read_since_snapshot()]
    ['SNAPSHOT', 'SAMPLES']
    >>> journal.close()
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = IntakeSection().segment_bytes,
        files: FileSystem = DISK,
    ) -> None:
        self.folder = folder
        self.samples: int = 0
        self.identity: str = ""  # see `identify`
        self._segment_bytes = segment_bytes
        self._files = files
        self._segments: list[Segment] = []
        self._newest: tuple[Segment, SafeFile] | None = None  # replaced as one, for readers
        self._snapshot_bytes = 0  # of the newest segment
        self._next: tuple[Segment, bytes] | None = None  # a segment that could not be created

    @property
    def end(self) -> int:
        """Offset after the last frame."""
        return 0 if self._newest is None else self._newest[0].base + self._newest[1].length

    @property
    def synced(self) -> int:
        """Offset up to which everything is known to be on the disk."""
        return 0 if self._newest is None else self._newest[0].base + self._newest[1].synced

    @property
    def _file(self) -> SafeFile:
        assert self._newest is not None
        return self._newest[1]

    # -------------------------------------------------------------- opening

    def open(self, snapshot: bytes) -> None:
        """Resume after the last whole frame; a new journal begins with ``snapshot``.

        Raises:
            DamagedStateError: If segments are missing or damaged.
        """
        remove_partial_files(self.folder, files=self._files)
        self._segments = self._list_segments()
        if not self._segments:
            self._begin(Segment(0, 0), snapshot)
            return
        newest = self._segments[-1]
        path = self.folder / newest.name
        data = self._files.read(path)
        size, samples = 0, newest.samples
        for offset, frame in decode_frames(data):
            size, samples = offset + frame.size, samples + frame.samples
            self._snapshot_bytes = self._snapshot_bytes or frame.size
        if not size:
            raise DamagedStateError(f"{path} is damaged at its start")
        if size < len(data):
            lost = len(data) - size
            _LOG.warning("%s: the last %d bytes are incomplete after a crash; cut off", path, lost)
        handle = self._files.open_truncated_at(path, size)
        self._newest = newest, self._build_file(path, handle, size)
        # What was there may not be on the disk yet.
        self._files.fsync(handle)
        self.samples = samples

    def identify(self) -> None:
        """Read what distinguishes it from an earlier journal of this path, or write it once."""
        path = self.folder / IDENTITY_FILE
        with suppress(FileNotFoundError):
            self.identity = self._files.read(path).decode("ascii", "replace")
        if not self.identity:
            identity = secrets.token_hex(16)
            write_durably(path, identity.encode("ascii"), files=self._files)
            self.identity = identity

    def _list_segments(self) -> list[Segment]:
        matches = (_SEGMENT_NAME.fullmatch(name) for name in self._files.names(self.folder))
        segments = [Segment(int(match[1]), int(match[2])) for match in matches if match]
        for before, after in pairwise(segments):
            size = self._files.size(self.folder / before.name)
            if before.base + size != after.base:
                raise DamagedStateError(
                    f"{self.folder / before.name} has {size:,} bytes, but must have "
                    f"{after.base - before.base:,}: the next segment is missing, or this one is "
                    "damaged"
                )
        return segments

    def _begin(self, segment: Segment, snapshot: bytes) -> None:
        """Create a segment, whole or not at all, and continue in it."""
        first = encode_frame(Frame(FrameKind.SNAPSHOT, snapshot))
        path = self.folder / segment.name
        write_durably(path, first, files=self._files)
        handle = self._files.open_truncated_at(path, len(first))
        old = self._newest
        self._segments = [*self._segments, segment]
        self._snapshot_bytes = len(first)
        self._newest = segment, self._build_file(path, handle, len(first))
        if old is not None:
            old[1].close()

    def _build_file(self, path: Path, handle: int, size: int) -> SafeFile:
        return SafeFile(path, handle, size, files=self._files, must_keep_name=True)

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        if self._newest is not None:
            self._file.close()

    # -------------------------------------------------------------- writing

    @property
    def is_full(self) -> bool:
        """Whether another segment should begin; the larger a snapshot, the later."""
        size = self._file.length - self._snapshot_bytes
        return size >= max(self._segment_bytes, self._snapshot_bytes)

    @property
    def needs_sync(self) -> bool:
        """Whether so much is not on the disk yet that it should be synced before the next write."""
        return self._file.unsynced_bytes >= _MAX_UNSYNCED_BYTES

    def append(self, frames: Sequence[Frame]) -> None:
        """Write all frames or none."""
        self._finish_roll()
        self._file.append(b"".join(map(encode_frame, frames)))
        self.samples += sum(frame.samples for frame in frames)

    def probe(self, size: int) -> None:
        """Check that ``size`` bytes could be appended."""
        self._finish_roll()
        self._file.probe(size)

    def sync(self) -> None:
        """Put on the disk what was appended before."""
        self._file.sync()

    def read_unsynced(self, offset: int) -> JournalPart | None:
        """Read what `sync` would put on the disk, from an offset on; None if there is nothing."""
        assert self._newest is not None
        segment, file = self._newest
        start, data = file.read_unsynced(offset - segment.base)
        return JournalPart(segment, start, data) if data else None

    def roll(self, snapshot: bytes) -> None:
        """Begin another segment; if that fails, it is retried before anything else is appended."""
        self.sync()
        self._next = Segment(self.end, self.samples), snapshot
        self._finish_roll()

    def _finish_roll(self) -> None:
        if self._next is not None:
            self._begin(*self._next)
            self._next = None

    def can_trim(self, samples: int) -> bool:
        """Whether `trim` has something to remove."""
        return len(self._segments) > 1 and self._segments[1].samples <= samples

    def trim(self, samples: int) -> None:
        """Remove segments that hold only samples before number ``samples``.

        A segment that can't be removed stays; the next start lists it again.
        """
        while self.can_trim(samples):
            with suppress(OSError):
                self._files.unlink(self.folder / self._segments[0].name)
            self._segments = self._segments[1:]

    # -------------------------------------------------------------- reading

    @property
    def begin(self) -> int:
        """Offset of the first frame that is kept."""
        return self._segments[0].base

    @property
    def samples_before(self) -> int:
        """Samples before the first frame that is kept."""
        return self._segments[0].samples

    def read_since_snapshot(self) -> Iterator[Frame]:
        """Read the newest snapshot and the frames after it."""
        return (frame for _, frame in decode_frames(self._file.read_all()))

    def read(self, offset: int, most: int) -> list[tuple[int, Frame]]:
        """Read frames with their offsets: ``most`` bytes, but at least one, if there is one.

        Raises:
            StateError: If there is no whole frame at ``offset``, or its segment was removed.
        """
        segments, newest = self._segments, self._newest
        assert newest is not None
        segment, file = newest
        if offset >= segment.base:
            path, start = file.path, offset - segment.base
            data = _read_first(lambda at, size: file.read(start + at, size), most)
            if not data:
                return []
        else:
            segment, limit = self._find_segment(offset, segments)
            path, start = self.folder / segment.name, offset - segment.base

            def read_part(at: int, size: int) -> bytes:
                return self._files.read_part(path, start + at, min(size, limit - offset - at))

            data = _read_first(read_part, most)
        found = [(offset + place, frame) for place, frame in decode_frames(data)]
        if not found:
            raise DamagedStateError(f"{path} is damaged at byte {start:,}")
        return found

    def find_frame(self, offset: int) -> int:
        """Offset of the frame that contains a byte.

        Raises:
            StateError: If the byte is in no segment that is kept.
        """
        if offset >= self.end:
            return self.end
        at = max((s.base for s in self._segments if s.base <= offset), default=self.begin)
        while True:
            for begin, frame in self.read(at, _SEARCH_BYTES):
                at = begin + frame.size
                if at > offset:
                    return begin

    def _find_segment(self, offset: int, segments: Sequence[Segment]) -> tuple[Segment, int]:
        """Find the segment of an offset, and the offset of its end."""
        for segment, following in pairwise(segments):
            if segment.base <= offset < following.base:
                return segment, following.base
        raise StateError(
            f"{self.folder} has no byte {offset:,}, but {self.begin:,} to {self.end:,}: it is "
            "another journal"
        )


def _read_first(read_part: Callable[[int, int], bytes], most: int) -> bytes:
    """Read ``most`` bytes, or all of the first frame."""
    data = read_part(0, max(most, HEADER_BYTES))
    if len(data) >= HEADER_BYTES and read_frame_size(data) > len(data):
        data += read_part(len(data), read_frame_size(data) - len(data))
    return data
