"""HTML as the texts in it, whose elements must be closed."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


class HtmlText(HTMLParser):
    """The texts of some HTML, after checking that each element is closed in its place."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
