"""Files of a bucket with their local copy, and the lock that only one process holds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from streamnet import objects
from streamnet.durability import bucket as bucket_module
from streamnet.durability.bucket import BucketFiles, Lease, find_holder, open_state
from streamnet.durability.files import write_all, write_durably
from streamnet.durability.safe_file import AppendedFile
from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import InUseError, StateError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(bucket_module, "LEASE_SECONDS", 2.0)
    monkeypatch.setattr(bucket_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(bucket_module, "PART_BYTES", 100)


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, each look finds another machine."""
    numbers = count()
    place = lambda: [f"boot {next(numbers)}", "pid:[1]", "7", "8"]  # noqa: E731
    monkeypatch.setattr(bucket_module, "_find_place", place)


# ------------------------------------------------------------------------- lock


def test_a_second_process_is_refused_and_told_the_holder(any_bucket: str) -> None:
    lease = Lease(f"{any_bucket}/lock")
    assert lease.acquire() is None
    assert find_holder(any_bucket) == f"process {os.getpid()} on {os.uname().nodename}"
    assert Lease(f"{any_bucket}/lock").acquire() == find_holder(any_bucket)
    lease.release()
    lease.release()
    assert find_holder(any_bucket) == ""
    other = Lease(f"{any_bucket}/lock")
    assert other.acquire() is None
    other.release()


