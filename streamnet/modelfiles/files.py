"""Documents as files, whole or not at all, in the format of the suffix."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from streamnet.durability.writing import write_durably
from streamnet.errors import ConfigurationError
from streamnet.errors import ModelFileError
from streamnet.modelfiles import as_json
from streamnet.modelfiles import as_safetensors
from streamnet.modelfiles.document import FORMAT
from streamnet.modelfiles.document import Document
from streamnet.modelfiles.document import verify

__all__ = (
    "SUFFIXES",
    "read_bytes",
    "read_document",
    "read_file",
    "write_document",
    "write_file",
)

SUFFIXES = {".safetensors": as_safetensors, ".json": as_json}
_LARGEST = 1 << 31


def write_document(path: str | os.PathLike[str], document: Document) -> None:
    """Write a document; when this returns the file is on the disk.

    Raises:
        ConfigurationError: If the suffix is none of `SUFFIXES`.
        ModelFileError: If the file can't be written.
    """
    write_file(path, _format_of(Path(path)).encode(document))


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file, whole or not at all; when this returns it is on the disk.

    Raises:
        ModelFileError: If it can't be written.
    """
    try:
        write_durably(Path(path), data)
    except OSError as error:
        raise ModelFileError(f"{path} can't be written: {error.strerror}") from error


def read_document(path: str | os.PathLike[str], kind: str = FORMAT) -> Document:
    """A document that `write_document` wrote.

    Raises:
        ModelFileError: If the file can't be read, is damaged, of another kind or version.
    """
    document = read_file(path)
    verify(document, str(path), kind)
    return document


def read_file(path: str | os.PathLike[str]) -> Document:
    """The document in a file, whatever it is.

    Raises:
        ModelFileError: If the file can't be read, or is in none of the formats.
    """
    path = Path(path)
    data = read_bytes(path)
    document: Document = _format_of(path, data).decode(data, str(path))
    return document


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """What is in a file.

    Raises:
        ModelFileError: If it can't be read, or is too large for a model.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ModelFileError(f"{path} is no file, so no model can be read from it")
        size = path.stat().st_size
        if size > _LARGEST:
            raise ModelFileError(f"{path} has {size} bytes, but must have <= {_LARGEST}")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} can't be read: {error.strerror}") from error


def _format_of(path: Path, data: bytes | None = None) -> Any:
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    if data is not None:
        return as_json if data[:1] == b"{" else as_safetensors
    names = ", ".join(SUFFIXES)
    raise ConfigurationError(f"model file is {str(path)!r}, but must end in one of {names}")
