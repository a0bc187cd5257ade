"""A run's report in the JSON shapes that the page reads, which are those of the daemon's API."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from streamnet.settings.candidate import CandidateSettings

__all__ = ("build_view",)


def build_view(report: dict[str, Any]) -> dict[str, Any]:
    r"""What the page shows of a run's report.

    Args:
        report: As `replay` returns it, and `--report FILE.json` writes it.

    Returns:
        ``status``, ``history``, ``leaders``, ``outcomes``, ``rejected`` as the daemon answers them,
        and ``events``, ``scores`` (of every track, by measure) and ``facts`` (name and text).

    >>> import streamnet, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "numbers.csv")
    >>> rows = "".join(f"{i % 9},{i % 9 * 2}\n" for i in range(500))
    >>> _ = path.write_text("x,y\n" + rows)
    >>> report = streamnet.replay(path, target="y", task="regression", candidates=2).report
    >>> view = build_view(report)
    >>> view["status"]["learned"], view["history"]["measure"], list(view["history"]["series"])
    (500, 'mae', ['served', 'mean', 'no_change'])
    """
    measure = "accuracy" if report["task"] == "classification" else "mae"
    leaders = [_leader(row, report["champion"]) for row in report["candidates"]]
    names = {row["candidate"]: row["settings"] for row in leaders}
    marks = _build_marks(report, names)
    return {
        "status": _status(report, measure),
        "history": _history(report["curve"], measure, marks),
        "leaders": leaders,
        "outcomes": report["outcomes"],
        "rejected": {
            "total": report["rejected"],
            "by_reason": report["rejected_reasons"],
            "last": [],
        },
        "events": [
            {"kind": mark["kind"], "data": {"text": mark["text"], "number": mark["number"]}}
            for mark in marks
        ],
        "scores": _scores(report),
        "facts": _facts(report),
    }


def _status(report: dict[str, Any], measure: str) -> dict[str, Any]:
    return {
        "name": "replay",
        "state": "ended",
        "task": report["task"],
        "target": report["target"],
        "samples": report["scored"],
        "learned": report["learned"],
        "measure": measure,
        "served": report["served"][measure],
        "baselines": {name: values[measure] for name, values in report["baselines"].items()},
        "rejected": report["rejected_reasons"],
        "learned_per_second": report["samples_per_second"],
        "uptime": report["seconds"],
        "switches": report["switches"],
        "drifts": report["drifts"],
        "quarantined": report["quarantines"],
    }


def _history(curve: dict[str, Any], measure: str, marks: list[dict[str, Any]]) -> dict[str, Any]:
    """Means since the point before, from errors that were summed up to each point."""
    numbers = [0, *curve["samples"]]
    sums = [[0.0] * len(curve["columns"]), *curve["summed_errors"]]
    widths = [later - now for now, later in pairwise(numbers)]
    series = {}
    for place, name in enumerate(curve["columns"]):
        steps = [later[place] - now[place] for now, later in pairwise(sums)]
        means = [step / width for step, width in zip(steps, widths, strict=True)]
        series[name] = [1.0 - mean for mean in means] if measure == "accuracy" else means
    return {"measure": measure, "samples": curve["samples"], "series": series, "marks": marks}


def _build_marks(report: dict[str, Any], names: dict[int, str]) -> list[dict[str, Any]]:
    marks = [
        {
            "number": change["sample"],
            "kind": "champion",
            "text": _describe_candidate(change["to"], names),
        }
        for change in report["last_switches"]
    ]
    for drift in report["last_drifts"]:
        text = f"loss rose from {drift['before']:.3g} to {drift['after']:.3g}"
        marks.append({"number": drift["number"], "kind": "drift", "text": text})
    return sorted(marks, key=lambda mark: int(mark["number"]))


def _describe_candidate(candidate: int, names: dict[int, str]) -> str:
    settings = names.get(candidate)
    return f"#{candidate}" if settings is None else f"#{candidate} {settings}"


def _leader(row: dict[str, Any], champion: dict[str, Any] | None) -> dict[str, Any]:
    state = "quarantined" if row["quarantined"] else "replaced" if "left" in row else "competing"
    return {
        "candidate": row["candidate"],
        "settings": CandidateSettings.from_dict(row["settings"]).describe(),
        "loss": row.get("loss"),
        "scores": row["scores"],
        "born": row["born"],
        "left": row.get("left"),
        "state": state,
        "champion": champion is not None and row["candidate"] == champion["candidate"],
    }


def _scores(report: dict[str, Any]) -> dict[str, dict[str, float | None]]:
    """What was served first; it is one of the alternatives, which is not told twice."""
    alternatives = dict(report["alternatives"])
    alternatives.pop(report["serves"])
    return {"served": report["served"], **alternatives, **report["baselines"]}


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    environment = report["environment"]
    return [
        ("Served by", report["serves"]),
        ("Records read", f"{report['samples']:,}"),
        ("Time to learn them", f"{report['seconds']:.1f} s"),
        ("Start-up", f"{report['startup_seconds']:.1f} s"),
        ("Seed", str(report["seed"])),
        ("Candidates that exploded", str(report["quarantines"])),
        ("streamnet", report["streamnet"]),
        ("Python", environment["python"]),
        ("numpy, numba", f"{environment['numpy']}, {environment['numba']}"),
        ("Processor", f"{environment['cpu']}, {environment['threads']} threads"),
    ]
