"""Takes the pictures of the page in docs/pictures: ``python examples/pictures/photograph.py``.

The daemon is that of stage.py; ``python examples/pictures/photograph.py ADDRESS`` takes them of one
that runs already. Pictures have their 256 most frequent colors, so that they are small.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
SETTLED = 5000  # milliseconds after which a page has looked more than once
COLORS = 256


def fill_and_predict(page: Page) -> None:
    """Predict the last sample."""
    page.locator("#try-last").click()
    page.get_by_role("button", name="Predict", exact=True).click()
    page.locator("#prediction strong").wait_for()


class Picture(NamedTuple):
    """A picture: what is seen in the window, or a part of the page."""

    name: str
    model: str | None = None  # by default all models
    size: ViewportSize = ViewportSize(width=1440, height=1000)
    scheme: Literal["light", "dark"] = "light"
    part: str | None = None  # a card; by default what the window shows
    top: str | None = None  # what the window begins with; by default its beginning
    prepare: Callable[[Page], None] | None = None


PHONE = ViewportSize(width=390, height=844)
LOW = ViewportSize(width=1440, height=620)
PICTURES = (
    Picture("overview", size=ViewportSize(width=1440, height=730)),
    Picture("overview-dark", scheme="dark", size=ViewportSize(width=1440, height=730)),
    Picture("overview-phone", size=PHONE),
    Picture("model", "income"),
    Picture("model-dark", "bikes", scheme="dark"),
    Picture("model-phone", "income", PHONE),
    Picture("trouble", "valves", LOW),
    Picture("empty", "visits", LOW),
    Picture("failed", "returns", LOW),
    Picture("leaders", "income", part="section:has(> * > #leaders-title)"),
    Picture("why", "income", top="#trust-title"),
    Picture("why-dark", "income", scheme="dark", top="#trust-title"),
    Picture("why-phone", "income", PHONE, top="#importance-title"),
    Picture("residuals", "bikes", part="#outcomes-card"),
    Picture("intervals", "bikes", part="#intervals-card"),
    Picture("classes-26", "letters", part="#outcomes-card"),
    Picture("classes-200", "parts", part="#outcomes-card"),
    Picture("keys", "machines", part="#keys-card"),
    Picture("try", "income", part="#try-card", prepare=fill_and_predict),
    Picture("controls", "income", part="#controls-card"),
    Picture("compare", "income", part="#compare-card"),
    Picture("rejected", "valves", part="#rejected-card"),
)


@contextmanager
def stage() -> Iterator[str]:
    """The daemon of stage.py, while it runs; its address."""
    command = [sys.executable, str(Path(__file__).with_name("stage.py"))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.write("\n")


def photograph(browser: Browser, address: str, picture: Picture, folder: Path) -> None:
    """Open the page and keep what is seen of it."""
    page = browser.new_page(viewport=picture.size, color_scheme=picture.scheme)
    page.goto(f"{address}?model={picture.model}" if picture.model else address)
    page.wait_for_timeout(SETTLED)
    if picture.prepare is not None:
        picture.prepare(page)
    if picture.top is not None:
        page.locator(picture.top).evaluate("node => node.scrollIntoView({ block: 'start' })")
        page.evaluate("scrollBy(0, -90)")  # below the header, which stays in place
    else:
        # Else it would cover a part.
        page.evaluate("document.querySelector('header').style.position = 'static'")
    shot = page.screenshot() if picture.part is None else page.locator(picture.part).screenshot()
    page.close()
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    image = image.quantize(palette=find_palette(image), dither=Image.Dither.NONE)
    image.save(folder / f"{picture.name}.png", optimize=True)


def find_palette(image: Image.Image) -> Image.Image:
    """The most frequent colors of an image, so that those of the page stay as they are."""
    counts: Any = image.getcolors(image.width * image.height)
    frequent = [color for _, color in sorted(counts, reverse=True)[:COLORS]]
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for color in frequent for part in color])
    return palette


if __name__ == "__main__":
    given = sys.argv[1:]
    with nullcontext(given[0]) if given else stage() as address, sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        FOLDER.mkdir(exist_ok=True)
        for picture in PICTURES:
            photograph(browser, address, picture, FOLDER)
        browser.close()
