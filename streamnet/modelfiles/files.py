"""Reading and writing documents atomically in the format that the suffix selects."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from streamnet.durability.files import write_durably
from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.modelfiles import json_format, safetensors_format
from streamnet.modelfiles.document import FORMAT, Document, verify_document

__all__ = (
    "SUFFIXES",
    "read_bytes",
    "read_document",
    "read_file",
    "write_document",
    "write_file",
)

SUFFIXES = {".safetensors": safetensors_format, ".json": json_format}
_MAX_BYTES = 1 << 31


def write_document(path: str | os.PathLike[str], document: Document) -> None:
    """Write a document; when this returns the file is on the disk.

    Raises:
        ConfigurationError: If the suffix is none of `SUFFIXES`.
        ModelFileError: If the file can't be written.
    """
    write_file(path, _find_format(Path(path)).encode(document))


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
    verify_document(document, str(path), kind)
    return document


def read_file(path: str | os.PathLike[str]) -> Document:
    """The document in a file, whatever it is.

    Raises:
        ModelFileError: If the file can't be read, or is in none of the formats.
    """
    path = Path(path)
    data = read_bytes(path)
    document: Document = _find_format(path, data).decode(data, str(path))
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
        if size > _MAX_BYTES:
            raise ModelFileError(f"{path} has {size} bytes, but must have <= {_MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} can't be read: {error.strerror}") from error


def _find_format(path: Path, data: bytes | None = None) -> Any:
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    if data is not None:
        return json_format if data[:1] == b"{" else safetensors_format
    names = ", ".join(SUFFIXES)
    raise ConfigurationError(f"model file is {str(path)!r}, but must end in one of {names}")
