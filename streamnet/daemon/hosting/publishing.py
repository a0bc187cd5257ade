"""Snapshots that answer requests: copies of everything that is served, renewed after each block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from math import inf
from time import monotonic, time_ns
from typing import final

from anyio import Event, move_on_after, sleep

from streamnet.daemon.hosting.budgets import Budgets
from streamnet.daemon.journal.committer import Committer
from streamnet.daemon.predictions import Predictions, predict_samples
from streamnet.durability.budget import Budget
from streamnet.errors import NotReadyError, OutputError
from streamnet.keyed.key_model import LiveKeys
from streamnet.learning.served_model import ServedModel
from streamnet.modelfiles.model import Model
from streamnet.pipeline.control_messages import Glance
from streamnet.pipeline.pipeline import Pipeline
from streamnet.samples import Block, Sample

_POLL_SECONDS = 0.05  # between checks for a first model


@final
class TakeHomeModel:
    """A model to take home, built on first use."""

    def __init__(self, build: Callable[[], Model], number: int, description: str) -> None:
        self.since: float = monotonic()  # when it was published
        self.number: int = number  # of the sample before which it was taken
        self.description: str = description  # in a few words
        self._build = build

    @cached_property
    def model(self) -> Model:
        """The model."""
        return self._build()


@final
class PublishedModel:
    """What answers requests until something newer is published.

    Args:
        served: What answers: all that is served, or the model to start from.
        take_home: The model to take home.
        generation: Its number, which increases with each, across restarts.
        version: Another one for each, also after a reset.
    """

    def __init__(
        self, served: ServedModel | Model, take_home: TakeHomeModel, generation: int, version: str
    ) -> None:
        self.served: ServedModel | Model = served
        self.generation: int = generation
        self.version: str = version
        self._take_home = take_home

    @property
    def model(self) -> Model:
        """The model to take home."""
        return self._take_home.model

    @property
    def since(self) -> float:
        """When the model to take home was published, by the monotonic clock."""
        return self._take_home.since

    @property
    def description(self) -> str:
        """The model to take home in a few words."""
        return self._take_home.description

    @property
    def number(self) -> int:
        """Number of the sample before which the model to take home was taken."""
        return self._take_home.number

    def renewed(self, served: ServedModel) -> PublishedModel:
        """The same model to take home, while something newer answers."""
        return PublishedModel(served, self._take_home, self.generation, self.version)


@final
class Publisher:
    """Publishes what a running pipeline serves after each block, and models to take home.

    A model to take home is published every few seconds while something is learned. Before that,
    the start predicts. While models share a ``budget`` of seconds that is overdrawn, all wait.
    """

    def __init__(
        self, publish_seconds: float, start: Model | None, budget: Budget | None = None
    ) -> None:
        self.published: PublishedModel | None = None
        self.predicted: int = 0  # samples
        self.first: Event = Event()  # set once a model is published, or none will be
        self.restored: Event = Event()  # set once that of earlier runs is, or there is none
        self.keys: LiveKeys | None = None  # which go on learning
        self._publish_seconds = publish_seconds
        self._budget = Budgets().publishing if budget is None else budget
        self._start = start
        self.rows: int = -1  # samples and labels learned before the current snapshot
        self._model_rows = -1  # learned before the model to take home
        self._due = -inf  # when the next one may be published

    def predict(self, samples: Sample | Sequence[Sample] | Block) -> Predictions:
        """Predict with what is published; see `HostedModel.predict`."""
        published = self.newest()
        served, generation = published.served, published.generation
        predictions = predict_samples(served, generation, samples, self.keys)
        self.predicted = len(predictions.values) + self.predicted  # read last: threads
        return predictions

    def newest(self) -> PublishedModel:
        """Return what is published."""
        if self.published is None:
            is_restored = self.restored.is_set()
            reason = "nothing was learned" if is_restored else "it is being restored"
            raise NotReadyError(f"there is no model yet: {reason}")
        return self.published

    async def run(self, pipeline: Pipeline, committer: Committer) -> None:
        """Publish until cancelled."""
        await pipeline.ready.wait()
        while True:
            learned = pipeline.next_block
            await self._publish(pipeline, committer)
            self.restored.set()  # even if the disk fails: other models must not wait for it
            await self._wait_for(learned)

    async def _wait_for(self, learned: Event) -> None:
        """Wait until a block was learned, a model to take home is due, and there is time."""
        seconds = inf
        if self.published is None:
            seconds = _POLL_SECONDS
        elif self._model_rows != self.rows:
            seconds = max(self._due - monotonic(), 0.0)
        with move_on_after(seconds):
            await learned.wait()
        await sleep(self._budget.seconds_left())

    async def _publish(self, pipeline: Pipeline, committer: Committer) -> None:
        learner = pipeline.learner
        assert learner is not None
        rows = learner.trainer.rows + learner.trainer.labels
        is_due = self.published is None or monotonic() >= self._due
        if rows == self.rows and not (is_due and rows != self._model_rows):
            return
        if not learner.serving.has_ranking:  # samples without a label teach networks nothing
            if (start := self._start) is not None and self.published is None:
                await self._commit(
                    committer, start, TakeHomeModel(lambda: start, 0, start.describe())
                )
            return
        self.keys = learner.live_keys
        glance = await pipeline.freeze(Glance(portable=is_due))
        self._budget.spend(glance.seconds)
        if (served := glance.served) is None:
            return
        if self.published is not None and isinstance(self.published.served, ServedModel):
            served.share_reader(self.published.served)
        if self.published is not None:
            self.published = self.published.renewed(served)
        if is_due and (champion := pipeline.build_champion(glance)) is not None:
            words = champion.snapshot.describe()
            take_home = TakeHomeModel(lambda: champion.model, champion.number, words)
            await self._commit(committer, served, take_home)
            self._model_rows, self._due = rows, monotonic() + self._publish_seconds
        self.rows = rows

    async def _commit(
        self, committer: Committer, served: ServedModel | Model, take_home: TakeHomeModel
    ) -> None:
        try:
            committer.check()
            frame = committer.intake.publish()
            generation = committer.intake.generation
            await committer.commit(frame, durable=False)
        except OutputError:
            return  # logged by the committer; a later model gets the number
        version = f"{generation}-{time_ns():x}"
        self.published = PublishedModel(served, take_home, generation, version)
        self.first.set()
