"""Whoever follows the pointer finds a whole model, whatever happens to its writer."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from streamnet.durability.files import FileSystem
from streamnet.durability.model_publisher import (
    POINTER,
    ModelPublisher,
    current,
    read_published_model,
)
from streamnet.errors import ConfigurationError, StateError
from tests.conftest import Counted
from tests.durability.disks import FAULTS, Faulty, Killed, Memory, disk_after

FOLDER = Path("/state/models")
LINEAGE = "0123456789abcdef"


def model(generation: int) -> bytes:
    return f"model {generation} ".encode() * 50


def whole(files: FileSystem, folder: Path = FOLDER) -> int:
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
    publisher, last = ModelPublisher(FOLDER, keep=2, files=files), 0
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
            ModelPublisher(FOLDER, files=after).clean_up()
            assert publish(after, range(1, 7)) == whole(after) == 6
            assert len(ModelPublisher(FOLDER, files=after).names()) <= 2


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
            seen.append(whole(publisher._files, tmp_path))

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
    first = current(tmp_path)
    publisher.publish(model(2), 2, LINEAGE, 20)
    publisher.point(first)
    assert whole(publisher._files, tmp_path) == 1
    publisher.point(None)
    assert current(tmp_path) is None


def test_models_of_before_a_rollback_go_first_whatever_their_numbers(tmp_path: Path) -> None:
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
def test_a_pointer_that_makes_no_sense_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / POINTER).write_text(content)
    with pytest.raises(StateError, match=r"current\.json can't be read"):
        current(tmp_path)


def test_at_least_one_model_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="models is 0, but must be >= 1"):
        ModelPublisher(tmp_path, keep=0)


def test_a_model_that_is_damaged_or_gone_is_an_error(tmp_path: Path) -> None:
    ModelPublisher(tmp_path).publish(model(1), 1, LINEAGE, 10)
    file = tmp_path / f"000000000001-{LINEAGE}.safetensors"
    file.write_bytes(b"half")
    with pytest.raises(StateError, match="is damaged"):
        read_published_model(tmp_path)
    file.unlink()
    with pytest.raises(StateError, match="a model that is not there"):
        read_published_model(tmp_path)
