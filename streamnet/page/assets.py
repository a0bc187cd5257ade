"""The dashboard: its files, and the data of a report that it shows."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from streamnet.metrics import METRICS
from streamnet.metrics.intervals import INTERVAL_DESCRIPTIONS
from streamnet.reporting.report import Insight, Report

INDEX = "index.html"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


class Asset(NamedTuple):
    """A file of the page."""

    media_type: str
    data: bytes


@cache
def load_assets() -> MappingProxyType[str, Asset]:
    """All files of the page by name, read once.

    ``index.html`` requests the others below ``page/`` and the API below ``v1/``, both relative to
    its own address.

    >>> load_assets()["base.css"].media_type
    'text/css; charset=utf-8'
    """
    folder = files("streamnet.page") / "web"
    assets = {
        file.name: Asset(_MEDIA_TYPES[PurePath(file.name).suffix], file.read_bytes())
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
    }
    return MappingProxyType({**assets, "metrics.js": Asset(_MEDIA_TYPES[".js"], _metrics_script())})


def _metrics_script() -> bytes:
    """The script that declares title and format of every metric."""
    shown = {
        name: {
            "title": metric.title,
            "percentage": metric.percentage,
            "larger_is_better": metric.larger_is_better,
            "description": metric.description,
        }
        for metrics in METRICS.values()
        for name, metric in metrics.items()
    }
    for name, description in INTERVAL_DESCRIPTIONS.items():
        title, percentage = name.replace("_", " "), name == "coverage"
        shown[name] = {"title": title, "percentage": percentage, "description": description}
    return f'"use strict";\nconst METRICS = {json.dumps(shown)};\n'.encode()


_STYLE = re.compile(r'<link rel="stylesheet" href="page/([^"]+)">')
_SCRIPT = re.compile(r'<script src="page/([^"]+)"></script>')
_FIRST_SCRIPT = '<script src="page/'
# Characters that could end the element holding the data, or start a comment there; JSON decodes the
# escapes to the same characters.
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render_single_file(view: dict[str, Any]) -> bytes:
    """Render the page of a view, see `build_view`, as one HTML file in UTF-8.

    Its Content-Security-Policy allows only its own scripts and styles, by hash (W3C, CSP Level 3,
    2.3.1): whatever labels or records hold, nothing else runs and nothing is fetched.

    Raises:
        ValueError: If the view has a number that JSON doesn't have.

    >>> page = render_single_file({"status": {"target": "</script><script>alert(1)</script>"}})
    >>> b"alert(1)</script>" in page, b"https://" in page.partition(b"<body>")[0]
    (False, False)
    """
    index = _read_asset(INDEX)
    styles = [_read_asset(name) for name in _STYLE.findall(index)]
    scripts = [_read_asset(name) for name in _SCRIPT.findall(index)]
    data = json.dumps(view, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)
    policy = (
        f"default-src 'none'; script-src {' '.join(map(_csp_hash, scripts))}; "
        f"style-src {' '.join(map(_csp_hash, styles))}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    # Placeholders are located before anything is inserted, so no inserted text is mistaken for one.
    index = index.replace(
        '<meta charset="utf-8">',
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">',
    )
    before, first, after = index.partition(_FIRST_SCRIPT)
    index = f'{before}<script type="application/json" id="report">{data}</script>\n{first}{after}'
    index = _STYLE.sub(lambda match: f"<style>{_read_asset(match[1])}</style>", index)
    index = _SCRIPT.sub(lambda match: f"<script>{_read_asset(match[1])}</script>", index)
    return index.encode()


def _read_asset(name: str) -> str:
    return load_assets()[name].data.decode()


def _csp_hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def build_view(report: Report, insight: Insight | None = None) -> dict[str, Any]:
    r"""Build what the page shows of a run, which has just ended.

    Returns:
        ``status``, ``history``, ``leaders``, ``outcomes``, and ``rejected`` as in the daemon's API,
        ``insight``, if it is known, likewise, and ``events``, ``scores`` (of contenders), ``made``
        (the moment), and ``facts`` (name and text).

    >>> import streamnet, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "numbers.csv")
    >>> rows = "".join(f"{i % 9},{i % 9 * 2}\n" for i in range(500))
    >>> _ = path.write_text("x,y\n" + rows)
    >>> report = streamnet.replay(path, target="y", task="regression", candidates=2).report
    >>> view = build_view(Report.from_dict(report))
    >>> view["status"]["learned"], view["history"]["measure"], list(view["history"]["series"])[:3]
    (500, 'mae', ['served', 'mean', 'no_change'])
    """
    history = report.history
    status = msgspec.to_builtins(report.status) | {
        "name": _name_source(report.settings),
        "state": "ended",
        "target": report.target and report.describe_target(),
        "samples": report.scored,
        "rejected": report.rejected_reasons,
        "learned_per_second": report.samples_per_second,
        "uptime": report.seconds,
    }
    rejected = {"total": report.rejected, "by_reason": report.rejected_reasons, "last": []}
    view: dict[str, Any] = msgspec.to_builtins(
        {
            "status": status,
            "history": history,
            "leaders": report.leader_board,
            "outcomes": report.outcomes,
            "rejected": rejected,
            "events": [
                {"kind": mark.kind, "data": {"text": mark.text, "number": mark.number}}
                for mark in history.marks
            ],
            "scores": report.contenders,
            "insight": insight,
            "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "facts": _facts(report),
        }
    )
    return view


def _name_source(settings: Mapping[str, Any]) -> str:
    """The name of the first file, without folders or what a URL says of users; or "replay"."""
    files = settings.get("source", {}).get("files") or []
    names = [str(file).partition("?")[0].rstrip("/").rpartition("/")[2] for file in files]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names and names[0] else "replay"


def _facts(report: Report) -> list[tuple[str, str]]:
    environment = report.environment
    return [
        ("Served by", report.serves),
        ("Records read", f"{report.samples:,}"),
        ("Learning time", f"{report.seconds:.1f} s"),
        ("Startup time", f"{report.startup_seconds:.1f} s"),
        ("Seed", str(report.seed)),
        ("Diverged candidates", str(report.quarantines)),
        ("streamnet", report.streamnet),
        ("Python", environment.python),
        ("numpy, numba", f"{environment.numpy}, {environment.numba}"),
        ("Processor", f"{environment.cpu}, {environment.threads} threads"),
    ]
