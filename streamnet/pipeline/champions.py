"""Champions: emitted networks, for whoever wants to follow them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any
from typing import final

from anyio import Condition

from streamnet.learning.learner import model_of
from streamnet.learning.trainer import Snapshot
from streamnet.modelfiles.model import Model
from streamnet.networks.candidate import CandidateSettings

__all__ = ("Champion", "Champions")

_KEPT = 16


@final
@dataclass(frozen=True)
class Champion:
    """The best network of a moment.

    `number` is the sample before which its weights were copied: the start of the second round after
    the one in which it became champion, or the end of the stream.
    """

    candidate: int  # unique number of the candidate in its run
    settings: CandidateSettings
    number: int
    about: dict[str, Any]
    snapshot: Snapshot = field(repr=False)

    @cached_property
    def model(self) -> Model:
        """The network with its encoder and labels, ready to answer and to be saved."""
        return model_of(self.snapshot, self.about)


@final
class Champions:
    """A queue that never makes the pipeline wait: a reader that is late gets the latest 16."""

    def __init__(self) -> None:
        self._queue: deque[Champion] = deque(maxlen=_KEPT)
        self._closed = False
        self._changed = Condition()

    async def publish(self, champion: Champion) -> None:
        """Add a champion."""
        async with self._changed:
            self._queue.append(champion)
            self._changed.notify_all()

    async def close(self) -> None:
        """Say that none will follow."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    async def follow(self) -> AsyncIterator[Champion]:
        """Each champion as it comes, until the stream has ended."""
        while True:
            async with self._changed:
                while not self._queue and not self._closed:
                    await self._changed.wait()
                if not self._queue:
                    return
                champion = self._queue.popleft()
            yield champion
