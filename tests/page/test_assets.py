"""What is shipped: small, complete, and fit for a policy that allows no inline code."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from streamnet.page import load_assets

MOST = 300_000  # bytes, of all files
OWN_SCRIPTS = [name for name in load_assets() if name.endswith(".js") and name != "uplot.js"]
TEXT_TO_CODE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
)


class Elements(HTMLParser):
    """Every element of a page with its attributes and, for scripts and styles, its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style") and data.strip():
            self.texts.append(data)


def index() -> Elements:
    return Elements(load_assets()["index.html"].data.decode())


def test_the_page_is_small() -> None:
    assert sum(len(asset.data) for asset in load_assets().values()) < MOST


def test_the_page_loads_exactly_its_own_files() -> None:
    asked = [
        attributes.get("src") or attributes.get("href")
        for tag, attributes in index().found
        if tag in ("script", "img", "iframe") or attributes.get("rel") == "stylesheet"
    ]
    names = {str(address).removeprefix("page/") for address in asked}
    assert all(str(address).startswith("page/") for address in asked)
    assert names == {name for name in load_assets() if name.endswith((".js", ".css"))}


def test_the_page_has_no_inline_code() -> None:
    page = index()
    assert page.texts == []
    names = {name for _, attributes in page.found for name in attributes}
    assert not {name for name in names if name.startswith("on") or name == "style"}


def test_no_style_fetches_anything() -> None:
    for name, asset in load_assets().items():
        if name.endswith(".css"):
            assert not re.search(rb"url\(|@import", asset.data)


@pytest.mark.parametrize("name", OWN_SCRIPTS)
def test_scripts_never_turn_text_into_code_or_markup(name: str) -> None:
    text = load_assets()[name].data.decode()
    assert text.startswith('"use strict";')
    assert not TEXT_TO_CODE.search(text)
    assert len(text.splitlines()) <= 400


def test_the_chart_library_comes_with_its_version_and_licence() -> None:
    assert b"(v1.6.32)" in load_assets()["uplot.js"].data[:100]
    licence = load_assets()["uplot-LICENSE.txt"].data.decode()
    assert "uplot 1.6.32" in licence
    assert "The MIT License (MIT)" in licence
