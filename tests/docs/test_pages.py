"""README.md and every page of the documentation do what they say: nothing on them is untried."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from streamnet.cli.app import app
from streamnet.settings import daemon, run
from tests.conftest import IN_CI
from tests.docs.conftest import LONGEST, Place
from tests.docs.documents import PAGES, README, REPOSITORY, name_of
from tests.docs.markdown import CodeBlock, code_blocks, commands
from tests.sources.brokers.servers import mock_kafka, nats_server, valkey

RUN = ("python", "console", "sh")
LOADED = ("json", "toml")
# Lines of scripts that are executed. All others are checked by a test of their own.
CALLS = re.compile(r"curl |streamnet client |printf |mkdir ")
SETS_UP = re.compile(r"python3 -m venv \S+( && .*)?$|\. \S+/activate$|pip install |sphinx-build ")
# Commands that would not end, or whose servers are somewhere in the world.
NOT_EXECUTED = re.compile(r"streamnet (serve |replay .*--follow|\w+ .*\w+://)")

pytestmark = pytest.mark.timeout(LONGEST + 30)


def blocks_of(page: Path) -> list[CodeBlock]:
    return code_blocks(page.read_text("utf-8"))


def steps_of(page: Path) -> list[dict[str, Any]]:
    """What runs on a page, in its order."""
    steps: list[dict[str, Any]] = []
    for block in blocks_of(page):
        step = {"page": name_of(page), "line": block.line, "language": block.language}
        if block.language == "python":
            steps.append(step | {"text": block.text})
        elif block.language in RUN:
            called = [
                command
                for command in commands(block)
                if block.language == "console" or CALLS.match(command.text)
            ]
            steps.append(step | {"commands": called})
    return steps


def scripts() -> list[tuple[Path, str]]:
    """The lines of all shell scripts."""
    return [
        (page, command.text)
        for page in PAGES
        for block in blocks_of(page)
        if block.language == "sh"
        for command in commands(block)
    ]


STEPS = {page: steps_of(page) for page in PAGES}
ON_BROKERS = [page for page in PAGES if page.name == "brokers.md"]
CALLING = [page for page in PAGES if any("curl " in line for p, line in scripts() if p == page)]
ALONE = [page for page in PAGES if STEPS[page] and page not in (*CALLING, *ON_BROKERS)]
LOADING = [
    pytest.param(page, block, id=f"{name_of(page)}:{block.line}")
    for page in PAGES
    for block in blocks_of(page)
    if block.language in LOADED
]


def follow(steps: list[dict[str, Any]], place: Place, **environment: str) -> None:
    path = place.folder / "steps.json"
    path.write_text(json.dumps(steps), "utf-8")
    warnings = ["-W", "error::DeprecationWarning:__main__"]
    before = {one.name for one in place.folder.iterdir()}
    place.run([sys.executable, *warnings, "-m", "tests.docs.following", str(path)], **environment)
    left = [one for one in place.folder.iterdir() if one.name not in before]
    assert not_ignored([f"{one.name}/" if one.is_dir() else one.name for one in left]) == []


def not_ignored(names: list[str]) -> list[str]:
    """What would be strange in the top folder of a clone, where a reader may well try a page."""
    git = shutil.which("git")
    if git is None or not (REPOSITORY / ".git").exists():
        return []
    command = [git, "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(
        command, cwd=REPOSITORY, input="\n".join(names), capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr  # 1: none is ignored
    return sorted({*names} - {*done.stdout.splitlines()})


@pytest.mark.parametrize("page", ALONE, ids=name_of)
def test_a_page_can_be_followed(page: Path, place: Place) -> None:
    follow(STEPS[page], place)


@pytest.mark.skipif(shutil.which("curl") is None and not IN_CI, reason="no curl, which CI needs")
@pytest.mark.parametrize("page", CALLING, ids=name_of)
def test_a_page_that_calls_a_daemon_can_be_followed(page: Path, place: Place, served: Any) -> None:
    steps = json.loads(json.dumps(STEPS[page]).replace("http://localhost:8000", served.url))
    if page == README:
        (place.folder / "runs").mkdir()  # by its first command, which has a test of its own
    follow(steps, place, **place.calling(served))


@pytest.mark.parametrize("page", ON_BROKERS, ids=name_of)
def test_a_page_that_reads_from_brokers_can_be_followed(page: Path, place: Place) -> None:
    with mock_kafka() as kafka, valkey() as redis, nats_server() as nats:
        text = json.dumps(STEPS[page]).replace("localhost:9092", kafka.address)
        text = text.replace("localhost:6379", redis.address)
        text = text.replace("localhost:4222", nats.address)
        follow(json.loads(text.replace("port=6379", f"port={redis.port}")), place)


def test_what_git_does_not_ignore_would_be_noticed() -> None:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("not a git repository")
    assert not_ignored(["a.jsonl", "runs/", "strange.txt", "strange/"]) == [
        "strange.txt",
        "strange/",
    ]
    assert not_ignored(["strange.txt"]) == ["strange.txt"]
    assert not_ignored([]) == []


def test_there_are_programs_and_commands() -> None:
    assert len(CALLING) >= 2
    assert len(ALONE) >= 8
    assert {step["language"] for steps in STEPS.values() for step in steps} == {*RUN}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_is_tried_or_made_by_the_generator(page: Path) -> None:
    known = {*RUN, *LOADED}
    lost = [
        f"line {block.line}: {block.language!r}"
        for block in blocks_of(page)
        if block.language not in known and not re.fullmatch(r"\{[\w-]+\}", block.language)
    ]
    assert lost == []


def test_every_line_of_a_script_is_executed_or_checked() -> None:
    ways = (CALLS, SETS_UP, NOT_EXECUTED)
    lost = [line for _, line in scripts() if sum(bool(way.match(line)) for way in ways) != 1]
    assert lost == []


@pytest.mark.parametrize(
    "command", sorted({line for _, line in scripts() if NOT_EXECUTED.match(line)})
)
def test_a_command_that_is_not_executed_is_well_formed(command: str, place: Place) -> None:
    words = shlex.split(command)[1:]
    app.parse_args(words, exit_on_error=False, print_error=False)
    if words[0] == "serve":
        assert (place.folder / words[1]).is_file()


@pytest.mark.parametrize(("page", "block"), LOADING)
def test_a_file_that_is_shown_can_be_loaded(page: Path, block: CodeBlock) -> None:
    if block.language == "json":
        json.loads(block.text)
    elif {"serve", "model"} & {*tomllib.loads(block.text)}:
        daemon.parse(block.text, name_of(page))
    else:
        run.parse(block.text, name_of(page))
