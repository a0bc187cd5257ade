"""Watching a run: a live view on a terminal, plain lines in a pipe."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TextIO

import anyio
from anyio.abc import TaskGroup
from rich.console import Console
from rich.live import Live

from streamnet.cli import view
from streamnet.errors import StreamnetError
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.pipeline import Result
from streamnet.replaying import Replay

__all__ = ("watch",)

REFRESH = 0.25  # seconds between two pictures on a terminal
LINE = 2.0  # seconds between two lines in a pipe


def watch(run: Replay, *, quiet: bool, out: TextIO) -> int:
    """Run to the end, showing where it stands; return the exit code.

    The first Ctrl-C stops reading and writes what was learned, the second one breaks off.

    Raises:
        StreamnetError: If the run failed.
    """
    console = Console(file=out, highlight=False)
    if not quiet:
        console.print(view.headline(run), soft_wrap=True)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        run.pipeline.stop()

    result = anyio.run(_run, run, console, quiet, interrupt)
    if not quiet:
        console.print(view.ending(run, result))
    return 130 if interrupted else 0


async def _run(
    run: Replay, console: Console, quiet: bool, interrupt: Callable[[], None]
) -> Result:
    result: Result | None = None
    failure: BaseException | None = None
    async with anyio.create_task_group() as group:
        await group.start(_listen, interrupt, group)
        if not quiet:
            show = _live if console.is_terminal else _lines
            await group.start(show, run.pipeline, console)
        try:
            result = await run.run()
        except StreamnetError as error:
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    assert result is not None
    return result


async def _listen(
    interrupt: Callable[[], None],
    group: TaskGroup,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            interrupt()


async def _live(
    pipeline: Pipeline,
    console: Console,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        task_status.started()
        try:
            while True:
                live.update(view.picture(pipeline), refresh=True)
                await anyio.sleep(REFRESH)
        finally:
            live.update(view.picture(pipeline), refresh=True)


async def _lines(
    pipeline: Pipeline,
    console: Console,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    task_status.started()
    await pipeline.ready.wait()
    console.print(view.ready_line(pipeline), soft_wrap=True)
    while True:
        await anyio.sleep(LINE)
        console.print(view.line(pipeline), soft_wrap=True)
