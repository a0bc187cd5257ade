"""Rows of keys in files of checkpoints, against a dict: changed, forgotten, evicted, killed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamnet.durability.row_files import RowBatch, RowFolder
from streamnet.durability.state_directory import Generations
from streamnet.errors import DamagedStateError, StateError
from streamnet.keyed import rows as rows_module
from streamnet.keyed.rows import KeyedRows, RowShape, list_stored_keys
from tests.durability.disks import Faulty, Killed, Memory, disk_after

Expected = dict[str, list[float]]
FOLDER = Path("/state/checkpoints")


def make_shape(width: int) -> RowShape:
    return RowShape(str(width), (np.arange(float(width)), np.zeros(3, np.float32)))


class Keys:
    """Rows and a dict that should hold the same, with their checkpoints."""

    def __init__(self, generations: Generations, *, resident: int = 8) -> None:
        self.generations, self.resident = generations, resident
        self.rows = self.build(make_shape(2))
        self.expected: Expected = {}
        self.saved: tuple[int, Expected] = (2, {})

    def build(self, shape: RowShape) -> KeyedRows:
        rows = KeyedRows(shape, resident=self.resident, convert=self.widen)
        rows.keep_in(self.generations.rows)
        return rows

    def widen(self, label: str, row: Any) -> list[NDArray[Any]]:
        return [np.concatenate((row[0], np.full(self.width - int(label), 7.0))), row[1]]

    @property
    def width(self) -> int:
        return len(self.rows.shape.initial[0])

    def change(self, keys: list[str], value: float) -> None:
        slots = self.rows.take(keys)
        self.rows.arrays[0][slots, 1] = value
        self.rows.arrays[1][slots, 0] = value
        for key in keys:
            row = self.expected.setdefault(key, [*self.rows.shape.initial[0].tolist(), 0.0])
            row[1] = row[-1] = value

    def forget(self, key: str) -> None:
        assert self.rows.forget(key) == (self.expected.pop(key, None) is not None)

    def reshape(self) -> None:
        self.rows.reshape(make_shape(self.width + 1))
        self.expected = {k: [*row[:-1], 7.0, row[-1]] for k, row in self.expected.items()}

    def save(self, meanwhile: Callable[[], object] = int) -> None:
        """Write a checkpoint, while something else may happen."""
        state = self.rows.export_state()
        saved = self.width, {key: list(row) for key, row in self.expected.items()}
        meanwhile()
        self.generations.save({"rows": state, "row_files": state["files"]})
        self.saved = saved

    def resume(self) -> None:
        """Go on from the newest checkpoint with new rows, as after a crash."""
        width, expected = self.saved
        self.expected = {key: list(row) for key, row in expected.items()}
        self.rows = self.build(make_shape(width))
        loaded = self.generations.newest()
        if loaded is not None:
            self.rows.restore_state(self.rows.shape, loaded.tree["rows"])
            known = list_stored_keys(loaded.tree["rows"], self.generations.rows)
            assert known == self.expected.keys()

    def read(self) -> Expected:
        found = {}
        for key in self.rows.list_keys():
            numbers, weights = self.rows.get(key) or ()
            found[key] = [*numbers.tolist(), float(weights[0])]
        return found


@pytest.fixture
def disk() -> Memory:
    return Memory()


@pytest.fixture
def keys(disk: Memory, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Small files, so that many are merged."""
    for name, value in {"_FILE_ROWS": 8, "_SMALL_FILES": 6, "_LEAST_MERGED": 4}.items():
        monkeypatch.setattr(rows_module, name, value)
    return Keys(Generations(FOLDER, files=disk))


def act(keys: Keys, rng: np.random.Generator, number: int) -> None:
    """Change, forget or reshape something."""
    chosen = rng.integers(0, 60, int(rng.integers(1, keys.resident + 1)))
    if rng.random() < 0.5:
        chosen //= 10  # some keys change more often than others
    keys.change(list({f"k{k}" for k in chosen.tolist()}), float(number))
    if rng.random() < 0.1:
        keys.forget(f"k{rng.integers(60)}")
    if rng.random() < 0.01 and keys.width < 6:
        keys.reshape()


