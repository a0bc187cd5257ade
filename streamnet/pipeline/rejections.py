"""Rejected records: counted, bounded, written to the dead-letter file, and read from it."""

from __future__ import annotations

import csv
import json
import logging
import os
from base64 import b64decode
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple, final

import msgspec
import numpy as np
from msgspec.structs import replace

from streamnet.durability.files import DISK, FileSystem, OutputPath, check_output_paths
from streamnet.durability.safe_file import AppendedFile
from streamnet.errors import ConfigurationError, DataError, StateError, TooManyRejectedError
from streamnet.features.columns.label import CLASS_REASONS
from streamnet.learning.serving import Served
from streamnet.pipeline.control_messages import list_part_trees
from streamnet.pipeline.maintenance import read_state_status
from streamnet.pipeline.outputs import ResumableSink
from streamnet.samples import Block, DeadLetter
from streamnet.sources.base import MAX_RAW_CHARACTERS, Reason
from streamnet.sources.files.byte_stream import ByteStream
from streamnet.sources.files.registry import SUFFIXES
from streamnet.sources.storage.locations import Locations
from streamnet.sources.storage.raw import display_name

STATE_DEAD_LETTERS = "dead-letters.jsonl"
"""Name of the dead-letter file in a state directory, unless the settings name another file."""

_HEAD_BYTES = 1 << 20  # at the start of a file, within which its header must end


def read_dead_letters(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the dead letters of a state directory; a StateError if they are missing or damaged.

    They include those written after the last checkpoint: often they are why the run failed.
    """
    tree = read_state_status(folder).tree
    given = tree["settings"].get("output", {}).get("dead_letters")
    first = Path(given) if given else folder / STATE_DEAD_LETTERS
    for part in list_part_trees(tree).values():
        counts = part["outputs"]["rejections"]
        own = first.with_name(Path(counts["path"]).name) if "slug" in part else first
        yield from _read_letters(own, counts)


def _read_letters(path: Path, counts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The dead letters of a file, with the counts of the last checkpoint."""
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):  # otherwise it is incomplete
                    yield json.loads(line)
    except FileNotFoundError as error:
        # The first rejected record creates it.
        if kept := counts["length"]:
            raise StateError(
                f"{path} does not exist, but {kept:,} bytes of rejected records were written to it "
                "(a relative name is relative to the working directory)"
            ) from error
    except (OSError, ValueError) as error:
        raise StateError(f"{path} can't be read: {error}") from error


class ExportedDeadLetters(NamedTuple):
    """Numbers of dead letters that were written out, and of those that were left out, by reason."""

    written: int
    gaps: int  # damaged parts of files, of which only a beginning is kept
    labels: int  # labels beyond the maximum number of classes, of which only the label is kept
    truncated: int  # long records, of which only a beginning is kept
    ambiguous: int  # records whose values can't be assigned to columns


