"""The journal keeps what it acknowledged, whatever a crash, a disk or a power cut does to it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.daemon.journal.frames import (
    HEADER_BYTES,
    Frame,
    FrameKind,
    decode_frames,
    encode_frame,
)
from streamnet.daemon.journal.segments import Journal
from streamnet.durability.files import PARTIAL_SUFFIX, FileSystem
from streamnet.errors import DamagedStateError, StateError
from tests.durability.disks import FAULTS, Faulty, Killed, Memory, disk_after

FOLDER = Path("/journal")
SMALL = 1024
FRAMES = st.builds(
    Frame,
    st.sampled_from(list(FrameKind)),
    st.binary(max_size=40),
    st.binary(max_size=40),
    st.integers(0, 9),
)


def frame(number: int, size: int = 100) -> Frame:
    """A frame of one sample that is known again by its number."""
    return Frame(FrameKind.SAMPLES, b"", f"{number:0{size}d}\n".encode(), 1)


def opened(files: FileSystem, segment_bytes: int = SMALL) -> Journal:
    journal = Journal(FOLDER, segment_bytes=segment_bytes, files=files)
    journal.open(b"begin")
    return journal


def numbers(journal: Journal) -> list[int]:
    """The numbers of all frames that are there, read in small pieces."""
    found, at = [], journal.begin
    while pieces := journal.read(at, 300):
        found += [int(piece.body) for _, piece in pieces if piece.kind is FrameKind.SAMPLES]
        at = pieces[-1][0] + pieces[-1][1].size
    assert at == journal.end
    return found


@given(st.lists(FRAMES, max_size=4))
@settings(max_examples=50)
def test_whole_frames_of_torn_data_are_found(frames: list[Frame]) -> None:
    pieces = [encode_frame(frame) for frame in frames]
    data = b"".join(pieces)
    ends = [sum(one.size for one in frames[:count]) for count in range(len(frames) + 1)]
    for cut in range(len(data) + 1):
        whole = sum(end <= cut for end in ends) - 1
        for torn in (data[:cut], data[:cut] + bytes(min(30, len(data) - cut))):
            found = [one for _, one in decode_frames(torn)]
            encoded = [encode_frame(one) for one in found]  # whose time may be NaN
            # What was torn off may have been zeros itself.
            assert encoded[:whole] == pieces[:whole]
            assert encoded == pieces[: len(found)]


@given(FRAMES, st.data())
@settings(max_examples=50)
def test_a_flipped_bit_is_detected(one: Frame, data: st.DataObject) -> None:
    text = bytearray(encode_frame(one))
    bit = data.draw(st.integers(0, 8 * len(text) - 1))
    text[bit // 8] ^= 1 << bit % 8
    assert one not in [found for _, found in decode_frames(bytes(text))]


def test_a_frame_of_a_later_version_is_named() -> None:
    with pytest.raises(StateError, match="a frame has kind 99, but this version reads"):
        list(decode_frames(encode_frame(Frame(99))))  # type: ignore[arg-type]


def test_opening_removes_incomplete_files_of_a_crash() -> None:
    disk = Memory()
    disk.close(disk.open_new(FOLDER / f".1.journal.7-7{PARTIAL_SUFFIX}"))
    assert numbers(opened(disk)) == []
    assert [name for name in disk.names(FOLDER) if name.endswith(PARTIAL_SUFFIX)] == []


def test_frames_are_read_across_segments_as_they_were_appended() -> None:
    journal = opened(Memory())
    for number in range(50):
        journal.append([frame(2 * number), frame(2 * number + 1)])
        if journal.is_full:
            journal.roll(b"snapshot")
    assert len(journal._files.names(FOLDER)) > 5
    assert numbers(journal) == list(range(100))
    assert journal.samples == 100


def test_a_frame_longer_than_what_is_read_at_once_is_read_whole() -> None:
    for synced in (False, True):
        journal = opened(Memory(), segment_bytes=1 << 20)
        journal.append([frame(1, size=4000), frame(2)])
        if synced:
            journal.sync()
        assert numbers(journal) == [1, 2]


def test_a_large_snapshot_is_not_written_too_often() -> None:
    journal = opened(Memory())
    journal.roll(bytes(10 * SMALL))
    journal.append([frame(n) for n in range(20)])
    assert not journal.is_full
    journal.append([frame(n) for n in range(100)])
    assert journal.is_full


def test_a_frame_is_found_by_any_of_its_bytes() -> None:
    journal = opened(Memory())
    starts = []
    for number in range(30):
        starts.append(journal.end)
        journal.append([frame(number)])
        if journal.is_full:
            journal.roll(b"")
    for number, start in enumerate(starts):
        for within in (start, start + 1, start + HEADER_BYTES + 50):
            begin = journal.find_frame(within)
            (found, *_) = [one for at, one in journal.read(begin, 1) if at == begin]
            assert found.kind is FrameKind.SNAPSHOT or int(found.body) == number
    assert journal.find_frame(journal.end) == journal.end


def test_segments_are_removed_once_their_samples_are_no_longer_needed() -> None:
    files = Memory()
    journal = opened(files)
    for number in range(100):
        journal.append([frame(number)])
        if journal.is_full:
            journal.roll(b"")
    before = len(files.names(FOLDER))
    journal.trim(50)
    assert len(files.names(FOLDER)) < before
    assert journal.samples_before <= 50 < numbers(journal)[0] + 20
    assert numbers(journal) == list(range(journal.samples_before, 100))
    journal.trim(100)
    with pytest.raises(StateError, match="it is another journal"):
        journal.read(0, 100)
    journal.close()
    again = opened(files)
    assert (again.begin, again.end, again.samples) == (journal.begin, journal.end, 100)


def test_the_tail_torn_by_a_crash_is_cut_off_at_any_byte(caplog: pytest.LogCaptureFixture) -> None:
    files = Memory()
    journal = opened(files, segment_bytes=1 << 20)
    ends = [journal.end]
    for number in range(4):
        journal.append([frame(number, size=20)])
        ends.append(journal.end)
    (name,) = files.names(FOLDER)
    whole = files.read(FOLDER / name)
    for cut in range(ends[0], len(whole) + 1):
        disk = disk_after(files)
        disk.names_seen[FOLDER / name].seen = whole[:cut]
        again = opened(disk)
        kept = sum(end <= cut for end in ends) - 1
        assert numbers(again) == list(range(kept))
        again.append([frame(9)])
        assert numbers(again) == [*range(kept), 9]
    assert "bytes are incomplete after a crash" in caplog.text


def many_segments() -> tuple[Memory, list[Path]]:
    files = Memory()
    journal = opened(files)
    for number in range(40):
        journal.append([frame(number)])
        if journal.is_full:
            journal.roll(b"")
    journal.close()
    return files, [FOLDER / name for name in files.names(FOLDER)]


def test_a_missing_segment_is_an_error() -> None:
    files, paths = many_segments()
    files.unlink(paths[1])
    with pytest.raises(DamagedStateError, match="the next segment is missing"):
        opened(files)


def test_a_truncated_segment_is_an_error() -> None:
    files, paths = many_segments()
    files.names_seen[paths[1]].seen = files.read(paths[1])[:-1]
    with pytest.raises(DamagedStateError, match="or this one is damaged"):
        opened(files)


def test_a_segment_without_its_snapshot_is_an_error() -> None:
    files, paths = many_segments()
    files.names_seen[paths[-1]].seen = bytes(200)
    with pytest.raises(DamagedStateError, match="is damaged at its start"):
        opened(files)


def test_a_flipped_bit_in_the_middle_is_detected_when_it_is_read() -> None:
    files, paths = many_segments()
    content = bytearray(files.read(paths[1]))
    content[len(content) // 2] ^= 1
    files.names_seen[paths[1]].seen = bytes(content)
    with pytest.raises(DamagedStateError, match="is damaged at byte"):
        numbers(opened(files))


def test_a_failed_probe_leaves_nothing_behind() -> None:
    for fault in FAULTS:
        for at in range(4):
            disk = Memory()
            journal = opened(disk)
            journal.append([frame(0)])
            files = journal._files = Faulty(disk, at, fault)
            with suppress(OSError, Killed):
                journal.probe(500)
            journal._files = disk
            if not files.dead:
                journal.append([frame(1)])
                journal.sync()
                assert numbers(journal) == [0, 1]
            assert numbers(opened(disk)) == ([0] if files.dead else [0, 1])


# ------------------------------------------------------------------------------- faults


def work(journal: Journal, taken: list[int], synced: list[int], *, count: int = 24) -> None:
    """Append, sync and roll; what goes wrong is tried no more, as a sender would be told so."""
    for number in range(count):
        with suppress(OSError):
            journal.append([frame(number)])
            taken.append(number)
        if number % 3 == 0:
            with suppress(OSError):
                journal.sync()
                synced[:] = taken
        if journal.is_full:
            with suppress(OSError):
                journal.roll(b"snapshot")
                synced[:] = taken
        # A reader is never behind what was taken, nor ahead of it.
        assert numbers(journal) == taken


def calls() -> int:
    counting = Faulty(Memory(), -1, "kill")
    journal = opened(counting)
    work(journal, [], [])
    return counting.count


@pytest.mark.parametrize("times", [1, 5])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_failing_call_loses_or_duplicates_a_frame(fault: str, times: int) -> None:
    total = calls()
    assert total > 30
    for at in range(total):
        disk = Memory()
        faulty = Faulty(disk, at, fault, times=times)
        taken: list[int] = []
        synced: list[int] = []
        try:
            journal = opened(faulty)
            work(journal, taken, synced)
        except Killed:
            again = opened(disk_after(disk))
            found = numbers(again)
            # One frame more may be there: its sender was not told.
            assert found[: len(taken)] == taken
            assert len(found) <= len(taken) + 1
        except OSError:
            assert not taken  # it did not even open
        else:
            with suppress(OSError):
                journal.sync()
            assert numbers(journal) == taken
            assert numbers(opened(disk_after(disk))) == taken


def test_what_was_synced_survives_every_power_cut() -> None:
    disk = Memory()
    taken: list[int] = []
    synced: list[int] = []
    states = 0
    journal = opened(disk)
    for number in range(24):
        journal.append([frame(number)])
        taken.append(number)
        states += all_powers(disk, taken, synced)
        if number % 5 == 4:
            journal.sync()
            synced[:] = taken
        if journal.is_full:
            journal.roll(b"snapshot")
            synced[:] = taken
            journal.trim(number - 12)
        states += all_powers(disk, taken, synced)
    assert states > 150


def all_powers(disk: Memory, taken: list[int], synced: list[int]) -> int:
    states = 0
    for power in disk.cuts():
        again = opened(disk.after(power))
        found = numbers(again)
        first = found[0] if found else again.samples_before
        assert found == taken[first : first + len(found)]
        assert first + len(found) >= len(synced)
        states += 1
    return states


def test_data_possibly_lost_by_a_failed_fsync_is_written_again() -> None:
    disk = Memory()
    faulty = Faulty(disk, calls_before_fsync(), "EIO")
    journal = opened(faulty)
    journal.append([frame(0)])
    with pytest.raises(OSError, match="EIO"):
        journal.sync()
    # The page is clean now, and empty.
    (path,) = [path for path in disk.names_seen if path.name.endswith("segment")]
    disk.names_seen[path].seen = disk.names_seen[path].synced
    assert numbers(journal) == [0]
    journal.append([frame(1)])
    journal.sync()
    assert numbers(opened(disk_after(disk))) == [0, 1]


def calls_before_fsync() -> int:
    counting = Faulty(Memory(), -1, "kill")
    opened(counting).append([frame(0)])
    return counting.count


@pytest.mark.parametrize("replaced", [False, True])
def test_a_removed_file_fails_to_sync(tmp_path: Path, replaced: bool) -> None:
    journal = Journal(tmp_path)
    journal.open(b"begin")
    journal.append([frame(0)])
    journal.sync()
    segment = next(tmp_path.glob("*.segment"))
    aside = segment.rename(tmp_path / "aside")
    if replaced:
        segment.write_bytes(b"of somebody else")
    journal.append([frame(1)])
    for _ in range(2):
        with pytest.raises(OSError, match="was replaced" if replaced else "No such file"):
            journal.sync()
    with pytest.raises(OSError, match="segment"):
        journal.append([frame(2)])
    assert not replaced or segment.read_bytes() == b"of somebody else"

    aside.replace(segment)
    journal.append([frame(2)])
    journal.sync()
    journal.close()
    again = Journal(tmp_path)
    again.open(b"begin")
    assert numbers(again) == [0, 1, 2]
    again.close()
