"""The state directory: one writer, whole generations, whole models, whatever fails."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from streamnet.durability import state_directory as module
from streamnet.durability.checkpoint import encode
from streamnet.durability.files import (
    PARTIAL_SUFFIX,
    FileSystem,
    remove_partial_files,
    write_durably,
)
from streamnet.durability.state_directory import (
    POINTER,
    Generations,
    ModelPublisher,
    StateDirectory,
    WriterLock,
    read_pointer,
)
from streamnet.errors import ConfigurationError, DamagedStateError, StateError
from tests.conftest import Counted
from tests.durability.disks import FAULTS, Faulty, Killed, Memory, Power, disk_after
from tests.durability.histories import FOLDER, Writer, found, tree_of
from tests.durability.published_models import read_published_model

HOLD = """
import sys, time
from pathlib import Path
from streamnet.durability.state_directory import WriterLock
from streamnet.errors import StateError
try:
    lock = WriterLock(Path(sys.argv[1]))
except StateError:
    sys.exit(9)
print("held", flush=True)
time.sleep(60)
"""


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_exactly_one_of_many_writers_wins_and_a_killed_one_is_no_obstacle(tmp_path: Path) -> None:
    children = [start(tmp_path) for _ in range(6)]
    try:
        codes: list[int] = []
        while len(codes) < 5:
            pid, status = os.waitpid(-1, 0)
            (child,) = (c for c in children if c.pid == pid)
            child.returncode = os.waitstatus_to_exitcode(status)
            codes.append(child.returncode)
        assert codes == [9] * 5
        (winner,) = (child for child in children if child.returncode is None)
        assert winner.stdout is not None
        assert winner.stdout.readline() == "held\n"
        with pytest.raises(StateError, match=f"in use by process {winner.pid}: only one"):
            WriterLock(tmp_path)
        winner.send_signal(signal.SIGKILL)
        winner.wait()
        WriterLock(tmp_path).close()
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                child.wait()
            if child.stdout is not None:
                child.stdout.close()


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StateError, match=r"state .*file/state: Not a directory"):
        StateDirectory(file / "state").open()


def test_a_full_disk_does_not_keep_a_run_from_its_lock() -> None:
    WriterLock(Path("/state"), files=Faulty(Memory(), 0, "ENOSPC", times=99)).close()


def test_a_lock_is_lost_when_its_folder_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    lock = WriterLock(folder)
    lock.check()
    folder.rename(tmp_path / "aside")
    with pytest.raises(FileNotFoundError):
        lock.check()
    folder.mkdir()
    other = WriterLock(folder)
    with pytest.raises(StateError, match=r"state/lock was replaced: another process may write"):
        lock.check()
    other.check()
    other.close()
    lock.close()
    lock.check()


def test_incomplete_files_of_a_crash_are_removed(tmp_path: Path) -> None:
    folder = StateDirectory(tmp_path)
    folder.open()
    folder.close()
    rests = [tmp_path / part / ".a.1-2.part" for part in ("checkpoints", "models")]
    for rest in rests:
        rest.write_text("half")
    folder.open()
    assert not any(rest.exists() for rest in rests)
    folder.close()


SAVES = 8


def durable_calls() -> int:
    counting = Faulty(Memory(), -1, "kill")
    writer = Writer(counting)
    for _ in range(SAVES):
        writer.save()
    return counting.count


def crash_cases() -> int:
    """Let every durable call go wrong in every way; how many cases there were."""
    cases = 0
    for at in range(durable_calls()):
        for fault in FAULTS:
            disk = Memory()
            writer = Writer(Faulty(disk, at, fault))
            killed = False
            for _ in range(SAVES):
                try:
                    writer.save()
                except OSError:
                    continue
                except Killed:
                    killed = True
                    break
            step = found(disk_after(disk))
            assert writer.acknowledged <= step <= writer.tried, (at, fault)
            assert killed == (fault in ("kill", "torn"))
            if not killed:
                assert step >= SAVES - 2  # the last one may be the one that failed
            # Whatever happened, the next process goes on.
            after = disk_after(disk)
            following = Writer(after, first=step + 1)
            remove_partial_files(FOLDER, files=after)
            following.save()
            assert found(disk_after(after)) == step + 1
            assert not [name for name in after.names(FOLDER) if name.endswith(PARTIAL_SUFFIX)]
            cases += 1
    return cases


def power_states(saves: int) -> int:
    """Cut the power after every call; how many disks were looked at."""
    states = 0
    disk = Memory()
    writer = Writer(_Watched(disk, lambda: None))

    def look() -> None:
        nonlocal states
        for power in disk.cuts():
            step = found(disk.after(power))
            assert writer.acknowledged <= step <= writer.tried, (disk.calls[-3:], power)
            states += 1

    writer.generations._files = _Watched(disk, look)
    for _ in range(saves):
        writer.save()
    return states


class _Watched(Memory):
    """Calls ``look`` before and after every call that changes a disk."""

    def __init__(self, disk: Memory, look: Callable[[], None]) -> None:
        self.__dict__ = disk.__dict__
        self._look = look

    def __getattribute__(self, name: str):
        value = super().__getattribute__(name)
        if name not in ("open_new", "write", "fsync", "rename", "fsync_dir", "unlink"):
            return value

        def watched(*args):
            self._look()
            result = value(*args)
            self._look()
            return result

        return watched


def test_every_durable_call_may_fail_in_every_way(counted: Counted) -> None:
    cases = crash_cases()
    assert cases >= 200
    counted("calls", cases)


def test_no_power_cut_loses_what_was_acknowledged(counted: Counted) -> None:
    states = power_states(400)
    assert states >= 50_000
    counted("power cuts", states)


def test_every_bit_and_every_cut_of_the_newest_falls_back_to_the_one_before(
    counted: Counted,
) -> None:
    counted("damage", damaged_files())


def damaged_files() -> int:
    """Damage the newest file in every way and fall back; how many ways there were."""
    disk = Memory()
    writer = Writer(disk)
    for _ in range(3):
        writer.save()
    path = FOLDER / disk.names(FOLDER)[-1]
    whole = disk.read(path)
    wrong = [whole[:length] for length in range(len(whole))]
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        wrong.append(bytes(flipped))
    for content in wrong:
        disk.names_seen[path].seen = content
        loaded = Generations(FOLDER, files=disk).newest()
        assert loaded is not None
        assert loaded.number == 1
        assert "000000000002" in loaded.damaged[0]
    return len(wrong)


def test_a_damaged_generation_is_kept_and_its_number_is_not_used_again(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    for step in range(3):
        generations.save(tree_of(step))
    (tmp_path / "000000000002.checkpoint").write_bytes(b"rubbish")
    again = Generations(tmp_path)
    assert again.newest() is not None
    assert [again.save(tree_of(step)) for step in range(3, 7)] == [3, 4, 5, 6]
    assert again.numbers() == [2, 4, 5, 6]


def test_all_damaged_is_an_error_that_names_each(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    generations.save(tree_of(0))
    generations.save(tree_of(1))
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DamagedStateError, match=r"no generation.*0001.*0 bytes.*0000.*0 bytes"):
        Generations(tmp_path).newest()


def test_a_missing_generation_is_an_error_that_lists_the_existing_ones(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    with pytest.raises(StateError, match="no generation 4; there is none"):
        generations.load(4)
    generations.save(tree_of(0))
    with pytest.raises(StateError, match="no generation 4; 0 are there"):
        generations.load(4)


def test_fewer_than_three_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="generations is 2, but must be >= 3"):
        Generations(tmp_path, keep=2)


def test_an_old_generation_that_cannot_be_removed_is_removed_later() -> None:
    disk = Memory()
    for_unlink = Faulty(disk, 20, "EIO")  # the sixth call of the fourth save
    writer = Writer(for_unlink)
    for _ in range(4):
        writer.save()
    assert "unlink" not in disk.calls
    assert len(writer.generations.numbers()) == 4
    writer.save()
    assert writer.generations.numbers() == [2, 3, 4]


# ------------------------------------------------ faults of our own, which must be noticed


def written_in_place(path: Path, *data: bytes, files: Memory) -> None:
    handle = files.open_new(path)
    files.write(handle, b"".join(data))
    files.fsync(handle)
    files.fsync_dir(path.parent)


def without_fsync(path: Path, *data: bytes, files: Memory) -> None:
    part = path.with_name("new" + PARTIAL_SUFFIX)
    handle = files.open_new(part)
    files.write(handle, b"".join(data))
    files.rename(part, path)
    files.fsync_dir(path.parent)


def without_fsync_of_the_folder(path: Path, *data: bytes, files: Memory) -> None:
    part = path.with_name("new" + PARTIAL_SUFFIX)
    handle = files.open_new(part)
    files.write(handle, b"".join(data))
    files.fsync(handle)
    files.rename(part, path)


def one_file_for_all(path: Path, *data: bytes, files: Memory) -> None:
    written_in_place(path.with_name("000000000000.checkpoint"), *data, files=files)


def power_cuts() -> int:
    return power_states(6)


@pytest.mark.parametrize(
    ("fault", "proof"),
    [
        (written_in_place, crash_cases),
        (without_fsync, power_cuts),
        (without_fsync_of_the_folder, power_cuts),
        (one_file_for_all, power_cuts),
    ],
    ids=lambda fault: fault.__name__,
)
def test_an_unsafe_way_of_writing_is_detected(
    monkeypatch: pytest.MonkeyPatch,
    counted: Counted,
    fault: Callable[..., None],
    proof: Callable[[], object],
) -> None:
    monkeypatch.setattr(module, "write_durably", fault)
    with pytest.raises((AssertionError, DamagedStateError)):
        proof()
    counted("mutants", 1)


def test_removing_the_old_before_the_new_is_durable_is_detected(
    monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    write = write_durably

    def unlink_first(path: Path, *data: bytes, files: Memory) -> None:
        for name in files.names(path.parent):
            if name.endswith(".checkpoint"):
                files.unlink(path.parent / name)
        write(path, *data, files=files)

    monkeypatch.setattr(module, "write_durably", unlink_first)
    with pytest.raises((AssertionError, DamagedStateError)):
        power_states(6)
    counted("mutants", 1)


def test_keeping_only_one_generation_is_detected(
    monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    monkeypatch.setattr(module, "MIN_GENERATIONS", 1)
    defaults = Generations.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "keep", 1)
    with pytest.raises(DamagedStateError):
        damaged_files()
    counted("mutants", 1)


def test_a_reader_that_trusts_content_is_detected(
    monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    def trusting(data: bytes):
        with suppress(Exception):
            return {"step": int(data.split(b"step ")[1].split(b'"')[0])}
        return {"step": -5}

    monkeypatch.setattr(module, "decode", trusting)
    with pytest.raises(AssertionError):
        damaged_files()
    counted("mutants", 1)


def test_states_with_the_same_content_are_the_same_bytes() -> None:
    assert encode(tree_of(3)) == encode(tree_of(3))


def test_a_power_cut_can_be_described() -> None:
    disk = Memory()
    Writer(disk).save()
    assert Power(0, "synced") in list(disk.cuts())


MODELS = Path("/state/models")
LINEAGE = "0123456789abcdef"


def model(generation: int) -> bytes:
    return f"model {generation} ".encode() * 50


def whole(files: FileSystem, folder: Path = MODELS) -> int:
    """Generation of the model that the pointer names, which must be there and whole."""
    found = read_published_model(folder, files=files)
    if found is None:
        return 0
    published, data = found
    assert data == model(published.generation)
    assert hashlib.sha256(data).hexdigest() == published.checksum
    assert published.samples == 10 * published.generation
    return published.generation


def publish(files: FileSystem, generations: range) -> int:
    """Publish models; the last one whose publishing did not fail."""
    publisher, last = ModelPublisher(MODELS, keep=2, files=files), 0
    for generation in generations:
        try:
            publisher.publish(model(generation), generation, LINEAGE, 10 * generation)
        except OSError:
            continue
        last = generation
    return last


def test_every_call_may_fail_in_every_way() -> None:
    counting = Faulty(Memory(), -1, "kill")
    publish(counting, range(1, 6))
    for at in range(counting.count):
        for fault in FAULTS:
            disk = Memory()
            try:
                last = publish(Faulty(disk, at, fault), range(1, 6))
            except Killed:
                last = 0
            after = disk_after(disk)
            assert whole(after) >= last
            remove_partial_files(MODELS, files=after)
            assert publish(after, range(1, 7)) == whole(after) == 6
            assert len(ModelPublisher(MODELS, files=after).names()) <= 2


def test_no_power_cut_leaves_a_pointer_to_half_a_model(counted: Counted) -> None:
    disk, states = Memory(), 0
    for generation in range(1, 40):
        last = publish(disk, range(generation, generation + 1))
        for power in disk.cuts():
            assert whole(disk.after(power)) == last
            states += 1
    for at in range(60):
        torn = Memory()
        with pytest.raises(Killed):
            publish(Faulty(torn, at, "kill"), range(1, 9))
        for power in torn.cuts():
            whole(torn.after(power))
            states += 1
    assert states > 300
    counted("power cuts", states)


def test_readers_never_find_half_a_model(tmp_path: Path) -> None:
    publisher = ModelPublisher(tmp_path, keep=16)
    publisher.publish(model(1), 1, LINEAGE, 10)
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(whole(publisher.files, tmp_path))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for generation in range(2, 150):
        publisher.publish(model(generation), generation, LINEAGE, 10 * generation)
    done.set()
    for reader in readers:
        reader.join()
    assert len(publisher.names()) == 16
    assert len(set(seen)) > 3


def test_a_model_that_is_published_again_is_the_same_file(tmp_path: Path) -> None:
    publisher = ModelPublisher(tmp_path)
    for _ in range(2):
        publisher.publish(model(1), 1, LINEAGE, 10)
    assert publisher.names() == [f"000000000001-{LINEAGE}.safetensors"]


def test_the_pointer_can_name_an_earlier_one_or_none(tmp_path: Path) -> None:
    publisher = ModelPublisher(tmp_path)
    publisher.publish(model(1), 1, LINEAGE, 10)
    first = read_pointer(tmp_path)
    publisher.publish(model(2), 2, LINEAGE, 20)
    publisher.point(first)
    assert whole(publisher.files, tmp_path) == 1
    publisher.point(None)
    assert read_pointer(tmp_path) is None


def test_models_of_a_rolled_back_lineage_are_removed_first(tmp_path: Path) -> None:
    publisher, rolled_back = ModelPublisher(tmp_path, keep=3), "fedcba9876543210"
    for generation in range(5, 9):
        publisher.publish(model(generation), generation, LINEAGE, 10 * generation)
    for generation in (2, 3):
        publisher.publish(model(generation), generation, rolled_back, 10 * generation)
    assert publisher.names() == [
        f"000000000002-{rolled_back}.safetensors",
        f"000000000003-{rolled_back}.safetensors",
        f"000000000008-{LINEAGE}.safetensors",
    ]


@pytest.mark.parametrize("content", ["", "[1]", '{"file": 1}'])
def test_a_damaged_pointer_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / POINTER).write_text(content)
    with pytest.raises(StateError, match=r"current\.json can't be read"):
        read_pointer(tmp_path)


def test_at_least_one_model_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="models is 0, but must be >= 1"):
        ModelPublisher(tmp_path, keep=0)
