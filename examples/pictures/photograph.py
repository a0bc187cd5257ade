"""Takes dashboard.png, beside this file: the top of the page, of a report or of a daemon.

python examples/pictures/photograph.py report.html
python examples/pictures/photograph.py http://127.0.0.1:8000/
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import ViewportSize, sync_playwright

SIZE = ViewportSize(width=1120, height=1040)
SETTLED = 5000  # milliseconds after which a daemon's page has looked more than once


def photograph(address: str, path: Path) -> None:
    """Open the address in a headless Chromium and keep what is seen of it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(address)
        page.wait_for_timeout(SETTLED)
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    given = sys.argv[1]
    address = given if "://" in given else Path(given).resolve().as_uri()
    photograph(address, Path(__file__).parent / "dashboard.png")
