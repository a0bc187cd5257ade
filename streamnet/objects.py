"""Objects in buckets and on web servers: ``s3://``, ``gs://``, ``az://``, ``https://``.

They are read and written by obstore, which is imported with the first of them. It is the only
such library with conditional writes on all stores, which the lock of a state directory needs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EACCES, EIO, ENOENT, ESTALE
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote

from streamnet.errors import ConfigurationError
from streamnet.version import install_command

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "s3a", "gs", "az", "abfs", "abfss", "adl", "azure", "http", "https")
"""What a URL of an object starts with."""

_URL = re.compile(
    rf"(?P<scheme>{'|'.join(SCHEMES)})://(?P<bucket>[^/]+)(?:/(?P<key>.*))?", re.DOTALL
)
_WEB = ("http", "https")
_STREAM_BYTES = 1 << 20  # of a piece of an object that is read to its end
_RETRY_SECONDS = 20  # for which a failed request is repeated; then the run retries
_MAX_REASON_CHARACTERS = 300
_METADATA_SERVICE = "//169.254.169.254/"  # of machines in a cloud
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")  # codes in answers of S3 and Google, of Azure

Result = TypeVar("Result")


class ObjectInfo(NamedTuple):
    """An object of a store."""

    url: str
    size: int  # bytes
    version: str  # which changes with the content: the entity tag, or else the time
    revision: str  # which changes with each write, if it was looked at alone; for `write`


class NoBucketError(FileNotFoundError):
    """There is no bucket of this name."""


class VersionError(OSError):
    """A conditional write failed: the object is not the version that was expected."""


def is_url(path: object) -> bool:
    """Whether a path is a URL of objects.

    >>> is_url("s3://bucket/a.csv"), is_url("a.csv"), is_url("ftp://host/a.csv")
    (True, False, False)
    """
    return isinstance(path, str) and _URL.fullmatch(path) is not None


def can_list(url: str) -> bool:
    """Whether the objects below a URL can be listed: those of a bucket, not of a web server."""
    parts = _URL.fullmatch(url)
    return parts is not None and parts["scheme"] not in _WEB


def join_url(url: str, *names: str) -> str:
    """The URL of an object below another one.

    >>> join_url("s3://bucket/runs/", "models", "current.json")
    's3://bucket/runs/models/current.json'
    """
    return "/".join((url.rstrip("/"), *names))


def head(url: str) -> ObjectInfo:
    """Size and version of an object."""
    store, key = _open(url)
    import obstore

    return _describe(url, _explained(url, lambda: obstore.head(store, key)))


def read(url: str, begin: int = 0, end: int | None = None) -> bytes:
    """The content of an object, or a part of it."""
    store, key = _open(url)
    import obstore

    if end is not None:
        return bytes(_explained(url, lambda: obstore.get_range(store, key, start=begin, end=end)))
    options = _skip_to(begin)
    return bytes(_explained(url, lambda: obstore.get(store, key, options=options).bytes()))


def read_dated(url: str) -> tuple[bytes, float]:
    """The content of an object, and when it was written, in seconds since 1970."""
    store, key = _open(url)
    import obstore

    def load() -> tuple[bytes, float]:
        found = obstore.get(store, key)
        return bytes(found.bytes()), found.meta["last_modified"].timestamp()

    return _explained(url, load)


def stream(url: str, begin: int, version: str) -> Iterator[bytes]:
    """The pieces of an object from a byte on; a `VersionError` if it has changed meanwhile."""
    store, key = _open(url)
    import obstore

    options = _skip_to(begin)
    found = _explained(url, lambda: obstore.get(store, key, options=options))
    if _describe(url, found.meta).version != version:
        raise VersionError(ESTALE, "was replaced while it was read")
    pieces = iter(found.stream(min_chunk_size=_STREAM_BYTES))
    while (piece := _explained(url, lambda: next(pieces, None))) is not None:
        yield bytes(piece)


def _skip_to(begin: int) -> Any:
    """Options of a request for an object from a byte on."""
    return {"range": {"offset": begin}} if begin else None


def list_below(url: str) -> list[ObjectInfo]:
    """The objects below a URL, which is taken as a folder, in the order of their names."""
    store, key = _open(url)
    import obstore

    prefix = key.rstrip("/")
    root = url.rstrip("/").removesuffix(prefix).rstrip("/")

    def collect() -> list[ObjectInfo]:
        chunks = obstore.list(store, prefix=prefix or None, chunk_size=1000)
        return [_describe(f"{root}/{meta['path']}", meta) for chunk in chunks for meta in chunk]

    return sorted(_explained(url, collect), key=lambda info: info.url)


def list_names(url: str) -> tuple[list[str], list[str]]:
    """Names of the folders and of the objects right below a URL, which is taken as a folder."""
    store, key = _open(url)
    import obstore

    prefix = key.rstrip("/")
    found = _explained(url, lambda: obstore.list_with_delimiter(store, prefix=prefix or None))
    paths = found["common_prefixes"], [meta["path"] for meta in found["objects"]]
    folders, names = ([path.rpartition("/")[2] for path in sorted(part)] for part in paths)
    return folders, names


def write(url: str, data: Any, *, expected: str | None = None, new: bool = False) -> str:
    """Write an object at once; return its revision.

    Args:
        url: Where to write.
        data: Bytes, or an open file.
        expected: Revision that is to be replaced; a `VersionError` if it is another one.
        new: Whether there must be no such object yet; a FileExistsError if there is one.
    """
    store, key = _open(url)
    import obstore

    mode: Any = "overwrite"
    if new:
        mode = "create"
    elif expected is not None:
        tag, _, version = expected.partition("\0")
        mode = {n: v for n, v in (("e_tag", tag), ("version", version)) if v}
    found = _explained(url, lambda: obstore.put(store, key, data, mode=mode))
    return _join_revision(found["e_tag"], found["version"])


def delete(url: str) -> None:
    """Delete an object; there need not be one."""
    store, key = _open(url)
    import obstore

    try:
        _explained(url, lambda: obstore.delete(store, key))
    except FileNotFoundError:
        return


def check_url(url: str) -> None:
    """Refuse a URL that can't be used."""
    _open(url)


