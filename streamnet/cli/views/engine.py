"""A training run of the engine: live display on a terminal, lines in a pipe, and the results."""

from __future__ import annotations

import json
import signal
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import anyio
from anyio import CancelScope, create_task_group, open_signal_receiver
from anyio.abc import TaskStatus
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from streamnet.cli.terminal import Terminal, escape_text, write_error
from streamnet.cli.views.tables import (
    class_tables,
    confusion_table,
    format_count,
    format_duration,
    format_number,
    measures_table,
    regression_table,
)
from streamnet.durability.files import write_durably
from streamnet.engine import Engine, EngineProgress, Improvement, Trained
from streamnet.errors import StreamnetError
from streamnet.metrics import RegressionEvaluation

__all__ = ("EngineWatcher",)

REFRESH_SECONDS = 0.25  # seconds between two pictures on a terminal
LINE_SECONDS = 2.0  # seconds between two lines in a pipe
SIGNAL_EXIT_CODE = 128  # and the signal's number: what a shell calls a command that a signal ended


@final
class EngineWatcher:
    """Runs an engine and shows where it stands.

    The first Ctrl-C ends learning, and the best so far is written; the second one breaks off.

    Args:
        verbose: Whether each improvement is told.
        quiet: Whether nothing is told.
    """

    def __init__(self, *, verbose: bool, quiet: bool) -> None:
        self._verbose = verbose and not quiet
        self._quiet = quiet
        self._terminal = Terminal()
        self._signal = 0  # the first one that came
        self._aborted = False
        self._output_error: OSError | None = None  # why nobody reads our words any more
        self._pending_improvements: deque[Improvement] = deque()

    def hear(self, improvement: Improvement) -> None:
        """Note an improvement, to be told soon; from any thread."""
        if self._verbose:
            self._pending_improvements.append(improvement)

    def watch(
        self,
        engine: Engine,
        files: Sequence[str],
        reading: dict[str, Any],
        *,
        model: Path | None,
        report: Path | None,
    ) -> int:
        """Run to the end, write and show what came out; return the exit code.

        Raises:
            StreamnetError: If the run failed.
            KeyboardInterrupt: If it was broken off, or ended before there was a best.
        """
        failure: StreamnetError | None = anyio.run(self._watch, engine, files, reading)
        if self._aborted or (self._signal and engine.trained is None):
            raise self._output_error or KeyboardInterrupt
        if failure is not None:
            raise failure
        assert engine.trained is not None
        self._write(engine.trained, model, report)
        if self._output_error is not None:
            raise self._output_error
        if engine.rejected:
            first = engine.rejected[0]
            write_error(
                f"left out: {format_count(len(engine.rejected), 'record')} that could not be read; "
                f"the first one, {escape_text(first.place)}: {escape_text(first.detail)}"
            )
        if not self._quiet:
            self._tell(engine)
            self._show_outcome(engine, engine.trained, model, report)
        return SIGNAL_EXIT_CODE + self._signal if self._signal else 0

    async def _watch(
        self, engine: Engine, files: Sequence[str], reading: dict[str, Any]
    ) -> StreamnetError | None:
        failure: StreamnetError | None = None
        async with create_task_group() as group:
            await group.start(self._listen, engine, group.cancel_scope)
            if not self._quiet:
                group.start_soon(self._show, engine)
            try:
                await engine.run(list(files), **reading)
            except StreamnetError as error:
                failure = error
            group.cancel_scope.cancel()
        return failure

    async def _listen(
        self,
        engine: Engine,
        all_of_it: CancelScope,
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        with open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for received in signals:
                if self._signal:
                    self._aborted = True
                    all_of_it.cancel()
                    continue
                self._signal = received
                engine.stop()
                write_error("stopping: the best so far is kept; once more breaks off")

    async def _show(self, engine: Engine) -> None:
        drawn = self._terminal.is_terminal and not self._terminal.is_dumb_terminal
        try:
            await (self._live(engine) if drawn else self._lines(engine))
        except OSError as error:  # a pipe that was closed, a disk that is full
            self._output_error = error
            self._signal = self._signal or signal.SIGPIPE
            engine.stop()

    async def _live(self, engine: Engine) -> None:
        with Live(console=self._terminal, auto_refresh=False, transient=True) as live:
            while True:
                self._tell(engine)
                live.update(self._picture(engine), refresh=True)
                await anyio.sleep(REFRESH_SECONDS)

    async def _lines(self, engine: Engine) -> None:
        due = anyio.current_time() + LINE_SECONDS
        while True:
            self._tell(engine)
            now = engine.progress()
            if now is not None and anyio.current_time() >= due:
                self._terminal.say(f"{_format_progress(now)}  {self._best(engine, now)}")
                due = anyio.current_time() + LINE_SECONDS
            await anyio.sleep(REFRESH_SECONDS)

    def _tell(self, engine: Engine) -> None:
        while self._pending_improvements:
            self._terminal.say(self._words(engine, self._pending_improvements.popleft()))

    def _picture(self, engine: Engine) -> Table:
        grid = Table.grid(padding=(0, 2))
        now = engine.progress()
        if now is None:
            grid.add_row("reading, and preparing the kernels, which takes longer the first time")
            return grid
        bar = ProgressBar(total=now.epochs, completed=now.epoch, width=22)
        grid.add_row(bar, _format_progress(now), self._best(engine, now))
        return grid

    def _best(self, engine: Engine, now: EngineProgress) -> str:
        return "" if now.best is None else self._words(engine, now.best)

    def _words(self, engine: Engine, improvement: Improvement) -> str:
        name = engine.settings.criterion.replace("_", " ")
        return (
            f"best so far: {name} {format_number(improvement.value)} after epoch {improvement.epoch}, "
            f"{engine.describe(improvement.candidate)}"
        )

    def _write(self, trained: Trained, model: Path | None, report: Path | None) -> None:
        if model is not None:
            trained.model.save(model)
        if report is not None:
            text = json.dumps(trained.report, indent=1, allow_nan=False) + "\n"
            try:
                write_durably(report, text.encode())
            except OSError as error:
                raise StreamnetError(
                    f"report {report} can't be written: {error.strerror}"
                ) from error

    def _show_outcome(
        self, engine: Engine, trained: Trained, model: Path | None, report: Path | None
    ) -> None:
        terminal, told = self._terminal, trained.report
        terminal.print(_summary_table(engine, trained))
        terminal.say(f"\non the {told['reported']} part")
        if isinstance(trained.evaluation, RegressionEvaluation):
            terminal.print(regression_table(trained.evaluation, told["baselines"]))
        else:
            labels, confusion = trained.evaluation.labels, trained.evaluation.confusion
            measures = {"model": trained.evaluation.measures(), **told["baselines"]}
            terminal.print(measures_table(measures), "")
            for table in class_tables(labels, confusion, terminal.width):
                terminal.print(table, "")
            terminal.print(confusion_table(labels, confusion))
        for name, path in (("model", model), ("report", report)):
            if path is not None:
                terminal.say(f"{name}  {escape_text(str(path))}")


def _format_progress(now: EngineProgress) -> str:
    what = "refit, " if now.refitting else ""
    return f"{what}epoch {now.epoch} of {now.epochs}, {format_count(now.candidates, 'network')}"


def _summary_table(engine: Engine, trained: Trained) -> Table:
    report = trained.report
    sizes = ", ".join(f"{count:,} {part}" for part, count in report["samples"].items())
    best = report["members"][0]
    others = len(report["members"]) - 1
    more = f", with {format_count(others, 'other')}" if others else ""
    table = Table.grid(padding=(0, 2))
    table.add_row("samples", sizes)
    table.add_row(
        "learned",
        f"{format_count(report['candidates'], 'network')}, {format_count(report['epochs'], 'epoch')} in "
        f"{format_duration(report['seconds'])}, {format_count(report['passes'], 'pass')}",
    )
    table.add_row(
        "winner",
        f"{engine.describe(best['candidate'])}, after epoch {best['epoch']}: "
        f"{report['criterion'].replace('_', ' ')} {format_number(best['value'])}{more}",
    )
    return table
