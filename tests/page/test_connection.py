"""The page's connection to a daemon: token, lost connections, months of running."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.page.fake_daemon import StandIn, labels_model

Opener = Callable[..., Page]
Server = Callable[..., StandIn]
REMEMBER = """(node) => {
    window.told = [];
    new MutationObserver(() => told.push(node.textContent)).observe(node, { childList: true });
}"""


def until(page: Page, condition: Callable[[], bool], patience: int = 200) -> None:
    for _ in range(patience):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not come true")


def test_the_token_is_requested_once_and_never_in_a_url(visit: Opener, serve: Server) -> None:
    daemon = serve(labels_model(), token="s3cret")
    page = visit(daemon.page, refused=True)
    expect(page.locator("#token")).to_be_visible()
    page.locator("#token-value").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#token-refused")).to_be_visible()
    page.locator("#token-value").fill("s3cret")
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_text("live")
    page.reload()
    expect(page.locator("#connection")).to_have_text("live")
    assert page.evaluate(
        "[sessionStorage.length, JSON.stringify(localStorage).includes('s3cret')]"
    ) == [1, False]
    assert not any("s3cret" in address for address, _ in daemon.seen)
    assert "s3cret" not in page.url


def test_the_token_dialog_can_be_cancelled(visit: Opener, serve: Server) -> None:
    daemon = serve(labels_model(), token="s3cret")
    page = visit(daemon.page, refused=True)
    page.get_by_role("button", name="Not now").click()
    expect(page.locator("#token")).to_be_hidden()
    expect(page.locator("#connection")).to_have_text("token required")
    page.get_by_role("button", name="Enter token").click()
    page.locator("#token-value").fill("s3cret")
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#token-open")).to_be_hidden()


def test_without_any_model_the_page_waits_for_one(visit: Opener, serve: Server) -> None:
    daemon = serve()
    page = visit(daemon.page)
    expect(page.locator("#connection")).to_have_text("no model yet")
    daemon.models["late"] = labels_model("late")
    expect(page.locator("#name")).to_contain_text("late")


def test_events_resume_after_a_lost_connection(visit: Opener, daemon: StandIn) -> None:
    daemon.happen("champion", text="the first")
    page = visit(daemon.page)
    expect(page.locator("#events")).to_contain_text("the first")
    page.evaluate(f"({REMEMBER})(document.getElementById('connection'))")
    daemon.hang_up.set()
    until(page, lambda: not daemon.hang_up.is_set())
    daemon.happen("drift", text="the second")
    expect(page.locator("#events")).to_contain_text("the second")
    assert page.locator("#events .event").count() == 2
    assert page.evaluate("told") == ["reconnecting", "live"]
    streams = [headers for path, headers in daemon.seen if path.endswith("/events")]
    assert [headers.get("last-event-id") for headers in streams] == ["0", "1"]
    expect(page.locator("#announcement")).to_have_text("drift the second")


def test_an_unhealthy_daemon_is_polled_again(visit: Opener, daemon: StandIn) -> None:
    daemon.broken = True
    page = visit(daemon.page, refused=True)
    expect(page.locator("#connection")).to_have_text("the disk is full")
    daemon.broken = False
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#problems .problem")).to_have_count(0)
    daemon.broken = True  # what was shown is not known to be true any more
    expect(page.locator("#problems")).to_contain_text("The daemon refuses: the disk is full")
    expect(page.locator("#state")).to_have_text("last known: learning")
    expect(page.locator("#state")).to_have_attribute("data-tone", "")


def test_redrawn_charts_leak_nothing(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page)
    page.locator("#models").select_option("bikes")
    expect(page.locator("#outcomes canvas")).to_be_visible()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def listeners() -> int:
        session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        return sum(int(one["value"]) for one in metrics if one["name"] == "JSEventListeners")

    draw = """(times) => {
        const outcomes = new Outcomes({
            host: byId("outcomes"), title: element("p"), note: element("p"), card: element("p"),
            sort: byId("outcomes-sort"), confused: element("ol"),
            classes: new Classes(element("p"), byId("classes"), element("p")),
        });
        const tiles = new Tiles(element("div"));
        for (let i = 1; i <= times; i += 1) {
            outcomes.show({ kind: "residuals", edges: [-1, 0, 1], counts: [i, 2] });
            tiles.clear();
            tiles.spark("Queue", i);
            tiles.spark("Queue", 0);
        }
        outcomes.show(null);
        tiles.clear();
    }"""
    page.evaluate(draw, 5)
    before = listeners()
    page.evaluate(draw, 100)
    assert listeners() <= before + 20


def test_months_of_running_stay_bounded(visit: Opener, daemon: StandIn) -> None:
    history = daemon.models["traffic"]["history"]
    history["samples"] = [i * 64 for i in range(1, 50_001)]
    history["series"] = {name: [0.5] * 50_000 for name in ("served", "majority", "no_change")}
    page = visit(daemon.page)
    expect(page.locator("#connection")).to_have_text("live")
    assert int(page.locator("#curve").get_attribute("aria-valuemax") or 0) < 2000
    session = page.context.new_cdp_session(page)

    def heap() -> int:
        session.send("HeapProfiler.collectGarbage")
        return int(session.send("Runtime.getHeapUsage")["usedSize"])

    for number in range(2000):
        daemon.happen("quarantine", count=1, number=number)
    until(page, lambda: "1,999" in page.locator("#events li").first.inner_text())
    before, elements = heap(), page.evaluate("document.getElementsByTagName('*').length")
    for number in range(2000, 10_000):
        daemon.happen("quarantine", count=1, number=number)
    until(page, lambda: "9,999" in page.locator("#events li").first.inner_text())
    assert page.locator("#events .event").count() == 200
    assert page.evaluate("document.getElementsByTagName('*').length") <= elements + 20
    assert heap() < before + 4_000_000
