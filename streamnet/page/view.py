"""A run's report in the JSON shapes that the page reads, which are those of the daemon's API."""

from __future__ import annotations

from typing import Any

import msgspec

from streamnet.reporting.report import Report


def build_view(report: Report) -> dict[str, Any]:
    r"""Build what the page shows of a run.

    Returns:
        ``status``, ``history``, ``leaders``, ``outcomes``, and ``rejected`` as in the daemon's API,
        and ``events``, ``scores`` (by track, then metric), and ``facts`` (name and text).

    >>> import streamnet, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "numbers.csv")
    >>> rows = "".join(f"{i % 9},{i % 9 * 2}\n" for i in range(500))
    >>> _ = path.write_text("x,y\n" + rows)
    >>> report = streamnet.replay(path, target="y", task="regression", candidates=2).report
    >>> view = build_view(Report.from_dict(report))
    >>> view["status"]["learned"], view["history"]["measure"], list(view["history"]["series"])
    (500, 'mae', ['served', 'mean', 'no_change'])
    """
    history = report.history
    view: dict[str, Any] = msgspec.to_builtins(
        {
            "history": history,
            "leaders": report.leader_board,
            "outcomes": report.outcomes,
            "rejected": {
                "total": report.rejected,
                "by_reason": report.rejected_reasons,
                "last": [],
            },
            "events": [
                {"kind": mark.kind, "data": {"text": mark.text, "number": mark.number}}
                for mark in history.marks
            ],
            "scores": report.tracks,
            "facts": _facts(report),
        }
    )
    return {"status": _status(report), **view}


def _status(report: Report) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(report.status),
        "name": "replay",
        "state": "ended",
        "target": report.target,
        "samples": report.scored,
        "rejected": report.rejected_reasons,
        "learned_per_second": report.samples_per_second,
        "uptime": report.seconds,
    }


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
