"""`TextSource`: samples of text files, plain or compressed, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from anyio import current_time, move_on_after, to_thread

from streamnet.errors import DataError
from streamnet.samples import Block, Position, Schema, schema_from_dict, schema_to_dict
from streamnet.sources.base import Source
from streamnet.sources.files.fingerprints import (
    TextWindow,
    check_fingerprinted_names,
    fingerprint_names,
)
from streamnet.sources.files.text_file import FileSequence, OnGap, TextFile
from streamnet.sources.text.format import TextFormat

__all__ = ("TextSource",)

BLOCK_ROWS = 8192
FIRST_ROWS = 1024  # of the first block, so that learning need not wait for more
MIN_ROWS = 32
HEAD_BYTES = 16 << 20
SNIFFED_BYTES = 1 << 16  # bytes that tell the format, if no line ends before
QUIET_SECONDS = (
    0.2  # seconds without anything new after which the head of a live stream is complete
)
MAX_HEAD_SECONDS = 1.0  # seconds after which it is complete even if it trickles on


@final
class TextSource(Source):
    r"""Samples of text files in order. Reading goes on in worker threads.

    The first ``head`` records of the first file tell what its columns are. Of a pipe it is those
    that are there once nothing more has come for 0.2 seconds, or one second after the first: what
    it tells may then depend on when they came, which settings in ``choose`` can prevent.

    Args:
        paths: Files in order; ``-`` is standard input.
        choose: Makes the format of the first file's name and first line, and of the name that the
            format has if that is known.
        head: Records of the first file by which the format tells its columns.
        chunk_bytes: How much is read at once. It changes nothing in the samples.
        follow: The last file is read on as it grows, without end, see `FollowedBytes`.
        on_gap: Whether reading breaks off where a followed file lost something that was not read,
            or goes on with a rejected record that says so.

    >>> import anyio, pathlib, tempfile
    >>> from streamnet.sources.columns import Columns
    >>> from streamnet.sources.files.csv import CsvFormat
    >>> path = pathlib.Path(tempfile.mkdtemp(), "f.csv")
    >>> _ = path.write_text("age,income\n39,low\nold,high\n")
    >>> async def main():
    ...     columns = Columns(target="income", head=1)
    ...     source = TextSource([str(path)], lambda *_: CsvFormat(columns), head=1)
    ...     await source.open()
    ...     block = await source.receive()
    ...     await source.aclose()
    ...     return block.numbers, block.rejected[0].line, block.rejected[0].detail
    >>> anyio.run(main)
    (array([[39.]]), 3, "column 'age' has 'old', which is not a number")
    """

    def __init__(
        self,
        paths: Sequence[str],
        choose: Callable[[str, bytes, str | None], TextFormat],
        *,
        head: int = 1000,
        chunk_bytes: int = 1 << 20,
        follow: bool = False,
        on_gap: OnGap = "stop",
    ) -> None:
        self._files = FileSequence(tuple(paths), chunk_bytes, follow=follow)
        self._choose = choose
        self._head = head
        self._on_gap = on_gap
        self._format: TextFormat | None = None  # None until the first line is there
        self._schema = Schema(())
        self._started: TextFile | None = None  # the file whose top was read
        self._rows = FIRST_ROWS  # to look for next
        self._trace = TextWindow(b"", 0, b"", None)  # of the file at the last block
        self._known: Mapping[str, Any] = {}  # what another source exported

    async def open(self, after: Position | None = None) -> Schema:
        """Look at the head of the first file, then go to ``after``."""
        await to_thread.run_sync(self._files.measure, not self._known)
        after = after if after is not None and after.source else None
        start = 0 if after is None else self._files.number_of(after.source)
        mark = self._known.get("mark")
        if self._known and after is not None:
            check_fingerprinted_names(
                self._files.paths[:start], self._known["before"], after.source
            )
        file = await to_thread.run_sync(self._files.open, start if self._known else 0, mark)
        if not self._known:
            await self._wait_for_head(file)
            if start > 0:
                file = await to_thread.run_sync(self._files.open, start)
        if mark is not None:
            await self._check_fingerprint(file, mark)
        while file.gap is None and not await to_thread.run_sync(self._top, file):
            await _read_more(file)
        if after is not None and file.gap is None:
            await to_thread.run_sync(file.seek_to, after, mark)
        self._trace = file.trace()
        return self._schema

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The schema, what the format has found out, and marks to know the files again."""
        if self._format is None:
            return {}
        state = {
            "schema": schema_to_dict(self._schema),
            "format": {"name": self._format.name, **self._format.export_state()},
        }
        if after is not None and after.source:
            before = self._files.before(after.source)
            return {**state, "before": before, "mark": self._trace.mark(after.offset)}
        return {**state, "before": fingerprint_names(()), "mark": self._trace.mark(0)}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over schema and format, so that nothing has to be found out again."""
        if state:
            self._known = state
            self._schema = schema_from_dict(state["schema"])
            self._format = self._choose("", b"", state["format"]["name"])
            self._format.restore_state(state["format"], self._schema)

    async def receive(self) -> Block | None:
        """The next samples that are there; None at the end."""
        while self._files.file is not None:
            block = await to_thread.run_sync(self._next)
            if block is not None:
                return block
            if self._files.file is not None:
                await _read_more(self._files.file)
        return None

    async def aclose(self) -> None:
        """Let go of the files."""
        self._files.close()

    def progress(self) -> float | None:
        """Share of the bytes in the files that were given, None where one may grow."""
        return self._files.progress()

    async def _check_fingerprint(self, file: TextFile, mark: Mapping[str, Any]) -> None:
        """Refuse a file that does not begin like the one that was left; followed, it has a gap."""
        while not (file.exhausted or file.has_fingerprinted_head(mark)):
            await _read_more(file)
        if file.stream.transient and not file.has_fingerprinted_head(mark):
            raise file.broken()
        if file.gap is None:
            file.check_fingerprint(mark, begins=True)

    async def _wait_for_head(self, file: TextFile) -> None:
        deadline = None  # set when the first records are there
        complete = False
        while not await to_thread.run_sync(self._begun, file, complete):
            if deadline is None and file.stream.live and self._has_min_records(file):
                deadline = current_time() + MAX_HEAD_SECONDS
            if deadline is None:
                await _read_more(file)
            else:
                complete = not await _read_more(file, min(QUIET_SECONDS, deadline - current_time()))

    def _has_min_records(self, file: TextFile) -> bool:
        return self._format is not None and _has_head(file, self._format, self._format.fewest)

    def _begun(self, file: TextFile, complete: bool) -> bool:
        """Tell the format and the schema from the first file, if enough of it is there."""
        if self._format is None:
            if not (file.exhausted or b"\n" in file.data or len(file.data) >= SNIFFED_BYTES):
                return False
            if file.stream.transient and b"\n" not in file.data:
                raise file.broken()
            first_line = file.data[:SNIFFED_BYTES].partition(b"\n")[0]
            self._format = self._choose(file.name, first_line, None)
        if not complete and not _has_head(file, self._format, self._head + 1):
            return False
        head = file.head(HEAD_BYTES)
        if file.stream.failure is not None and not head.records(self._format.rules, 1).begin.size:
            raise file.broken()
        self._schema = self._format.begin(head)
        return self._top(file)

    def _top(self, file: TextFile) -> bool:
        """Leave the header out of a file, if it is there."""
        if self._started is file:
            return True
        if self._format is None or not _has_head(file, self._format, 1):
            return False
        file.start(self._format.start(file.head(HEAD_BYTES), again=self._files.follows))
        self._started = file
        return True

    def _next(self) -> Block | None:
        """The next block; None if more has to be read first, or at the very end."""
        while (file := self._files.file) is not None:
            trace = file.trace()
            block = self._found(file) if self._top(file) else None
            if block is None and file.gap is not None:
                block = self._skip_gap(file)
            if block is not None:
                self._schema = block.schema
                self._trace = trace if file.gap is None else TextWindow(b"", 0, b"", None)
                return block
            if not file.exhausted:
                if file.stream.live:
                    return None
                file.fill()
            elif file.stream.failure is not None:
                raise file.broken()
            else:
                self._files.advance()
        return None

    def _skip_gap(self, file: TextFile) -> Block:
        """Go on behind a gap, with a record of it, or break off."""
        if self._on_gap == "stop":
            raise DataError(f"{file.name} {file.gap} (on_gap 'go_on' would go on nevertheless)")
        block = file.lost(self._schema)
        self._files.advance()
        return block

    def _found(self, file: TextFile) -> Block | None:
        """The next block of what is in memory."""
        if self._format is None:
            return None
        chunk = file.find(self._format.rules, self._rows)
        if chunk is None:
            return file.skipped(self._schema)
        block, used = self._format.read(chunk)
        file.use(chunk.marks[used])
        # Where blocks end early, looking far ahead each time would be wasted.
        self._rows = min(BLOCK_ROWS, 2 * max(used, MIN_ROWS))
        return block


async def _read_more(file: TextFile, seconds: float | None = None) -> bool:
    """Read on in a file, once there is something to read; False if there was none so long."""
    found = False
    with move_on_after(seconds):
        await file.stream.wait()
        found = True
    if found:
        await to_thread.run_sync(file.fill)
    return found


def _has_head(file: TextFile, form: TextFormat, records: int) -> bool:
    """Whether the head is complete; that must not depend on how much is read at once."""
    if len(file.data) >= HEAD_BYTES:
        return True
    head = file.head(HEAD_BYTES)
    if all(len(head.records(rules, records).begin) == records for rules in form.head_rules()):
        return True
    if file.stream.transient:
        raise file.broken()  # to go on without a whole head would change what it tells
    return file.exhausted
