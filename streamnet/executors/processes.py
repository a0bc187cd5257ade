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
from typing import Any, NamedTuple, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from streamnet.executors.base import Actor, Executor, WorkerDiedError

T = TypeVar("T")

_CONTEXT = get_context("spawn")  # a fork would copy threads and locks in any state
_LARGE = 1 << 14  # bytes of an array that is sent by itself


@final
class ProcessExecutor(Executor):
    """Calls functions in processes that are started when they are first needed.

    If a process dies, only its call fails, and the next call starts another one. As they import
    the main module, a script has to call it behind ``if __name__ == "__main__":``.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="executor")
        self._actors: list[_ProcessActor] = []
        self._processes = [_Process() for _ in range(workers)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in a process that is idle, or will be."""
        return self._threads.submit(self._call, function, arguments)

    def host(self, make: Callable[..., Any], *arguments: Any) -> Actor:
        """Make an object in a process of its own."""
        self._actors = [actor for actor in self._actors if not actor.closed]
        self._actors.append(actor := _ProcessActor(make, arguments))
        return actor

    def _call(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        process = self._idle.get()
        try:
            result: T = process.call(function, arguments)
        finally:
            self._idle.put(process)
        return result

    def close(self) -> None:
        """Kill all processes, whose calls fail. Closing twice is allowed."""
        for actor in self._actors:
            actor.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()
        self._threads.shutdown()  # calls that were running have failed
        for process in self._processes:
            process.join()


@final
class _ProcessActor(Actor):
    """An object in a process, which one thread calls."""

    def __init__(self, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="actor")
        self._process = _Process()
        self._death: WorkerDiedError | None = None
        self._failure: BaseException | None = None  # why there is no object
        self.closed = False
        self._made = self._thread.submit(self._send, _host, (make, arguments))

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        return self._thread.submit(self._send, _call_hosted, (method, arguments))

    def _send(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if self._death is not None:
            raise self._death
        if function is _call_hosted:
            self._made.result()  # or why there is no object
        try:
            return self._process.call(function, arguments)
        except WorkerDiedError as error:
            self._death = error
            raise

    def close(self) -> None:
        self.closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._process.kill()
        self._thread.shutdown()  # a call that was running has failed
        self._process.join()


_hosted: list[Any] = []  # the object of an actor, in its process


def _host(make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    _hosted[:] = [make(*arguments)]


def _call_hosted(method: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(_hosted[0], method)(*arguments)


class _Array(NamedTuple):
    """In place of a large array, whose bytes follow."""

    dtype: str
    shape: tuple[int, ...]


def _send_result(connection: Connection, result: Any) -> None:
    """Send what a function returned; large arrays of a tuple are not copied before."""
    arrays: list[NDArray[Any]] = []
    if type(result) is tuple:
        items = []
        for item in result:
            if isinstance(item, np.ndarray) and item.nbytes >= _LARGE and not item.dtype.hasobject:
                arrays.append(np.ascontiguousarray(item))
                item = _Array(item.dtype.str, item.shape)
            items.append(item)
        result = tuple(items)
    connection.send((True, result))
    for array in arrays:
        connection.send_bytes(array.data.cast("B"))


def _receive_arrays(connection: Connection, result: Any) -> Any:
    """Put arrays in their places in what a function returned."""
    if type(result) is not tuple:
        return result
    return tuple(
        _receive_array(connection, item) if isinstance(item, _Array) else item for item in result
    )


def _receive_array(connection: Connection, like: _Array) -> NDArray[Any]:
    array = np.empty(like.shape, like.dtype)
    connection.recv_bytes_into(array.data.cast("B"))
    return array


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
            if is_result:
                return _receive_arrays(connection, value)
        except (EOFError, OSError) as error:
            raise WorkerDiedError(self._describe_death()) from error
        raise value

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
            _send_result(connection, function(*arguments))
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
