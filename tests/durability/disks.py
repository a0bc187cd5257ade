"""Disks that fail: in memory with power loss, and a real one whose n-th call goes wrong."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from streamnet.durability.files import FileSystem

__all__ = ("DURABLE", "FAULTS", "Faulty", "Filling", "Killed", "Memory", "Power", "disk_after")

DURABLE = ("open_new", "open_truncated_at", "write", "fsync", "rename", "fsync_dir", "unlink")
FAULTS = ("kill", "torn", "ENOSPC", "EIO", "short")


class Killed(BaseException):
    """The process is gone: nothing after it runs, not even clean-up on the disk."""


class Inode:
    """A file's content as programs see it, and as the disk has it."""

    def __init__(self, content: bytes = b"") -> None:
        self.seen = content
        self.synced = content


class Power(NamedTuple):
    """What a power cut leaves: names whose change was not synced, and how content is torn."""

    renamed: int  # directory operations that reached the disk, of those not synced
    content: str  # of files not synced: synced, full, half, zeros


class Memory(FileSystem):
    """A file system in memory that knows what a power cut would leave."""

    def __init__(self) -> None:
        self.names_seen: dict[Path, Inode] = {}
        self.names_synced: dict[Path, Inode] = {}
        self.pending: list[tuple[Path, Inode | None]] = []
        self._handles: dict[int, tuple[Inode, int]] = {}
        self._next = 3
        self._locks: dict[int, Path] = {}
        self.calls: list[str] = []

    # --------------------------------------------------------------- calls

    def _open(self, inode: Inode, at: int) -> int:
        self._next += 1
        self._handles[self._next] = (inode, at)
        return self._next

    def open_new(self, path: Path) -> int:
        self.calls.append("open_new")
        inode = self.names_seen.get(path)
        if inode is None:
            inode = Inode()
            self._name(path, inode)
        inode.seen = b""
        return self._open(inode, 0)

    def open_truncated_at(self, path: Path, length: int) -> int:
        self.calls.append("open_truncated_at")
        if path not in self.names_seen:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        inode = self.names_seen[path]
        inode.seen = inode.seen[:length]
        return self._open(inode, length)

    def write(self, handle: int, data: bytes) -> int:
        self.calls.append("write")
        inode, at = self._handles[handle]
        inode.seen = inode.seen[:at] + bytes(data) + inode.seen[at + len(data) :]
        self._handles[handle] = (inode, at + len(data))
        return len(data)

    def fsync(self, handle: int) -> None:
        self.calls.append("fsync")
        inode, _ = self._handles[handle]
        inode.synced = inode.seen

    def close(self, handle: int) -> None:
        self._handles.pop(handle, None)
        self._locks.pop(handle, None)

    def rename(self, old: Path, new: Path) -> None:
        self.calls.append("rename")
        inode = self.names_seen[old]
        # One step of the journal: both names change, or neither.
        del self.names_seen[old]
        self.names_seen[new] = inode
        self.pending.append((old, None))
        self.pending.append((new, inode))

    def fsync_dir(self, folder: Path) -> None:
        self.calls.append("fsync_dir")
        for path in [*self.names_synced, *self.names_seen]:
            if path.parent == folder:
                self.names_synced.pop(path, None)
                if path in self.names_seen:
                    self.names_synced[path] = self.names_seen[path]
        self.pending = [(path, inode) for path, inode in self.pending if path.parent != folder]

    def unlink(self, path: Path) -> None:
        self.calls.append("unlink")
        if path not in self.names_seen:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        del self.names_seen[path]
        self.pending.append((path, None))

    def make_dir(self, folder: Path) -> None:
        pass

    def names(self, folder: Path) -> list[str]:
        return sorted(path.name for path in list(self.names_seen) if path.parent == folder)

    def size(self, path: Path) -> int:
        return len(self.read(path))

    def read(self, path: Path) -> bytes:
        if path not in self.names_seen:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return self.names_seen[path].seen

    def read_part(self, path: Path, offset: int, size: int) -> bytes:
        return self.read(path)[offset : offset + size]

    def lock(self, path: Path) -> int | None:
        if path in self._locks.values():
            return None
        handle = self._open(Inode(), 0)
        self._locks[handle] = path
        return handle

    def is_same_file(self, handle: int, path: Path) -> bool:
        if handle in self._locks:
            return self._locks[handle] == path
        if path not in self.names_seen:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return self.names_seen[path] is self._handles[handle][0]

    def _name(self, path: Path, inode: Inode) -> None:
        self.names_seen[path] = inode
        self.pending.append((path, inode))

    # ---------------------------------------------------------- power cuts

    def cuts(self) -> Iterator[Power]:
        """Every state that a power cut at this moment may leave."""
        for renamed in range(len(self.pending) + 1):
            for content in ("synced", "full", "half", "zeros"):
                yield Power(renamed, content)

    def after(self, power: Power) -> Memory:
        """The disk that a machine finds when it comes up again."""
        names = dict(self.names_synced)
        for path, inode in self.pending[: power.renamed]:
            if inode is None:
                names.pop(path, None)
            else:
                names[path] = inode
        disk = Memory()
        for path, inode in names.items():
            left = Inode(_left(inode, power.content))
            disk.names_seen[path] = left
        disk.names_synced = dict(disk.names_seen)
        return disk


