"""README.md fits on a screen and a half, and its two commands work one after the other."""

from __future__ import annotations

import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from tests.docs.conftest import LONGEST, Place
from tests.docs.documents import PAGES, README, REPOSITORY, name_of
from tests.docs.markdown import code_blocks

TEXT = README.read_text("utf-8")
MOST_LINES = 150
FIRST_SCREEN = 26  # lines
FIELD = ("prequential", "test-then-train", "concept drift", "champion/challenger", "online AutoML")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
INSTALLS = [
    install
    for page in PAGES
    for install in re.findall(r"pip install ([^&`\n]+)", page.read_text("utf-8"))
]

pytestmark = pytest.mark.timeout(LONGEST + 30)


def command_after(mark: str) -> str:
    """The one line of the code block after ``<!-- command: mark -->``."""
    comment = f"<!-- command: {mark} -->"
    assert TEXT.splitlines().count(comment) == 1
    (block,) = (block for block in code_blocks(TEXT) if block.before == comment)
    (line,) = block.text.splitlines()  # whoever runs it takes one line
    return line


def files_named(command: str) -> list[str]:
    """Files that a command reads: what -r names, and arguments in folders of the repository."""
    words = shlex.split(command)
    listed = [word for option, word in pairwise(words) if option == "-r"]
    return listed + [word for word in words if word.startswith(("config/", "examples/"))]


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= MOST_LINES


def test_the_first_screen_says_what_it_is_and_has_the_picture_and_both_commands() -> None:
    screen = "\n".join(TEXT.splitlines()[:FIRST_SCREEN])
    flowing = " ".join(screen.split()).lower()
    assert [words for words in FIELD if words.lower() not in flowing] == []
    assert "](examples/pictures/replay.svg)" in screen
    assert command_after("run") in screen
    assert command_after("test") in screen


def test_the_command_to_run_reads_files_that_exist_learns_and_writes_where_git_does_not_look(
    place: Place,
) -> None:
    command = command_after("run")
    files = files_named(command)
    assert files
    assert [file for file in files if not (REPOSITORY / file).is_file()] == []
    *_, makes, learns = (step.strip() for step in command.split("&&"))
    assert learns.startswith(".venv/bin/streamnet ")
    before = {path.name for path in place.folder.iterdir()}
    place.run(["sh", "-c", f"{makes} && {learns}"])
    assert {path.name for path in place.folder.iterdir()} - before == {"runs"}
    assert any((place.folder / "runs").iterdir())
    assert "/runs/" in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_the_command_to_test_reads_files_that_exist_and_ends_with_pytest() -> None:
    command = command_after("test")
    files = files_named(command)
    assert files
    assert [file for file in files if not (REPOSITORY / file).is_file()] == []
    pytest_call = shlex.split(command.split("&&")[-1])
    assert pytest_call[0] == ".venv/bin/pytest"


def test_ci_runs_both_commands_in_this_order_and_then_looks_at_the_clone() -> None:
    script = (REPOSITORY / ".ci" / "run").read_text()
    places = [script.index(line) for line in ('$run_command"\n', '$test_command"\n', "left=")]
    assert places == sorted(places)


@pytest.mark.parametrize("page", [README, REPOSITORY / "docs" / "architecture.md"], ids=name_of)
def test_the_table_of_folders_names_every_folder_of_the_package(page: Path) -> None:
    cells = re.findall(r"^\| (`\w+/`.*?) \|", page.read_text("utf-8"), re.MULTILINE)
    told = {name for cell in cells for name in re.findall(r"`(\w+)/`", cell)}
    package = REPOSITORY / "streamnet"
    assert told == {path.parent.name for path in package.glob("*/__init__.py")}


def test_the_package_is_never_fetched_by_the_name_of_another_project() -> None:
    assert INSTALLS
    fetched = [words for line in INSTALLS for words in shlex.split(line) if "streamnet" in words]
    assert fetched == []
    assert PROJECT["project"]["name"] != "streamnet"
    assert f"`{PROJECT['project']['name']}`" in TEXT


def test_what_the_lock_names_is_installed_without_looking_for_anything_newer() -> None:
    """An installer that resolves would take the `coverage[toml]` of a release after the lock's."""
    locked = [line for line in INSTALLS if "requirements.lock" in line]
    assert locked
    exactly = {"--no-deps", "--require-hashes"}
    assert [line for line in locked if not exactly <= {*line.split()}] == []


def test_extras_that_are_named_exist() -> None:
    named = {
        extra
        for line in INSTALLS
        for extras in re.findall(r"\.\[([\w,-]+)\]", line)
        for extra in extras.split(",")
    }
    assert named == set(PROJECT["project"]["optional-dependencies"])


def test_the_tests_have_to_cover_most_of_the_package_also_in_processes_of_their_own() -> None:
    assert 'PYTEST_ADDOPTS="--cov ' in (REPOSITORY / ".ci" / "run").read_text()
    coverage = PROJECT["tool"]["coverage"]
    assert coverage["report"]["fail_under"] >= 95
    assert "streamnet" in coverage["run"]["source"]
    assert "subprocess" in coverage["run"]["patch"]
