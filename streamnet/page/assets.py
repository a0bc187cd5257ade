"""Assets: the files that the page is made of, as they are shipped in the package."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import PurePath
from types import MappingProxyType
from typing import NamedTuple

__all__ = ("INDEX", "Asset", "assets")

INDEX = "index.html"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


class Asset(NamedTuple):
    """A file of the page."""

    media_type: str
    data: bytes


@cache
def assets() -> MappingProxyType[str, Asset]:
    """All files of the page by name, read once.

    ``index.html`` asks for the others below ``page/`` and for the interface below ``v1/``, both
    relative to its own address. Nothing in them needs more than this Content-Security-Policy:
    ``default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';
    img-src 'self' data:``.

    >>> assets()["base.css"].media_type
    'text/css; charset=utf-8'
    """
    folder = files("streamnet.page") / "web"
    return MappingProxyType(
        {
            file.name: Asset(_MEDIA_TYPES[PurePath(file.name).suffix], file.read_bytes())
            for file in sorted(folder.iterdir(), key=lambda file: file.name)
        }
    )
