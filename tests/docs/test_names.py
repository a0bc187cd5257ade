"""What the documents name is there: files, links, commands, options, functions, modules."""

from __future__ import annotations

import importlib
import io
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from rich.console import Console

import streamnet
from streamnet.cli.app import app
from streamnet.runs.replay import replay
from tests.docs.documents import DOCUMENTS, PAGES, REPOSITORY, name_of
from tests.docs.markdown import anchors, inline_code, link_targets

OF_OTHERS = {  # options of programs that are not ours
    "docs/coming-from/vowpal-wabbit.md": {
        "--adaptive", "--binary", "--cb", "--daemon", "--invert_hash", "--l2", "--loss_function",
        "--nn", "--oaa", "--passes", "--port", "--save_resume",
    },
    "docs/embedding.md": {"--concurrency", "--processes", "--queues"},
    "docs/scaling.md": {"--features"},
    "docs/benchmarks.md": {
        "--nn", "--epochs", "--idle", "--json", "--limit", "--markdown", "--plot", "--repeats",
    },
    "README.md": {"--nn"},
}  # fmt: skip
NAMES = [(page, name) for page in PAGES for name in inline_code(page.read_text("utf-8"))]
MENTIONED = sorted({name for _, name in NAMES if name.startswith("streamnet ")})
FOLDERS = ("config/", "docs/", "examples/", "tests/")
NEVER = (
    re.compile(r"/(?:work|home|root|tmp)/"),  # places on one machine
    re.compile(r"optimiser", re.IGNORECASE),  # the code says optimizer
)


@cache
def options() -> set[str]:
    """All options of all commands."""
    text = io.StringIO()
    calls: list[list[str]] = [[]]
    calls += [[command] for command in app] + [["client", name] for name in app["client"]]
    for words in calls:
        if not words or not words[-1].startswith("-"):
            app.help_print(words, console=Console(file=text, width=200))
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text.getvalue()))


def resolved(name: str) -> Any:
    """What a dotted name below `streamnet` stands for."""
    found: Any = streamnet
    parts = name.split(".")
    for at, part in enumerate(parts):
        if hasattr(found, part):
            found = getattr(found, part)
        else:
            found = importlib.import_module(".".join(("streamnet", *parts[: at + 1])))
    return found


@pytest.mark.parametrize("command", MENTIONED)
def test_a_command_that_is_mentioned_exists(command: str) -> None:
    words = [word for word in command.split()[1:] if word != "..."]
    _, apps, unused = app.parse_commands(words)
    is_known = apps[-1].default_command is not None or not unused or unused[0].isupper()
    assert is_known or unused[0].startswith("--"), f"{unused[0]} is no command"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_that_are_mentioned_exist(page: Path) -> None:
    mentioned = {
        option
        for where, name in NAMES
        if where == page and not name.startswith(("pip ", "pytest ", "sphinx-build "))
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", name)
    }
    assert mentioned - options() - OF_OTHERS.get(name_of(page), set()) == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_of_the_library_exist(page: Path) -> None:
    for where, name in NAMES:
        if where != page:
            continue
        dotted = re.match(r"~?streamnet\.([a-zA-Z_][\w.]*)", name)
        plain = re.match(r"([A-Z]\w*)((?:\.\w+)*)", name)
        if dotted:
            resolved(dotted[1])
        elif plain and plain[1] in streamnet.__all__:
            resolved(plain[1] + plain[2])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_of_the_repository_exist(page: Path) -> None:
    named = {name for where, name in NAMES if where == page and name.startswith(FOLDERS)}
    lost = [name for name in sorted(named) if not (REPOSITORY / name).exists()]
    assert lost == []


def test_programs_that_measure_are_called_so_that_they_find_their_neighbors() -> None:
    calls = [name.split() for _, name in NAMES if name.startswith("python -")]
    assert {call[1] for call in calls} == {"-m"}  # by its path, one finds no other file of tests/
    names = {call[2] for call in calls}
    assert "tests.benchmarks.gopher" in names
    assert [name for name in sorted(names) if find_spec(name) is None] == []


def test_every_key_of_a_report_is_explained() -> None:
    page = (REPOSITORY / "docs" / "report.md").read_text("utf-8")
    section = re.search(
        r"<!-- report keys: begin -->(.*)<!-- report keys: end -->", page, re.DOTALL
    )
    assert section is not None
    wine = REPOSITORY / "examples" / "data" / "wine_red.csv.gz"
    report = replay(wine, target="quality", limit=100, candidates=2).report
    keys = {*report, *report["champion"], *report["candidates"][0]}
    assert keys - set(re.findall(r"`(\w+)`", section[1])) == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_of_a_document_lead_somewhere(document: Path) -> None:
    """The generator knows the anchors of its own pages, and fails where one is missing."""
    lost = []
    for target in link_targets(document.read_text("utf-8")):
        name, _, anchor = unquote(target).partition("#")
        path = document.parent / name if name else document
        is_page = REPOSITORY / "docs" in document.parents
        if not path.exists() or (
            anchor
            and path.suffix == ".md"
            and not is_page
            and anchor not in anchors(path.read_text("utf-8"))
        ):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_document_says_nothing_about_one_machine_and_spells_as_the_code_does(
    document: Path,
) -> None:
    text = document.read_text("utf-8")
    assert [never.pattern for never in NEVER if never.search(text)] == []
