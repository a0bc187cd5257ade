"""README.md tells the truth: its programs and commands run, and what it names is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest

from streamnet.cli.app import app
from streamnet.runs.replay import replay
from tests.processes import environment

REPOSITORY = Path(__file__).parent.parent
LONGEST = 240  # seconds; kernels may have to be compiled first
COPIED = ("config", "examples")  # what commands and programs find in the folder they run in
DOCUMENTS = [
    path
    for path in sorted(REPOSITORY.rglob("*.md"))
    if not any(part.startswith(".") for part in path.relative_to(REPOSITORY).parts)
]
FENCE = re.compile(r"^(?P<mark>```+|~~~+)[ \t]*(?P<language>\S*).*\n", re.MULTILINE)

pytestmark = pytest.mark.timeout(LONGEST + 30)


class CodeBlock(NamedTuple):
    """What stands between two fences."""

    language: str
    text: str
    line: int  # of the first fence, 1-based
    before: str  # the last line above it that is not empty


def code_blocks(text: str) -> list[CodeBlock]:
    blocks, at = [], 0
    while opening := FENCE.search(text, at):
        closing = re.compile(rf"^{opening['mark']}[ \t]*$", re.MULTILINE).search(
            text, opening.end()
        )
        assert closing is not None, f"nothing closes {opening[0]!r}"
        above = [line for line in text[: opening.start()].splitlines() if line.strip()]
        blocks.append(
            CodeBlock(
                opening["language"],
                text[opening.end() : closing.start()],
                text.count("\n", 0, opening.start()) + 1,
                above[-1].strip() if above else "",
            )
        )
        at = closing.end()
    return blocks


def without_code(text: str) -> str:
    """The prose alone."""
    for block in code_blocks(text):
        text = text.replace(block.text, "\n" * block.text.count("\n"), 1)
    return re.sub(r"`[^`\n]*`", "", text)


def console_commands(text: str) -> list[str]:
    r"""Commands of all consoles in order; one that ends in \ goes on on the next line."""
    consoles = [block.text for block in code_blocks(text) if block.language == "console"]
    lines = "".join(consoles).replace("\\\n", " ").splitlines()
    return [line[2:] for line in lines if line.startswith("$ streamnet")]


def link_targets(text: str) -> list[str]:
    """Files that links and pictures lead to, relative to the document; none of other places."""
    prose = without_code(text)
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", prose)
    targets += re.findall(r"^\[[^\]]+\]:\s*<?([^\s>]+)", prose, re.MULTILINE)
    targets += re.findall(r"\b(?:src|href)=[\"']([^\"']+)", prose)
    return [target for target in targets if not re.match(r"[a-zA-Z][a-zA-Z+.-]*:", target)]


def anchors(text: str) -> set[str]:
    """Names of the headings, as they stand after # in a link."""
    titles = re.findall(r"^#+ +(.+?) *#*$", without_code(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


README = (REPOSITORY / "README.md").read_text("utf-8")
PROGRAMS = [block for block in code_blocks(README) if block.language == "python"]
MENTIONED = sorted(set(re.findall(r"`(streamnet [^`]*)`", README)))
INSTALLS = re.findall(r"pip install ([^&`\n]+)", README)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that looks like the repository to a reader, where anything may be written."""
    for name in COPIED:
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    command = tmp_path / ".venv" / "bin" / "streamnet"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m streamnet "$@"\n')
    command.chmod(0o755)
    return tmp_path


def run(command: list[str], place: Path) -> None:
    """Run a command in ``place``, where `streamnet` is the code under test."""
    modules = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    programs = os.pathsep.join((str(place / ".venv" / "bin"), os.environ["PATH"]))
    done = subprocess.run(
        command,
        cwd=place,
        env=environment(PYTHONPATH=modules, PATH=programs),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def command_after(mark: str) -> str:
    """The one line of the code block after ``<!-- command: mark -->``."""
    comment = f"<!-- command: {mark} -->"
    assert README.splitlines().count(comment) == 1
    (block,) = (block for block in code_blocks(README) if block.before == comment)
    (line,) = block.text.splitlines()  # whoever runs it takes one line
    return line


def files_named(command: str) -> list[str]:
    """Files that a command reads: what -r names, and arguments in a folder of the repository."""
    words = shlex.split(command)
    listed = [word for option, word in pairwise(words) if option == "-r"]
    inside = [word for word in words if "/" in word and not word.startswith((".venv/", "-"))]
    return listed + inside


# ------------------------------------------------------------------- the parser


def test_blocks_commands_and_links_are_found_in_a_document() -> None:
    text = (
        "# One *title*\n<!-- command: run -->\n```sh\nstart\n```\n"
        "[a](b.md#c) ![d](e.svg) [f](https://g.h/i) <img src='j.png'> `[k](l)` [m](#n)\n\n"
        "```console\n$ streamnet a \\\n  b\nanswer\n$ ls\n$ streamnet c\n```\n"
        "````python\nx = '```'\n# [no](link)\n````\n[o]: p/q\n"
    )
    assert [(b.language, b.text, b.line, b.before) for b in code_blocks(text)] == [
        ("sh", "start\n", 3, "<!-- command: run -->"),
        ("console", "$ streamnet a \\\n  b\nanswer\n$ ls\n$ streamnet c\n", 8, link_line(text)),
        ("python", "x = '```'\n# [no](link)\n", 15, "```"),
    ]
    assert [shlex.split(line) for line in console_commands(text)] == [
        ["streamnet", "a", "b"],
        ["streamnet", "c"],
    ]
    assert link_targets(text) == ["b.md#c", "e.svg", "#n", "p/q", "j.png"]
    assert anchors(text) == {"one-title"}


def link_line(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("[a]"))


# --------------------------------------------------------------------- the text


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: f"line {block.line}")
def test_a_program_of_the_readme_runs(block: CodeBlock, place: Path) -> None:
    program = place / "program.py"
    program.write_text(block.text, "utf-8")
    run([sys.executable, "-W", "error::DeprecationWarning:__main__", str(program)], place)


def test_the_readme_has_programs_and_commands() -> None:
    assert PROGRAMS
    assert console_commands(README)


def test_the_commands_of_the_readme_run_one_after_the_other(place: Path) -> None:
    for command in console_commands(README):
        run(["sh", "-c", command], place)


def test_the_command_to_run_reads_files_that_exist_and_learns(place: Path) -> None:
    command = command_after("run")
    files = files_named(command)
    assert files
    assert [file for file in files if not (REPOSITORY / file).is_file()] == []
    steps = [step.strip() for step in command.split("&&")]
    assert steps[-1].startswith(".venv/bin/streamnet ")
    run(["sh", "-c", steps[-1]], place)


def test_the_command_to_test_reads_files_that_exist_and_ends_with_pytest() -> None:
    command = command_after("test")
    files = files_named(command)
    assert files
    assert [file for file in files if not (REPOSITORY / file).is_file()] == []
    pytest_call = shlex.split(command.split("&&")[-1])
    assert pytest_call[0] == ".venv/bin/pytest"
    assert "--cov" in pytest_call


@pytest.mark.parametrize("command", MENTIONED)
def test_a_command_that_is_mentioned_exists(command: str) -> None:
    words = shlex.split(command)[1:]
    _, apps, unused = app.parse_commands(words)
    assert apps[-1].default_command is not None or not unused, f"{unused[0]} is no command"


def test_every_key_of_a_report_is_explained() -> None:
    (paragraph,) = (
        text for text in README.split("\n\n") if text.startswith("`--report FILE.json`")
    )
    wine = REPOSITORY / "examples" / "data" / "wine_red.csv.gz"
    report = replay(wine, target="quality", limit=100, candidates=2).report
    keys = {*report, *report["champion"], *report["candidates"][0]}
    assert keys - set(re.findall(r"`(\w+)`", paragraph)) == set()


def test_the_programs_that_measure_are_called_so_that_they_find_their_neighbours() -> None:
    calls = [call.split() for call in re.findall(r"`python ([^`]+)`", README)]
    assert {call[0] for call in calls} == {"-m"}  # by its path, one finds no other file of tests/
    names = {call[1] for call in calls}
    assert "tests.benchmarks.gopher" in names
    lost = [name for name in sorted(names) if find_spec(name) is None]
    assert lost == []


def test_the_package_is_never_fetched_by_name_as_that_one_is_another_project() -> None:
    fetched = [words for line in INSTALLS for words in shlex.split(line) if "streamnet" in words]
    assert INSTALLS
    assert fetched == []


def test_what_the_lock_names_is_installed_without_looking_for_anything_newer() -> None:
    """An installer that resolves would take the `coverage[toml]` of a release after the lock's."""
    locked = [line for line in INSTALLS if "requirements.lock" in line]
    assert locked
    exactly = {"--no-deps", "--require-hashes"}
    assert [line for line in locked if not exactly <= {*line.split()}] == []


def test_the_tests_have_to_cover_most_of_the_package_also_in_processes_of_their_own() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    coverage = settings["tool"]["coverage"]
    assert coverage["report"]["fail_under"] >= 95
    assert "streamnet" in coverage["run"]["source"]
    assert "subprocess" in coverage["run"]["patch"]


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix()
)
def test_links_of_a_document_lead_somewhere(document: Path) -> None:
    lost = []
    for target in link_targets(document.read_text("utf-8")):
        name, _, anchor = unquote(target).partition("#")
        path = document.parent / name if name else document
        if not path.exists() or (
            anchor and path.suffix == ".md" and anchor not in anchors(path.read_text("utf-8"))
        ):
            lost.append(target)
    assert lost == []
