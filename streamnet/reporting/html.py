"""A report as HTML without scripts, as notebooks show it: scores, leader board, curve, outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import compress, cycle

from streamnet.html_tables import render_confusion, render_properties, render_table
from streamnet.metrics.formulas import format_number
from streamnet.reporting.outcomes import Confusion
from streamnet.reporting.report import MAIN_METRICS, History, LeaderBoard, LeaderBoardRow, Report

MAX_ROWS = 10  # of the leader board
WIDTH, HEIGHT = 640, 180  # of a curve, in pixels
MARGIN = 8
COLORS = ("#1f77b4", "#999999", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b")


def render_report(report: Report, caption: str) -> str:
    """The report of a run; it names the target, and shows nothing of the stream's samples."""
    parts = [
        render_properties(caption, _summarize(report)),
        draw_history(report.history),
        render_board(report.leader_board, MAIN_METRICS[report.task]),
    ]
    if isinstance(report.outcomes, Confusion):
        parts.append(render_confusion(report.outcomes.labels, report.outcomes.matrix))
    return "\n".join(parts)


def render_leader_board(board: LeaderBoard | None, caption: str) -> str:
    """A moment of a run: counts, scores and the best candidates; None is before its start."""
    if board is None:
        return render_properties(caption, {"samples": "none yet"})
    status = board.status
    named = {"served": status.served, **status.baselines}
    scores = {
        f"{status.metric} of {name.replace('_', ' ')}": format_number(value)
        for name, value in named.items()
    }
    rows = {"samples": f"{status.learned:,} learned", **scores, "drifts": f"{status.drifts:,}"}
    return render_properties(caption, rows) + render_board(board.rows, status.metric)


def _summarize(report: Report) -> dict[str, str]:
    metric = MAIN_METRICS[report.task]
    named = {report.serves: report.served, **report.baselines}
    scores = {
        f"{metric} of {name.replace('_', ' ')}": format_number(values[metric])
        for name, values in named.items()
    }
    champion = (
        report.leader_board[0].settings
        if report.champion is None
        else next((row.settings for row in report.leader_board if row.champion), "replaced")
    )
    return {
        "target": report.describe_target(),
        "samples": f"{report.learned:,} learned, {report.rejected:,} rejected",
        **scores,
        "champion": champion,
        "drifts": f"{report.drifts:,}",
    }


def draw_history(history: History) -> str:
    """The main metric over time as inline SVG; dashed lines are drifts."""
    points = [value for series in history.series.values() for value in series if value is not None]
    if len(history.samples) < 2 or not points:
        return ""
    low, high = min(points), max(points)
    span, last = high - low or 1.0, history.samples[-1]

    def place(sample: int, value: float) -> str:
        x = MARGIN + (WIDTH - 2 * MARGIN) * sample / last
        y = MARGIN + (HEIGHT - 2 * MARGIN) * (high - value) / span
        return f"{x:.1f},{y:.1f}"

    lines, legend = [], []
    for (name, series), color in zip(history.series.items(), cycle(COLORS)):
        known = [value is not None for value in series]
        pairs = zip(compress(history.samples, known), compress(series, known), strict=True)
        path = " ".join(place(sample, value) for sample, value in pairs if value is not None)
        lines.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{path}"/>')
        legend.append(f'<span style="color:{color}">{escape(name.replace("_", " "))}</span>')
    for mark in history.marks:
        if mark.kind == "drift":
            start, end = place(mark.number, high), place(mark.number, low)
            (x1, y1), (x2, y2) = start.split(","), end.split(",")
            lines.append(
                f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#d62728" '
                f'stroke-dasharray="4 3"><title>{escape(mark.text)}</title></line>'
            )
    caption = f"{history.metric} from {format_number(low)} to {format_number(high)}"
    return (
        f'<figure><svg role="img" aria-label="{escape(caption)}" width="{WIDTH}" '
        f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(lines)}</svg>'
        f"<figcaption>{escape(caption)}: {', '.join(legend)}</figcaption></figure>"
    )


def render_board(rows: Sequence[LeaderBoardRow], metric: str) -> str:
    """The ten best candidates as a table."""
    cells = [
        (
            f"#{row.candidate}",
            row.settings,
            format_number(row.scores.get(metric)),
            format_number(row.loss),
            format_number(row.weight),
            "champion" if row.champion else row.state,
        )
        for row in rows[:MAX_ROWS]
    ]
    header = ("candidate", "settings", metric, "loss", "weight", "state")
    return render_table("leader board", header, cells)
