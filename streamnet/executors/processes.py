"""ProcessExecutor: calls run in processes of this machine, which end with this one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeVar, final

from streamnet.executors.base import Executor, WorkerDiedError

T = TypeVar("T")

_CONTEXT = get_context("spawn")  # a fork would copy threads and locks in any state


@final
class ProcessExecutor(Executor):
    """Calls functions in processes that are started when they are first needed.

    If a process dies, only its call fails, and the next call starts another one. As they import
    the main module, a script has to call it behind ``if __name__ == "__main__":``.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="executor")
        self._processes = [_Process() for _ in range(workers)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in a process that is idle, or will be."""
        return self._threads.submit(self._call, function, arguments)

    def _call(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        process = self._idle.get()
        try:
            result: T = process.call(function, arguments)
        finally:
            self._idle.put(process)
        return result

    def close(self) -> None:
        """Kill all processes, whose calls fail. Closing twice is allowed."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._threads.shutdown()  # calls that were running have failed
        for process in self._processes:
            process.join()


@final
class _Process:
    """A process that makes one call at a time."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Connection | None = None
        self._closed = False
        self._lock = Lock()  # so that none is started behind `close`

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Make a call, and return its result or raise its exception."""
        connection = self._connection or self._start()
        try:
            connection.send((function, arguments))
            is_result, value = connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerDiedError(self._describe_death()) from error
        if not is_result:
            raise value
        return value

    def _start(self) -> Connection:
        with self._lock:
            if self._closed:
                raise WorkerDiedError("the executor was closed")
            self._connection, theirs = _CONTEXT.Pipe()
            self._process = _CONTEXT.Process(target=_make_calls, args=(theirs,), daemon=True)
            with _without_interrupts():
                self._process.start()
            theirs.close()
            return self._connection

    def _describe_death(self) -> str:
        self._process.join()
        code = self._process.exitcode
        self._end()
        return f"its process was killed by signal {-code}" if code < 0 else f"it exited with {code}"

    def _end(self) -> None:
        assert self._connection is not None
        self._connection.close()
        self._connection = None

    def kill(self) -> None:
        """Kill the process, and start no other; a call that waits for it fails."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def join(self) -> None:
        """Wait for the end of a process that was killed."""
        if self._process is not None:
            self._process.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Block SIGINT in this thread, and in a process that is started in it.

    Ctrl-C goes to all processes of a terminal; it is the parent that ends the others.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _make_calls(connection: Connection) -> None:
    """Make the calls that come, until the other end closes or its process dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send((True, function(*arguments)))
        except Exception as error:  # noqa: BLE001 - raised in the calling process
            _send_error(connection, error)


def _send_error(connection: Connection, error: Exception) -> None:
    try:
        connection.send((False, error))
    except Exception:  # noqa: BLE001 - not every exception can be sent
        connection.send((False, RuntimeError(f"{type(error).__name__}: {error}")))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
