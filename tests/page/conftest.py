"""A real browser for the page; its errors fail the test that caused them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.page.fake_daemon import StandIn, labels_model, numbers_model

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 60_000  # milliseconds: other tests may have the processor
expect.set_options(timeout=PATIENCE)

Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium; while it is there, no other event loop can run in this thread."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., StandIn]]:
    """Start a stand-in for the daemon: ``serve(*models, token=None)``."""
    with ExitStack() as servers:
        yield lambda *models, **options: servers.enter_context(StandIn(*models, **options))


@pytest.fixture
def daemon(serve: Callable[..., StandIn]) -> StandIn:
    """One with a model of labels, "traffic", and one of numbers, "bikes"."""
    return serve(labels_model(), numbers_model())


@pytest.fixture
def visit(browser: Browser, serve: object) -> Iterator[Opener]:  # left before the servers end
    """Open an address in a new browser context: ``visit(address, refused=False, **context)``.

    At the end no page may have logged an error, but for responses that were to be refused.
    """
    contexts = []
    complaints: list[str] = []

    def open_page(address: str, *, refused: bool = False, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text)
                if message.type in ("error", "warning")
                and not (refused and message.text.startswith("Failed to load resource"))
                else None
            ),
        )
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
