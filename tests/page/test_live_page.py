"""The page of a daemon, used in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.page.fake_daemon import HOSTILE, StandIn, labels_model

Opener = Callable[..., Page]
Server = Callable[..., StandIn]


def text_of(page: Page, selector: str) -> str:
    return page.locator(selector).inner_text()


# ------------------------------------------------------------------- what is shown


def test_the_page_shows_how_well_a_model_learns(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.address)
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#state")).to_have_text("learning")
    tiles = page.locator("#tiles .tile")
    shown = {
        tile.locator("h2").inner_text(): tile.locator("strong").inner_text() for tile in tiles.all()
    }
    assert shown == {
        "Accuracy": "91.3 %",
        "Learned": "61,440",
        "Throughput": "5.1K/s",
        "Switches": "6",
        "Rejected": "12",
        "Queue": "62",
        "Checkpoint": "6.2 s",
    }
    score, learned = (tile.locator(".hint").inner_text() for tile in tiles.all()[:2])
    assert score == "no change: 72.0 %; 1,200 as callers got it, 59,800 test-then-train"
    assert learned.startswith("41 waiting for labels, 440 without a label, up ")
    expect(page.locator("#leaders tbody tr")).to_have_count(12)
    expect(page.locator("#leaders tr.champion")).to_contain_text("#40")
    expect(page.locator("#curve canvas")).to_be_visible()
    assert "served" in text_of(page, "#legend")
    assert "no change" in text_of(page, "#legend")


def test_a_regression_model_shows_residuals_and_its_metric(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.address)
    page.locator("#models").select_option("bikes")
    expect(page.locator("#outcomes-title")).to_have_text("Residuals")
    expect(page.locator("#outcomes canvas")).to_be_visible()
    assert (
        "histogram of"
        in (page.locator("#outcomes .chart").get_attribute("aria-label") or "").lower()
    )
    expect(page.locator("#leaders th").nth(2)).to_have_text("MAE")
    page.locator("#models").select_option("traffic")
    expect(page.locator("#outcomes-title")).to_have_text("Confusion matrix")
    expect(page.locator("#leaders th").nth(2)).to_have_text("accuracy")


def test_a_model_without_samples_is_not_asked_for_scores(visit: Opener, serve: Server) -> None:
    model = labels_model()
    model["status"] |= {"samples": 0, "served": None, "measure": None, "generation": None}
    model |= {"history": None, "confusion": None, "leaders": [], "champion": None}
    daemon = serve(model)
    page = visit(daemon.address)
    expect(page.locator("#curve")).to_contain_text("starts with the first samples")
    expect(page.locator("#outcomes")).to_contain_text("No sample has been scored yet")
    expect(page.locator("#try-card")).to_be_hidden()


def test_without_any_model_the_page_waits_for_one(visit: Opener, serve: Server) -> None:
    daemon = serve()
    page = visit(daemon.address)
    expect(page.locator("#connection")).to_have_text("no model yet")
    daemon.models["late"] = labels_model("late")
    expect(page.locator("#name")).to_contain_text("late")


def test_it_works_below_a_prefix(visit: Opener, daemon: StandIn) -> None:
    page = visit(f"{daemon.address}below/")
    expect(page.locator("#connection")).to_have_text("live")
    assert {path.split("/")[1] for path, _ in daemon.seen} == {"below"}


def test_a_failure_is_shown(visit: Opener, daemon: StandIn) -> None:
    daemon.models["traffic"]["status"] |= {"state": "failed", "failure": "the disk is full"}
    page = visit(daemon.address)
    expect(page.locator("#failure")).to_have_text("the disk is full")


@pytest.mark.parametrize(
    ("feed", "value", "note", "tone"),
    [
        (
            {"state": "reading", "progress": 0.42},
            "42 %",
            "41,230 records; jam.csv.gz, line 41,2",
            "",
        ),
        ({"state": "reading", "line": None}, "41.2K", "41,230 records; jam.csv.gz", ""),
        ({"state": "ended", "progress": 1.0}, "complete", "41,230 records; jam.csv.gz, ", ""),
        ({"state": "failed", "failure": HOSTILE}, "failed", "41,230 records", "warn"),
    ],
)
def test_progress_of_files_is_shown(
    visit: Opener, daemon: StandIn, feed: dict[str, object], value: str, note: str, tone: str
) -> None:
    place = {"records": 41230, "file": "/data/jam.csv.gz", "line": 41235}
    daemon.models["traffic"]["status"]["feed"] = {**place, **feed}
    page = visit(daemon.address)
    tile = page.locator("#tiles .tile", has=page.get_by_role("heading", name="Files"))
    expect(tile.locator("strong")).to_have_text(value)
    expect(tile.locator(".hint")).to_contain_text(note)
    expect(tile).to_have_attribute("data-tone", tone)
    expect(page.locator("#failure")).to_have_text(
        f"Reading its files stopped: {HOSTILE}" if tone else ""
    )
    page.locator("#models").select_option("bikes")  # which reads no files
    expect(page.get_by_role("heading", name="Files")).to_have_count(0)


def test_hostile_labels_and_records_are_text(visit: Opener, daemon: StandIn) -> None:
    daemon.prediction = {
        "predictions": [HOSTILE],
        "generations": [1],
        "labels": [HOSTILE],
        "probabilities": [[1]],
    }
    daemon.happen("champion", text=HOSTILE)
    page = visit(daemon.address)
    expect(page.locator("#events")).to_contain_text(HOSTILE)
    expect(page.locator("#outcomes")).to_contain_text(HOSTILE)
    expect(page.locator("#rejected")).to_contain_text(HOSTILE)
    expect(page.locator("#fields")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#prediction strong")).to_have_text(HOSTILE)
    assert page.locator("main img").count() == 0
    assert page.locator("main script").count() == 0
    assert page.title() == "streamnet"


# ------------------------------------------------------------------- what can be done


def test_a_sample_from_the_form_is_predicted(visit: Opener, daemon: StandIn) -> None:
    daemon.prediction = {
        "predictions": ["slow"],
        "generations": [13],
        "labels": ["free", "slow"],
        "probabilities": [[0.2, 0.8]],
        "explanations": [{"speed": 0.4, "road": -0.1, "at": None}],
    }
    page = visit(daemon.address)
    page.get_by_label("speed").fill("12.5")
    page.get_by_label("road").fill("A1")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#prediction strong")).to_have_text("slow")
    assert daemon.asked == [{"sample": {"speed": 12.5, "road": "A1"}, "explain": True}]
    text = text_of(page, "#prediction").split("\n")
    assert text.index("slow", 1) < text.index("free")
    assert "80.0 %" in text
    page.wait_for_timeout(2500)  # the page polls again, and keeps the input
    assert page.get_by_label("speed").input_value() == "12.5"
    expect(page.locator("#prediction strong")).to_have_text("slow")


def test_a_number_or_no_prediction_is_shown(visit: Opener, daemon: StandIn) -> None:
    daemon.prediction = {"predictions": [12.3456], "generations": [14]}
    page = visit(daemon.address)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#prediction")).to_have_text("12.35 by generation 14 of the model")
    daemon.prediction = {"predictions": [None], "generations": [14]}
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#prediction strong")).to_have_text("no prediction")


def test_prediction_intervals_are_shown_with_their_coverage(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.address)
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#intervals-card")).to_be_hidden()
    page.locator("#models").select_option("bikes")
    expect(page.locator("#intervals-title")).to_have_text("Prediction intervals")
    expect(page.locator("#intervals-note")).to_contain_text("90 %")
    expect(page.locator("#intervals-curve canvas")).to_be_visible()
    rows = [row.inner_text().split("\t") for row in page.locator("#intervals tr").all()]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["", "overall", "last 1,000"],
        ["coverage", "90.1 %", "89.3 %"],
        ["mean width", "12.5", "11"],
        ["interval score", "17.25", "18.5"],
    ]
    tile = page.locator("#tiles .tile", has_text="Coverage")
    expect(tile).to_contain_text("90.1 %")
    expect(tile).to_contain_text("of 90 %; last 1,000: 89.3 %")
    curve = page.locator("#intervals-curve")
    curve.focus()
    page.keyboard.press("Home")
    expect(curve).to_have_attribute("aria-valuetext", "sample 512: coverage 87.0 %, level 90.0 %")
    page.locator("#models").select_option("traffic")
    expect(page.locator("#intervals-card")).to_be_hidden()
    assert "Coverage" not in text_of(page, "#tiles")


def test_the_interval_or_the_set_of_a_prediction_is_shown(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.address)
    daemon.prediction = {"predictions": [3.0], "generations": [1], "intervals": [[1.25, 4.5]]}
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#prediction")).to_contain_text("Between 1.25 and 4.5")
    daemon.prediction = {"predictions": ["a"], "generations": [1], "sets": [["a", HOSTILE]]}
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#prediction")).to_contain_text(f"One of: a, {HOSTILE}")
    daemon.prediction["sets"] = [[]]
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#prediction")).to_contain_text("No label is likely enough")


def test_the_leader_board_sorts_and_stays_sorted(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.address)
    by_loss = page.locator("#leaders thead button", has_text="Recent loss")
    by_loss.click()
    by_loss.click()
    expect(page.locator("#leaders tbody tr").first).to_contain_text("#51")
    daemon.models["traffic"]["leaders"][11]["loss"] = 0.001
    expect(page.locator("#leaders tbody tr").last).to_contain_text("#51")
    assert page.locator("#leaders th[aria-sort=descending]").count() == 1
    expect(by_loss).to_be_focused()


def test_the_age_of_candidates_grows(visit: Opener, daemon: StandIn) -> None:
    model = daemon.models["traffic"]
    page = visit(daemon.address)
    expect(page.locator("#leaders tr.champion")).to_contain_text("61,440")
    model["status"]["samples"] = 70_000
    expect(page.locator("#leaders tr.champion")).to_contain_text("70,000")


def test_arrow_keys_move_along_the_curve(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.address)
    curve = page.locator("#curve")
    expect(curve).to_have_attribute("aria-valuenow", "119")
    curve.focus()
    page.keyboard.press("Home")
    expect(curve).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    expect(curve).to_have_attribute("aria-valuenow", "7")
    told = curve.get_attribute("aria-valuetext") or ""
    assert told.startswith("sample 4,096: served ")
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    expect(curve).to_have_attribute("aria-valuenow", "119")


def test_the_curve_shows_recent_or_overall_scores(visit: Opener, serve: Server) -> None:
    model = labels_model()
    model["history"] = {
        "measure": "accuracy",
        "samples": [100, 200, 400],
        "series": {"served": [0.5, 0.7, 0.9], "majority": [0.5, None, 0.5]},
        "marks": [],
    }
    daemon = serve(model)
    page = visit(daemon.address)
    curve = page.locator("#curve")
    valued = "sample 400: served 90.0 %, majority 50.0 %"
    expect(curve).to_have_attribute("aria-valuetext", valued)
    page.get_by_text("Overall").click()
    valued = "sample 400: served 75.0 %, majority 50.0 %"
    expect(curve).to_have_attribute("aria-valuetext", valued)


@pytest.mark.parametrize("suffix", ["safetensors", "json"])
def test_the_model_is_downloaded(visit: Opener, daemon: StandIn, suffix: str) -> None:
    page = visit(daemon.address)
    with page.expect_download() as download:
        page.get_by_role("button", name=f".{suffix}").click()
    assert download.value.suggested_filename == f"traffic.{suffix}"
    assert download.value.path().read_bytes() == b"a model"
    assert f"/v1/models/traffic/model?format={suffix}" in [path for path, _ in daemon.seen]


def test_events_are_described_and_routine_ones_shown_once(visit: Opener, daemon: StandIn) -> None:
    daemon.happen("state", state="failed", failure="the disk is full")
    daemon.happen("champion", number=1234, before=None, after="tanh 20, sgd 0.1")
    daemon.happen("drift", number=1300, since=1250, before=0.1, after=0.25)
    for samples in (1000, 2000, 3000):
        daemon.happen("checkpoint", generation=1, samples=samples)
    daemon.happen("rejected", reasons={"wrong_type": 2, "no_target": 1})
    daemon.happen("quarantine", count=1, number=4000)
    daemon.happen("from_the_future", colour="blue", shape={})
    page = visit(daemon.address)
    expect(page.locator("#events .event")).to_have_count(7)
    assert page.locator("#events .what").all_inner_texts() == [
        "from the future colour blue",
        "quarantine count 1, number 4,000",
        "rejected wrong type 2, no target 1",
        "checkpoint after 3,000 samples",
        "drift loss rose from 0.1 to 0.25",
        "champion tanh 20, sgd 0.1 from sample 1,234 on",
        "state failed: the disk is full",
    ]


def test_events_before_the_page_opened_are_no_gap(visit: Opener, daemon: StandIn) -> None:
    daemon.happen("gap", missed=None)
    daemon.happen("champion", text="the first")
    daemon.happen("gap", missed=7)
    page = visit(daemon.address)
    expect(page.locator("#events .event")).to_have_count(2)
    expect(page.locator("#events .event").first).to_contain_text("gap missed 7")
