"""CHANGELOG.md tells what a release can do, and nothing about repairs of what nobody had."""

from __future__ import annotations

import re

from streamnet import __version__
from tests.docs.documents import CHANGELOG

TEXT = CHANGELOG.read_text("utf-8")
MOST_LINES = 80


def test_the_version_of_the_package_has_a_section() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", TEXT, re.MULTILINE)
    assert __version__ in versions


def test_the_first_release_only_adds() -> None:
    section = TEXT.partition("## [0.1.0]")[2].partition("\n## ")[0]
    assert re.findall(r"^### (.+)$", section, re.MULTILINE) == ["Added"]
    assert 10 <= len(re.findall(r"^- ", section, re.MULTILINE)) <= 30
    assert len(section.splitlines()) <= MOST_LINES
