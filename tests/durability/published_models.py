"""Reads published models as another process does, while they are replaced."""

from __future__ import annotations

import hashlib
from pathlib import Path

from streamnet.durability.files import DISK, FileSystem
from streamnet.durability.state_directory import PublishedModel, read_pointer

__all__ = ("read_published_model",)


def read_published_model(
    folder: Path, *, files: FileSystem = DISK
) -> tuple[PublishedModel, bytes] | None:
    """The newest model and its content; None if nothing was published yet."""
    for _ in range(100):
        published = read_pointer(folder, files=files)
        if published is None:
            return None
        try:
            data = files.read(folder / published.file)
        except FileNotFoundError:
            continue  # removed meanwhile, so the pointer names a newer one now
        assert hashlib.sha256(data).hexdigest() == published.checksum
        return published, data
    raise AssertionError("the pointer names a model that is not there")
