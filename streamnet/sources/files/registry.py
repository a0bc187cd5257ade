"""The registry of file formats, and `open_files`, which picks the source for given paths."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from streamnet.errors import ConfigurationError, DataError
from streamnet.sources.base import Source
from streamnet.sources.columns import Columns
from streamnet.sources.files.byte_stream import STANDARD_INPUT, check_file_name
from streamnet.sources.files.columnar import ColumnarSource
from streamnet.sources.files.csv import CsvFormat
from streamnet.sources.files.folder import FolderSource
from streamnet.sources.files.jsonl import JsonLinesFormat
from streamnet.sources.files.libsvm import LibsvmFormat
from streamnet.sources.files.text_file import OnGap
from streamnet.sources.files.text_source import TextSource
from streamnet.sources.text.format import MAX_RECORD_BYTES, TextFormat
from streamnet.sources.wrappers.schema_drift import GuardedSource

__all__ = ("FORMATS", "open_files")

FORMATS = ("csv", "tsv", "jsonl", "libsvm", "parquet", "ipc")
"""Names of formats."""

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".libsvm": "libsvm",
    ".svm": "libsvm",
    ".parquet": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
}
COMPRESSED_SUFFIXES = (".gz", ".zst", ".xz")
COLUMNAR_MAGIC = {b"PAR1": "parquet", b"ARROW1": "ipc"}
_LIBSVM = re.compile(rb"\s*[^\s:,]+(?:\s+(?:qid|[0-9]+):[^\s:,]+)+\s*(?:#.*)?")


class _TextOptions(NamedTuple):
    """How files of text are read, as `open_files` is told."""

    kind: str | None
    columns: Columns
    delimiter: str | None
    header: bool | None
    quote: str | None
    most: int  # bytes of a record

    def choose(self, _: str, first_line: bytes, known: str | None = None) -> TextFormat:
        """The format of a file by its first line, unless it is told or known."""
        told = self.kind or known or _detect_format_by_line(first_line)
        if told == "jsonl":
            return JsonLinesFormat(self.columns, max_record_bytes=self.most)
        if told == "libsvm":
            return LibsvmFormat(self.columns, max_record_bytes=self.most)
        return CsvFormat(
            self.columns,
            delimiter="\t" if told == "tsv" and self.delimiter is None else self.delimiter,
            header=self.header,
            quote=self.quote,
            max_record_bytes=self.most,
        )


def open_files(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    format: str | None = None,  # noqa: A002 - the word of the command line and of run files
    columns: Columns | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    quote: str | None = '"',
    max_record_bytes: int = MAX_RECORD_BYTES,
    chunk_bytes: int = 1 << 20,
    follow: bool = False,
    on_gap: OnGap = "stop",
) -> Source:
    """The source that reads these files one after the other.

    Args:
        paths: A name or a glob pattern, or several; ``-`` is standard input.
        format: One of `FORMATS`; otherwise the first name tells it, or the content. Whether a
            file is packed with gzip, zstd or xz is always told by its content.
        columns: Which columns are used, and as what.
        delimiter: Of delimited text; otherwise its first records tell it.
        header: Whether delimited text has one; otherwise its first records tell it.
        quote: Of delimited text, None if quotes mean nothing.
        max_record_bytes: Longer records of text are rejected.
        chunk_bytes: How much of a text is read at once. It changes nothing in the samples.
        follow: Never end. The last file is read on as it grows, is rotated, replaced or deleted; it
            must be plain text. If the only one is a folder, its files are read in the order of
            their names, each once it has not changed for a second.
        on_gap: Whether reading stops where a followed file was cut, or a file of a folder came
            too late, so that something is lost; or goes on with a rejected record that says so.

    Raises:
        DataError: if a file can't be read, or nothing matches.
        ConfigurationError: if a setting breaks its rule.
    """
    if format is not None and format not in FORMATS:
        raise ConfigurationError(f"format is {format!r}, but must be one of {', '.join(FORMATS)}")
    if max_record_bytes < 1:
        raise ConfigurationError(f"max_record_bytes is {max_record_bytes}, but must be >= 1")
    if on_gap not in get_args(OnGap):
        raise ConfigurationError(f"on_gap is {on_gap!r}, but must be 'stop' or 'go_on'")
    columns = columns or Columns()
    paths = _as_list(paths)
    if follow and len(paths) == 1 and Path(paths[0]).is_dir():
        given: dict[str, Any] = {
            "format": format,
            "columns": columns,
            "delimiter": delimiter,
            "header": header,
            "quote": quote,
            "max_record_bytes": max_record_bytes,
            "chunk_bytes": chunk_bytes,
        }
        folder = FolderSource(os.fspath(paths[0]), partial(_open_one, given), on_gap=on_gap)
        return _guard(folder, columns)
    names = _expand_patterns(paths, follow=follow)
    if follow and STANDARD_INPUT in names[-1:]:
        raise ConfigurationError("follow is True, but standard input is read to its end anyway")
    kind = format or _find_common_format(names)
    if kind in ("parquet", "ipc") and follow:
        raise ConfigurationError(f"format is {kind}, but such a file can't grow: follow its folder")
    if kind in ("parquet", "ipc"):
        columnar: Literal["parquet", "ipc"] = "parquet" if kind == "parquet" else "ipc"
        if STANDARD_INPUT in names:
            raise ConfigurationError(f"format is {kind}, but that can't be standard input")
        return _guard(ColumnarSource(names, columns, kind=columnar), columns)

    shape = _TextOptions(kind, columns, delimiter, header, quote, max_record_bytes)
    if kind in (None, "csv", "tsv"):
        shape.choose("", b"")  # to refuse a wrong setting now rather than when the file is opened
    text = TextSource(
        names,
        shape.choose,
        head=columns.head,
        chunk_bytes=chunk_bytes,
        follow=follow,
        on_gap=on_gap,
    )
    return _guard(text, columns)


def _guard(source: Source, columns: Columns) -> Source:
    return GuardedSource(source, columns.drift.stops) if columns.drift.stops else source


def _open_one(given: Mapping[str, Any], path: str) -> Source:
    return open_files([path], **given)


def _as_list(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> Sequence[str | os.PathLike[str]]:
    """A name alone as a list of it: a text would else be a sequence of its letters."""
    return [paths] if isinstance(paths, str | os.PathLike) else paths


def _expand_patterns(paths: Sequence[str | os.PathLike[str]], *, follow: bool) -> list[str]:
    names: list[str] = []
    for given in paths:
        path = os.fspath(given)
        if path == STANDARD_INPUT or not has_magic(path) or Path(path).exists():
            names.append(path)
            continue
        matches = sorted(match for match in glob(path, recursive=True) if not Path(match).is_dir())  # noqa: PTH207 - absolute and relative patterns alike
        if not matches:
            raise DataError(f"{path} matches no file")
        names += matches
    if not names:
        raise DataError("no file is given")
    for name in names:
        check_file_name(name)
        # A followed file may be gone for a moment: that is seen when it is opened.
        if not (follow and name == names[-1]) or Path(name).exists():
            _check_readable(name)
    return names


def _check_readable(path: str) -> None:
    if path == STANDARD_INPUT:
        return
    if Path(path).is_dir():
        raise DataError(f"{path} is a folder, but must be a file")
    if not Path(path).exists():
        raise DataError(f"{path} does not exist")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} can't be read: permission denied")


def _find_common_format(names: Sequence[str]) -> str | None:
    """The format that the names tell, None if the content of text has to."""
    told = [_detect_format_by_name(name) for name in names]
    first = told[0]
    for name, kind in zip(names, told, strict=True):
        if kind != first:
            raise DataError(
                f"{name} is {kind or 'text'} by its name, but {names[0]} is {first or 'text'}: "
                "say which format all of them have"
            )
    return first


def _detect_format_by_name(name: str) -> str | None:
    path = Path(name)
    if path.suffix.lower() in COMPRESSED_SUFFIXES:
        path = path.with_suffix("")
    told = SUFFIXES.get(path.suffix.lower())
    if told is None and Path(name).is_file():
        with Path(name).open("rb") as file:
            head = file.read(max(map(len, COLUMNAR_MAGIC)))
        return next((kind for m, kind in COLUMNAR_MAGIC.items() if head.startswith(m)), None)
    return told


def _detect_format_by_line(line: bytes) -> str:
    if line.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[")):
        return "jsonl"
    return "libsvm" if _LIBSVM.fullmatch(line) else "csv"
