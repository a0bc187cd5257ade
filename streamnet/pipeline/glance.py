"""Glance: the model of a moment, taken while learning goes on, which does not notice."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import final

import numpy as np
from anyio import Event
from numpy.typing import NDArray

from streamnet.features.snapshot import EncoderSnapshot
from streamnet.learning.serving import Server
from streamnet.learning.trainer import Emission
from streamnet.learning.trainer import Snapshot
from streamnet.learning.trainer import Trainer

__all__ = ("Glance",)


@final
@dataclass(eq=False)  # each is itself alone
class Glance:
    """Travels behind a block like a barrier, and takes along what a model is made of.

    Nothing that a run leaves depends on how many there were, or when.
    """

    encoder: EncoderSnapshot | None = None
    snapshot: Snapshot | None = None  # None if there is no finite network
    done: Event = field(default_factory=Event)
    _healthy: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    _all: Snapshot | None = None
    _slots: tuple[int, ...] = ()

    def pass_trainer(self, trainer: Trainer) -> None:
        """Copy every network that is finite, since who answers is decided later."""
        population = trainer.population
        self._healthy = population.healthy.copy()
        self._slots = tuple(sorted(population.finite_slots())) if trainer.number else ()
        if self._slots and self.encoder is not None:
            everyone = Emission(self._slots[0], self._slots, None)
            self._all = trainer.snapshot(everyone, self.encoder)

    def pass_server(self, server: Server) -> None:
        """Decide who answers, and how they answer together."""
        if self._all is None:
            return
        place = {slot: number for number, slot in enumerate(self._slots)}
        champion = next((slot for slot in server.ranked(self._healthy) if slot in place), None)
        if champion is None:
            return
        emission = server.emission(champion, self._slots)
        self.snapshot = self._all._replace(
            member=server.members[champion],
            copies=tuple(self._all.copies[place[slot]] for slot in emission.slots),
            ensemble=emission.ensemble,
        )
