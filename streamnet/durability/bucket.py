"""Files of a bucket, with a local copy that is written through, and a lock."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, final

from streamnet import objects
from streamnet.durability.files import DISK, PARTIAL_SUFFIX, FileSystem
from streamnet.errors import InUseError, StateError
from streamnet.objects import VersionError, join_url

LOCK_NAME = "lock"
BEAT_SECONDS = 4.0  # between two renewals of a lock
LEASE_SECONDS = 15.0  # without a renewal after which its holder counts as dead
POLL_SECONDS = 0.5  # between two looks at the lock of another process
PART_BYTES = 1 << 23  # of a growing file, so that little is written again when it grows
_PART = re.compile(r"(.+)\.([0-9]{6})")
_COPY_PREFIX = "streamnet-state-"

logger: logging.Logger = logging.getLogger("streamnet.durability")


@final
class Lease:
    """The lock of a folder of a bucket, held by renewing an object in it.

    Whoever finds the object of another process waits whether it is renewed. If so, the folder is in
    use; otherwise that process is dead, and the object is taken over by a conditional write, which
    only one can do. No clocks are compared. On the same machine a dead process is recognized at
    once. A process that was suspended for longer finds that its lock is lost.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._identity = {"id": uuid.uuid4().hex, "who": _describe_self(), "place": _find_place()}
        self.took_over: bool = False
        """Whether its last holder may still run, as after it was suspended."""
        self._beat = 0
        self._revision = ""
        self._renewed = 0.0
        self._lost = False
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def acquire(self) -> str | None:
        """Take the lock; returns the holder if another process has it."""
        while True:
            try:
                self._revision = objects.write(self._url, self._encode(), new=True)
                break
            except FileExistsError:
                holder = self._take_over()
                if holder is None:
                    break
                if holder:
                    return holder
        self._renewed = monotonic()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()
        return None

    def _take_over(self) -> str | None:
        """Take over a lock that nobody holds; returns the holder, or "" to try again."""
        found = _read_lock(self._url)
        if found is None:
            return ""
        revision, values = found
        who = str(values.get("who", "another process"))
        alive = None if not values.get("id") else _is_alive(values.get("place"))
        if alive:
            return who
        if values.get("id") and alive is None:
            logger.warning("%s belongs to %s; waiting whether that is alive", self._url, who)
            deadline = monotonic() + LEASE_SECONDS
            while monotonic() < deadline:
                sleep(POLL_SECONDS)
                now = _read_lock(self._url)
                if now is None or now[0] != revision:
                    return who if now is not None and now[1].get("id") else ""
        try:
            self._revision = objects.write(self._url, self._encode(), expected=revision)
        except VersionError:
            return ""
        self.took_over = bool(values.get("id")) and alive is None
        return None

    def check(self) -> bool:
        """Whether the lock is still held; an OSError if that can't be found out."""
        if not self._lost and monotonic() > self._renewed + BEAT_SECONDS:
            self._renew()
        return not self._lost

    def release(self) -> None:
        """Give the lock back. Releasing twice is allowed."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        thread.join()
        if not self._lost:
            with suppress(OSError), self._writing:  # otherwise it expires
                objects.write(self._url, b"{}", expected=self._revision)

    def _keep(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self._renew()
            except OSError as error:
                logger.warning("the lock can't be renewed (%s); retrying", error.strerror)
            if self._lost:
                return

    def _renew(self) -> None:
        with self._writing:
            if self._lost:
                return
            self._beat += 1
            data = self._encode()
            try:
                self._revision = objects.write(self._url, data, expected=self._revision)
            except VersionError:
                # The store may have repeated a request whose answer was lost.
                found = _read_lock(self._url)
                if found is None or found[1] != json.loads(data):
                    self._lost = True
                    return
                self._revision = found[0]
            self._renewed = monotonic()

    def _encode(self) -> bytes:
        return json.dumps({**self._identity, "beat": self._beat}).encode()


def find_holder(url: str) -> str:
    """The process that holds the lock of a folder of a bucket, empty if none does."""
    found = _read_lock(join_url(url, LOCK_NAME))
    if found is None or not found[1].get("id") or _is_alive(found[1].get("place")) is False:
        return ""
    return str(found[1].get("who", ""))


def _read_lock(url: str) -> tuple[str, dict[str, Any]] | None:
    """Revision and content of a lock; None if there is none."""
    try:
        revision = objects.head(url).revision
        values = json.loads(objects.read(url))
        same = objects.head(url).revision == revision
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StateError(f"{url} is no lock of streamnet: {error}") from None
    return (revision, values) if same else _read_lock(url)


def _describe_self() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _find_place() -> list[str]:
    """This process: its machine since it was started, its process namespace, and when it began."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return [boot, str(Path("/proc/self/ns/pid").readlink()), str(os.getpid()), _find_start("self")]


