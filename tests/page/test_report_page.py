"""`replay --report OUT.html`: the page as a file, in a real browser without a server."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

Opener = Callable[..., Page]
HOSTILE = "<img src=x onerror=alert(1)></script>"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    rows = "".join(f"{i % 7},{'yes' if i % 7 > 3 else HOSTILE}\n" for i in range(2000))
    (folder / "stream.csv").write_text("x,label\n" + rows + "1\n")
    path = folder / "report.html"
    letters = str(folder / "rejected.jsonl")
    given = ["replay", str(folder / "stream.csv"), "--target", "label", "--candidates", "3"]
    given += ["--interval", "0.9"]
    command = [sys.executable, "-m", "streamnet", *given, "--report", str(path), "--quiet"]
    subprocess.run([*command, "--dead-letters", letters], check=True, timeout=200)
    return path


def test_the_report_file_shows_the_run_offline(visit: Opener, report: Path) -> None:
    asked: list[str] = []
    page = visit(report.as_uri())
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    expect(page.locator("#connection")).to_have_text("report")
    expect(page.locator("#curve canvas")).to_be_visible()
    expect(page.locator("#tiles")).to_contain_text("2,000")
    expect(page.locator("#leaders tbody tr:not(.track)")).to_have_count(3)
    expect(page.locator("#outcomes")).to_contain_text(HOSTILE)
    expect(page.locator("#scores")).to_contain_text("no change")
    expect(page.locator("#importance .bar-name")).to_have_text("x")
    expect(page.locator("#trust circle").first).to_be_visible()
    expect(page.locator("#classes tbody tr")).to_have_count(2)
    expect(page.locator("#name")).to_have_text(
        re.compile(r"stream\.csv: predictions of label, \d{4}-\d\d-\d\d \d\d:\d\d UTC")
    )
    assert re.fullmatch(r"stream\.csv, 20\d\d-[-: \d]+UTC: streamnet report", page.title())
    expect(page.locator("#facts")).to_contain_text("ensemble")
    expect(page.locator("#intervals-title")).to_have_text("Prediction sets")
    expect(page.locator("#intervals-curve canvas")).to_be_visible()
    expect(page.locator("#intervals")).to_contain_text("mean set size")
    expect(page.locator("#rejected")).to_contain_text("1")
    expect(page.locator("#try-card")).to_be_hidden()
    expect(page.locator("#events")).to_contain_text("champion")
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []
    assert page.locator("main img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_file_is_accessible(visit: Opener, report: Path, scheme: str) -> None:
    page = visit(report.as_uri(), color_scheme=scheme, viewport={"width": 360, "height": 740})
    expect(page.locator("#curve canvas")).to_be_visible()
    found = Axe().run(page).response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_switches_between_recent_and_overall(visit: Opener, report: Path) -> None:
    page = visit(report.as_uri())
    page.locator("input[value=recent]").focus()
    before = page.locator("#curve").get_attribute("aria-valuetext")
    page.keyboard.press("ArrowRight")
    expect(page.locator("input[value=overall]")).to_be_checked()
    assert page.locator("#curve").get_attribute("aria-valuetext") != before
