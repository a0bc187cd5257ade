"""The model document: plain values and arrays with a checksum, independent of the file format."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.settings.candidate import CandidateSettings

__all__ = (
    "FORMAT",
    "PLAIN",
    "VERSION",
    "Document",
    "add_checksum",
    "build_document",
    "digest",
    "verify_document",
)

FORMAT = "streamnet-model"
VERSION = 1

# Made once: `json.dumps` makes an encoder for each value.
_encode = json.JSONEncoder(sort_keys=True, allow_nan=False).encode
PLAIN = frozenset({type(None), bool, int, float, str})
"""Types of most of what is neither an array nor a document."""

Document = dict[str, Any]
"""Strings, numbers, booleans, None, lists, arrays, and documents by name."""


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a document's content without its ``checksum``, whatever file it is kept in."""
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
    """All of a model as plain values and arrays, with its checksum."""
    document: Document = {
        "format": FORMAT,
        "version": VERSION,
        "streamnet": _release(),
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


@cache
def _release() -> str:
    return version("streamnet")


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
    """JSON text; of numbers without an encoder, which takes five times as long."""
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return _encode(value)


def add_checksum(document: Document) -> Document:
    """The document with its checksum in front."""
    return {"checksum": digest(document), **document}


def verify_document(document: Document, where: str, kind: str = FORMAT) -> None:
    """Refuse a document that is not of this kind, of an unknown version, or damaged.

    Raises:
        ModelFileError: Naming the file and what is wrong.
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
    """Whether they are equal and of one type: anything may stand in a file, even an array."""
    return type(value) is type(expected) and value == expected