def _find_start(process: str) -> str:
    """When a process began, in ticks since the machine was started."""
    status = Path("/proc", process, "stat").read_text(encoding="utf-8", errors="replace")
    return status.rpartition(")")[2].split()[19]


def _is_alive(place: Any) -> bool | None:
    """Whether a process is alive; None if it is on another machine, so that this can't be seen."""
    here = _find_place()
    if not isinstance(place, list) or place[:2] != here[:2]:
        return None
    try:
        return _find_start(str(place[2])) == str(place[3])
    except OSError:
        return False


@contextmanager
def open_state(folder: str) -> Iterator[tuple[Path, FileSystem]]:
    """Where a state directory is, or the copy of one in a bucket, and what writes there."""
    if not objects.is_url(folder):
        yield Path(folder), DISK
        return
    files = BucketFiles(folder)
    try:
        files.pull()
        yield files.copy, files
    except OSError as error:
        raise StateError(f"state {folder}: {error.strerror}") from error
    finally:
        files.discard()


@final
class BucketFiles(FileSystem):
    """Files of a folder of a bucket, of which a local copy is read and written through.

    A file is in the bucket before it is in the copy, so the copy never has more than the bucket.
    A file that grows is stored in parts of 8 MiB: ``rows``, ``rows.000001``, and so on.

    Args:
        url: URL of the folder.
    """

    def __init__(self, url: str) -> None:
        objects.check_url(url)
        self.url: str = url.rstrip("/")
        self.copy: Path = _make_copy_folder()
        self._discard = weakref.finalize(self, shutil.rmtree, self.copy, ignore_errors=True)
        self._paths: dict[int, Path] = {}  # of open files
        self._stored: dict[Path, int] = {}  # bytes of growing files in the bucket,
        self._same: dict[Path, int] = {}  # and how many at their start are those of the copy
        self._lease: Lease | None = None
        self._lock_handle: int | None = None
        self._holder = ""

    def pull(self, only: str | None = None) -> None:
        """Copy what is in the bucket: everything, or one file of this name.

        Where something was removed meanwhile by who writes there, something newer is there.
        """
        copied: dict[str, str] = {}  # version by URL
        complete = False
        while not complete:
            complete = True
            for info in objects.list_below(self.url + "/"):
                if copied.get(info.url) != info.version:
                    try:
                        self._pull_object(info.url, only)
                    except FileNotFoundError:
                        complete = False
                    copied[info.url] = info.version

    def _pull_object(self, url: str, only: str | None) -> None:
        """Copy an object, a file or a part of one."""
        name = url.removeprefix(f"{self.url}/")
        found = _PART.fullmatch(name)
        whole, part = (found[1], int(found[2])) if found else (name, 0)
        if name == LOCK_NAME or (only is not None and whole != only):
            return
        data = objects.read(url)
        path = self.copy / whole
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file that was joined at its end is longer than a part; its bytes are the same.
        with path.open("r+b" if path.exists() else "wb") as file:
            file.seek(part * PART_BYTES)
            file.write(data)
        self._stored[path] = self._same[path] = self.size(path)

    def join(self, path: Path) -> None:
        """Store a file that won't grow any more as one object."""
        self._check_lease()
        parts = _count_parts(max(self.size(path), self._stored.get(path, 0)))
        with path.open("rb") as file:
            objects.write(self._find_url(path), file)
        for part in range(1, parts):
            objects.delete(self._name_part(path, part))
        self._stored[path] = self._same[path] = self.size(path)

    def discard(self) -> None:
        """Remove the copy. Discarding twice is allowed."""
        self._discard()

    def describe(self, path: Path) -> str:
        """The URL of a file or folder."""
        return self._find_url(path)

    def open_new(self, path: Path) -> int:
        """Create a file, or empty it, and open it for writing."""
        handle = super().open_new(path)
        self._paths[handle] = path
        self._same[path] = 0
        return handle

    def open_truncated_at(self, path: Path, length: int) -> int:
        """Open a file for writing, truncated to its first ``length`` bytes."""
        handle = super().open_truncated_at(path, length)
        self._paths[handle] = path
        self._same[path] = min(length, self._same.get(path, 0))
        return handle

    def close(self, handle: int) -> None:
        """Close a file, or release the lock."""
        self._paths.pop(handle, None)
        if handle == self._lock_handle:
            self._lock_handle = None
            if self._lease is not None:
                self._lease.release()
                self._lease = None
        super().close(handle)

    def fsync(self, handle: int) -> None:
        """Store a growing file; what is written at once is stored when it gets its name."""
        path = self._paths.get(handle)
        if path is None or path.name.endswith(PARTIAL_SUFFIX) or path.name == LOCK_NAME:
            return
        self._store_growing(path)

    def fsync_dir(self, path: Path) -> None:
        """Nothing: a name is stored with its file."""

    def rename(self, old: Path, new: Path) -> None:
        """Store a file that was written at once, and give it its name."""
        self._check_lease()
        url = self._find_url(new)
        data = self.read(old)
        if new.suffix == ".checkpoint":
            self._store_new(url, data)
        else:
            objects.write(url, data)
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        if not path.name.endswith(PARTIAL_SUFFIX):
            self._check_lease()
            objects.delete(self._find_url(path))
        super().unlink(path)

    def lock(self, path: Path) -> int | None:
        """Lock the folder, and copy what is in it; None if it is locked already."""
        lease = Lease(self._find_url(path))
        holder = lease.acquire()
        if holder is not None:
            path.write_text(f"{holder}\n", encoding="utf-8")
            return None
        self._lease = lease
        try:
            self.pull()
            self._lock_handle = super().lock(path)
        except BaseException:
            lease.release()
            raise
        return self._lock_handle

    def is_same_file(self, handle: int, path: Path) -> bool:
        """Whether the lock is still held."""
        if handle == self._lock_handle and self._lease is not None:
            return self._lease.check()
        return super().is_same_file(handle, path)

    @property
    def took_over(self) -> bool:
        """Whether the lock was taken from a process that may still run."""
        return self._lease is not None and self._lease.took_over

    def _check_lease(self) -> None:
        """Refuse to write once another process has the lock, as after this one was suspended."""
        if self._lease is not None and not self._lease.check():
            raise InUseError(
                f"{self._find_url(self.copy / LOCK_NAME)} was replaced: another process may write "
                "there now, so this one has stopped writing"
            )

    def _find_url(self, path: Path) -> str:
        parts = path.relative_to(self.copy).parts
        return join_url(self.url, *parts) if parts else self.url

    def _store_new(self, url: str, data: bytes) -> None:
        """Store a checkpoint, whose number must be new; a repeated request does no harm."""
        try:
            objects.write(url, data, new=True)
        except FileExistsError:
            if objects.read(url) != data:
                raise InUseError(
                    f"{url} was written by another process, so this one has stopped writing"
                ) from None

    def _store_growing(self, path: Path) -> None:
        """Store the parts of a file that have changed."""
        self._check_lease()
        length = self.size(path)
        parts = _count_parts(length)
        for part in range(min(self._same.get(path, 0) // PART_BYTES, parts - 1), parts):
            data = self.read_part(path, part * PART_BYTES, min(PART_BYTES, length))
            objects.write(self._name_part(path, part), data)
            self._stored[path] = max(length, self._stored.get(path, 0))
        for part in range(parts, _count_parts(self._stored.get(path, 0))):
            objects.delete(self._name_part(path, part))
        self._stored[path] = self._same[path] = length

    def _name_part(self, path: Path, part: int) -> str:
        url = self._find_url(path)
        return f"{url}.{part:06d}" if part else url


def _count_parts(length: int) -> int:
    return max(1, -(-length // PART_BYTES))


def _make_copy_folder() -> Path:
    """A new folder for a copy, after removing those that killed processes left."""
    boot, namespace, process, began = _find_place()
    number = re.sub("[^0-9]", "", namespace)
    root = Path(tempfile.gettempdir())
    for old in root.glob(f"{_COPY_PREFIX}{number}-*-*-*"):
        other, since, _ = old.name.removeprefix(f"{_COPY_PREFIX}{number}-").split("-")
        if _is_alive([boot, namespace, other, since]) is False:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_COPY_PREFIX}{number}-{process}-{began}-"))
