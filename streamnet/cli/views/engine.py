"""A training run of the engine: live display on a terminal, lines in a pipe, and the results."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import anyio
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from streamnet.cli.terminal import Terminal, escape_text, write_error
from streamnet.cli.views.report import write_report
from streamnet.cli.views.tables import (
    class_tables,
    confusion_table,
    format_count,
    format_duration,
    format_number,
    measures_table,
    regression_table,
)
from streamnet.cli.views.watcher import REFRESH_SECONDS, SIGNAL_EXIT_CODE, Watcher
from streamnet.engine import Engine, EngineProgress, Improvement, Trained
from streamnet.metrics import RegressionEvaluation

LINE_SECONDS = 2.0  # between two lines in a pipe


@final
class EngineWatcher(Watcher):
    """Runs an engine and displays its progress.

    Args:
        verbose: Whether each improvement is printed.
        quiet: Whether nothing is printed.
    """

    stopping_message = "stopping and keeping the best so far; repeat to abort"

    def __init__(self, *, verbose: bool, quiet: bool) -> None:
        super().__init__(Terminal(), quiet=quiet)
        self._verbose = verbose and not quiet
        self._pending_improvements: deque[Improvement] = deque()
        self._engine: Engine

    def on_improvement(self, improvement: Improvement) -> None:
        """Queue an improvement to be printed; may be called from any thread."""
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
        """Run to the end, write and print the results, and return the exit code.

        Raises:
            StreamnetError: If the run failed.
            KeyboardInterrupt: If it was aborted, or stopped before there was a best network.
        """
        self._engine = engine
        failure = self.run(partial(engine.run, list(files), **reading))
        if self.aborted or (self.signal and engine.trained is None):
            raise self.output_error or KeyboardInterrupt
        if failure is not None:
            raise failure
        assert engine.trained is not None
        self._write(engine.trained, model, report)
        if self.output_error is not None:
            raise self.output_error
        if engine.rejected:
            first = engine.rejected[0]
            write_error(
                f"rejected {format_count(len(engine.rejected), 'record')}; "
                f"the first, {escape_text(first.place)}: {escape_text(first.detail)}"
            )
        if not self.quiet:
            self._print_improvements()
            self._print_results(engine, engine.trained, model, report)
        return SIGNAL_EXIT_CODE + self.signal if self.signal else 0

    def stop(self) -> None:
        """Stop learning after the current epoch; the best so far is kept."""
        self._engine.stop()

    async def live(self) -> None:
        """Keep a progress bar and the best network up to date."""
        with Live(console=self.terminal, auto_refresh=False, transient=True) as live:
            while True:
                self._print_improvements()
                live.update(self._progress_display(self._engine), refresh=True)
                await anyio.sleep(REFRESH_SECONDS)

    async def lines(self) -> None:
        """Print progress every two seconds."""
        engine, due = self._engine, anyio.current_time() + LINE_SECONDS
        while True:
            self._print_improvements()
            now = engine.progress()
            if now is not None and anyio.current_time() >= due:
                self.terminal.say(f"{_format_progress(now)}  {self._format_best(engine, now)}")
                due = anyio.current_time() + LINE_SECONDS
            await anyio.sleep(REFRESH_SECONDS)

    def _print_improvements(self) -> None:
        while self._pending_improvements:
            self.terminal.say(
                self._describe_improvement(self._engine, self._pending_improvements.popleft())
            )

    def _progress_display(self, engine: Engine) -> Table:
        grid = Table.grid(padding=(0, 2))
        now = engine.progress()
        if now is None:
            grid.add_row("reading and compiling kernels (slower the first time)")
            return grid
        bar = ProgressBar(total=now.epochs, completed=now.epoch, width=22)
        grid.add_row(bar, _format_progress(now), self._format_best(engine, now))
        return grid

    def _format_best(self, engine: Engine, now: EngineProgress) -> str:
        return "" if now.best is None else self._describe_improvement(engine, now.best)

    def _describe_improvement(self, engine: Engine, improvement: Improvement) -> str:
        name = engine.settings.criterion.replace("_", " ")
        return (
            f"best so far: {name} {format_number(improvement.value)} "
            f"after epoch {improvement.epoch}, "
            f"{engine.describe(improvement.candidate)}"
        )

    def _write(self, trained: Trained, model: Path | None, report: Path | None) -> None:
        if model is not None:
            trained.model.save(model)
        if report is not None:
            write_report(report, trained.report)

    def _print_results(
        self, engine: Engine, trained: Trained, model: Path | None, report: Path | None
    ) -> None:
        terminal, results = self.terminal, trained.report
        terminal.print(_summary_table(engine, trained))
        terminal.say(f"\non the {results['reported']} part")
        if isinstance(trained.evaluation, RegressionEvaluation):
            terminal.print(regression_table(trained.evaluation, results["baselines"]))
        else:
            labels, confusion = trained.evaluation.labels, trained.evaluation.confusion
            measures = {"model": trained.evaluation.measures(), **results["baselines"]}
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
        f"{format_count(report['candidates'], 'network')}, "
        f"{format_count(report['epochs'], 'epoch')} in "
        f"{format_duration(report['seconds'])}, {format_count(report['passes'], 'pass')}",
    )
    table.add_row(
        "winner",
        f"{engine.describe(best['candidate'])}, after epoch {best['epoch']}: "
        f"{report['criterion'].replace('_', ' ')} {format_number(best['value'])}{more}",
    )
    return table