def export_dead_letters(folder: Path, to: Path) -> ExportedDeadLetters:
    """Write the rejected records to a new file as they were, with a header if theirs had one.

    Where the columns of a later file have another order, its records are reordered like those of
    the first file. A StateError if the header of a file can't be read any more.
    """
    letters = list(read_dead_letters(folder))
    records = [letter for letter in letters if letter["reason"] != Reason.GAP]
    texts = [letter for letter in records if letter["reason"] not in CLASS_REASONS]
    complete = [letter | {"raw": _decode_raw(letter)} for letter in texts if _is_complete(letter)]
    header, lines = _align(folder, complete)
    try:
        with to.open("x", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(line + "\n" for line in [*header, *lines])
    except OSError as error:
        raise ConfigurationError(f"{to} can't be created: {error.strerror}") from error
    return ExportedDeadLetters(
        written=len(lines),
        gaps=len(letters) - len(records),
        labels=len(records) - len(texts),
        truncated=len(texts) - len(complete),
        ambiguous=len(complete) - len(lines),
    )


def _is_complete(letter: Mapping[str, Any]) -> bool:
    return len(letter["raw"]) < MAX_RAW_CHARACTERS and letter["reason"] != Reason.TOO_LONG


def _decode_raw(letter: Mapping[str, Any]) -> str:
    """The text of a record; bytes that are not UTF-8 become surrogates."""
    encoded = letter.get("raw_base64")
    if encoded is None:
        return str(letter["raw"])
    return b64decode(encoded).decode("utf-8", "surrogateescape")


def _align(folder: Path, letters: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The header line, if there is one, and the text of the records below it."""
    tree = read_state_status(folder).tree
    first = _find_header(tree["reading"]["source"])
    if first is None:
        return [], [letter["raw"].rstrip("\r\n") for letter in letters]
    source = tree["settings"].get("source", {})
    aligner = _RecordAligner(first, source.get("files", ()), source.get("encoding"))
    aligned = [aligner.align(letter) for letter in letters]
    return [first.join(first.names)], [line for line in aligned if line is not None]


class _Header(NamedTuple):
    """The column names of a CSV file in order, and its delimiter."""

    delimiter: str
    names: tuple[str, ...]

    def join(self, values: Sequence[str]) -> str:
        """Format values as a record."""
        text = StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator="").writerow(values)
        return text.getvalue()

    def split(self, record: str) -> list[str] | None:
        """Parse a record; None if its quotes are malformed or its number of values is wrong."""
        try:
            values = next(csv.reader([record], delimiter=self.delimiter, strict=True), [])
        except csv.Error:
            return None
        return values if len(values) == len(self.names) else None


def _find_header(state: object) -> _Header | None:
    """Find the header of the first file in the state of a source."""
    if not isinstance(state, Mapping):
        return None
    if state.get("header") and "names" in state and "delimiter" in state:
        return _Header(state["delimiter"], tuple(state["names"]))
    found = (_find_header(value) for value in state.values())
    return next((header for header in found if header), None)


@final
class _RecordAligner:
    """Reorders records like the columns of the first file, whose header is known."""

    def __init__(self, first: _Header, files: Sequence[str], encoding: str | None = None) -> None:
        self._first = first
        self._encoding = encoding
        self._headers = {display_name(files[0]): first} if len(files) == 1 else {}

    def align(self, letter: Mapping[str, Any]) -> str | None:
        """The text of a record under the first header; None if its values don't fit there."""
        raw = str(letter["raw"]).rstrip("\r\n")
        source = letter["source"]
        if source not in self._headers:
            self._headers[source] = self._read_header(source)
        header = self._headers[source]
        if header == self._first:
            return raw
        values = None if letter["reason"] == Reason.QUOTE else header.split(raw)
        if values is None:
            return None
        by_name = dict(zip(header.names, values, strict=True))
        return self._first.join([by_name.get(name, "") for name in self._first.names])

    def _read_header(self, source: str) -> _Header:
        delimiter, names = self._first
        try:
            head = _read_head(source, self._encoding)
            found = next((row for row in csv.reader(head, delimiter=delimiter) if row), [])
        except (DataError, csv.Error) as error:
            raise StateError(
                f"{error}, but its header is needed to reorder the columns of its records"
            ) from error
        if set(names).isdisjoint(found):  # a followed file that was replaced by one without header
            return self._first
        return _Header(delimiter, tuple(name or f"f{i}" for i, name in enumerate(found)))


def _read_head(source: str, encoding: str | None) -> StringIO:
    """Read the decompressed start of a file, in UTF-8."""
    with closing(Locations(SUFFIXES)) as locations:
        if locations.size(source) is None:
            raise DataError(f"{source} no longer exists")
        raw = locations.open(source)
        stream = ByteStream(source, _HEAD_BYTES, raw=raw, encoding=encoding)
        try:
            data = b""
            while not stream.ended and len(data) < _HEAD_BYTES:
                data += stream.read()
        finally:
            stream.close()
    if stream.failure is not None:
        raise DataError(f"{source} {stream.failure}")
    return StringIO(data.decode("utf-8-sig", "surrogateescape"), newline="")


class _Excess(NamedTuple):
    """Counts of a block up to the record at which too many were rejected."""

    samples: int
    rejected: int
    recent: int  # rejected among the last `window` records


@final
class RejectionLimit:
    """Counts records and detects when too many of the last ones were rejected.

    At most the fraction ``share`` of the last ``window`` records may be, once so many were read.

    >>> RejectionLimit(share=0.1, window=1000).share
    0.1
    """

    def __init__(self, *, share: float, window: int, kept: str | None = None) -> None:
        _check_share(share)
        if window < 1:
            raise ConfigurationError(f"rejected_window is {window}, but must be >= 1")
        self.share: float = share
        self.window = window
        self._share = share  # from the next block on
        self._kept = kept
        self._read = 0
        self._recent: deque[int] = deque()  # numbers of the rejected among the last records
        self._last: DeadLetter | None = None

    def change(self, share: float) -> None:
        """Change the maximum fraction, from the next block on."""
        _check_share(share)
        self._share = share

    def cut(self, block: Block, refused: Sequence[int] = ()) -> Block:
        """Cut a block at the record at which too many will have been rejected; counts nothing.

        ``refused`` are the rows of the samples that will be rejected as well, ascending.
        """
        self.share = self._share
        places = locate_rejected(block, refused)
        excess = self._excess(len(block) - len(refused), places, self._recent.copy())
        if excess is None:
            return block
        # The last record is a rejected one, or a sample if it fills the first window.
        records = excess.samples + excess.rejected
        own = [place + number for number, place in enumerate(_block_places(block))]
        rejected = bisect_left(own, records)
        return replace(block.part(0, records - rejected), rejected=block.rejected[:rejected])

    def count(
        self, block: Block, places: Sequence[int] | None = None
    ) -> TooManyRejectedError | None:
        """Count the records of a block; return an error if too many were rejected.

        ``places`` is what `locate_rejected` returned; None is according to the block.
        """
        places = _block_places(block) if places is None else places
        excess = self._excess(len(block), places, self._recent)
        self._read += len(block) + len(block.rejected)
        if block.rejected:
            self._last = block.rejected[(excess.rejected if excess else 0) - 1]
        return None if excess is None else self._error(excess)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume after the last counted block."""
        return {
            "read": self._read,
            "recent": np.array(self._recent, np.int64),
            "last": None if self._last is None else export_dead_letter(self._last),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state."""
        self._read = state["read"]
        self._recent = deque(state["recent"].tolist())
        self._last = None if state["last"] is None else DeadLetter(*state["last"])

    def _excess(self, samples: int, places: Sequence[int], recent: deque[int]) -> _Excess | None:
        """Find the record; adds the block's rejected records to ``recent``."""
        most = self.share * self.window
        # The record of this block, counted from 1, with which the first window is full.
        full = self.window - self._read
        rejected = 0
        for place in places:
            record = place + rejected + 1
            if 0 < full < record and len(recent) > most:
                break
            rejected += 1
            recent.append(self._read + record)
            while recent[0] <= self._read + record - self.window:
                recent.popleft()
            if record >= full and len(recent) > most:
                return _Excess(place, rejected, len(recent))
        if 0 < full <= samples + rejected and len(recent) > most:
            return _Excess(full - rejected, rejected, len(recent))
        return None

    def _error(self, excess: _Excess) -> TooManyRejectedError:
        last = self._last
        assert last is not None
        kept = f"; they are in {self._kept}" if self._kept else ""
        return TooManyRejectedError(
            f"{last.place}: {excess.recent} of the last {self.window} records were "
            f"rejected, but at most {self.share:.0%} (max_rejected) may be{kept}. "
            f"The last one: {last.detail}"
        )


def locate_rejected(block: Block, refused: Sequence[int] = ()) -> Sequence[int]:
    """Number of samples before each rejected record of a block, once its rows ``refused`` are, too.

    >>> from streamnet.sources import Columns, RowReader
    >>> locate_rejected(RowReader(Columns()).read([{"x": i} for i in range(4)]), [1, 3])
    [1, 2]
    """
    own = _block_places(block)
    refused = [row for row in refused if row < len(block)]
    if not refused:
        return own
    # A record that was rejected in front of a sample comes before it.
    places = sorted([*((place, False) for place in own), *((row, True) for row in refused)])
    return [place - bisect_left(refused, place) for place, _ in places]


def _block_places(block: Block) -> list[int]:
    places: list[int] = block.places().tolist() if block.rejected else []
    return places


def _check_share(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ConfigurationError(f"max_rejected is {share}, but must be from 0 to 1")


def export_dead_letter(letter: DeadLetter) -> list[Any]:
    """A rejected record as plain values, in the order of its fields."""
    return list(vars(letter).values())


def describe_dead_letter(letter: DeadLetter) -> dict[str, Any]:
    """A rejected record by the names of its fields, without those that say nothing."""
    values = dict(vars(letter))
    for name in ("raw_base64", "message"):
        if values[name] is None:
            del values[name]
    return values


logger: logging.Logger = logging.getLogger("streamnet.pipeline")

MAX_DEAD_LETTER_BYTES = 1 << 30


@final
class Rejections(ResumableSink):
    """A sink for rejected records, and the limit on their number.

    The dead-letter file has JSON lines: source, offset, line, reason, detail, raw, raw_base64 where
    it is not UTF-8, and message where it is one of a broker, see `DeadLetter`; with ``find_time``
    also time, which it returns of each record and its block. It is created at the first rejected
    record; that of a previous run is emptied at the start. Records beyond ``most_bytes`` are only
    counted, as all are without a path. ``only`` are the reasons for which records are written; None
    is all. See `RejectionLimit` for ``share`` and ``window``.

    >>> Rejections(share=0.5).statistics()
    {'total': 0, 'reasons': {}, 'not_kept': 0}
    """

    name = "rejections"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        share: float = 0.10,
        window: int = 1000,
        most_bytes: int = MAX_DEAD_LETTER_BYTES,
        only: Container[str] | None = None,
        files: FileSystem = DISK,
        find_time: Callable[[Block, DeadLetter], float] | None = None,
    ) -> None:
        if most_bytes < 0:
            raise ConfigurationError(f"most_bytes is {most_bytes}, but must be >= 0")
        self.path: Path | None = None if path is None else Path(path)
        self._name = None if self.path is None else files.describe(self.path)
        self.limit: RejectionLimit = RejectionLimit(share=share, window=window, kept=self._name)
        self.total: int = 0
        self.reasons: Counter[str] = Counter()
        self.first: DeadLetter | None = None
        self.not_kept: int = 0  # records beyond the size limit of the file
        self._most_bytes, self._only, self._files = most_bytes, only, files
        self._find_time = find_time
        self._bytes = 0  # of the file, including what is not written yet
        self._file: AppendedFile | None = None
        if self.path is not None:
            if files is DISK:  # the check asks the operating system
                check_output_paths([OutputPath("dead_letters", self.path, replaced=False)])
            self._file = AppendedFile(self.path, "dead_letters", files=files)

    def derive(self, place: Callable[[Path], Path]) -> Rejections:
        """Those of another part of a run, which writes only what no other part has rejected.

        Args:
            place: Gives the file of that part by this one.
        """
        return Rejections(
            None if self.path is None else place(self.path),
            share=self.limit.share,
            window=self.limit.window,
            most_bytes=self._most_bytes,
            only=CLASS_REASONS,
            files=self._files,
            find_time=self._find_time,
        )

    def begin(self) -> None:
        """Empty the file of a previous run; otherwise the first rejected record creates it."""
        if self._file is not None and self._file.size():
            self._file.start()

    def __call__(self, served: Served) -> None:
        """Count and keep a block's rejected records."""
        block = served.predicted.encoded.block
        for letter in block.rejected:
            self.total += 1
            self.reasons[letter.reason] += 1
            self.first = self.first or letter
            self._write(letter, block)
        if self._file is not None and self._file.is_open:
            self._file.settle(at_once=True)

    def _write(self, letter: DeadLetter, block: Block) -> None:
        if self._file is None or (self._only is not None and letter.reason not in self._only):
            return
        values = describe_dead_letter(letter)
        if self._find_time is not None:
            values["time"] = self._find_time(block, letter)
        line = msgspec.json.encode(values) + b"\n"
        # Once one does not fit, none is kept any more, so that what is kept has no gaps.
        if self.not_kept or self._bytes + len(line) > self._most_bytes:
            self._leave_out(letter)
            return
        if not self._file.is_open:
            self._file.start()
        self._file.text.write(line.decode())
        self._bytes += len(line)

    def _leave_out(self, letter: DeadLetter) -> None:
        if not self.not_kept:
            logger.warning(
                "%s has %s bytes, and may have %s: records rejected from %s on are only counted",
                self._name,
                f"{self._bytes:,}",
                f"{self._most_bytes:,}",
                letter.place,
            )
        self.not_kept += 1

    def nothing_learned_error(self) -> DataError:
        """The error of a source that was read to its end without a sample to learn."""
        first = self.first
        if first is None:
            return DataError("the source holds no samples")
        return DataError(
            f"nothing could be learned: all {self.total} records were rejected. "
            f"The first one, {first.place}: {first.detail}"
        )

    def export_state(self) -> dict[str, Any]:
        """Counts, and the length of the file."""
        file = self._file if self._file is not None and self._file.is_open else None
        return {
            "total": self.total,
            "reasons": dict(self.reasons),
            "first": None if self.first is None else export_dead_letter(self.first),
            "not_kept": self.not_kept,
            "most_bytes": self._most_bytes,
            "path": self._name,
            **({"length": None} if file is None else file.export_state()),
        }

    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume the counts and the file."""
        self.total = state["total"]
        self.reasons = Counter(state["reasons"])
        self.first = None if state["first"] is None else DeadLetter(*state["first"])
        self.not_kept = state["not_kept"]
        if state["length"] is None:
            if self._file is not None and state["path"] != self._name:
                self._file.check_empty()
            self.begin()  # records that were rejected after the checkpoint will be again
        elif self._file is not None:
            self._file.restore_state(state)
            self._bytes = state["length"]

    def sync(self) -> None:
        """Sync to disk what was flushed."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Flush and close the file."""
        if self._file is not None:
            self._file.close()

    def statistics(self) -> dict[str, Any]:
        """How many records were rejected, by reason."""
        reasons = dict(sorted(self.reasons.items()))
        return {"total": self.total, "reasons": reasons, "not_kept": self.not_kept}
