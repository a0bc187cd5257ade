"""Writes are atomic and durable, and output paths are checked before any work."""

from __future__ import annotations

import os
import threading
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest

from streamnet.durability.files import FileSystem, OutputPath, check_output_paths, write_durably
from streamnet.errors import ConfigurationError
from tests.durability.disks import Faulty, Memory


@pytest.mark.parametrize("disk", [Memory, Faulty])
def test_a_simulated_disk_passes_no_call_to_the_real_one(disk: type[FileSystem]) -> None:
    calls = {name for name, value in vars(FileSystem).items() if isfunction(value)}
    assert calls - {"describe"} <= set(vars(disk))


def test_existing_content_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a longer old content")
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failure_at_any_step_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    data: Any = b"new"
    if step == "write":
        data = "text, which can't be written to a file of bytes"
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises((OSError, TypeError)):
        write_durably(path, data)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle: int) -> None:
        name = Path(f"/proc/self/fd/{handle}").resolve()
        steps.append("folder" if name == tmp_path.resolve() else f"file of {name.stat().st_size}")
        fsync(handle)

    def noted_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_durably(tmp_path / "file", b"12345")
    assert steps == ["file of 5", "rename", "folder"]


def test_a_reader_always_finds_one_writers_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([65 + i]) * 50_000 for i in range(4)]
    write_durably(path, contents[0])

    def write(content: bytes) -> None:
        for _ in range(15):
            write_durably(path, content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in contents
    for thread in threads:
        thread.join()
    assert list(tmp_path.iterdir()) == [path]


WHAT = "a file to learn from"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(*outputs: OutputPath, **inputs: str) -> str:
    """Why the first wrong one is refused."""
    with pytest.raises(ConfigurationError) as caught:
        check_output_paths(outputs, inputs)
    return str(caught.value)


def report(path: str, *, replaced: bool = True) -> OutputPath:
    return OutputPath("report", path, (".json",), replaced)


@pytest.mark.parametrize("replaced", [True, False])
def test_a_writable_output_is_neither_created_nor_changed(replaced: bool) -> None:
    Path("old.json").write_text("old")
    before = Path("old.json").stat()
    check_output_paths(
        [report("new.json", replaced=replaced), report("old.json", replaced=replaced)]
    )
    assert [path.name for path in Path().iterdir()] == ["old.json"]
    assert Path("old.json").read_text() == "old"
    assert Path("old.json").stat().st_mtime_ns == before.st_mtime_ns


def test_a_folder_and_a_path_in_a_missing_folder_are_refused() -> None:
    Path("folder.json").mkdir()
    assert refusal(report("folder.json")) == "report is 'folder.json', but that is a folder"
    assert refusal(report("no/r.json")) == "report is 'no/r.json', but its folder does not exist"


@pytest.mark.parametrize("given", ["data.json", "./data.json", "folder/../data.json", "*.json"])
def test_an_input_is_not_overwritten_whatever_it_is_called(given: str) -> None:
    Path("folder").mkdir()
    Path("data.json").write_text("data")
    for name in ("data.json", "folder/../data.json", str(Path("data.json").absolute())):
        assert refusal(report(name), **{given: WHAT}) == f"report is {name!r}, but that is {WHAT}"


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_an_input_is_not_overwritten_through_a_link(link: object) -> None:
    Path("data.json").write_text("data")
    assert callable(link)
    link("data.json", "other.json")
    assert WHAT in refusal(report("other.json"), **{"data.json": WHAT})


def test_an_existing_name_that_looks_like_a_pattern_stands_for_itself() -> None:
    for name in ("a[1].json", "a1.json"):
        Path(name).write_text("data")
    check_output_paths([report("a1.json")], {"a[1].json": WHAT})
    assert WHAT in refusal(report("a[1].json"), **{"a[1].json": WHAT})


def test_standard_input_cannot_be_overwritten() -> None:
    check_output_paths([OutputPath("dead_letters", "-")], {"-": WHAT})


def test_two_outputs_must_not_be_one_file() -> None:
    one, other = OutputPath("model", "r.json"), report("./r.json")
    assert refusal(one, other) == "report is './r.json', but that is where model goes"
    Path("r.json").write_text("old")
    assert "where model goes" in refusal(one, other)


def test_a_device_may_be_written() -> None:
    check_output_paths([OutputPath("dead_letters", os.devnull, replaced=False)])


def test_a_pipe_does_not_block_the_check() -> None:
    os.mkfifo("pipe")
    check_output_paths([OutputPath("dead_letters", "pipe", replaced=False)])


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder that nobody may write")
def test_a_folder_that_takes_no_file_is_refused_even_where_permissions_allow_it() -> None:
    message = refusal(report("/proc/self/r.json"))
    assert message.startswith("report is '/proc/self/r.json', but it can't be written: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_files_without_permission_are_refused() -> None:
    Path("locked").mkdir(mode=0o700)
    for name in ("locked/old.json", "old.json"):
        Path(name).write_text("old")
    Path("locked").chmod(0o500)
    Path("old.json").chmod(0o400)
    assert "Permission denied" in refusal(report("locked/new.json"))
    assert "Permission denied" in refusal(report("old.json"))
    # What is written in its place needs no more than its own permission.
    check_output_paths([report("locked/old.json", replaced=False)])
    assert "Permission denied" in refusal(report("locked/old.json"))
