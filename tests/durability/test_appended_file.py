"""An output that can be taken back, and that waits for room on the disk."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from streamnet.durability import safe_file
from streamnet.durability.safe_file import AppendedFile
from streamnet.errors import ConfigurationError, OutputError, StateError
from tests.durability.disks import Faulty, Memory

PATH = Path("/out/rows.csv")


def test_it_resumes_after_any_length(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    for length in (*range(11), 4095, 4096, 4097, 10_000):
        text = "".join(str(i % 7) for i in range(length))
        file = AppendedFile(path, "rows")
        file.start()
        file.text.write(text)
        state = file.export_state()
        file.text.write("written later")
        file.close()
        file = AppendedFile(path, "rows")
        file.restore_state(state)
        file.text.write("xyz")
        again = file.export_state()
        assert again["length"] == length + 3
        file.close()
        assert path.read_text() == text + "xyz"
        file.restore_state(again)
        file.close()


def test_another_file_is_an_error_and_stays_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    file = AppendedFile(path, "rows")
    file.start()
    file.text.write("012")
    state = file.export_state()
    file.close()
    for other in (b"01", b"", b"912345", b"9" * 5000):
        path.write_bytes(other)
        with pytest.raises(StateError, match="is not the file that had 3 bytes"):
            AppendedFile(path, "rows").restore_state(state)
        assert path.read_bytes() == other
    path.unlink()
    with pytest.raises(StateError, match="is gone, but the state resumes after its 3 bytes"):
        AppendedFile(path, "rows").restore_state(state)
    with pytest.raises(ConfigurationError, match=r"rows .*: No such file"):
        AppendedFile(tmp_path / "no" / "rows.csv", "rows").start()


def test_only_a_file_that_holds_something_is_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    file = AppendedFile(path, "rows")
    file.check_empty()
    path.write_bytes(b"")
    file.check_empty()
    path.write_bytes(b"01")
    with pytest.raises(StateError, match="has 2 bytes, but must be absent or empty"):
        file.check_empty()
    with pytest.raises(ConfigurationError, match="Not a directory"):
        AppendedFile(path / "rows.csv", "rows").check_empty()


def test_data_waits_for_a_full_disk_and_is_written_in_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = Memory()
    file = AppendedFile(PATH, "rows", files=Faulty(disk, 2, "ENOSPC", times=3))
    file.start()
    for number in range(8):
        file.text.write(f"row {number}\n" * 12_000)
        with caplog.at_level(logging.WARNING):
            file.settle()
        assert (file.failure is not None) == (1 <= number <= 3)
    assert [record.getMessage() for record in caplog.records] == [
        "rows /out/rows.csv: ENOSPC; retrying"
    ]
    file.close()
    assert disk.read(PATH).decode() == "".join(f"row {n}\n" * 12_000 for n in range(8))


def test_short_writes_lose_nothing() -> None:
    disk = Memory()
    file = AppendedFile(PATH, "rows", files=Faulty(disk, 1, "short", times=5))
    file.start()
    file.text.write("0123456789")
    file.close()
    assert disk.read(PATH) == b"0123456789"


def test_more_than_can_wait_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_file, "_MAX_BUFFERED_BYTES", 100_000)
    file = AppendedFile(PATH, "rows", files=Faulty(Memory(), 1, "ENOSPC", times=99))
    file.start()
    file.text.write("x" * 70_000)
    file.settle()
    file.text.write("x" * 70_000)
    with pytest.raises(OutputError, match="wait to be written"):
        file.settle()
    with pytest.raises(OutputError, match="ENOSPC"):
        file.close()
    assert not file.is_open


def test_small_writes_are_buffered() -> None:
    disk = Memory()
    file = AppendedFile(PATH, "rows", files=disk)
    file.start()
    file.text.write("little")
    file.settle()
    assert disk.read(PATH) == b""
    file.close()
    assert disk.read(PATH) == b"little"


class Forgetful(Memory):
    """A disk that forgets what was written, and says so only to the first fsync after it."""

    def __init__(self, forgets: set[int]) -> None:
        super().__init__()
        self.forgets = forgets
        self.syncs = 0
        self.lost: dict[int, tuple[int, int]] = {}

    def fsync(self, handle: int) -> None:
        inode, _ = self._handles[handle]
        number, self.syncs = self.syncs, self.syncs + 1
        if number in self.forgets:
            self.lost[id(inode)] = (len(inode.synced), len(inode.seen))
            raise OSError(5, "EIO")
        super().fsync(handle)
        begin, end = self.lost.get(id(inode), (0, 0))
        inode.synced = inode.seen[:begin] + bytes(end - begin) + inode.seen[end:]

    def open_truncated_at(self, path: Path, length: int) -> int:
        self.lost.pop(id(self.names_seen[path]), None)  # what is written now is new
        return super().open_truncated_at(path, length)


def test_data_lost_by_a_failed_fsync_is_written_again() -> None:
    disk = Forgetful({2, 5, 6})
    file = AppendedFile(PATH, "rows", files=disk)
    file.start()
    synced = 0
    for number in range(10):
        file.text.write(f"row {number}\n")
        length = file.flush()
        try:
            file.sync()
        except OSError:
            continue
        synced = length
        content = "".join(f"row {n}\n" for n in range(number + 1)).encode()
        assert disk.names_synced[PATH].synced == content
    assert synced == 60


def test_too_much_to_be_written_again_is_a_permanent_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_file, "_MAX_BUFFERED_BYTES", 100)
    file = AppendedFile(PATH, "rows", files=Forgetful({0}))
    file.start()
    file.sync()
    file.text.write("x" * 200)
    file.flush()
    for _ in range(3):
        with pytest.raises(OSError, match=r"EIO|too much"):
            file.sync()
