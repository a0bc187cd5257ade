"""Emitted models on their way to disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple, final

from streamnet.durability.state_directory import ModelPublisher
from streamnet.modelfiles import safetensors_format
from streamnet.pipeline.outputs import Champion

# Seconds between two writes of emitted models. A checkpoint writes them as well, so with one
# checkpoint per second there are no other writes.
PUBLISH_SECONDS = 1.5


class EmittedModel(NamedTuple):
    """An emitted champion that is to be written."""

    generation: int
    champion: Champion


@final
class ModelQueue:
    """Numbers the emitted champions of one part of a run, and writes those that wait together."""

    def __init__(self, publisher: ModelPublisher, clock: Callable[[], float]) -> None:
        self.publisher = publisher
        self.emitted: int = 0  # models so far
        self._clock = clock
        self.waiting: deque[EmittedModel] = deque()
        self._publish_next = -inf

    def __len__(self) -> int:
        return len(self.waiting)

    def emit(self, champion: Champion) -> EmittedModel:
        """Number an emitted champion."""
        self.emitted += 1
        return EmittedModel(self.emitted, champion)

    def add(self, emission: EmittedModel) -> None:
        """Queue an emitted model, which is written together with others that follow shortly.

        It is skipped if enough newer ones wait, since it would be removed again at once.
        """
        self.waiting.append(emission)
        while len(self.waiting) > self.publisher.keep:
            self.waiting.popleft()

    def seconds_left(self) -> float:
        """Seconds until queued models are to be written; infinite if there are none."""
        return self._publish_next - self._clock() if self.waiting else inf

    def write(self, lineage: Any) -> None:
        """Write the queued models.

        Raises:
            OSError: If that fails.
        """
        self._publish_next = self._clock() + PUBLISH_SECONDS
        for number, emission in enumerate(self.waiting, start=1):
            about = {"generation": emission.generation, "lineage": lineage}
            champion = emission.champion
            data = safetensors_format.encode_parts(champion.document(**about))
            self.publisher.publish(
                data,
                emission.generation,
                lineage,
                champion.number,
                point=number == len(self.waiting),
            )
        self.waiting.clear()
