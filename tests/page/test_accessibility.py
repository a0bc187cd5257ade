"""Accessibility of the page: keyboard, phone, themes, and screen readers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.page.fake_daemon import StandIn, labels_model

Opener = Callable[..., Page]
Server = Callable[..., StandIn]
PHONE = {"viewport": {"width": 360, "height": 740}}
GRAVE = {"serious", "critical"}
FOCUSED = "(node) => node.id || node.name || node.textContent"


def test_the_chosen_theme_is_kept(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page, color_scheme="light")
    grounds = []
    for _ in range(3):
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.locator("#theme").click()
    light, chosen_light, dark = grounds
    assert light == chosen_light != dark
    page.locator("#theme").click()
    page.locator("#theme").click()
    page.reload()
    expect(page.locator("#theme")).to_have_text("Theme: dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_everything_is_reachable_by_keyboard(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page)
    expect(page.locator("#connection")).to_have_text("live")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached: set[str] = set()
    for _ in range(70):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(f"({FOCUSED})(document.activeElement)"))
    assert {"models", "theme", "stretch", "curve", "events", "outcomes", "Settings"} <= reached
    assert {"field-0", "field-1", "field-2", "field-3", "Predict", "Pause"} <= reached


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["traffic", "bikes"])
def test_there_are_no_serious_accessibility_violations(
    visit: Opener, daemon: StandIn, scheme: str, name: str
) -> None:
    daemon.prediction = {
        "predictions": ["slow"],
        "generations": [1],
        "labels": ["a", "slow"],
        "probabilities": [[0.2, 0.8]],
    }
    daemon.happen("drift", text="loss rose")
    page = visit(daemon.page, color_scheme=scheme)
    page.locator("#models").select_option(name)
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#prediction strong")).to_have_text("slow")
    assert grave_faults(page) == []


def test_the_token_dialog_has_no_serious_accessibility_violations(
    visit: Opener, serve: Server
) -> None:
    daemon = serve(labels_model(), token="s3cret")
    page = visit(daemon.page, refused=True)
    expect(page.locator("#token")).to_be_visible()
    assert grave_faults(page) == []


def grave_faults(page: Page) -> list[Any]:
    found = Axe().run(page).response["violations"]
    return [
        (fault["id"], [node["target"] for node in fault["nodes"]])
        for fault in found
        if fault["impact"] in GRAVE
    ]


@pytest.mark.parametrize("name", ["traffic", "bikes"])
def test_a_phone_scrolls_only_vertically(visit: Opener, daemon: StandIn, name: str) -> None:
    page = visit(daemon.page, **PHONE)
    page.locator("#models").select_option(name)
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#name .model-name")).to_have_text(name)  # and no longer the first one
    expect(page.locator("#leaders tbody tr")).to_have_count(17)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    curve = page.locator("#curve .uplot").bounding_box()
    assert curve is not None
    assert curve["width"] <= 360


def test_reduced_motion_disables_animation(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page, reduced_motion="reduce")
    level = page.locator("#rejected .level").first
    assert level.evaluate("node => getComputedStyle(node).transitionDuration") == "0s"
