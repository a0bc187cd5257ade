"""Running under a terminal's eye: signals, live displays or plain lines, results, exit codes."""

from __future__ import annotations

import gc
import logging
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, TextIO, final

import anyio
from anyio import CancelScope, create_task_group, open_signal_receiver
from anyio.abc import TaskStatus
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from streamnet.cli.terminal import Terminal, escape_text, write_error
from streamnet.cli.views.report import write_report
from streamnet.cli.views.run import LiveView, headline, ready_line, render_summary, status_line
from streamnet.cli.views.tables import (
    class_tables,
    confusion_table,
    format_count,
    format_duration,
    measures_table,
    new_grid,
    regression_table,
)
from streamnet.engine import Engine, EngineProgress, Improvement, Trained
from streamnet.errors import NoCandidateError, StreamnetError
from streamnet.metrics import RegressionEvaluation
from streamnet.metrics.formulas import format_number
from streamnet.runs.replay import Replay

REFRESH_SECONDS = 0.25  # between two updates of the live display
MIN_LINE_SECONDS, MAX_LINE_SECONDS = 2.0, 60.0  # between two lines in a pipe, rarer as time passes
LINE_FRACTION = 0.05  # of the elapsed time is between two lines
SHUTDOWN_SECONDS = 10.0  # for the last checkpoint of a run with a state, after a signal
SIGNAL_EXIT_CODE = 128  # plus the signal's number, as shells report it
_NULL_HANDLER = logging.NullHandler()  # log records repeat what is raised and printed once


