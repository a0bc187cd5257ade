"""RayExecutor: calls are tasks of Ray, on this machine or any machine of a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, final

from streamnet.errors import ConfigurationError
from streamnet.executors.base import Actor, Executor, WorkerDiedError
from streamnet.version import install_command

T = TypeVar("T")

_ADDRESS = "RAY_ADDRESS"  # of a cluster, as Ray's own tools read it
_USAGE = "RAY_USAGE_STATS_ENABLED"


@final
class RayExecutor(Executor):
    """Calls functions as tasks of Ray, each on one core.

    With the environment variable RAY_ADDRESS, it joins that cluster; otherwise Ray is started on
    this machine, and ends with the executor. All machines need this version of streamnet, and files
    at the same paths. If a worker dies, only its calls fail. Large arrays arrive read-only.

    Raises:
        ConfigurationError: If Ray is not installed, or the cluster can't be joined.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        try:
            import ray
        except ImportError:
            raise ConfigurationError(
                f"executor 'ray' can't be used without ray: {install_command('ray')}"
            ) from None
        os.environ.setdefault(_USAGE, "0")  # nothing is sent anywhere unless that is wanted
        self._ray = ray
        self._calls: dict[Future[Any], Any] = {}  # references of those that have not ended
        self._owns = not ray.is_initialized()
        if self._owns:
            self._start()
        self._call = ray.remote(_call).options(max_retries=0, num_cpus=1)

    def _start(self) -> None:
        address = os.environ.get(_ADDRESS)
        # Without an address, Ray would join what an earlier, dead cluster left on this machine.
        here = {"num_cpus": self.workers, "include_dashboard": False} if address is None else {}
        try:
            self._ray.init(
                address=address or "local", logging_level="error", log_to_driver=False, **here
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigurationError(
                f"{_ADDRESS} is {address!r}, but Ray can't be started or joined there: {error}"
            ) from error

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in a worker that is idle, or will be."""
        return self._follow(self._call.remote(str(Path.cwd()), function, arguments))

    def host(self, make: Callable[..., Any], *arguments: Any) -> Actor:
        """Make an object in an actor of Ray's, on a core of its own.

        Raises:
            ConfigurationError: If the cluster has fewer cores than workers are wanted.
        """
        cores = self._ray.cluster_resources().get("CPU", 0)
        if cores < self.workers:  # an actor would wait for one without a word
            raise ConfigurationError(
                f"there are {cores:g} cores in the cluster, but must be >= {self.workers}"
            )
        kind = self._ray.remote(_Host).options(num_cpus=1, max_restarts=0)
        return _RayActor(self, kind.remote(str(Path.cwd()), make, arguments))

    def call_actor(self, actor: Any, method: str, arguments: tuple[Any, ...]) -> Future[Any]:
        """Call a method of an object that is hosted."""
        return self._follow(actor.call.remote(method, arguments))

    def kill_actor(self, actor: Any) -> None:
        """End an object with its process."""
        if self._ray.is_initialized():
            self._ray.kill(actor)

    def _follow(self, reference: Any) -> Future[Any]:
        """The future of a task."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._calls[future] = reference
        reference.future().add_done_callback(lambda done: self._finish(future, done))
        return future

    def _finish(self, future: Future[Any], done: Future[Any]) -> None:
        """Pass the outcome of a task on; called in a thread of Ray's."""
        self._calls.pop(future, None)
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        else:
            future.set_exception(self._explain(error))

    def _explain(self, error: BaseException) -> BaseException:
        """The exception that a call raised, or why its worker could not end it."""
        known = self._ray.exceptions
        if isinstance(error, known.RayTaskError):
            cause = error.cause
            is_original = isinstance(cause, Exception) and not isinstance(cause, known.RayError)
            return cause if is_original else RuntimeError(str(cause))
        if isinstance(error, known.RayError):
            return WorkerDiedError(f"its worker died: {str(error).partition(chr(10))[0]}")
        return error

    def close(self) -> None:
        """Cancel all calls, and end Ray if it was started here. Closing twice is allowed."""
        for reference in list(self._calls.values()):
            self._ray.cancel(reference, force=True)
        if self._owns and self._ray.is_initialized():
            self._ray.shutdown()
        for future in list(self._calls):  # whose outcome nobody tells any more
            if self._calls.pop(future, None) is not None and not future.done():
                future.set_exception(WorkerDiedError("the executor was closed"))


@final
class _RayActor(Actor):
    """An object in an actor of Ray's."""

    def __init__(self, executor: RayExecutor, actor: Any) -> None:
        self._executor, self._actor = executor, actor

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        return self._executor.call_actor(self._actor, method, arguments)

    def close(self) -> None:
        self._executor.kill_actor(self._actor)


class _Host:
    """An actor of Ray's, with the object that it hosts."""

    def __init__(self, folder: str, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        _enter(folder)
        self._hosted = make(*deepcopy(arguments))

    def call(self, method: str, arguments: tuple[Any, ...]) -> Any:
        # Ray's arrays are read-only; kernels are compiled for those that can be written to.
        return getattr(self._hosted, method)(*deepcopy(arguments))


def _call(folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call a function in the folder of the caller."""
    _enter(folder)
    return function(*arguments)


def _enter(folder: str) -> None:
    """Work in the folder of the caller, if there is one here."""
    if Path(folder).is_dir():
        os.chdir(folder)
