"""ShardWorker: the driver's end of a shard, which replaces it when its process dies."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any, final

from streamnet.durability.provenance import describe_differences
from streamnet.errors import ConfigurationError, DataError
from streamnet.executors import Actor, Executor, WorkerDiedError
from streamnet.jit import numerics
from streamnet.shards.shard import Shard, ShardState

MAX_DEATHS = 3  # of a shard in the same call, before the run gives up

logger: logging.Logger = logging.getLogger("streamnet.shards")


@final
class ShardWorker:
    """Calls a shard.

    Its state after the last `keep` is held here, with all calls since that changed it: a shard that
    dies is made anew from that state, in another worker, and gets the same calls again, so it has
    the same bits.

    Args:
        executor: Where it lives.
        name: For messages, such as "shard 2 of 3".
        slots: Its candidates.
        state: Where it goes on from.

    Raises:
        ConfigurationError: If another processor or library there would compute other bits.
    """

    def __init__(self, executor: Executor, name: str, slots: range, state: ShardState) -> None:
        self.name: str = name
        self.slots: range = slots
        self.replaced: int = 0  # times
        self._executor, self._state = executor, state
        self._since: list[tuple[str, tuple[Any, ...]]] = []  # calls that changed it
        self._call: tuple[str, tuple[Any, ...]] = "numerics", ()
        self._changes = False
        self._actor: Actor = self._start()
        self._future: Future[Any] = self._actor.call("numerics")

    def check(self) -> None:
        """Wait until it is there, and check that it computes the same bits."""
        for difference in describe_differences(self.result(), numerics()):
            raise ConfigurationError(f"{self.name} would compute other bits: {difference}")

    def submit(self, method: str, *arguments: Any, changes: bool = False) -> None:
        """Call a method, whose `result` must be fetched before the next call.

        ``changes`` tells whether it changes the shard's state.
        """
        self._call, self._changes = (method, arguments), changes
        if changes:
            self._since.append(self._call)
        self._future = self._actor.call(method, *arguments)

    def result(self) -> Any:
        """Wait for what the last call returns.

        Raises:
            DataError: If the shard dies again and again.
        """
        for _ in range(MAX_DEATHS):
            try:
                return self._future.result()
            except WorkerDiedError as error:
                logger.warning("%s died (%s) and is replaced", self.name, error)
                self._replace()
        try:
            return self._future.result()
        except WorkerDiedError as error:
            raise DataError(f"{self.name} died {MAX_DEATHS + 1} times in a row: {error}") from error

    def keep(self, state: ShardState) -> None:
        """Hold its present state, to begin with if it dies."""
        self._state = state
        self._since.clear()

    def close(self) -> None:
        """End its process."""
        self._actor.close()

    def _start(self) -> Actor:
        return self._executor.host(Shard, self._state)

    def _replace(self) -> None:
        self.replaced += 1
        self._actor.close()
        self._actor = self._start()
        for method, arguments in self._since:
            self._future = self._actor.call(method, *arguments)
        if not self._changes:
            method, arguments = self._call
            self._future = self._actor.call(method, *arguments)
