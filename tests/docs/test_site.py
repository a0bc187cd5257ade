"""The documentation builds without a warning, is complete, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

import streamnet
from tests.docs.documents import REPOSITORY
from tests.processes import environment

ELSEWHERE = re.compile(r"(?:https?:)?//")
LOADS = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=[\"']([^\"']+)"
    r"|<object\b[^>]*?\bdata=[\"']([^\"']+)"
    r"|<link\b(?=[^>]*\brel=[\"'](?:stylesheet|icon|shortcut icon|preload|preconnect|manifest))"
    r"[^>]*?\bhref=[\"']([^\"']+)"
)
STYLE_LOADS = re.compile(r"(?:url\(|@import\s)\s*[\"']?([^\"')\s]+)")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning, such as of a link that leads nowhere, is an error."""
    folder = tmp_path_factory.mktemp("site")
    docs = str(REPOSITORY / "docs")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", docs, str(folder)],
        cwd=REPOSITORY,
        env=environment(http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def loaded(page: str) -> list[str]:
    """What a page makes a browser load."""
    return ["".join(found) for found in LOADS.findall(page)]


def text_of(page: Path) -> str:
    """What a reader sees."""
    return unescape(re.sub(r"<[^>]+>", "", page.read_text("utf-8")))


def test_every_page_is_built(site: Path) -> None:
    docs = REPOSITORY / "docs"
    pages = {path.relative_to(docs).with_suffix(".html") for path in docs.rglob("*.md")}
    assert [page for page in sorted(pages) if not (site / page).is_file()] == []


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    files = [name for page in pages for name in loaded(page.read_text("utf-8"))]
    assert files
    assert [name for name in files if ELSEWHERE.match(name)] == []


def test_style_sheets_load_nothing_from_elsewhere(site: Path) -> None:
    sheets = sorted(site.rglob("*.css"))
    files = [name for sheet in sheets for name in STYLE_LOADS.findall(sheet.read_text("utf-8"))]
    assert sheets
    assert [name for name in files if ELSEWHERE.match(name)] == []


def test_the_reference_has_every_public_name(site: Path) -> None:
    page = (site / "api" / "index.html").read_text("utf-8")
    documented = set(re.findall(r'id="streamnet\.(\w+)"', page))
    assert {*streamnet.__all__} - documented == set()


def test_the_references_of_commands_and_of_http_are_made(site: Path) -> None:
    commands = text_of(site / "command-line.html")
    assert "--search-budget" in commands  # which is in no sentence of the page
    assert "--token-env" in commands
    assert "POST /v1/models/{name}/samples" in text_of(site / "http-api.html")
    assert 'href="#schema-receipt"' in (site / "http-api.html").read_text("utf-8")


@pytest.mark.parametrize(
    "page",
    [
        '<script src="https://x.y/a.js"></script>',
        "<img alt='a' src='//x.y/a.png'>",
        '<link rel="stylesheet" type="text/css" href="https://x.y/a.css">',
        '<link href="http://x.y/i.ico" rel="icon">',
    ],
)
def test_what_is_loaded_from_elsewhere_would_be_noticed(page: str) -> None:
    (name,) = loaded(page)
    assert ELSEWHERE.match(name)


def test_links_that_a_reader_may_follow_are_no_loads() -> None:
    assert loaded('<a href="https://x.y">z</a><link rel="next" href="a.html">') == []
    assert STYLE_LOADS.findall("@import 'https://x.y/a.css'; b { c: url(//d.e/f) }") == [
        "https://x.y/a.css",
        "//d.e/f",
    ]
