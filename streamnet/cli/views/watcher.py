"""Runs a replay and shows its progress: a live display on a terminal, plain lines in a pipe."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Callable
from typing import TextIO, final

import anyio
from anyio import CancelScope, create_task_group, open_signal_receiver
from anyio.abc import TaskStatus
from rich.live import Live

from streamnet.cli.terminal import Terminal, write_error
from streamnet.cli.views import run
from streamnet.cli.views.run import LiveView, render_summary
from streamnet.errors import NoCandidateError, StreamnetError
from streamnet.runs.replay import Replay

__all__ = ("watch",)

REFRESH_SECONDS = 0.25  # seconds between two pictures on a terminal
MIN_LINE_SECONDS, MAX_LINE_SECONDS = (
    2.0,
    60.0,
)  # seconds between two lines in a pipe: more of them as time goes on
LINE_FRACTION = 0.05  # of the time that has gone is the wait for the next line
_NULL_HANDLER = logging.NullHandler()  # whatever is logged is also raised, and then said once
SHUTDOWN_SECONDS = 10.0  # seconds in which a run with a state has to end after a signal
SIGNAL_EXIT_CODE = 128  # and the signal's number: what a shell calls a command that a signal ended


def watch(
    run: Replay,
    *,
    quiet: bool,
    out: TextIO | None = None,
    reload: Callable[[], str] | None = None,
) -> int:
    """Run to the end, showing where it stands; return the exit code.

    The first Ctrl-C ends reading, and what was learned is written; the second one breaks off. If
    nobody reads our words any more, that is a first Ctrl-C. With a state, what is not done in time
    after it is left to the next run. SIGHUP calls ``reload`` and says what came of it.

    Raises:
        StreamnetError: If the run failed.
        KeyboardInterrupt: If it was broken off.
    """
    logging.getLogger("streamnet").addHandler(
        _NULL_HANDLER
    )  # which a second call changes nothing about
    return _Watcher(run, Terminal(out), quiet=quiet, reload=reload).watch()


@final
class _Watcher:
    def __init__(
        self,
        run: Replay,
        terminal: Terminal,
        *,
        quiet: bool,
        reload: Callable[[], str] | None = None,
    ) -> None:
        self.run = run
        self.terminal = terminal
        self.quiet = quiet
        self.reload = reload
        self.signal = 0  # the first one that came
        self.broken_off = False
        self.unsaid: OSError | None = None  # why nobody reads our words any more
        self.picture = LiveView(run.pipeline)

    def watch(self) -> int:
        if not self.quiet:
            self.terminal.say(run.headline(self.run))
        failure: StreamnetError | None = anyio.run(self._watch)
        if self.signal == signal.SIGPIPE and self.unsaid is not None:
            # That nothing was learned by then is no failure of its own.
            raise self.unsaid if isinstance(failure, NoCandidateError) else failure or self.unsaid
        if self.broken_off:
            raise KeyboardInterrupt
        if self.signal and self.run.result is None:
            write_error("interrupted")
            return SIGNAL_EXIT_CODE + self.signal
        if self.run.result is not None and not self.quiet:
            self.terminal.print(render_summary(self.run, self.run.result, self.terminal.width))
        if failure is not None:
            raise failure
        return SIGNAL_EXIT_CODE + self.signal if self.signal else 0

    async def _watch(self) -> StreamnetError | None:
        failure: StreamnetError | None = None
        async with create_task_group() as group:
            await group.start(self._listen, group.cancel_scope)
            group.start_soon(self._settle)
            if not self.quiet:
                await group.start(self._show)
            try:
                await self.run.run()
            except StreamnetError as error:
                failure = error
            except MemoryError as error:
                failure = StreamnetError(f"there is too little memory: {error}")
            group.cancel_scope.cancel()
        return failure

    async def _settle(self) -> None:
        """Leave what start-up made out of the search for garbage, which takes 50 ms with it."""
        await self.run.pipeline.ready.wait()
        gc.freeze()

    async def _listen(
        self, all_of_it: CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        hang_up = () if self.reload is None else (signal.SIGHUP,)
        with open_signal_receiver(signal.SIGINT, signal.SIGTERM, *hang_up) as signals:
            # One that came before waits, see `streamnet.__main__`.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, hang_up)
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    self._reload()
                    continue
                if self.signal:
                    self.broken_off = True
                    all_of_it.cancel()
                elif self.run.state is not None:
                    all_of_it.deadline = anyio.current_time() + SHUTDOWN_SECONDS
                self._stop(number)

    def _reload(self) -> None:
        assert self.reload is not None
        try:
            write_error(self.reload())
        except StreamnetError as error:
            write_error(f"refused: {error}")

    def _stop(self, number: int) -> None:
        self.signal = self.signal or number
        self.picture.stopping = True
        self.run.pipeline.stop()
        if number != signal.SIGPIPE and not self.broken_off:
            write_error("stopping: what was read is still learned; once more breaks off")

    async def _show(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        try:
            drawn = self.terminal.is_terminal and not self.terminal.is_dumb_terminal
            await (self._live() if drawn else self._lines())
        except OSError as error:  # a pipe that was closed, a disk that is full
            self.unsaid = error
            self._stop(signal.SIGPIPE)

    async def _live(self) -> None:
        with Live(console=self.terminal, auto_refresh=False, vertical_overflow="crop") as live:
            try:
                while True:
                    live.update(self.picture, refresh=True)
                    await anyio.sleep(REFRESH_SECONDS)
            finally:
                live.update(self.picture, refresh=True)

    async def _lines(self) -> None:
        pipeline = self.run.pipeline
        await pipeline.ready.wait()
        self.terminal.say(run.ready_line(pipeline))
        while True:
            seconds = pipeline.statistics().seconds
            await anyio.sleep(min(max(MIN_LINE_SECONDS, LINE_FRACTION * seconds), MAX_LINE_SECONDS))
            self.terminal.say(run.status_line(pipeline))