def _left(inode: Inode, content: str) -> bytes:
    if inode.seen == inode.synced or content == "synced":
        return inode.synced
    if content == "full":
        return inode.seen
    # What was synced stays as it is, if it was only added to.
    kept = inode.synced if inode.seen.startswith(inode.synced) else b""
    added = len(inode.seen) - len(kept)
    return kept + (inode.seen[len(kept) :][: added // 2] if content == "half" else bytes(added))


def disk_after(disk: Memory) -> Memory:
    """The disk as a process that follows a killed one finds it: nothing seen is lost."""
    after = Memory()
    after.names_seen = {path: Inode(inode.seen) for path, inode in disk.names_seen.items()}
    after.names_synced = dict(after.names_seen)
    return after


class Faulty(FileSystem):
    """Passes calls on to another one, and lets durable call number ``at`` go wrong.

    Args:
        files: The other one.
        at: Number of the call, from 0.
        fault: One of `FAULTS`.
        times: How many calls from there on go wrong.
    """

    def __init__(self, files: FileSystem, at: int, fault: str, *, times: int = 1) -> None:
        self._files = files
        self._at = at
        self._fault = fault
        self._times = times
        self.count = 0
        self.dead = False

    def _call(self, name: str, *args: Any) -> Any:
        if self.dead:
            raise Killed
        number, self.count = self.count, self.count + (name in DURABLE)
        wrong = name in DURABLE and self._at <= number < self._at + self._times
        if not wrong:
            return getattr(self._files, name)(*args)
        return self._go_wrong(name, *args)

    def _go_wrong(self, name: str, *args: Any) -> Any:
        if self._fault in ("torn", "short") and name == "write":
            handle, data = args
            taken = self._files.write(handle, bytes(data)[: (len(data) + 1) // 2])
            if self._fault == "short":
                return taken
        if self._fault == "short":
            return getattr(self._files, name)(*args)
        if self._fault in ("kill", "torn"):
            self.dead = True
            raise Killed
        number = getattr(errno, self._fault)
        raise OSError(number, errno.errorcode[number])

    def open_new(self, path: Path) -> int:
        return int(self._call("open_new", path))

    def open_truncated_at(self, path: Path, length: int) -> int:
        return int(self._call("open_truncated_at", path, length))

    def write(self, handle: int, data: bytes) -> int:
        return int(self._call("write", handle, data))

    def fsync(self, handle: int) -> None:
        self._call("fsync", handle)

    def close(self, handle: int) -> None:
        if not self.dead:  # the kernel does it for a process that is gone
            self._files.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        self._call("rename", old, new)

    def fsync_dir(self, folder: Path) -> None:
        self._call("fsync_dir", folder)

    def unlink(self, path: Path) -> None:
        self._call("unlink", path)

    def make_dir(self, folder: Path) -> None:
        self._call("make_dir", folder)

    def names(self, folder: Path) -> list[str]:
        return list(self._call("names", folder))

    def size(self, path: Path) -> int:
        return int(self._call("size", path))

    def read(self, path: Path) -> bytes:
        return bytes(self._call("read", path))

    def read_part(self, path: Path, offset: int, size: int) -> bytes:
        return bytes(self._call("read_part", path, offset, size))

    def lock(self, path: Path) -> int | None:
        handle: int | None = self._call("lock", path)
        return handle

    def is_same_file(self, handle: int, path: Path) -> bool:
        return bool(self._call("is_same_file", handle, path))


class Filling(Faulty):
    """The real disk, full while it is told to be."""

    def __init__(self, files: FileSystem | None = None) -> None:
        super().__init__(FileSystem() if files is None else files, -1, "ENOSPC")
        self.full = False

    def write(self, handle: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(handle, data)
