"""A set as text: what each kind of file keeps of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from collections.abc import Sequence

import msgspec

from streamnet.datasets.sample import Sample
from streamnet.errors import ConfigurationError
from streamnet.errors import DataError
from streamnet.samples import Task
from streamnet.sources.headers import has_header

__all__ = ("Document", "Row", "as_csv", "as_libsvm", "parse")

VERSION = 1
WHITESPACE = " \t\r\n\v\f"  # what a source strips


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """A sample in a document."""

    vector: list[float]
    label: str | None = None
    value: float | None = None


class Document(msgspec.Struct, forbid_unknown_fields=True, tag_field="format", tag="streamnet set"):
    """A whole set, as its JSON file holds it."""

    task: Task
    target: str
    columns: list[str]
    labels: list[str]
    samples: list[Row]
    version: int = VERSION

    def encoded(self) -> bytes:
        """The file's bytes."""
        return msgspec.json.encode(self) + b"\n"


def parse(path: str, data: bytes) -> Document:
    """The document in a file.

    Raises:
        DataError: If it is no such document, or of another version.
    """
    try:
        document = msgspec.json.decode(data, type=Document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"{path} is no saved set: {error}") from error
    if document.version != VERSION:
        raise DataError(f"{path} has version {document.version}, but only {VERSION} is known")
    return document


def as_csv(columns: Sequence[str], target: str, samples: Iterable[Sample]) -> bytes:
    """Delimited text with a header, the target last.

    Raises:
        ConfigurationError: If a name or label would be read as another one, or all names as a
            sample.
    """
    for name in (*columns, target):
        _check("column", name, "CSV", name.strip(WHITESPACE) == name)
    rows = [(*columns, target)]
    for sample in samples:
        truth = repr(sample.value) if sample.label is None else sample.label
        _check("label", truth, "CSV", truth.strip(WHITESPACE) == truth)
        rows.append((*map(repr, sample.vector.tolist()), truth))
    if not has_header(rows, ()):
        raise ConfigurationError(
            f"columns are {columns}, which CSV would take for a sample: save the set as .json"
        )
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode()


def as_libsvm(samples: Iterable[Sample]) -> bytes:
    """Lines ``label index:value ...`` from index 1 on, zeros left out.

    Raises:
        ConfigurationError: If a label would be read as something else.
    """
    lines = []
    for sample in samples:
        truth = repr(sample.value) if sample.label is None else sample.label
        plain = not any(c.isspace() or c in ":#,\0" for c in truth)
        _check("label", truth, "libSVM", plain)
        pairs = [f"{i}:{x!r}" for i, x in enumerate(sample.vector.tolist(), 1) if x]
        lines.append(" ".join((truth, *pairs)) + "\n")
    return "".join(lines).encode()


def _check(what: str, text: str, format_name: str, kept: bool) -> None:
    if not (kept and text):
        raise ConfigurationError(
            f"{what} is {text!r}, which {format_name} would not keep: save the set as .json"
        )
