"""The page as one file: its data round-trips, and its policy allows exactly its code."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.page import load_assets, render_single_file

DATA = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)


def data_of(page: bytes) -> Any:
    (text,) = DATA.findall(page.decode())
    return json.loads(text)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=40), max_size=4))
@settings(max_examples=40)
def test_embedded_data_round_trips_and_cannot_end_its_element(texts: dict[str, str]) -> None:
    view = {"texts": texts, "hostile": "<!--<script></script>\u2028&lt;/script>"}
    page = render_single_file(view)
    assert data_of(page) == view
    assert page.count(b"</script>") == render_single_file({}).count(b"</script>")


def test_the_policy_names_each_script_and_style_and_nothing_else() -> None:
    text = render_single_file({"label": '<script src="page/app.js"></script>'}).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    for tag, name in (("script", "script-src"), ("style", "style-src")):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()) for code in found]
        (sources,) = re.findall(rf"{name} ([^;]*)", policy)
        assert sources.split() == [f"'sha256-{digest.decode()}'" for digest in hashes]
        assert len(found) == sum(
            name.endswith({"script": ".js"}.get(tag, ".css")) for name in load_assets()
        )
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")


def test_the_file_fetches_nothing() -> None:
    text = render_single_file({}).decode()
    assert not re.search(r'(src|href)="(?!data:|#)', text.partition("<script")[0])
    assert "<script src=" not in text


def test_the_policy_precedes_what_it_governs() -> None:
    text = render_single_file({}).decode()
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<script>")


def test_a_non_finite_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        render_single_file({"score": float("nan")})
