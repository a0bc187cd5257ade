"""Generations outlive every fault of the disk that is modelled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from streamnet.durability import state_directory as module
from streamnet.durability.checkpoint import encode
from streamnet.durability.files import PARTIAL_SUFFIX, write_durably
from streamnet.durability.state_directory import Generations
from streamnet.errors import ConfigurationError, DamagedStateError, StateError
from tests.conftest import Counted
from tests.durability.disks import FAULTS, Faulty, Killed, Memory, Power, disk_after
from tests.durability.histories import FOLDER, Writer, found, tree_of

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
            following.generations.clean_up()
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


def test_one_that_is_not_there_is_an_error_that_tells_what_is(tmp_path: Path) -> None:
    generations = Generations(tmp_path)
    with pytest.raises(StateError, match="no generation 4; there is none"):
        generations.load(4)
    generations.save(tree_of(0))
    with pytest.raises(StateError, match="no generation 4; 0 are there"):
        generations.load(4)


def test_fewer_than_three_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="generations is 2, but must be >= 3"):
        Generations(tmp_path, keep=2)


def test_an_old_one_that_cannot_be_removed_is_no_failure_and_goes_later() -> None:
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
def test_a_wrong_way_of_writing_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
    counted: Counted,
    fault: Callable[..., None],
    proof: Callable[[], object],
) -> None:
    monkeypatch.setattr(module, "write_durably", fault)
    with pytest.raises((AssertionError, DamagedStateError)):
        proof()
    counted("mutants", 1)


def test_removing_the_old_before_the_new_is_durable_is_noticed(
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


def test_keeping_one_generation_only_is_noticed(
    monkeypatch: pytest.MonkeyPatch, counted: Counted
) -> None:
    monkeypatch.setattr(module, "MIN_GENERATIONS", 1)
    defaults = Generations.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "keep", 1)
    with pytest.raises(DamagedStateError):
        damaged_files()
    counted("mutants", 1)


def test_a_reader_that_trusts_content_is_noticed(
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
