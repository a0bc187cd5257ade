"""The model document: plain values and arrays with a checksum, read from and written to files."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.durability.files import write_durably
from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.modelfiles.formats import SUFFIXES, find_format
from streamnet.settings.candidate import CandidateSettings
from streamnet.version import __version__

FORMAT = "streamnet-model"
VERSION = 1
_MAX_BYTES = 1 << 31  # size of a model file

# `json.dumps` would build an encoder for every value.
_encode = json.JSONEncoder(sort_keys=True, allow_nan=False).encode
PLAIN = frozenset({type(None), bool, int, float, str})
"""Types of most values that are neither arrays nor nested documents."""

Document = dict[str, Any]
"""Strings, numbers, booleans, None, lists, arrays, and nested documents, by name."""


def digest(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document without its ``checksum``, independent of the file format."""
    total = hashlib.sha256()
    _hash_value(total, {name: value for name, value in document.items() if name != "checksum"})
    return total.hexdigest()


def build_document(
    *,
    encoder: dict[str, Any],
    networks: Sequence[tuple[CandidateSettings, Mapping[str, NDArray[Any]]]],
    ensemble: dict[str, Any] | None,
    dtype: str,
    about: dict[str, Any],
) -> Document:
    """Build the document of a model, with its checksum."""
    document: Document = {
        "format": FORMAT,
        "version": VERSION,
        "streamnet": __version__,
        "task": encoder["settings"]["task"],
        "labels": list(encoder["labels"]),
        "about": about,
        "dtype": dtype,
        "networks": {
            str(number): {"settings": settings.as_dict(), "weights": weights}
            for number, (settings, weights) in enumerate(networks)
        },
        "ensemble": ensemble,
        "encoder": encoder,
    }
    return add_checksum(document)


def _hash_value(total: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        for name in sorted(value):
            head, entry = f"{{{_text(name)}:", value[name]
            if type(entry) in PLAIN:
                total.update(f"{head}{_text(entry)},".encode())
            else:
                total.update(head.encode())
                _hash_value(total, entry)
        total.update(b"}")
    elif isinstance(value, np.ndarray):
        total.update(f"{value.dtype.str}{value.shape}".encode())
        total.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    else:
        total.update(f"{_text(value)},".encode())


def _text(value: Any) -> str:
    """Return JSON text; numbers skip the encoder, which takes five times as long."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return _encode(value)


def add_checksum(document: Document) -> Document:
    """Return the document with its checksum in front."""
    return {"checksum": digest(document), **document}


def verify_document(document: Document, where: str, kind: str = FORMAT) -> None:
    """Check kind, version and checksum of a document; ``where`` names it in messages.

    Raises:
        ModelFileError: If it is of another kind or version, or damaged.
    """
    if not _equals(document.get("format"), kind):
        raise ModelFileError(f"{where} is not a {kind.replace('-', ' ', 1)}")
    if not _equals(document.get("version"), VERSION):
        raise ModelFileError(
            f"{where} has format version {document.get('version')!r}, but this streamnet reads "
            f"{VERSION}"
        )
    try:
        sound = _equals(document.get("checksum"), digest(document))
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{where} is damaged: {error}") from error
    if not sound:
        raise ModelFileError(f"{where} is damaged: its content does not match its checksum")


def _equals(value: object, expected: str | int) -> bool:
    """Whether two values are equal and of one type: a file may hold anything, even arrays."""
    return type(value) is type(expected) and value == expected


def write_document(path: str | os.PathLike[str], document: Document) -> None:
    """Write a document atomically in the format of the suffix; it is on disk on return.

    Raises:
        ConfigurationError: If no format has the suffix.
        ModelFileError: If the file cannot be written.
    """
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        names = ", ".join(SUFFIXES)
        raise ConfigurationError(f"model file is {str(path)!r}, but must end in one of {names}")
    write_bytes(path, SUFFIXES[suffix].encode(document))


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a model file atomically; it is on disk on return.

    Raises:
        ModelFileError: If the file cannot be written.
    """
    try:
        write_durably(Path(path), data)
    except OSError as error:
        raise ModelFileError(f"{path} can't be written: {error.strerror}") from error


def read_document(path: str | os.PathLike[str], kind: str = FORMAT) -> Document:
    """Read and verify a document in any of the loadable formats.

    Raises:
        ModelFileError: If the file cannot be read, is damaged, or of another kind or version.
    """
    data = read_bytes(path)
    document = find_format(data, Path(path).suffix).decode(data, str(path))
    verify_document(document, str(path), kind)
    return document


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a model file.

    Raises:
        ModelFileError: If it cannot be read, or is too large for a model.
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
