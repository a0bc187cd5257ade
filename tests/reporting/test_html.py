"""HTML of reports: elements are closed, texts are escaped, the curve is in its frame."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from streamnet.html_tables import render_properties
from streamnet.reporting.html import HEIGHT, WIDTH, draw_history
from streamnet.reporting.report import History, Mark
from tests.reporting.html_text import HtmlText


def test_names_and_values_are_escaped() -> None:
    html = render_properties("<b>", {"<i>": "a & <script>"})
    assert HtmlText(html).texts == ["<b>", "<i>", "a & <script>"]
    assert "<script>" not in html


def test_a_curve_goes_from_the_lowest_score_to_the_highest_within_its_frame() -> None:
    series: dict[str, list[float | None]] = {
        "served": [0.5, None, 1.0],
        "no_change": [0.0, 0.25, 0.5],
    }
    marks = [Mark(20, "drift", "loss rose"), Mark(10, "champion", "#3")]
    html = draw_history(History("accuracy", [10, 20, 40], series, marks))
    svg = ET.fromstring(re.findall(r"<svg.*</svg>", html)[0])
    served, unchanged = (
        [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        for line in svg.findall("polyline")
    )
    assert [len(served), len(unchanged)] == [2, 3]  # an undefined score is left out
    assert served[1][0] > served[0][0]
    assert served[1][1] < served[0][1] < unchanged[0][1]
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in served + unchanged)
    (drift,) = svg.findall("line")
    assert float(drift.attrib["x1"]) == pytest.approx(unchanged[1][0])


def test_a_single_point_is_no_curve() -> None:
    assert draw_history(History("mae", [10], {"served": [1.0]}, [])) == ""
    assert draw_history(History("mae", [10, 20], {"served": [None, None]}, [])) == ""