def _describe(url: str, meta: Any) -> ObjectInfo:
    tag, version = _quote_tag(meta["e_tag"]), meta.get("version")
    # Lists are without versions, which some buckets of S3 have, and Google's generations.
    changed = tag or f"{version or meta['last_modified']}"
    return ObjectInfo(url, int(meta["size"]), changed, _join_revision(tag, version))


def _join_revision(tag: str | None, version: str | None) -> str:
    return f"{_quote_tag(tag)}\0{version or ''}"


def _quote_tag(tag: str | None) -> str:
    """An entity tag; Azure lists them without the quotes that they have otherwise."""
    return f'"{tag}"' if tag and not tag.endswith('"') else tag or ""


def _open(url: str) -> tuple[ObjectStore, str]:
    """The store of a URL, and the key of the object in it."""
    parts = _URL.fullmatch(url)
    if parts is None:
        raise ConfigurationError(f"{url!r} is no URL of objects; they start with s3://, gs://, ...")
    if "@" in parts["bucket"]:
        raise ConfigurationError(
            f"{_hide_secrets(url)} holds credentials, which would end up in reports and "
            "checkpoints: give them by environment variables, or sign the URL elsewhere"
        )
    if parts["scheme"] in _WEB and "?" in (parts["key"] or ""):
        raise ConfigurationError(
            f"{_hide_secrets(url)} has parameters, but only plain addresses can be read on after "
            "an interruption: download it first (curl -o FILE URL)"
        )
    key = parts["key"] or ""
    store = _open_store(parts["scheme"], parts["bucket"])
    return store, unquote(key) if parts["scheme"] in _WEB else key


def _hide_secrets(url: str) -> str:
    return re.sub(r"//[^/@]*@|\?.*", lambda found: "//...@" if "@" in found[0] else "?...", url)


@lru_cache(maxsize=64)
def _open_store(scheme: str, bucket: str) -> ObjectStore:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise ConfigurationError(
            f"{scheme}://{bucket} can't be used without obstore: {install_command('objects')}"
        ) from None
    from datetime import timedelta

    retry: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)}
    # A bucket is without encryption only if its endpoint is configured so.
    options: Any = {} if scheme == "https" else {"allow_http": True}
    if authorities := os.environ.get("SSL_CERT_FILE"):  # which obstore would not read
        with suppress(OSError):
            options["root_certificate"] = Path(authorities).read_bytes()
    try:
        return from_url(f"{scheme}://{bucket}", client_options=options or None, retry_config=retry)
    except (BaseError, ValueError) as error:
        raise ConfigurationError(f"{scheme}://{bucket} can't be used: {_shorten(error)}") from None


def _explained(url: str, act: Callable[[], Result]) -> Result:
    """Call a function of obstore; its errors become OSErrors that name the object."""
    from obstore import exceptions as known

    try:
        return act()
    except FileNotFoundError as error:
        _check_bucket(url, error)
        raise FileNotFoundError(ENOENT, f"{url} does not exist") from None
    except known.AlreadyExistsError:
        raise FileExistsError(None, f"{url} exists already") from None
    except known.PreconditionError:
        raise VersionError(ESTALE, f"{url} was changed by someone else") from None
    except (known.PermissionDeniedError, known.UnauthenticatedError) as error:
        raise PermissionError(EACCES, f"{url}: access denied ({_shorten(error)})") from None
    except (known.BaseError, OSError, ValueError) as error:
        _check_bucket(url, error)
        if _METADATA_SERVICE in str(error):  # the last place where credentials are looked for
            why = f"no credentials were found in the environment, nor a role ({_shorten(error)})"
            raise OSError(EIO, f"{url}: {why}") from None
        raise OSError(EIO, f"{url}: {_shorten(error)}") from None


def _check_bucket(url: str, error: Exception) -> None:
    """Raise the error for a bucket that does not exist, if that is why a request failed."""
    if any(code in str(error) for code in _NO_BUCKET):
        raise NoBucketError(ENOENT, f"the bucket of {url} does not exist") from None


def _shorten(error: Exception) -> str:
    """The reason of an error, without the debug output of the library that follows it."""
    text = str(error).partition("\n\n")[0].strip().replace("\n", " ")
    text = re.sub(r" in [0-9.]+.?s, after [0-9]+ retries, max_retries.*?s  - ", ": ", text)
    return text[:_MAX_REASON_CHARACTERS]