def act_often(keys: Keys, rng: np.random.Generator) -> None:
    for number in range(int(rng.integers(4))):
        act(keys, rng, -number)


@pytest.mark.parametrize("seed", range(6))
def test_rows_are_those_of_a_dict_whatever_is_saved_forgotten_and_resumed(
    keys: Keys, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    most = 0
    for number in range(600):
        act(keys, rng, number)
        if rng.random() < 0.3:
            keys.save(lambda: act_often(keys, rng))
            most = max(most, len(keys.generations.rows.names()))
        if rng.random() < 0.03:
            keys.resume()
        if number % 20 == 0:
            assert keys.read() == keys.expected
    assert keys.read() == keys.expected
    assert keys.rows.resident <= keys.resident
    # Three checkpoints of 60 keys, in files that are at least half full but for six small ones.
    assert most < 60


@pytest.mark.parametrize("fault", ["kill", "torn"])
def test_a_kill_or_power_cut_at_any_call_leaves_the_checkpoint_before_or_its_own(
    keys: Keys, disk: Memory, fault: str
) -> None:
    rng = np.random.default_rng(1)
    for number in range(60):
        act(keys, rng, number)
        if number % 3 == 0:
            keys.save()
    before = keys.saved
    at = 0
    while True:
        left = disk_after(disk)
        keys.generations = Generations(FOLDER, files=Faulty(left, at, fault))
        keys.saved = before
        keys.resume()
        keys.change(["k1", "new"], 1e6)
        keys.forget("k2")
        after = keys.width, {key: list(row) for key, row in keys.expected.items()}
        try:
            keys.save()
        except Killed:
            pass
        else:
            break
        for found in (disk_after(left), *map(left.after, left.cuts())):
            keys.generations = Generations(FOLDER, files=found)
            loaded = keys.generations.newest()
            assert loaded is not None
            assert not loaded.damaged
            keys.rows = keys.build(make_shape(keys.width))
            keys.rows.restore_state(keys.rows.shape, loaded.tree["rows"])
            assert keys.read() in (before[1], after[1])
        at += 1
    assert at > 5


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO"])
def test_a_checkpoint_that_failed_is_made_up_for_by_the_next(keys: Keys, fault: str) -> None:
    for at in range(12):
        disk = Memory()
        keys.__init__(Generations(FOLDER, files=disk))  # type: ignore[misc]
        keys.change([f"k{i}" for i in range(8)], 1.0)
        keys.save()
        keys.change([f"k{i}" for i in range(5, 13)], 2.0)
        keys.forget("k0")
        keys.generations.rows._files = faulty = Faulty(disk, at, fault)
        keys.generations._files = faulty
        failed = False
        try:
            keys.save()
        except OSError:
            failed = True
        keys.change(["k3", "k20"], 3.0)
        keys.save()
        keys.resume()
        assert keys.read() == keys.expected
        assert "k0" not in keys.expected
        assert failed or at > 5
        parts = [path for path in disk.names_seen if path.name.endswith(".part")]
        assert not parts or failed


@pytest.mark.parametrize("first_fails", [False, True])
def test_a_barrier_may_come_before_the_last_checkpoint_is_written(
    keys: Keys, first_fails: bool
) -> None:
    keys.change(["a", "b"], 1.0)
    keys.save()

    def save_another() -> None:
        if not first_fails:
            keys.generations.save({"rows": first, "row_files": first["files"]})

    keys.change(["a", "c"], 2.0)
    first = keys.rows.export_state()
    keys.forget("b")
    keys.change(["c"], 3.0)
    keys.save(save_another)
    keys.change(["d"], 4.0)
    keys.save()
    keys.save()
    keys.resume()
    assert keys.read() == keys.expected
    assert keys.expected.keys() == {"a", "c", "d"}


def test_a_checkpoint_writes_only_what_changed(tmp_path: Path) -> None:
    keys = Keys(Generations(tmp_path / "checkpoints"), resident=5000)
    keys.change([f"k{i}" for i in range(5000)], 1.0)
    keys.save()
    whole = keys.generations.written
    keys.change([f"k{i}" for i in range(50)], 2.0)
    keys.save()
    assert keys.generations.written < whole / 20
    written = keys.generations.written
    keys.save()
    assert keys.generations.written < written / 2  # nothing but a checkpoint that names files
    keys.resume()
    assert keys.read() == keys.expected


def test_rows_that_did_not_change_are_not_written_when_they_are_evicted(tmp_path: Path) -> None:
    keys = Keys(Generations(tmp_path / "checkpoints"), resident=10)
    for start in range(0, 100, 10):
        keys.change([f"k{i}" for i in range(start, start + 10)], 1.0)
    keys.save()
    keys.save()  # what the first one has counts as saved from here on
    assert not keys.rows._store.list_changed()
    for i in range(100):
        keys.rows.take([f"k{i}"], create=False)
    assert not keys.rows._store.list_changed()
    assert keys.read() == keys.expected


def test_a_checkpoint_waits_for_no_more_rows_than_are_in_memory(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[int, bool]] = []
    write = RowFolder.write

    def count(folder: RowFolder, batch: RowBatch, *, ahead: bool = False) -> str:
        written.append((len(batch.keys), ahead))
        return write(folder, batch, ahead=ahead)

    monkeypatch.setattr(RowFolder, "write", count)
    for i in range(300):
        keys.change([f"k{i}", f"k{i // 3}"], float(i))
    written.append((0, False))
    before = len(written)
    keys.save()
    assert sum(rows for rows, _ in written[before:]) <= keys.resident + 8
    assert sum(rows for rows, ahead in written if ahead) >= 280
    keys.forget("k1")
    keys.save()
    keys.resume()
    assert keys.read() == keys.expected


@pytest.mark.parametrize("at", range(0, 12, 3))
def test_files_that_could_not_be_written_ahead_are_made_up_for(keys: Keys, at: int) -> None:
    disk = Memory()
    keys.__init__(Generations(FOLDER, files=disk))  # type: ignore[misc]
    keys.change(["k0"], 1.0)
    keys.save()
    keys.generations.rows._files = Faulty(disk, at, "ENOSPC")
    for i in range(30):
        keys.change([f"k{i}"], 2.0)
    for _ in range(2):
        with suppress(OSError):
            keys.save()
    keys.save()
    keys.resume()
    assert keys.read() == keys.expected


def test_damage_is_found_and_an_earlier_checkpoint_goes_on(keys: Keys, disk: Memory) -> None:
    keys.change(["a", "b"], 1.0)
    keys.save()
    earlier = keys.saved
    keys.change(["a"], 2.0)
    keys.save()
    newest = keys.generations.rows.names()[-1]
    inode = disk.names_seen[FOLDER / "rows" / newest]
    sound = inode.seen
    inode.seen = sound[:20] + b"?" + sound[21:]
    keys.generations = Generations(FOLDER, files=disk)
    loaded = keys.generations.newest()
    assert loaded is not None
    assert newest in loaded.damaged[0]
    keys.saved = earlier
    keys.resume()
    assert keys.read() == keys.expected
    for number in range(5):  # what the damaged checkpoint names stays, for whoever repairs it
        keys.change(["b"], float(number))
        keys.save()
    assert newest in keys.generations.rows.names()
    inode.seen = sound[:-1] + bytes([sound[-1] ^ 1])
    keys.generations = Generations(FOLDER, files=disk)
    rows = keys.build(make_shape(2))
    rows.restore_state(rows.shape, {"files": [newest]})
    with pytest.raises(DamagedStateError, match=f"{newest}: the row of key 'a' has changed"):
        rows.get("a")


def test_files_of_rows_need_their_folder() -> None:
    rows = KeyedRows(make_shape(2), resident=2)
    with pytest.raises(StateError, match="in files of a state directory"):
        rows.restore_state(rows.shape, {"files": ["000000000000.rows"]})
