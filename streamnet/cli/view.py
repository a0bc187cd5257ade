"""What a person sees of a run that goes on: plain lines, or a live picture."""

from __future__ import annotations

from importlib.metadata import version

from rich.console import Console
from rich.console import ConsoleOptions
from rich.console import Group
from rich.console import RenderableType
from rich.console import RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamnet.cli.figures import number
from streamnet.cli.figures import plural
from streamnet.cli.figures import remaining
from streamnet.cli.figures import span
from streamnet.cli.figures import spark
from streamnet.cli.terminal import printable
from streamnet.pipeline.board import Board
from streamnet.pipeline.board import Row
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.statistics import PipelineStatistics
from streamnet.replaying import Replay

__all__ = ("Picture", "headline", "line", "ready_line")

WIDE = 80  # columns that scores and leader board need to stand side by side
SCORES = 29  # columns of the scores
LOSS = 20  # columns of a leader board beside the settings
BESIDES = 15  # lines of a picture that are not of the leader board


def headline(run: Replay) -> str:
    """What is about to run."""
    source = run.settings.source
    names = ["standard input" if file == "-" else printable(file) for file in source.files]
    files = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    target = f", target {printable(source.target)}" if source.target else ""
    return (
        f"streamnet {version('streamnet')} replays {files}{target}, "
        f"{plural(len(run.candidates), 'candidate')}"
    )


def ready_line(pipeline: Pipeline) -> str:
    """What is learned, and how long it took to get there."""
    ready = f"source open and kernels ready after {pipeline.statistics().startup:.1f} s"
    return (
        ready
        if pipeline.learner is None
        else f"{pipeline.learner.trainer.population.task}: {ready}"
    )


def line(pipeline: Pipeline) -> str:
    """Where a run stands, in one line."""
    now = pipeline.statistics()
    board = pipeline.board()
    words = [f"{now.samples:>11,} samples", f"{_rate(now):>8}"]
    if board is not None and board.samples:
        words.append(f"{board.measure} {number(board.served)}")
        words += [f"{_spoken(name)} {number(value)}" for name, value in board.baselines.items()]
        words.append(f"champion {now.champion or '-'}")
    if now.rejected:
        words.append(f"{now.rejected:,} rejected")
    if now.progress:
        words.append(f"{now.progress:.0%}, {_left(now)} left")
    return "  ".join(words)


class Picture:
    """The live view of a pipeline, drawn anew each time it is shown.

    Args:
        pipeline: What is shown.
        stopping: Whether it was asked to end.
    """

    def __init__(self, pipeline: Pipeline, *, stopping: bool = False) -> None:
        self.pipeline = pipeline
        self.stopping = stopping

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Padding(self._content(console, options), (1, 0, 0, 0))

    def _content(self, console: Console, options: ConsoleOptions) -> RenderableType:
        now, board = self.pipeline.statistics(), self.pipeline.board()
        if board is None:
            words = (
                "opening the source and preparing the kernels, which takes longer the first time"
            )
            return Text(f"{words}: {span(now.startup)}", "dim")
        parts: list[RenderableType] = [_progress(now, options, stopping=self.stopping)]
        if board.samples:
            room = max(3, (options.height or console.height) - BESIDES)
            leaders = _leaders(board.rows[:room], options)
            if options.max_width >= WIDE:
                parts.append(_side_by_side(_scores(board), leaders))
            else:
                parts += ["", _scores(board), "", leaders]
            parts.append(_history(board, options))
        return Group(*parts)


def _side_by_side(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(padding=(0, 4))
    grid.add_row()
    grid.add_row(left, right)
    return grid


def _progress(now: PipelineStatistics, options: ConsoleOptions, *, stopping: bool) -> Table:
    cells: list[RenderableType] = [f"{now.samples:>9,} samples", f"{_rate(now):>9}"]
    if now.rejected:
        cells.append(Text(f"{now.rejected:,} rejected", "yellow"))
    how_far = _how_far(now, stopping=stopping)
    if options.max_width >= WIDE:
        return _row([*how_far, *cells])
    return _stacked(_row(how_far), _row(cells))


def _how_far(now: PipelineStatistics, *, stopping: bool) -> list[RenderableType]:
    if stopping:  # how much of the source there is, does not matter any more
        return [Text("stopping", "yellow")]
    if now.progress is None:
        return []
    left = f"{_left(now):>6} left" if now.progress < 1 else f"{span(now.seconds):>6}"
    bar = ProgressBar(total=1.0, completed=now.progress, width=22)
    return [bar, Text(f"{now.progress:4.0%}", "bold"), left]


def _row(cells: list[RenderableType]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for _ in cells:
        grid.add_column(no_wrap=True)
    grid.add_row(*cells)
    return grid


def _stacked(*tables: Table) -> Table:
    grid = Table.grid()
    for table in tables:
        grid.add_row(table)
    return grid


def _scores(board: Board) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"{board.measure} so far")
    table.add_column("", justify="right")
    table.add_row(Text("served", "bold green"), Text(number(board.served), "bold green"))
    for name, value in board.baselines.items():
        table.add_row(_spoken(name), number(value))
    return table


def _leaders(rows: tuple[Row, ...], options: ConsoleOptions) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("#", justify="right", no_wrap=True)
    scores = SCORES if options.max_width >= WIDE else 0
    room = max(12, options.max_width - scores - LOSS)
    table.add_column(
        "leader board",
        no_wrap=True,
        min_width=min(34, room),  # so that the next column doesn't jump about
        max_width=room,
    )
    table.add_column("loss now", justify="right", no_wrap=True, min_width=10)
    crown, cross = (">", "x") if options.ascii_only else ("▶", "✗")
    for row in rows:
        mark, style = "", ""
        if row.champion:
            mark, style = crown, "bold green"
        elif row.quarantined:
            mark, style = cross, "red"
        table.add_row(mark, str(row.candidate), row.settings, number(row.loss), style=style)
    return table


def _history(board: Board, options: ConsoleOptions) -> Table:
    grid = Table.grid(padding=(0, 2))
    width = max(10, options.max_width - len(_over_time(board)) - 4)
    grid.add_column(no_wrap=True, min_width=len(_over_time(board)))
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=width)
    grid.add_row()
    if board.curve:
        low, high = number(min(board.curve)), number(max(board.curve))
        curve = spark(board.curve[-width:], plain=options.ascii_only)
        grid.add_row(Text(_over_time(board), "bold"), Text(curve, "cyan"))
        grid.add_row("", Text(f"from {low} to {high}", "dim"))
    for place, (sample, settings) in enumerate(board.switches):
        name = Text("" if place else "champions", "bold")
        grid.add_row(name, Text(f"from {sample:>9,}: {settings}", "" if place == 0 else "dim"))
    return grid


def _over_time(board: Board) -> str:
    return f"{board.measure} over time"


def _rate(now: PipelineStatistics) -> str:
    rate = (now.samples - now.earlier) / now.seconds if now.seconds > 0 else 0.0
    return f"{rate:,.0f}/s"


def _left(now: PipelineStatistics) -> str:
    progress = now.progress or 0.0
    earlier = progress * now.earlier / now.samples if now.samples else 0.0
    return span(remaining(now.seconds, progress, earlier))


def _spoken(name: str) -> str:
    return name.replace("_", "-")
