"""Champions: emitted networks, broadcast to any number of followers."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

from anyio import Event

from streamnet.learning.learner import build_model
from streamnet.learning.trainer import Snapshot
from streamnet.modelfiles.document import Document, build_document
from streamnet.modelfiles.model import Model
from streamnet.settings.candidate import CandidateSettings

_BACKLOG = 16


@final
@dataclass(frozen=True)
class Champion:
    """The best network at one moment.

    Attributes:
        candidate: Number of the candidate, unique in its run.
        settings: Settings of its network.
        number: The sample before which its weights were copied: the start of the second round after
            the one in which it became champion, or the end of the stream.
        about: JSON metadata on the run, for `model`.
        snapshot: Weights and encoder at that moment, from which `model` is built on demand.

    >>> import anyio
    >>> from streamnet.pipeline.pipeline import Pipeline
    >>> from streamnet.sources import IterableSource
    >>> rows = [{"x": i % 2, "y": "ab"[i % 2]} for i in range(300)]
    >>> async def main():
    ...     async with Pipeline(IterableSource(rows, target="y")) as pipeline:
    ...         return [champion async for champion in pipeline.champions()]
    >>> (champion,) = anyio.run(main)
    >>> champion.number, champion.model.predict({"x": 1}).tolist()
    (300, ['b'])
    """

    candidate: int
    settings: CandidateSettings
    number: int
    about: dict[str, Any]
    snapshot: Snapshot = field(repr=False)

    @cached_property
    def model(self) -> Model:
        """The network with its encoder and labels, ready to predict and to be saved."""
        return build_model(self.snapshot, self.about)

    def document(self, **about: Any) -> Document:
        """The document of `model`, with more metadata, without building the model."""
        networks = self.snapshot.networks()
        return build_document(
            encoder=self.snapshot.encoder.materialize(),
            networks=networks,
            ensemble=self.snapshot.ensemble,
            dtype=networks[0][1]["first"].dtype.name,
            about={**self.about, **about},
        )


@final
class ChampionBroadcast:
    """Broadcasts champions to any number of followers; the pipeline never waits for them.

    The latest 16 are kept for followers that are slow or start late.

    >>> import anyio
    >>> async def main():
    ...     champions = ChampionBroadcast()
    ...     champions.close()
    ...     return [champion async for champion in champions.follow()]
    >>> anyio.run(main)
    []
    """

    def __init__(self) -> None:
        self._kept: deque[Champion] = deque(maxlen=_BACKLOG)
        self._published = 0
        self._closed = False
        self._changed = Event()

    def publish(self, champion: Champion) -> None:
        """Add a champion."""
        self._kept.append(champion)
        self._published += 1
        self._wake()

    def close(self) -> None:
        """End the stream of champions."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, Event()
        changed.set()

    def follow(self) -> AsyncIterator[Champion]:
        """Iterate over the champions until the stream ends."""
        return _Follower(self)

    async def after(self, seen: int) -> tuple[int, Champion] | None:
        """The next champion after the first ``seen`` ones, and its number, from 1.

        If it is no longer kept, the oldest one that is; None at the end.
        """
        while seen == self._published:
            if self._closed:
                return None
            await self._changed.wait()
        missed = min(self._published - seen, len(self._kept))
        return self._published - missed + 1, self._kept[-missed]


@final
class _Follower(AsyncIterator[Champion]):
    """Not a generator, which a caller that leaves its loop early would have to close."""

    def __init__(self, champions: ChampionBroadcast) -> None:
        self._champions = champions
        self._seen = 0

    async def __anext__(self) -> Champion:
        found = await self._champions.after(self._seen)
        if found is None:
            raise StopAsyncIteration
        self._seen, champion = found
        return champion


def describe_snapshot(snapshot: Snapshot, seed: int) -> dict[str, Any]:
    """Metadata on an emitted network, except its scores."""
    return {
        "candidate": snapshot.member.serial,
        "born": snapshot.member.born,
        "samples": snapshot.number,
        "seed": seed,
    }
