"""A run, shown to a person: status lines, the live display, and the final summary."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from streamnet.cli.terminal import escape_text
from streamnet.cli.views.tables import (
    classes_table,
    estimate_remaining,
    format_class_changes,
    format_count,
    format_duration,
    format_learned,
    measures_table,
    new_grid,
    new_table,
    sparkline,
)
from streamnet.metrics import METRICS
from streamnet.metrics.formulas import format_number
from streamnet.modelfiles import Model
from streamnet.pipeline.part_run import PartRun
from streamnet.pipeline.pipeline import Pipeline
from streamnet.reporting.report import (
    LeaderBoard,
    LeaderBoardRow,
    PipelineStatistics,
    Report,
    Scores,
)
from streamnet.reporting.result import Result
from streamnet.runs.replay import Replay
from streamnet.samples import Task
from streamnet.version import __version__

WIDE = 80  # columns from which on scores and leader board are side by side
SCORES_WIDTH = 29  # columns of the scores
LOSS_WIDTH = 20  # columns of the leader board without the settings
OTHER_LINES = 15  # lines of the display below and above the leader board


def headline(run: Replay) -> str:
    """Describe the run that is about to start."""
    source = run.settings.source
    names = ["standard input" if file == "-" else escape_text(file) for file in source.files]
    if source.broker is not None:
        stream = getattr(source, source.broker)
        name = stream.topic if hasattr(stream, "topic") else stream.stream
        names = [f"{escape_text(str(name))} ({source.broker})"]
    files = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    target = f", target {escape_text(source.targets[0])}" if source.targets else ""
    if len(run.pipeline.parts) > 1:
        target = f", parts {escape_text(', '.join(run.pipeline.parts))}"
    return (
        f"streamnet {__version__} replays {files}{target}, "
        f"{format_count(len(run.candidates), 'candidate')}"
    )


def ready_line(pipeline: Pipeline) -> str:
    """Describe the task, once it is known, and how long startup took."""
    ready = f"source open and kernels ready after {pipeline.statistics().startup:.1f} s"
    learner = pipeline.learner
    return ready if learner is None else f"{learner.trainer.population.task}: {ready}"


def status_line(pipeline: Pipeline) -> str:
    """Format the progress of a run as one line."""
    now = pipeline.statistics()
    words = [f"{now.samples:>11,} samples", f"{_format_rate(now):>8}"]
    for name, part in pipeline.parts.items():
        board = part.board()
        if board is None or not board.status.scored:
            continue
        status = board.status
        words.append(f"{escape_text(name)} {status.metric} {format_number(status.served)}".lstrip())
        if name:  # there would be too many words
            continue
        words += [
            f"{_display_name(other)} {format_number(value)}"
            for other, value in status.baselines.items()
        ]
        if status.intervals is not None:
            words.append(f"coverage {format_number(status.intervals.overall['coverage'])}")
        words.append(f"champion {now.champion or '-'}")
    if now.rejected:
        words.append(f"{now.rejected:,} rejected")
    words += (
        f"{output.name} wait: {output.waiting:,} ({escape_text(output.error)})"
        for output in now.outputs
        if output.error
    )
    if now.progress:
        words.append(f"{now.progress:.0%}, {_format_remaining(now)} left")
    return "  ".join(words)


class LiveView:
    """The live display of a pipeline, up to date each time it is rendered."""

    def __init__(self, pipeline: Pipeline, *, stopping: bool = False) -> None:
        self.pipeline = pipeline
        self.stopping = stopping

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Padding(self._content(console, options), (1, 0, 0, 0))

    def _content(self, console: Console, options: ConsoleOptions) -> RenderableType:
        now, board = self.pipeline.statistics(), self.pipeline.board()
        if board is None:
            words = "opening the source and compiling kernels (slower the first time)"
            return Text(f"{words}: {format_duration(now.startup)}", "dim")
        parts: list[RenderableType] = [_progress(now, options, stopping=self.stopping)]
        if len(self.pipeline.parts) > 1:
            parts += ["", *map(_part_table, self.pipeline.parts.values())]
        elif board.status.scored:
            room = max(3, (options.height or console.height) - OTHER_LINES)
            leaders = _leader_board(board.rows[:room], options)
            if options.max_width >= WIDE:
                grid = Table.grid(padding=(0, 4))
                grid.add_row()
                grid.add_row(_scores_table(board), leaders)
                parts.append(grid)
            else:
                parts += ["", _scores_table(board), "", leaders]
            parts.append(_history(board, options))
        return Group(*parts)


def _progress(
    now: PipelineStatistics, options: ConsoleOptions, *, stopping: bool
) -> RenderableType:
    cells: list[RenderableType] = [f"{now.samples:>9,} samples", f"{_format_rate(now):>9}"]
    if now.rejected:
        cells.append(Text(f"{now.rejected:,} rejected", "yellow"))
    how_far = _progress_cells(now, stopping=stopping)
    if options.max_width >= WIDE:
        return _row([*how_far, *cells])
    return Group(_row(how_far), _row(cells))


def _progress_cells(now: PipelineStatistics, *, stopping: bool) -> list[RenderableType]:
    if stopping:  # the size of the source no longer matters
        return [Text("stopping", "yellow")]
    if now.progress is None:
        return []
    left = f"{format_duration(now.seconds):>6}"
    if now.progress < 1:
        left = f"{_format_remaining(now):>6} left"
    bar = ProgressBar(total=1.0, completed=now.progress, width=22)
    return [bar, Text(f"{now.progress:4.0%}", "bold"), left]


def _row(cells: list[RenderableType]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for _ in cells:
        grid.add_column(no_wrap=True)
    grid.add_row(*cells)
    return grid


def _scores_table(board: LeaderBoard) -> Table:
    status = board.status
    table = new_table(f"{status.metric} so far", "")
    table.add_row(Text("served", "bold green"), Text(format_number(status.served), "bold green"))
    for name, value in status.baselines.items():
        table.add_row(_display_name(name), format_number(value))
    return table


def _part_table(part: PartRun) -> Table:
    """Scores and champion of one part of a run."""
    board = part.board()
    if board is None or not board.status.scored:
        return new_table(escape_text(part.name), "nothing is scored yet")
    status, names = board.status, [_display_name(name) for name in board.status.baselines]
    table = new_table(escape_text(part.name), "", *names)
    row = [status.served, *status.baselines.values()]
    table.add_row(status.metric, *map(format_number, row), style="green")
    champion = next((row.settings for row in board.rows if row.champion), "-")
    table.caption = f"champion {champion}"
    return table


def _leader_board(rows: list[LeaderBoardRow], options: ConsoleOptions) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("#", justify="right", no_wrap=True)
    scores = SCORES_WIDTH if options.max_width >= WIDE else 0
    room = max(12, options.max_width - scores - LOSS_WIDTH)
    table.add_column(
        "leader board",
        no_wrap=True,
        min_width=min(34, room),  # so that the next column does not move
        max_width=room,
    )
    table.add_column("loss now", justify="right", no_wrap=True, min_width=10)
    crown, cross = (">", "x") if options.ascii_only else ("▶", "✗")
    for row in rows:
        mark, style = "", ""
        if row.champion:
            mark, style = crown, "bold green"
        elif row.state == "quarantined":
            mark, style = cross, "red"
        table.add_row(mark, str(row.candidate), row.settings, format_number(row.loss), style=style)
    return table


def _history(board: LeaderBoard, options: ConsoleOptions) -> Table:
    grid = Table.grid(padding=(0, 2))
    width = max(10, options.max_width - len(_curve_title(board)) - 4)
    grid.add_column(no_wrap=True, min_width=len(_curve_title(board)))
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=width)
    grid.add_row()
    if board.curve:
        low, high = format_number(min(board.curve)), format_number(max(board.curve))
        curve = sparkline(board.curve[-width:], plain=options.ascii_only)
        grid.add_row(Text(_curve_title(board), "bold"), Text(curve, "cyan"))
        grid.add_row("", Text(f"from {low} to {high}", "dim"))
    if board.status.intervals is not None:
        grid.add_row(Text("intervals", "bold"), board.status.intervals.describe())
    for place, (sample, settings) in enumerate(board.switches):
        name = Text("" if place else "champions", "bold")
        grid.add_row(name, Text(f"from {sample:>9,}: {settings}", "" if place == 0 else "dim"))
    return grid


def _curve_title(board: LeaderBoard) -> str:
    return f"{board.status.metric} over time"


def _format_rate(now: PipelineStatistics) -> str:
    rate = (now.samples - now.earlier) / now.seconds if now.seconds > 0 else 0.0
    return f"{rate:,.0f}/s"


def _format_remaining(now: PipelineStatistics) -> str:
    progress = now.progress or 0.0
    earlier = progress * now.earlier / now.samples if now.samples else 0.0
    return format_duration(estimate_remaining(now.seconds, progress, earlier))


def _display_name(name: str) -> str:
    return name.replace("_", "-")


def _summary_metrics(task: Task) -> list[str]:
    return [name for name, metric in METRICS[task].items() if metric.summary]


_NAMES_WIDTH = 13  # columns of the names beside a wide summary, and the space after them


def render_summary(run: Replay, result: Result, width: int = WIDE) -> Padding:
    """Render the summary of a run for a terminal of ``width`` columns."""
    if len(result.parts) > 1:
        return _render_parts(run, result, width)
    report = Report.from_dict(result.report)
    learned = ("learned", _format_learned(report, run.pipeline.statistics().earlier))
    (part,) = run.pipeline.parts.values()
    rest = list(_summarize_rest(run, part, report, result.model))
    if width < WIDE:
        tables = [_narrow_metrics_table(report), *_class_tables(report, width)]
        parts = [part for table in tables for part in ("", table)]
        return Padding(Group(new_grid(learned), *parts, "", new_grid(*rest)), (1, 0, 0, 0))
    tables = [_metrics_table(report), *_class_tables(report, width - _NAMES_WIDTH)]
    rows = [row for table in tables for row in (("", ""), ("", table))]
    grid = new_grid(learned, *rows, ("", ""), *rest)
    return Padding(grid, (1, 0, 0, 0), expand=False)


def _render_parts(run: Replay, result: Result, width: int) -> Padding:
    """Render the summary of a run with several parts: a table for each."""
    rows: list[tuple[str, RenderableType]] = []
    for name, outcome in result.parts.items():
        report, part = Report.from_dict(outcome.report), run.pipeline.parts[name]
        table = _metrics_table(report) if width >= WIDE else _narrow_metrics_table(report)
        rows += [
            ("part", Text(escape_text(name), "bold")),
            ("learned", _format_learned(report, part.statistics().earlier)),
            ("", table),
            *_summarize_rest(run, part, report, outcome.model),
            ("", ""),
        ]
    return Padding(new_grid(*rows[:-1]), (1, 0, 0, 0), expand=False)


def _summarize_rest(
    run: Replay, part: PartRun, report: Report, model: Model
) -> Iterator[tuple[str, RenderableType]]:
    if report.champion is not None:
        switches = format_count(report.switches, "switch")
        champion = f"#{report.champion.candidate} {model.settings.describe()}"
        yield "champion", f"{champion}, since sample {report.champion.since:,}, after {switches}"
    if len(model.labels) == 1:
        only = escape_text(model.labels[0])
        yield "note", f"the target has a single value, {only!r}: there is nothing to learn"
    if report.class_changes:
        yield "classes", Text(format_class_changes(report))
    if report.pending:
        yield "pending", f"{format_count(report.pending, 'prediction')} without a label yet"
    if report.intervals is not UNSET:
        yield "intervals", report.intervals.describe()
    if report.rejected:
        what = f"{format_count(report.rejected, 'record')}, kept in {part.rejections.path}"
        lost = report.rejected_not_kept
        yield "rejected", f"{what}, except {lost:,} beyond its maximum size" if lost else what
    for name in ("model", "predictions", "report"):
        if path := getattr(run.settings.output, name):
            yield name, Text(escape_text(part.part.place(str(path))))


def _format_learned(report: Report, earlier: int) -> str:
    learned = format_learned(report)
    now = f", {report.learned - earlier:,} of them" if earlier else ""
    rate = report.samples_per_second or 0.0
    return (
        f"{learned}{now} in {report.seconds:.2f} s ({rate:,.0f}/s), "
        f"after {report.startup_seconds:.1f} s to start"
    )


def _metrics_table(report: Report) -> Table:
    names = _summary_metrics(report.task)
    table = new_table("", *(name.replace("_", " ") for name in names))
    for track, scores in _served_and_baselines(report).items():
        style = "bold green" if track == "served" else ""
        cells = [format_number(scores[name]) for name in names]
        table.add_row(track.replace("_", "-"), *cells, style=style)
    return table


def _class_tables(report: Report, width: int) -> list[Table]:
    return [classes_table(report.classes, width)] if len(report.classes) > 1 else []


def _narrow_metrics_table(report: Report) -> Table:
    names, tracks = _summary_metrics(report.task), _served_and_baselines(report).items()
    return measures_table({track: {n: scores[n] for n in names} for track, scores in tracks})


def _served_and_baselines(report: Report) -> dict[str, Scores]:
    return {"served": report.served, **report.baselines}