def test_one_that_renews_its_lock_elsewhere_is_alive(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease(f"{bucket}/lock")
    assert lease.acquire() is None
    elsewhere(monkeypatch)
    assert (Lease(f"{bucket}/lock").acquire() or "").startswith("process ")
    assert lease.check()
    lease.release()


def test_one_that_does_not_renew_its_lock_loses_it_and_notices(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspended = Lease(f"{bucket}/lock")
    monkeypatch.setattr(suspended, "_keep", lambda: None)
    assert suspended.acquire() is None
    elsewhere(monkeypatch)
    other = Lease(f"{bucket}/lock")
    began = monotonic()
    assert other.acquire() is None
    assert monotonic() > began + 1.5
    assert not suspended.check()
    suspended.release()
    assert other.check()
    sleep(0.3)
    assert other.check()
    other.release()


def test_a_dead_process_of_this_machine_is_recognized_at_once(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from streamnet.durability.bucket import Lease; "
        "print(Lease(sys.argv[1]).acquire(), flush=True); input()"
    )
    command = [sys.executable, "-c", code, f"{bucket}/lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"None\n"
        assert Lease(f"{bucket}/lock").acquire() == find_holder(bucket) != ""
        process.send_signal(signal.SIGKILL)
    monkeypatch.setattr(bucket_module, "LEASE_SECONDS", 1e9)
    lease = Lease(f"{bucket}/lock")
    assert lease.acquire() is None
    lease.release()


def test_of_many_that_want_a_lock_one_gets_it(
    gs_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Lease(f"{gs_bucket}/lock")
    monkeypatch.setattr(old, "_keep", lambda: None)
    assert old.acquire() is None
    elsewhere(monkeypatch)
    leases = [Lease(f"{gs_bucket}/lock") for _ in range(8)]
    found: list[str | None] = []
    threads = [threading.Thread(target=lambda x=x: found.append(x.acquire())) for x in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found.count(None) == 1
    for lease in leases:
        lease.release()


def test_a_failing_store_is_no_lost_lock(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(f"{bucket}/lock")
    assert lease.acquire() is None
    write = objects.write

    def fail(*_args: Any, **_options: Any) -> str:
        raise OSError(5, "no connection")

    monkeypatch.setattr(objects, "write", fail)
    sleep(0.5)
    with pytest.raises(OSError, match="no connection"):
        lease.check()
    monkeypatch.setattr(objects, "write", write)
    assert lease.check()
    lease.release()


# ------------------------------------------------------------------------ files


def pulled(bucket: str) -> dict[str, bytes]:
    """All files as a new process finds them."""
    files = BucketFiles(bucket)
    files.pull()
    found = {
        path.relative_to(files.copy).as_posix(): path.read_bytes()
        for path in files.copy.rglob("*")
        if path.is_file()
    }
    files.discard()
    assert not files.copy.exists()
    return found


def test_a_file_is_in_the_bucket_once_it_is_written(bucket: str) -> None:
    files = BucketFiles(f"{bucket}/state")
    files.make_dir(files.copy / "models")
    write_durably(files.copy / "models" / "a.bin", b"one", b"two", files=files)
    assert objects.read(f"{bucket}/state/models/a.bin") == b"onetwo"
    assert [info.url for info in objects.list_below(bucket)] == [f"{bucket}/state/models/a.bin"]
    files.unlink(files.copy / "models" / "a.bin")
    assert pulled(f"{bucket}/state") == {}
    assert files.describe(files.copy / "models" / "a.bin") == f"{bucket}/state/models/a.bin"
    assert files.describe(files.copy) == f"{bucket}/state"


def test_a_checkpoint_is_never_written_over(any_bucket: str) -> None:
    ours, theirs = BucketFiles(any_bucket), BucketFiles(any_bucket)
    write_durably(ours.copy / "1.checkpoint", b"ours", files=ours)
    write_durably(ours.copy / "1.checkpoint", b"ours", files=ours)  # as after a lost answer
    with pytest.raises(
        StateError, match=f"{any_bucket}/1.checkpoint was written by another process"
    ):
        write_durably(theirs.copy / "1.checkpoint", b"theirs", files=theirs)
    assert objects.read(f"{any_bucket}/1.checkpoint") == b"ours"
    assert list(theirs.copy.iterdir()) == []


@pytest.mark.parametrize("seed", range(6))
def test_a_file_that_grows_and_is_cut_is_what_it_was_at_its_last_sync(
    bucket: str, seed: int
) -> None:
    chance = random.Random(seed)
    files = BucketFiles(bucket)
    path = files.copy / "rows.jsonl"
    handle = files.open_new(path)
    content = synced = b""
    for _ in range(25):
        action = chance.choice(("append", "append", "sync", "sync", "crash", "join"))
        if action == "append":
            more = chance.randbytes(chance.choice((3, 90, 250)))
            write_all(files, handle, more)
            content += more
        elif action == "sync":
            files.fsync(handle)
            synced = content
            assert pulled(bucket).get("rows.jsonl", b"")[: len(synced)] == synced
        elif action == "join":
            files.join(path)
            synced = content
            assert pulled(bucket) == {"rows.jsonl": synced}
        else:
            files.close(handle)
            files.discard()
            files = BucketFiles(bucket)
            files.pull()
            path = files.copy / "rows.jsonl"
            length = chance.randrange(len(synced) + 1)
            if not path.exists():
                path.touch()
            handle = files.open_truncated_at(path, length)
            content = synced = synced[:length]
            assert path.read_bytes() == content
    files.join(path)
    assert pulled(bucket) == {"rows.jsonl": content}
    assert [info.url for info in objects.list_below(bucket)] == [f"{bucket}/rows.jsonl"]


def test_a_large_file_is_not_written_again_when_it_grows(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = BucketFiles(bucket)
    rows = AppendedFile(files.copy / "rows", "rows", files=files)
    rows.start()
    rows.text.write("x" * 1000)
    rows.flush()
    rows.sync()
    written: list[str] = []
    write = objects.write

    def noted(url: str, data: bytes) -> str:
        written.append(url)
        return write(url, data)

    monkeypatch.setattr(objects, "write", noted)
    rows.text.write("y" * 30)
    rows.flush()
    rows.sync()
    assert written == [f"{bucket}/rows.000010"]
    rows.close()
    assert pulled(bucket) == {"rows": b"x" * 1000 + b"y" * 30}


def test_generations_and_models_are_those_of_a_state_directory(bucket: str) -> None:
    files = BucketFiles(f"{bucket}/state")
    folder = StateDirectory(files.copy, generations=3, files=files)
    folder.open()
    for number in range(5):
        folder.generations.save({"number": number})
        folder.publisher.publish(b"model", number + 1, "00" * 8, number)
        folder.check()
    with pytest.raises(StateError, match=rf"{bucket}/state is in use by process \d+ on "):
        StateDirectory((other := BucketFiles(f"{bucket}/state")).copy, files=other).open()
    folder.close()
    with open_state(f"{bucket}/state") as (path, _):
        copied = StateDirectory(path)
        assert copied.generations.numbers() == [2, 3, 4]
        newest = copied.generations.newest()
        assert newest is not None
        assert newest.tree == {"number": 4}
        assert len(copied.publisher.names()) == 5
    assert not path.exists()


def test_a_state_is_read_while_its_owner_writes_there(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = BucketFiles(bucket)
    folder = StateDirectory(files.copy, files=files)
    folder.open()
    for number in range(3):
        folder.generations.save({"number": number})
    read, moves = objects.read, iter(range(3, 7))

    def read_after_others(url: str, *arguments: int) -> bytes:
        if (number := next(moves, None)) is not None:
            folder.generations.save({"number": number})
        return read(url, *arguments)

    monkeypatch.setattr(objects, "read", read_after_others)
    with open_state(bucket) as (path, _):
        newest = StateDirectory(path).generations.newest()
    assert newest is not None
    assert newest.tree == {"number": 6}
    folder.close()


def test_a_writer_that_lost_its_lock_can_write_nothing_more(
    any_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = BucketFiles(any_bucket)
    folder = StateDirectory(former.copy, files=former)
    monkeypatch.setattr(Lease, "_keep", lambda self: None)
    folder.open()
    folder.generations.save({"number": 0})
    rows = former.open_new(former.copy / "rows")
    write_all(former, rows, b"former")
    elsewhere(monkeypatch)
    files = BucketFiles(any_bucket)
    successor = StateDirectory(files.copy, files=files)
    successor.open()
    with monkeypatch.context() as between:
        # As if it was suspended after its look at the lock, and is about to write.
        between.setattr(Lease, "check", lambda self: True)
        with pytest.raises(InUseError, match=r"1\.checkpoint was written by another process"):
            folder.generations.save({"number": 1})
    path = former.copy / "checkpoints" / "000000000000.checkpoint"
    for write in (
        folder.check,
        lambda: folder.publisher.publish(b"model", 1, "00" * 8, 0),
        lambda: former.fsync(rows),
        lambda: former.join(former.copy / "rows"),
        lambda: former.unlink(path),
    ):
        with pytest.raises(InUseError, match=f"{any_bucket}/lock was replaced"):
            write()
    assert successor.generations.save({"number": 1}) == 2
    folder.close()
    successor.close()
    with open_state(any_bucket) as (found, _):
        trees = [StateDirectory(found).generations.load(number) for number in range(3)]
        assert trees == [{"number": 0}, {"number": 0}, {"number": 1}]
        assert not (found / "rows").exists()
        assert not any((found / "models").rglob("*"))


def test_copies_that_killed_processes_left_are_removed(bucket: str, tmp_path: Path) -> None:
    code = (
        "import os, sys; from streamnet.durability.bucket import BucketFiles; "
        "files = BucketFiles(sys.argv[1]); print(files.copy, flush=True); os.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, bucket], env=environment, capture_output=True, check=False
    )
    left = Path(done.stdout.decode().strip())
    assert left.is_dir()
    code = code.replace("os.kill(os.getpid(), 9)", "pass")
    done = subprocess.run(
        [sys.executable, "-c", code, bucket], env=environment, capture_output=True, check=True
    )
    assert not left.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_cannot_be_read_names_the_bucket(bucket: str) -> None:
    with (
        pytest.raises(StateError, match="state s3://no-such-bucket/a: the bucket of"),
        open_state("s3://no-such-bucket/a"),
    ):
        pass
    files = BucketFiles("s3://no-such-bucket/a")
    with pytest.raises(StateError, match="state s3://no-such-bucket/a: "):
        StateDirectory(files.copy, files=files).open()
