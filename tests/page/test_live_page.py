"""The page of a daemon, used in a real browser."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.page.fake_daemon import HOSTILE, StandIn, labels_model

Opener = Callable[..., Page]
Server = Callable[..., StandIn]


FAILED = {"kind": "failed", "message": "out of memory", "since": 1.7e9, "refuses": True}
SCORE = {"kind": "score", "message": "the baseline is better", "since": 1.7e9, "refuses": False}


def text_of(page: Page, selector: str) -> str:
    return page.locator(selector).inner_text()


# ------------------------------------------------------------------- what is shown


def test_the_page_shows_how_well_a_model_learns(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page)
    expect(page.locator("#connection")).to_have_text("live")
    expect(page.locator("#state")).to_have_text("learning")
    tiles = page.locator("#tiles .tile")
    shown = {
        tile.locator("h2").inner_text(): tile.locator("strong").inner_text() for tile in tiles.all()
    }
    assert shown == {
        "Accuracy overall": "91.3 %",
        "Learned": "61,440",
        "Throughput": "5.1K/s",
        "Awaiting labels": "41",
        "Champion changes": "6",
        "Rejected": "12",
        "Queue": "62",
        "Last checkpoint": "6 s ago",
    }
    score, learned = (tile.locator(".hint").inner_text() for tile in tiles.all()[:2])
    assert score == "no change: 72.0 %; 1,200 as callers got it, 59,800 test-then-train"
    assert learned.startswith("440 without a label, up ")
    expect(page.locator("#leaders tbody tr:not(.track)")).to_have_count(12)
    expect(page.locator("#leaders tr.champion:not(.track)")).to_contain_text("#40")
    expect(page.locator("#curve canvas")).to_be_visible()
    assert "served" in text_of(page, "#legend")
    assert "no change" in text_of(page, "#legend")


def test_a_regression_model_shows_residuals_and_its_metric(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page)
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
    page = visit(daemon.page)
    expect(page.locator("#curve")).to_contain_text("starts with the first samples")
    expect(page.locator("#outcomes")).to_contain_text("No sample has been scored yet")
    expect(page.locator("#try-card")).to_be_hidden()
    expect(page.locator("#headline")).to_be_hidden()
    model["status"]["accepted"] = 0  # now it is empty
    expect(page.locator("#begin-line")).to_have_text(
        f"curl {daemon.address}v1/models/traffic/samples"
        """ --json '{"samples": [{"x": 1.5, "jam": "yes"}]}'"""
    )
    expect(page.locator("#state")).to_have_text("waiting for samples")
    expect(page.locator("#curve")).to_be_hidden()  # it would be an empty card
    expect(page.locator("#leaders")).to_be_hidden()


def test_it_works_below_a_prefix(visit: Opener, daemon: StandIn) -> None:
    page = visit(f"{daemon.address}below/")
    expect(page.locator("#connection")).to_have_text("live")
    assert {path.split("/")[1] for path, _ in daemon.seen} == {"below"}


def test_a_failure_is_shown(visit: Opener, daemon: StandIn) -> None:
    status = daemon.models["traffic"]["status"]
    status |= {"state": "failed", "failure": "out of memory", "troubles": [FAILED, SCORE]}
    page = visit(daemon.page)
    problems = page.locator("#problems .problem")
    expect(problems).to_have_count(2)
    expect(problems.first).to_contain_text("Out of memory. Samples are refused. since 14 Nov 2023")
    expect(problems.first).to_contain_text("Fix the cause, then resume")
    expect(page.locator("#state")).to_have_attribute("data-tone", "bad")
    expect(page.locator("#tiles")).to_contain_text("61,440")
    status["samples"] = 0  # it failed at its start: what it learned is unknown, not nothing
    page.reload()
    expect(problems).to_have_count(2)
    expect(page.locator("#tiles .tile")).to_have_count(0)
    status |= {"samples": 61440, "state": "paused", "troubles": []}
    expect(problems).to_have_count(1)
    expect(problems).to_have_text(re.compile("Learning is paused.*until the queue is full"))
    status["state"] = "learning"
    expect(problems).to_have_count(0)
    expect(page.locator("#state")).to_have_attribute("data-tone", "good")


@pytest.mark.parametrize(
    ("feed", "value", "note", "tone"),
    [
        (
            {"state": "reading", "connected": True, "progress": 0.42},
            "42 %",
            "41,230 records; jam.csv.gz, line 41,2",
            "",
        ),
        ({"state": "reading", "line": None}, "41.2K", "41,230 records; jam.csv.gz", ""),
        ({"state": "ended", "progress": 1.0}, "all read", "41,230 records; jam.csv.gz, ", ""),
        ({"state": "failed", "failure": HOSTILE}, "failed", "41,230 records", "warn"),
        (
            {"state": "reading", "stream": "jam[3]", "offset": 9000, "line": None, "lag": 12000},
            "12K behind",
            "41,230 records; jam[3] at 9,000",
            "",
        ),
    ],
)
def test_how_far_a_feed_is_read_is_shown(
    visit: Opener, daemon: StandIn, feed: dict[str, object], value: str, note: str, tone: str
) -> None:
    place = {"name": "jams", "records": 41230, "stream": "/data/jam.csv.gz", "line": 41235}
    daemon.models["traffic"]["status"]["feeds"] = [{**place, **feed}]
    page = visit(daemon.page)
    tile = page.locator("#tiles .tile", has=page.get_by_role("heading", name="Feed"))
    expect(tile.locator("strong")).to_have_text(value)
    expect(tile.locator(".hint")).to_contain_text(note)
    expect(tile).to_have_attribute("data-tone", tone)
    page.locator("#models").select_option("bikes")  # which reads no files
    expect(page.get_by_role("heading", name="Feed")).to_have_count(0)


def test_each_feed_has_a_tile(visit: Opener, daemon: StandIn) -> None:
    one = {"name": "jams/0", "state": "reading", "connected": True, "records": 7, "lag": 0}
    other = {**one, "name": "jams/1", "connected": False, "failure": "all brokers are down"}
    daemon.models["traffic"]["status"]["feeds"] = [one, other]
    page = visit(daemon.page)
    for name, value in (("jams/0", "up to date"), ("jams/1", "offline")):
        tile = page.locator("#tiles .tile", has=page.get_by_role("heading", name=f"Feed {name}"))
        expect(tile.locator("strong")).to_have_text(value)


def test_hostile_labels_and_records_are_text(visit: Opener, daemon: StandIn) -> None:
    daemon.prediction = {
        "predictions": [HOSTILE],
        "generations": [1],
        "labels": [HOSTILE],
        "probabilities": [[1]],
    }
    daemon.happen("champion", text=HOSTILE)
    page = visit(daemon.page)
    expect(page.locator("#events")).to_contain_text(HOSTILE)
    expect(page.locator("#rejected table")).to_contain_text(re.compile("When.*14 Nov 2023"))
    expect(page.locator("#outcomes")).to_contain_text(HOSTILE)
    expect(page.locator("#rejected")).to_contain_text(HOSTILE)
    expect(page.locator("#fields")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#prediction strong")).to_have_text(HOSTILE)
    assert page.locator("main img").count() == 0
    assert page.locator("main script").count() == 0
    assert page.title() == "traffic: accuracy 91.3 % - streamnet"


def test_all_models_are_compared_at_a_glance_and_linked(visit: Opener, daemon: StandIn) -> None:
    daemon.models["traffic"]["status"]["troubles"] = [FAILED]
    daemon.models["bikes"]["status"]["sliding"] = {
        "samples": 1000,
        "served": 2.9,
        "baselines": {"mean": 16.0, "no_change": 11.0},
    }
    page = visit(daemon.address)
    rows = page.locator("#overview-table tbody tr")
    expect(rows).to_have_count(2)
    assert page.title() == "All models - streamnet"
    expect(page.locator("#overview-note")).to_have_text("2 models, 1 needs attention")
    expect(rows.first).to_contain_text("Out of memory")
    cells = [cell.inner_text().split("\n") for cell in rows.last.locator("td").all()]
    assert cells[:4] == [["bikes"], ["learning"], ["2.9", "MAE"], ["11", "no change"]]
    assert cells[5:] == [["61,440"], ["1"], ["12"], ["62"]]
    line = rows.last.locator("svg.spark-line")
    expect(line).to_have_attribute("aria-label", "from 0.62 to 0.93")
    expect(page.locator("#curve")).to_be_hidden()
    page.get_by_role("link", name="bikes").click()
    expect(page.locator("#headline-words")).to_have_text(
        "Predictions were off by 2.9 on average. "
        "Repeating the last target is off by 11: the model errs 74 % less."
    )
    assert page.url == f"{daemon.address}?model=bikes"
    assert page.title() == "bikes: MAE 2.9 - streamnet"
    page.go_back()
    expect(rows).to_have_count(2)
    expect(page.locator("#headline")).to_be_hidden()
    page.goto(f"{daemon.address}?model=gone")
    expect(rows).to_have_count(2)


def test_the_headline_says_what_a_score_means(visit: Opener, daemon: StandIn) -> None:
    status = daemon.models["traffic"]["status"]
    status["sliding"] = {
        "samples": 1000,
        "served": 0.941,
        "baselines": {"majority": 0.6, "no_change": 0.71},
    }
    page = visit(daemon.page)
    expect(page.locator("#headline-title")).to_have_text("accuracy of the last 1,000 samples")
    expect(page.locator("#headline-score")).to_have_text("94.1 %")
    expect(page.locator("#headline-words")).to_have_text(
        "941 of 1,000 predictions were right. "
        "Repeating the last target gets 710: the model has 231 more right."
    )
    del status["sliding"]  # a daemon that has just started
    expect(page.locator("#headline-title")).to_have_text("accuracy of all samples")


def test_the_leader_board_says_who_answers(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page)
    expect(page.locator("#answers")).to_have_text(
        "Callers get the predictions of the ensemble, which combines 5 candidates; "
        "the heaviest are #40 (33 %), #41 (27 %), #42 (20 %)."
    )
    tracks = [row.inner_text().split("\t") for row in page.locator("#leaders tr.track").all()]
    assert [(row[0], row[2], row[-1]) for row in tracks] == [
        ("ensemble", "92.0 %", "served"),
        ("champion", "87.0 %", "alternative"),
        ("model", "82.0 %", "alternative"),
        ("majority", "77.0 %", "baseline"),
        ("no change", "72.0 %", "baseline"),
    ]
    assert tracks[4][1] == "repeating the last target"
    first = page.locator("#leaders tbody tr:not(.track) td")
    assert first.nth(3).inner_text() == "33 %"
    expect(page.locator("#scores tbody tr")).to_have_count(5)
    served = {"accuracy": 0.875}
    compared = {"samples": 1234, "shadow": {"accuracy": 0.9}, "served": served}
    shadow = {"shadow": "vendor", "scored": 1234, "waiting": 7, "overall": compared}
    scores = daemon.models["traffic"]["scores"]
    line = {"track": "vendor", "served": False, "overall": compared["shadow"], "shadow": shadow}
    daemon.models["traffic"]["scores"] = [*scores, line]
    last = page.locator("#leaders tr.track").nth(5)
    expect(last).to_contain_text("vendor")
    expect(last).to_contain_text("90.0 %")
    expect(last).to_contain_text(
        "another system's predictions, on 1,234 samples, where what was served has 87.5 %"
    )
    expect(last.locator(".badge")).to_have_text("shadow")
    daemon.models["traffic"]["scores"] = [*scores, line | {"shadow": {"scored": 0, "waiting": 7}}]
    expect(last).to_contain_text("another system's predictions; 7 await their labels")


def test_the_page_does_not_wait_for_what_takes_long_to_find_out(
    visit: Opener, daemon: StandIn
) -> None:
    daemon.slow.add("insight")
    page = visit(daemon.page)
    expect(page.locator("#leaders tr.champion:not(.track)")).to_contain_text("#40")
    expect(page.locator("#importance .bar")).to_have_count(0)
    daemon.slow.clear()
    expect(page.locator("#importance .bar")).to_have_count(3)


def test_it_is_shown_why_a_model_answers_as_it_does(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page)
    bars = page.locator("#importance .bar")
    expect(bars).to_have_count(3)
    assert bars.first.inner_text().split("\n") == ["speed", "23.1 points"]
    expect(page.locator("#importance-note")).to_contain_text("the last 128 samples")
    changed = page.locator("#changed .bar").all_inner_texts()
    assert [text.split("\n") for text in changed] == [
        ["speed", "0.71; 25 % missing, at first 1 %"],
        ["at", "0.20"],
    ]
    expect(page.locator("#trust-note")).to_have_text("yes: on average they are off by 1.2 points")
    expect(page.locator("#trust circle")).to_have_count(3)
    error = page.locator("#errors tbody tr td").all_inner_texts()
    assert error[:4] == ["61,400", HOSTILE, "slow", "1.5 %"]
    assert error[4] == f"speed 88, road A1, note {HOSTILE}"
    page.locator("#models").select_option("bikes")
    expect(page.locator("#trust-title")).to_have_text("Predicted against actual")
    expect(page.locator("#trust circle")).to_have_count(300)
    expect(bars.first).to_contain_text("0.231")


@pytest.mark.parametrize("count", [26, 30])
def test_a_large_confusion_matrix_fits_and_is_sorted(
    visit: Opener, serve: Server, count: int
) -> None:
    model = labels_model()
    labels = [f"class-{i:02d}" for i in range(count)]
    matrix = [
        [10 * (i + 1) if i == j else int(abs(i - j) == 1) for j in range(count)]
        for i in range(count)
    ]
    confused = [{"truth": labels[0], "prediction": labels[1], "count": 7}]
    classes = [
        {"label": label, "truths": 11, "predictions": 8, "hits": 6, "areas": {"roc_auc": 0.75}}
        for label in (*labels, *(f"rare-{i}" for i in range(200 - count)))
    ]
    model["confusion"] |= {
        "labels": labels,
        "matrix": matrix,
        "classes": classes,
        "confused": confused,
    }
    page = visit(serve(model).page, viewport={"width": 1440, "height": 900})
    rows = page.locator("#outcomes tbody th")
    expect(rows).to_have_count(count)
    assert rows.first.inner_text() == labels[-1]  # the most frequent one
    box, inside = (page.locator(name).bounding_box() for name in ("#outcomes", "#outcomes table"))
    assert box is not None
    assert inside is not None
    assert inside["width"] <= box["width"] + 1
    page.locator("#outcomes-sort").select_option("recall")
    assert rows.first.inner_text() == labels[0]
    expect(page.locator("#confused")).to_have_text(
        "class-00 was taken for class-01 7 times, 63.6 % of its samples"
    )
    expect(page.locator("#classes tbody tr")).to_have_count(200)
    assert page.locator("#classes tbody tr").first.inner_text().split("\t") == [
        "class-00",
        "11",
        "8",
        "75.0 %",
        "54.5 %",
        "63.2 %",
        "0.75",
    ]


# ------------------------------------------------------------------- what can be done


def test_a_model_is_paused_resumed_and_reset_by_those_who_may(
    visit: Opener, daemon: StandIn
) -> None:
    page = visit(daemon.page)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#state")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#state")).to_have_text("learning")
    page.get_by_role("button", name="Reset …").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Reset …").click()
    page.get_by_role("button", name="Reset", exact=True).click()
    expect(page.locator("#confirm")).to_be_hidden()
    expect(page.get_by_role("button", name="Pause")).to_be_enabled()
    assert daemon.acts == ["pause", "resume", "reset"]
    daemon.scopes = ["read"]
    page.reload()
    expect(page.get_by_role("button", name="Pause")).to_be_disabled()
    expect(page.locator("#controls-note")).to_contain_text("scope admin")


def test_scores_and_charts_are_exported(visit: Opener, daemon: StandIn) -> None:
    daemon.models["traffic"]["leaders"][0]["settings"] = '=cmd, "quoted"'
    page = visit(daemon.page)
    expect(page.locator("#curve canvas")).to_be_visible()

    def saved(button: str) -> bytes:
        with page.expect_download() as download:
            page.locator(button).click()
        assert download.value.suggested_filename.startswith("traffic-")
        return bytes(download.value.path().read_bytes())

    scores = list(csv.reader(saved("#curve-csv").decode().splitlines()))
    assert scores[0] == ["sample", "served", "majority", "no_change"]
    assert len(scores) == 121
    leaders = list(csv.reader(saved("#leaders-csv").decode().splitlines()))
    assert leaders[6][:3] == ["#40", '\'=cmd, "quoted"', "champion"]
    assert saved("#curve-png").startswith(b"\x89PNG")


def test_two_candidates_or_models_are_compared(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page)
    rows = page.locator("#compare tbody tr")
    expect(rows.nth(1)).to_have_text("statechampioncompeting")
    page.locator("#compare-second").select_option("#51")
    expect(rows.nth(1)).to_have_text("statechampionquarantined")
    expect(page.locator("#compare tr", has_text="accuracy")).to_have_text(
        "accuracy92.0 % better87.6 %"
    )
    page.locator("#compare-first").select_option("model traffic")
    page.locator("#compare-second").select_option("model bikes")
    expect(page.locator("#compare tr", has_text="best baseline")).to_have_text(
        "best baseline72.0 % (no change)11.2 (no change)"
    )


def test_a_sample_from_the_form_is_predicted(visit: Opener, daemon: StandIn) -> None:
    daemon.prediction = {
        "predictions": ["slow"],
        "generations": [13],
        "labels": ["free", "slow"],
        "probabilities": [[0.2, 0.8]],
        "explanations": [{"speed": 0.4, "road": -0.1, "at": None}],
    }
    page = visit(daemon.page)
    page.get_by_label("speed").fill("12.5")
    page.get_by_label("road").fill("A1")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#prediction strong")).to_have_text("slow")
    assert daemon.asked == [{"sample": {"speed": 12.5, "road": "A1"}, "explain": True}]
    text = text_of(page, "#prediction").split("\n")
    assert text.index("slow", 1) < text.index("free")
    assert "80.0 %" in text
    page.wait_for_timeout(2500)  # the page polls again, and keeps the input
    assert page.get_by_label("speed").input_value() == "12.5"
    expect(page.locator("#prediction strong")).to_have_text("slow")
    page.get_by_role("button", name="Fill with the last sample").click()
    assert page.get_by_label("speed").input_value() == "61.5"
    assert page.get_by_label("road").input_value() == "B7"
    page.locator("summary", has_text="Paste JSON").click()
    pasted = page.locator("#try-json")
    pasted.fill('{"sample": {"speed": 7, "road": "B7", "weather": "fog"}}')
    expect(page.locator("#try-json-note")).to_have_text(
        "Filled in 2 columns; not in the form: weather"
    )
    assert page.get_by_label("speed").input_value() == "7"
    pasted.fill('{"speed": ')
    expect(page.locator("#try-json-note")).to_contain_text("This is no JSON")
    pasted.fill("[]")
    expect(page.locator("#try-json-note")).to_contain_text("A sample is an object")
    page.get_by_role("button", name="Clear").click()
    assert page.get_by_label("speed").input_value() == ""


def test_a_number_or_no_prediction_is_shown(visit: Opener, daemon: StandIn) -> None:
    daemon.prediction = {"predictions": [12.3456], "generations": [14]}
    page = visit(daemon.page)
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#prediction")).to_have_text("12.35 by generation 14 of the model")
    daemon.prediction = {"predictions": [None], "generations": [14]}
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#prediction strong")).to_have_text("no prediction")


def test_prediction_intervals_are_shown_with_their_coverage(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page)
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
    page = visit(daemon.page)
    daemon.prediction = {"predictions": [3.0], "generations": [1], "intervals": [[1.25, 4.5]]}
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#prediction")).to_contain_text("Between 1.25 and 4.5")
    daemon.prediction = {"predictions": ["a"], "generations": [1], "sets": [["a", HOSTILE]]}
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#prediction")).to_contain_text(f"One of: a, {HOSTILE}")
    daemon.prediction["sets"] = [[]]
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#prediction")).to_contain_text("No label is likely enough")


def test_the_leader_board_sorts_and_stays_sorted(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page)
    by_loss = page.locator("#leaders thead button", has_text="Recent loss")
    by_loss.click()
    by_loss.click()
    expect(page.locator("#leaders tbody tr").first).to_contain_text("#51")
    daemon.models["traffic"]["leaders"][11]["loss"] = 0.001
    expect(page.locator("#leaders tbody tr:not(.track)").last).to_contain_text("#51")
    assert page.locator("#leaders th[aria-sort=descending]").count() == 1
    expect(by_loss).to_be_focused()


def test_the_age_of_candidates_grows(visit: Opener, daemon: StandIn) -> None:
    model = daemon.models["traffic"]
    page = visit(daemon.page)
    champion = page.locator("#leaders tr.champion:not(.track)")
    expect(champion).to_contain_text("61,440")
    model["status"]["samples"] = 70_000
    expect(champion).to_contain_text("70,000")


def test_arrow_keys_move_along_the_curve(visit: Opener, daemon: StandIn) -> None:
    page = visit(daemon.page)
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
    page = visit(daemon.page)
    curve = page.locator("#curve")
    valued = "sample 400: served 90.0 %, majority 50.0 %"
    expect(curve).to_have_attribute("aria-valuetext", valued)
    page.get_by_text("Overall", exact=True).click()
    valued = "sample 400: served 75.0 %, majority 50.0 %"
    expect(curve).to_have_attribute("aria-valuetext", valued)


def test_the_curve_is_shown_by_the_clock_and_for_the_last_hour(
    visit: Opener, serve: Server
) -> None:
    now = time.time()
    model = labels_model()
    model["status"]["served"] = 0.9
    model["history"] = {
        "measure": "accuracy",
        "samples": [1000, 4000],
        "series": {"served": [0.5, 0.8], "majority": [0.5, 0.5]},
        "marks": [{"number": 2500, "kind": "drift", "text": "loss rose"}],
        "timed": {
            "times": [now - 90_000, now - 7000, now - 1800, now - 60],
            "samples": [1000, 2000, 3000, 4000],
            "series": {"served": [0.5, 0.7, 0.8, 0.9], "majority": [0.5] * 4},
        },
    }
    page = visit(serve(model).page)
    curve = page.locator("#curve")
    expect(curve).to_have_attribute("aria-valuemax", "1")
    expect(page.locator("#headline-change")).to_have_text("▲ 20.0 points better than an hour ago")
    page.get_by_text("By clock").click()
    expect(curve).to_have_attribute("aria-valuemax", "3")
    expect(curve).to_have_attribute(
        "aria-valuetext", re.compile(r"^sample 4,000, \d\d:\d\d:\d\d: served 90.0 %")
    )
    page.get_by_text("1 h", exact=True).click()
    expect(curve).to_have_attribute("aria-valuemax", "1")
    page.get_by_text("Overall", exact=True).click()
    expect(curve).to_have_attribute("aria-valuetext", re.compile("served 85.0 %"))
    page.get_by_text("By sample").click()
    page.get_by_text("1 d", exact=True).click()
    expect(curve).to_have_attribute("aria-valuemax", "2")
    expect(page.locator("#legend")).to_contain_text("drift")


@pytest.mark.parametrize("suffix", ["safetensors", "json", "onnx", "c"])
def test_the_model_is_downloaded(visit: Opener, daemon: StandIn, suffix: str) -> None:
    page = visit(daemon.page)
    with page.expect_download() as download:
        page.get_by_role("button", name=f".{suffix}").click()
    assert download.value.suggested_filename == f"traffic.{suffix}"
    assert download.value.path().read_bytes() == b"a model"
    assert f"/v1/models/traffic/model?format={suffix}" in [path for path, _ in daemon.seen]
