"""Champions: emitted networks, for whoever wants to follow them."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any
from typing import final

from anyio import Event

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
    """Tells any number of readers each champion, and never makes the pipeline wait.

    The latest 16 are kept: a reader that is late, or comes late, gets these.
    """

    def __init__(self) -> None:
        self._kept: deque[Champion] = deque(maxlen=_KEPT)
        self._published = 0
        self._closed = False
        self._changed = Event()

    def publish(self, champion: Champion) -> None:
        """Add a champion."""
        self._kept.append(champion)
        self._published += 1
        self._wake()

    def close(self) -> None:
        """Say that none will follow."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, Event()
        changed.set()

    async def follow(self) -> AsyncIterator[Champion]:
        """Each champion as it comes, until the stream has ended."""
        seen = 0
        while True:
            missed = min(self._published - seen, len(self._kept))
            if missed:
                champion = self._kept[-missed]
                seen = self._published - missed + 1
                yield champion
            elif self._closed:
                return
            else:
                await self._changed.wait()
