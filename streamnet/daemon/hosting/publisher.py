"""Publication of the current champion as the model that answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from anyio import Event, sleep, to_thread

from streamnet.daemon.journal.committer import Committer
from streamnet.daemon.predictions import Predictions
from streamnet.errors import NotReadyError, OutputError
from streamnet.modelfiles.model import Model
from streamnet.pipeline.pipeline import Pipeline
from streamnet.samples import Block, Sample, Task

__all__ = ("PublishedModel", "Publisher")

PUBLISH_SECONDS = 1.0
_POLL_SECONDS = 0.05  # seconds between two looks while there is none yet


class PublishedModel(NamedTuple):
    """A model that answers until the next one does."""

    model: Model
    generation: int  # grows with each, over restarts as well
    number: int  # of the sample before which it was taken


@final
class Publisher:
    """Takes the model of the moment out of a running pipeline, as long as it learns.

    Args:
        every: Seconds between two models.
        start: What answers until something is learned.

    >>> Publisher().published is None
    True
    """

    def __init__(self, every: float = PUBLISH_SECONDS, *, start: Model | None = None) -> None:
        self.published: PublishedModel | None = None
        self.answered = 0  # samples
        self.first = Event()  # set when there is one, or none will come any more
        self.restored = Event()  # set when what there was before answers, or there was nothing
        self._every = every
        self._start = start

    def predict(
        self, samples: Sample | Sequence[Sample] | Block, *, counts: bool = True
    ) -> Predictions:
        """Answers of the newest model.

        Args:
            samples: One or many.
            counts: Whether they are among the answered ones.

        Raises:
            NotReadyError: If there is none yet.
            ConfigurationError: If a sample can't be read.
        """
        published = self.newest()
        model = published.model
        outputs = model.outputs(samples)
        values = model.named(outputs)
        if counts:
            self.answered = len(values) + self.answered  # read last, since threads answer as well
        if model.task is Task.REGRESSION:
            return Predictions(values, None, (), published.generation)
        return Predictions(values, outputs, model.labels, published.generation)

    def newest(self) -> PublishedModel:
        """The model that answers.

        Raises:
            NotReadyError: If there is none yet.
        """
        if self.published is None:
            why = "nothing was learned" if self.restored.is_set() else "it is being taken up"
            raise NotReadyError(f"there is no model yet: {why}")
        return self.published

    async def run(self, pipeline: Pipeline, committer: Committer) -> None:
        """Publish until cancelled."""
        await pipeline.ready.wait()
        while True:
            if self.published is None or pipeline.statistics().samples != self.published.number:
                await self._publish(pipeline, committer)
            self.restored.set()  # even if the disk takes none: that must not hold up the others
            await sleep(_POLL_SECONDS if self.published is None else self._every)

    async def _publish(self, pipeline: Pipeline, committer: Committer) -> None:
        if self._start is not None and not pipeline.statistics().samples:
            await self._put(committer, self._start, 0)
            return
        champion = await pipeline.glance()
        if champion is not None:
            model = await to_thread.run_sync(lambda: champion.model)
            await self._put(committer, model, champion.number)

    async def _put(self, committer: Committer, model: Model, number: int) -> None:
        try:
            committer.check()
            frame = committer.intake.publish()
            generation = committer.intake.generation
            await committer.commit(frame, durable=False)
        except OutputError:
            return  # said by the committer; a later model will have that number
        self.published = PublishedModel(model, generation, number)
        self.first.set()
