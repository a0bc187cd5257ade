"""The registry of file formats, and `open_files`, which chooses the source for given paths.

To add a format, write a module beside this one whose ``FORMATS`` are `TextFileFormat` or
`ColumnarFileFormat`, and list it in ``_MODULES``. Settings repeat the name, which a test checks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import get_args

from streamnet.errors import ConfigurationError, DataError
from streamnet.sources.base import OnGap, Source
from streamnet.sources.columns import Columns
from streamnet.sources.files.csv import CSV, TSV
from streamnet.sources.files.detection import (
    ColumnarFileFormat,
    FileFormat,
    TextFileFormat,
    TextOptions,
)
from streamnet.sources.files.folder import FolderSource
from streamnet.sources.files.partitions import PartitionedSource, collect_partitions
from streamnet.sources.files.text_source import TextSource
from streamnet.sources.storage.compression import find_suffix
from streamnet.sources.storage.folders import open_folder
from streamnet.sources.storage.locations import Locations
from streamnet.sources.storage.raw import STANDARD_INPUT, RawFile, find_root
from streamnet.sources.text.encodings import UTF8, normalize_encoding
from streamnet.sources.text.records import MAX_RECORD_BYTES, TextFormat
from streamnet.sources.wrappers import GuardedSource

_MODULES = ("csv", "jsonl", "libsvm", "columnar", "converted")

FORMATS: dict[str, FileFormat] = {
    kind.name: kind
    for module in _MODULES
    for kind in import_module(f"streamnet.sources.files.{module}").FORMATS
}
"""Formats by name. Text that matches none of them is read as the first one."""

SUFFIXES = frozenset(suffix for kind in FORMATS.values() for suffix in kind.suffixes)


def open_files(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    format: str | None = None,  # noqa: A002 - the word of the command line and of run files
    columns: Columns | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    quote: str | None = '"',
    max_record_bytes: int = MAX_RECORD_BYTES,
    chunk_bytes: int = 1 << 20,
    follow: bool = False,
    on_gap: OnGap = "stop",
    partitions: str | None = None,
) -> Source:
    """Make the source that reads these files one after the other.

    Args:
        paths: A name or a glob pattern, or several; ``-`` is standard input. An archive (zip or
            tar) or a folder stands for the files in it, in the order of their names;
            ``parts.zip/a.csv`` is one of them, and patterns match there, too. ``book.xlsx/Sheet 2``
            is a sheet of a workbook. Objects have URLs, as in ``s3://bucket/a.csv``, ``gs://``,
            ``az://`` and ``https://``; one that ends in a slash is a folder.
        format: A name in `FORMATS`; None infers it from the first name or the content. Compression
            (gzip, zstd, xz or bzip2) is always detected by content.
        columns: Which columns are used, and as what.
        encoding: Encoding of text; None finds it. Offsets are those of the text in UTF-8.
        delimiter: Delimiter of delimited text; None infers it from the first records.
        header: Whether delimited text has a header; None infers it from the first records.
        quote: Quote of delimited text; None if quotes have no meaning.
        max_record_bytes: Maximum size of a record of text; longer ones are rejected.
        chunk_bytes: Bytes of a text that are read at once. This does not affect the samples.
        follow: Never end. The last file is followed as it grows, is rotated, replaced or deleted;
            it must be plain text. If the only path is a folder, its files are read in the order of
            their names, each once it has not changed for a second.
        on_gap: Whether reading stops with an error where a followed file was cut or a file of a
            folder came too late, so that data is lost, or continues with a rejected record for it.
        partitions: Folder below which names of folders, such as ``year=2026``, are columns; None
            takes that of the only path, if it is a folder or a pattern.

    Raises:
        DataError: If a file can't be read, or nothing matches.
        ConfigurationError: If a setting is invalid.
    """
    if format is not None and format not in FORMATS:
        raise ConfigurationError(f"format is {format!r}, but must be one of {', '.join(FORMATS)}")
    if max_record_bytes < 1:
        raise ConfigurationError(f"max_record_bytes is {max_record_bytes}, but must be >= 1")
    if on_gap not in get_args(OnGap):
        raise ConfigurationError(f"on_gap is {on_gap!r}, but must be 'stop' or 'go_on'")
    encoding = None if encoding is None else normalize_encoding(encoding)
    columns = columns or Columns()
    options = TextOptions(columns, delimiter, header, quote, max_record_bytes)
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    if follow and len(paths) == 1 and (folder := open_folder(os.fspath(paths[0]))) is not None:
        open_file = partial(
            open_files,
            format=format,
            encoding=encoding,
            chunk_bytes=chunk_bytes,
            partitions=folder.path,
            **options._asdict(),
        )
        return _guard(FolderSource(folder, open_file, on_gap=on_gap), columns)
    locations = Locations(SUFFIXES)
    names = locations.expand([os.fspath(path) for path in paths], follow=follow)
    if follow and STANDARD_INPUT in names[-1:]:
        raise ConfigurationError("follow is True, but standard input is read to its end anyway")
    known = _find_common_format(names, locations) if format is None else FORMATS[format]
    if known is not None and not _is_plain_text(known):
        _check_whole_files(known, names, follow=follow)
    if follow and encoding not in (None, UTF8):
        raise ConfigurationError(
            f"encoding is {encoding!r}, but a file that is followed must be UTF-8: follow a pipe, "
            f"as by tail -F {names[-1]} | streamnet ... -"
        )
    if known in (None, CSV, TSV):
        CSV.make(options)  # to refuse an invalid setting now rather than when the file is opened

    def make(columns: Columns) -> Source:
        if isinstance(known, ColumnarFileFormat):
            return known.open(names, columns, locations)
        converts = known is not None and known.convert is not None
        return TextSource(
            names,
            partial(_make_text_format, known, options._replace(columns=columns)),
            head=columns.head,
            chunk_bytes=chunk_bytes,
            follow=follow,
            on_gap=on_gap,
            encoding=UTF8 if converts else encoding,
            locations=locations,
            open_raw=partial(_convert, known, locations) if converts else None,
        )

    return _guard(_add_partitions(make, columns, names, paths, partitions), columns)


def _add_partitions(
    make: Callable[[Columns], Source],
    columns: Columns,
    names: Sequence[str],
    paths: Sequence[str | os.PathLike[str]],
    root: str | None,
) -> Source:
    """The source of files with the columns in their paths, if there are any."""
    if root is None and len(paths) == 1:
        root = find_root(os.fspath(paths[0]))
    values = {} if root is None else collect_partitions(names, root)
    if root is None or not values:
        return make(columns)
    return PartitionedSource(make, columns, values, root)


def _is_plain_text(kind: FileFormat) -> bool:
    return isinstance(kind, TextFileFormat) and kind.convert is None


def _check_whole_files(kind: FileFormat, names: Sequence[str], *, follow: bool) -> None:
    """Refuse to follow files of a format that is read at any place, or to read it from a pipe."""
    if follow:
        rule = "such a file can't grow: follow its folder"
        raise ConfigurationError(f"format is {kind.name}, but {rule}")
    if STANDARD_INPUT in names:
        raise ConfigurationError(f"format is {kind.name}, but that can't be standard input")


def _convert(kind: TextFileFormat | None, locations: Locations, path: str) -> RawFile:
    """Open a file that is converted to text."""
    assert kind is not None
    assert kind.convert is not None
    whole, part = locations.split_document(path)
    return kind.convert(path, locations.local(whole), part)


def _guard(source: Source, columns: Columns) -> Source:
    return GuardedSource(source, columns.drift.stops) if columns.drift.stops else source


def _make_text_format(
    known: TextFileFormat | None, options: TextOptions, first_line: bytes, name: str | None
) -> TextFormat:
    """Make the format that was given, or that a state names, or that matches the first line."""
    if known is not None:
        return known.make(options)
    known_texts = (kind for kind in FORMATS.values() if isinstance(kind, TextFileFormat))
    texts = [kind for kind in known_texts if kind.convert is None]
    if name is not None:
        chosen = next(kind for kind in texts if kind.name == name)
    else:
        chosen = next((k for k in texts if k.matches and k.matches(first_line)), texts[0])
    return chosen.make(options)


def _find_common_format(names: Sequence[str], locations: Locations) -> FileFormat | None:
    """The format that all names have; None if it has to be inferred from the text."""
    found = [_find_format(name, locations) for name in names]
    first = found[0]
    for name, kind in zip(names, found, strict=True):
        if kind != first:
            raise DataError(
                f"{name} is {_describe(kind)} by its name, but {names[0]} is {_describe(first)}: "
                "name those that belong together, or say which format all of them have"
            )
    return first


def _describe(kind: FileFormat | None) -> str:
    return "text" if kind is None else kind.name


def _find_format(name: str, locations: Locations) -> FileFormat | None:
    """The format of a file by its suffix or its first bytes; None if it has to be text."""
    suffix = find_suffix(locations.split_document(name)[0])
    for kind in FORMATS.values():
        if suffix in kind.suffixes:
            return kind
    head = locations.head(name, 16)
    for kind in FORMATS.values():
        if kind.signature is not None and head.startswith(kind.signature):
            return kind
    return None