class Watcher(ABC):
    """Runs something and displays its progress.

    The first SIGINT or SIGTERM asks it to stop, the second one aborts. A closed or failing output
    counts as a first signal.
    """

    stopping_message: ClassVar[str]

    def __init__(self, terminal: Terminal, *, quiet: bool) -> None:
        self.terminal = terminal
        self.quiet = quiet
        self.signal: int = 0  # the first one received
        self.aborted: bool = False
        self.output_error: OSError | None = None  # why nothing more can be displayed

    @abstractmethod
    def stop(self) -> None:
        """Ask the work to finish early."""

    @abstractmethod
    async def live(self) -> None:
        """Keep a live display up to date until cancelled."""

    @abstractmethod
    async def lines(self) -> None:
        """Print lines of progress until cancelled."""

    def on_stop_requested(self, scope: CancelScope) -> None:  # noqa: B027 - optional
        """React to the first signal."""

    def reload(self) -> None:  # noqa: B027 - optional
        """React to SIGHUP."""

    def run(
        self,
        work: Callable[[], Awaitable[object]],
        *background: Callable[[], Coroutine[Any, Any, object]],
        hang_up: bool = False,
    ) -> StreamnetError | None:
        """Do the work while listening for signals and displaying progress.

        ``background`` is cancelled when the work is done, and the error that ended it is returned.
        With ``hang_up`` SIGHUP calls `reload`.
        """
        return anyio.run(self._run, work, background, (signal.SIGHUP,) if hang_up else ())

    async def _run(
        self,
        work: Callable[[], Awaitable[object]],
        background: tuple[Callable[[], Coroutine[Any, Any, object]], ...],
        hang_up: tuple[signal.Signals, ...],
    ) -> StreamnetError | None:
        failure: StreamnetError | None = None
        async with create_task_group() as group:
            await group.start(self._listen, group.cancel_scope, hang_up)
            for task in background:
                group.start_soon(task)
            if not self.quiet:
                await group.start(self._display)
            try:
                await work()
            except StreamnetError as error:
                failure = error
            except MemoryError as error:
                failure = StreamnetError(f"out of memory: {error}")
            group.cancel_scope.cancel()
        return failure

    async def _listen(
        self,
        scope: CancelScope,
        hang_up: tuple[signal.Signals, ...],
        *,
        task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        with open_signal_receiver(signal.SIGINT, signal.SIGTERM, *hang_up) as signals:
            # Blocked since the process began, see `streamnet.__main__`.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, hang_up)
            task_status.started()
            async for received in signals:
                if received == signal.SIGHUP:
                    self.reload()
                elif self.signal:
                    self.aborted = True
                    scope.cancel()
                else:
                    self.on_stop_requested(scope)
                    self._stop(received)
                    write_error(self.stopping_message)

    def _stop(self, number: int) -> None:
        self.signal = self.signal or number
        self.stop()

    async def _display(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        animated = self.terminal.is_terminal and not self.terminal.is_dumb_terminal
        try:
            await (self.live() if animated else self.lines())
        except OSError as error:  # a closed pipe, a full disk
            self.output_error = error
            self._stop(signal.SIGPIPE)


def watch(
    run: Replay, *, quiet: bool, out: TextIO | None = None, reload: Callable[[], str] | None = None
) -> int:
    """Run to the end, displaying progress, and return the exit code.

    The first Ctrl-C ends reading, and what was learned is written; the second one aborts. With a
    state, work that is not done in time after the first one is left to the next run. SIGHUP calls
    ``reload`` and prints its message.
    """
    logging.getLogger("streamnet").addHandler(_NULL_HANDLER)  # adding it twice has no effect
    return _RunWatcher(run, Terminal(out), quiet=quiet, reload=reload).watch()


async def _pause_before_lines(seconds: float) -> None:
    """Sleep until the next lines in a pipe; ``seconds`` have passed so far."""
    await anyio.sleep(min(max(MIN_LINE_SECONDS, LINE_FRACTION * seconds), MAX_LINE_SECONDS))


class TableWatcher(Watcher):
    """Shows a row for each of several workers or partitions."""

    @abstractmethod
    def list_rows(self) -> Sequence[Sequence[str]]:
        """The rows of the live table; at least one."""

    @abstractmethod
    def say_rows(self) -> None:
        """Print the rows as lines."""

    async def live(self) -> None:
        """Keep the table up to date."""
        with Live(console=self.terminal, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                live.update(new_grid(*self.list_rows()), refresh=True)
                await anyio.sleep(REFRESH_SECONDS)

    async def lines(self) -> None:
        """Print the rows from time to time."""
        begun = monotonic()
        while True:
            await _pause_before_lines(monotonic() - begun)
            self.say_rows()


@final
class _RunWatcher(Watcher):
    stopping_message = "stopping after learning what was read; repeat to abort"

    def __init__(
        self,
        run: Replay,
        terminal: Terminal,
        *,
        quiet: bool,
        reload: Callable[[], str] | None = None,
    ) -> None:
        super().__init__(terminal, quiet=quiet)
        self.replay = run
        self.read_again = reload
        self.view = LiveView(run.pipeline)

    def watch(self) -> int:
        if not self.quiet:
            self.terminal.say(headline(self.replay))
        failure = self.run(
            self.replay.run, self._freeze_startup, hang_up=self.read_again is not None
        )
        result = self.replay.result
        if self.signal == signal.SIGPIPE and self.output_error is not None:
            # A run stopped before its first sample has not failed by itself.
            stopped_early = isinstance(failure, NoCandidateError)
            raise self.output_error if stopped_early else failure or self.output_error
        if self.aborted:
            raise KeyboardInterrupt
        if self.signal and result is None:
            write_error("interrupted")
            return SIGNAL_EXIT_CODE + self.signal
        if result is not None and not self.quiet:
            self.terminal.print(render_summary(self.replay, result, self.terminal.width))
        if failure is not None:
            raise failure
        return SIGNAL_EXIT_CODE + self.signal if self.signal else 0

    async def _freeze_startup(self) -> None:
        """Exclude objects made at startup from garbage collection, which takes 50 ms each time."""
        await self.replay.pipeline.ready.wait()
        gc.freeze()

    def on_stop_requested(self, scope: CancelScope) -> None:
        if self.replay.state is not None:
            scope.deadline = anyio.current_time() + SHUTDOWN_SECONDS

    def stop(self) -> None:
        self.view.stopping = True
        self.replay.pipeline.stop()

    def reload(self) -> None:
        assert self.read_again is not None
        try:
            write_error(self.read_again())
        except StreamnetError as error:
            write_error(f"refused: {error}")

    async def live(self) -> None:
        with Live(console=self.terminal, auto_refresh=False, vertical_overflow="crop") as live:
            try:
                while True:
                    live.update(self.view, refresh=True)
                    await anyio.sleep(REFRESH_SECONDS)
            finally:
                live.update(self.view, refresh=True)

    async def lines(self) -> None:
        pipeline = self.replay.pipeline
        await pipeline.ready.wait()
        self.terminal.say(ready_line(pipeline))
        while True:
            await _pause_before_lines(pipeline.statistics().seconds)
            self.terminal.say(status_line(pipeline))


LINE_SECONDS = 2.0  # between two lines in a pipe


@final
class EngineWatcher(Watcher):
    """Runs an engine and displays its progress; ``verbose`` also prints each improvement."""

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
        """Run to the end, write and print the results, and return the exit code."""
        self._engine = engine
        failure = self.run(partial(engine.run, list(files), **reading))
        if self.aborted or (self.signal and engine.trained is None):
            raise self.output_error or KeyboardInterrupt
        if failure is not None:
            raise failure
        assert engine.trained is not None
        if model is not None:
            engine.trained.model.save(model)
        if report is not None:
            write_report(report, engine.trained.report)
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
                live.update(_progress_display(self._engine), refresh=True)
                await anyio.sleep(REFRESH_SECONDS)

    async def lines(self) -> None:
        """Print progress every two seconds."""
        engine, due = self._engine, anyio.current_time() + LINE_SECONDS
        while True:
            self._print_improvements()
            now = engine.progress()
            if now is not None and anyio.current_time() >= due:
                self.terminal.say("  ".join(_format_progress(engine, now)))
                due = anyio.current_time() + LINE_SECONDS
            await anyio.sleep(REFRESH_SECONDS)

    def _print_improvements(self) -> None:
        while self._pending_improvements:
            improvement = self._pending_improvements.popleft()
            self.terminal.say(_describe_improvement(self._engine, improvement))

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


def _progress_display(engine: Engine) -> Table:
    now = engine.progress()
    if now is None:
        return new_grid(("reading and compiling kernels (slower the first time)",))
    bar = ProgressBar(total=now.epochs, completed=now.epoch, width=22)
    return new_grid((bar, *_format_progress(engine, now)))


def _format_progress(engine: Engine, now: EngineProgress) -> tuple[str, str]:
    """How far the engine is, and the best network so far."""
    what = "refit, " if now.refitting else ""
    best = "" if now.best is None else _describe_improvement(engine, now.best)
    count = format_count(now.candidates, "network")
    return f"{what}epoch {now.epoch} of {now.epochs}, {count}", best


def _describe_improvement(engine: Engine, improvement: Improvement) -> str:
    name = engine.settings.criterion.replace("_", " ")
    return (
        f"best so far: {name} {format_number(improvement.value)} "
        f"after epoch {improvement.epoch}, {engine.describe(improvement.candidate)}"
    )


def _summary_table(engine: Engine, trained: Trained) -> Table:
    report = trained.report
    sizes = ", ".join(f"{count:,} {part}" for part, count in report["samples"].items())
    best = report["members"][0]
    others = len(report["members"]) - 1
    more = f", with {format_count(others, 'other')}" if others else ""
    learned = (
        f"{format_count(report['candidates'], 'network')}, "
        f"{format_count(report['epochs'], 'epoch')} in "
        f"{format_duration(report['seconds'])}, {format_count(report['passes'], 'pass')}"
    )
    winner = (
        f"{engine.describe(best['candidate'])}, after epoch {best['epoch']}: "
        f"{report['criterion'].replace('_', ' ')} {format_number(best['value'])}{more}"
    )
    return new_grid(("samples", sizes), ("learned", learned), ("winner", winner))
