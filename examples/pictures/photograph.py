"""Takes pictures of a daemon's page, beside this file: all models, and one of them.

python examples/pictures/photograph.py http://127.0.0.1:8000/ electricity
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal, NamedTuple

from playwright.sync_api import Browser, ViewportSize, sync_playwright

SETTLED = 5000  # milliseconds after which a page has looked more than once


class Picture(NamedTuple):
    """A picture: of all models, or of a part of the page of one."""

    name: str
    size: ViewportSize
    scheme: Literal["light", "dark"] = "light"
    model: bool = True
    scroll: str = "h1"  # to what is at the top


DESK, PHONE = ViewportSize(width=1120, height=1040), ViewportSize(width=390, height=844)
PICTURES = (
    Picture("overview", ViewportSize(width=1120, height=400), model=False),
    Picture("dashboard", DESK),
    Picture("why", DESK, "dark", scroll="#outcomes-card"),
    Picture("phone", PHONE),
)


def photograph(browser: Browser, address: str, model: str, picture: Picture, path: Path) -> None:
    """Open the page and keep what is seen of it."""
    page = browser.new_page(viewport=picture.size, color_scheme=picture.scheme)
    page.goto(f"{address}?model={model}" if picture.model else address)
    page.wait_for_timeout(SETTLED)
    page.locator(picture.scroll).evaluate("node => node.scrollIntoView({ block: 'start' })")
    page.evaluate("scrollBy(0, -70)")  # below the header, which stays in place
    page.screenshot(path=path)
    page.close()


if __name__ == "__main__":
    address, model = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for picture in PICTURES:
            path = Path(__file__).parent / f"{picture.name}.png"
            photograph(browser, address, model, picture, path)
        browser.close()
