"""What a person sees of a run: lines, tables and the curve."""

from __future__ import annotations

from importlib.metadata import version
from math import isfinite
from typing import Any

from rich.columns import Columns
from rich.console import Group
from rich.console import RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamnet.pipeline.board import Board
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.pipeline import Result
from streamnet.replaying import Replay

__all__ = ("ending", "headline", "line", "picture", "ready_line", "spark", "span")

_BARS = "▁▂▃▄▅▆▇█"


def headline(run: Replay) -> str:
    """What is about to run."""
    source = run.settings.source
    files = ", ".join(source.files[:3]) + (" …" if len(source.files) > 3 else "")
    return (
        f"streamnet {version('streamnet')} replays {files}, target {source.target or '-'}, "
        f"{len(run.candidates)} candidates"
    )


def ready_line(pipeline: Pipeline) -> str:
    """That learning begins, and how long it took to get there."""
    return f"kernels ready and source open after {pipeline.statistics().startup:.1f} s"


def line(pipeline: Pipeline) -> str:
    """Where a run stands, in one line."""
    now = pipeline.statistics()
    board = pipeline.board()
    rate = now.samples / now.seconds if now.seconds > 0 else 0.0
    words = [f"{now.samples:>11,} samples", f"{rate:,.0f}/s"]
    if board is not None and board.samples:
        words.append(f"served {board.measure} {number(board.served)}")
        words += [f"{name} {number(value)}" for name, value in board.baselines.items()]
        words.append(f"champion {now.champion}")
    if now.rejected:
        words.append(f"{now.rejected:,} rejected")
    if now.progress:
        words.append(f"{now.progress:.0%}, {span(left(now.seconds, now.progress))} left")
    return "  ".join(words)


def number(value: float) -> str:
    """A measure with as many digits as it takes to compare it."""
    if not isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.2f}"


def left(seconds: float, progress: float) -> float:
    """Seconds left, if it goes on as it went."""
    return seconds * (1.0 - progress) / progress if progress > 0 else float("inf")


def span(seconds: float) -> str:
    """A time span in two units at most.

    >>> span(75), span(4000)
    ('1 m 15 s', '1 h 06 m')
    """
    if not isfinite(seconds):
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} m"


def spark(values: tuple[float, ...]) -> str:
    """A curve of one line, from its lowest to its highest value.

    >>> spark((0.0, 0.5, 1.0))
    '▁▄█'
    """
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[int((v - low) * scale)] if isfinite(v) else " " for v in values)


def picture(pipeline: Pipeline) -> RenderableType:
    """The live view."""
    board = pipeline.board()
    if board is None:
        return Text("opening the source and compiling kernels (once: a few seconds) …", "dim")
    parts: list[RenderableType] = [_progress(pipeline)]
    if board.samples:
        parts.append(Columns([_scores(board), _leaders(board)], padding=(0, 3)))
        parts.append(_history(board))
    return Padding(Group(*parts), (1, 0, 0, 0))


def _progress(pipeline: Pipeline) -> RenderableType:
    now = pipeline.statistics()
    rate = now.samples / now.seconds if now.seconds > 0 else 0.0
    grid = Table.grid(padding=(0, 2))
    cells: list[RenderableType] = []
    if now.progress is not None:
        cells.append(ProgressBar(total=1.0, completed=now.progress, width=32))
        cells.append(f"{now.progress:.0%}")
        cells.append(f"{span(left(now.seconds, now.progress))} left")
    cells += [f"{now.samples:,} samples", f"{rate:,.0f}/s"]
    if now.rejected:
        cells.append(Text(f"{now.rejected:,} rejected", "yellow"))
    grid.add_row(*cells)
    return grid


def _scores(board: Board) -> Table:
    table = Table(title=board.measure, title_justify="left", box=None, show_header=False)
    table.add_row(Text("served", "bold"), Text(number(board.served), "bold green"))
    for name, value in board.baselines.items():
        table.add_row(name.replace("_", "-"), number(value))
    return table


def _leaders(board: Board) -> Table:
    table = Table(title="leader board", title_justify="left", box=None, header_style="dim")
    table.add_column("")
    table.add_column("#", justify="right")
    table.add_column("candidate", no_wrap=True)
    table.add_column("loss now", justify="right")
    for row in board.rows:
        style = "bold green" if row.champion else "red" if row.quarantined else ""
        mark = "▶" if row.champion else "✗" if row.quarantined else ""
        table.add_row(mark, str(row.candidate), row.settings, number(row.loss), style=style)
    return table


def _history(board: Board) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    if board.curve:
        low, high = number(min(board.curve)), number(max(board.curve))
        grid.add_row(Text(f"{board.measure} over time", "dim"), spark(board.curve))
        grid.add_row("", Text(f"from {low} to {high}", "dim"))
    for place, (sample, settings) in enumerate(board.switches):
        grid.add_row(Text("" if place else "champions", "dim"), f"from {sample:,}: {settings}")
    return grid


def ending(run: Replay, result: Result) -> RenderableType:
    """What a run came to."""
    report: dict[str, Any] = result.report
    table = Table.grid(padding=(0, 2))
    rate = report["samples_per_second"] or 0.0
    table.add_row(
        "learned",
        f"{report['learned']:,} samples in {report['seconds']:.2f} s ({rate:,.0f}/s), "
        f"started in {report['startup_seconds']:.1f} s",
    )
    names = ("accuracy", "kappa", "log_loss") if "accuracy" in report["served"] else ("mae", "r2")
    for who, measures in {"served": report["served"], **report["baselines"]}.items():
        words = [f"{name} {_value(measures[name])}" for name in names]
        table.add_row(who.replace("_", "-"), "  ".join(words))
    champion = report["champion"]
    if champion is not None:
        words = result.model.settings.describe()
        table.add_row(
            "champion",
            f"#{result.model.about['candidate']} {words}, since sample {champion['since']:,}, "
            f"{report['switches']} switches",
        )
    if report["rejected"]:
        kept = run.rejections.path
        table.add_row("rejected", f"{report['rejected']:,} records, in {kept}")
    output = run.settings.output
    for name in ("model", "predictions", "report"):
        if path := getattr(output, name):
            table.add_row(name, path)
    return Padding(table, (1, 0, 0, 0))


def _value(value: float | None) -> str:
    return "-" if value is None else number(value)
