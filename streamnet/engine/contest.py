"""Contest: all candidates against each other, and then perhaps the best once more."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from typing import final

from anyio import to_thread

from streamnet.engine.candidates import Contestant
from streamnet.engine.candidates import contestants_of
from streamnet.engine.candidates import falling_contestants_of
from streamnet.engine.candidates import scheduled
from streamnet.engine.epochs import EpochCutter
from streamnet.engine.epochs import Epochs
from streamnet.engine.fitted import FittedEncoder
from streamnet.engine.flow import flow
from streamnet.engine.holdout import HoldoutEvaluator
from streamnet.engine.parts import Parts
from streamnet.engine.settings import EngineSettings
from streamnet.engine.winners import Finishers
from streamnet.engine.winners import Improvement
from streamnet.engine.winners import Winners
from streamnet.errors import NoCandidateError
from streamnet.features.encoder import Encoder
from streamnet.learning.learner import check_transforms
from streamnet.learning.learner import model_of
from streamnet.learning.trainer import Emission
from streamnet.learning.trainer import Trainer
from streamnet.modelfiles.model import Model
from streamnet.networks.candidate import CandidateSettings
from streamnet.pipeline.reading import Reader
from streamnet.samples import Block
from streamnet.samples import Task
from streamnet.selection.criteria import Criterion
from streamnet.selection.ensemble import averaging
from streamnet.sources.widening import joined

__all__ = ("Contest",)

BLOCK = 1024  # most samples that travel together


@final
class Contest:
    """Lets candidates learn the training part and compares them on the validation part.

    Args:
        task: Classification or regression.
        parts: The samples.
        criterion: What is better.
        settings: Of the engine.
        heard: Called with each improvement.

    Attributes:
        contestants: All candidates.
        winners: Who was best, and when.
        chooser: What follows the epochs now: the winners, or the finishers of the refit.
        epochs: How many there are to be now.
        refitting: Whether the best learn once more.
        members: Numbers of the contestants that answer together, the best first.
    """

    def __init__(
        self,
        task: Task,
        parts: Parts,
        criterion: Criterion,
        settings: EngineSettings,
        heard: Callable[[Improvement], None],
    ) -> None:
        self.task = task
        self.criterion = criterion
        self.settings = settings
        self.refitting = False
        self.stopped = False
        self.contestants = _contestants(settings, len(parts.training))
        self.epochs = settings.epochs * (len(settings.rates()) if settings.is_gophers else 1)
        self._parts = parts
        self._reader: Reader | None = None
        self._encoder = self._fitted(parts.training, parts.validation)
        self._trainer = self._trainer_of(self.contestants)
        self.winners = Winners(self._trainer.population, criterion, heard)
        self.chooser: Winners | Finishers = self.winners
        self._shelf = self.winners.shelf
        self.members: tuple[int, ...] = ()
        self._slots: tuple[int, ...] = ()  # where the trainer has these

    async def run(self) -> None:
        """Learn all epochs, and once more if so set.

        Raises:
            NoCandidateError: If no candidate was ever ranked.
        """
        await self._flow(self._parts.training, self._parts.validation)
        best = self.winners.ranking()[: self.settings.together]
        if not best:
            raise NoCandidateError(self._why_none())
        self.members = self._slots = self._finite(best)
        if not self.members:
            raise NoCandidateError("no network was finite at its best")
        if self.settings.refits and not self.stopped:
            await self._refit(self.members)

    def _why_none(self) -> str:
        if self.stopped:
            return "it was stopped before an epoch was judged"
        rates = self.settings.rates()
        return (
            f"no network stayed finite: learning_rate is {rates[0]:g}, which is too large for "
            f"{self.settings.template().describe()}; a smaller one, or activation 'tanh' or "
            "'logistic', may do"
        )

    async def _refit(self, best: Sequence[int]) -> None:
        """Let the best learn training and validation part, each for as long as was best."""
        before = self._encoder, self._trainer, self._shelf
        training = joined(
            [self._parts.training, self._parts.validation], self._parts.training.schema
        )
        chosen = [self.contestants[slot] for slot in best]
        if not self.settings.is_gophers:
            chosen = [replace(one, settings=self._scheduled(one, len(training))) for one in chosen]
        epochs = [int(self.winners.epochs[slot]) for slot in best]
        self._encoder = await to_thread.run_sync(self._fitted, training)
        self._trainer = self._trainer_of(chosen)
        finishers = Finishers(self._trainer.population, epochs)
        self.chooser, self.epochs, self.refitting = finishers, max(epochs), True
        await self._flow(training, None)
        self._shelf = finishers.shelf
        finite = self._finite(range(len(best)))
        if self.stopped or not finite:  # what was chosen before stands
            self._encoder, self._trainer, self._shelf = before
            self.refitting = False
            return
        self._slots = finite
        self.members = tuple(best[slot] for slot in finite)

    def stop(self) -> None:
        """Learn no more."""
        self.stopped = True
        if self._reader is not None:
            self._reader.stop()

    def model(self) -> Model:
        """The best together, or the winner alone."""
        self._shelf.put_back()
        count = len(self._slots)
        together = averaging(self.task, count) if count > 1 else None
        emission = Emission(self._slots[0], self._slots, together)
        snapshot = self._trainer.snapshot(emission, self._encoder.snapshot())
        about = {
            "candidate": self.members[0],
            "samples": len(self._parts.training),
            "seed": self.settings.seed,
            "target": self._parts.training.schema.target,
        }
        return model_of(snapshot, about)

    def _finite(self, slots: Sequence[int]) -> tuple[int, ...]:
        """Of these, those that are finite as they were at their best."""
        self._shelf.put_back()
        population = self._trainer.population
        population.healthy[:] = 1  # whatever became of them later on
        finite = population.finite_slots()
        return tuple(slot for slot in slots if slot in finite)

    def _scheduled(self, one: Contestant, samples: int) -> CandidateSettings:
        return scheduled(one.settings, self.settings.half_life, samples)

    def _fitted(self, training: Block, held_out: Block | None = None) -> FittedEncoder:
        encoder = Encoder(task=self.task, **self.settings.encoder)
        check_transforms([self.settings.template().suited_to(self.task)], encoder)
        return FittedEncoder(encoder, training, held_out)

    def _trainer_of(self, contestants: Sequence[Contestant]) -> Trainer:
        return Trainer(
            [one.settings for one in contestants],
            task=self.task,
            seed=self.settings.seed,
            dtype=self.settings.dtype,
            serials=[one.attempt for one in contestants],
            keeps_weights=True,
        )

    async def _flow(self, training: Block, held_out: Block | None) -> None:
        source = Epochs(
            training,
            held_out,
            epochs=self.epochs,
            shuffled=self.settings.order == "random",
            seed=self.settings.seed,
            iterations=self.settings.iterations,
        )
        cutter = EpochCutter(block_size=BLOCK, held_out=held_out is not None)
        self._reader = Reader(source, cutter)
        if self.stopped:
            return
        evaluator = HoldoutEvaluator(
            self.task,
            len(self._encoder.labels),
            threshold=self.settings.regression_threshold,
        )
        await flow(
            self._reader,
            self._encoder,
            self._trainer,
            evaluator,
            self.chooser,
            threads=self.settings.threads,
        )


def _contestants(settings: EngineSettings, samples: int) -> list[Contestant]:
    rates, tries = settings.rates(), settings.tries
    if settings.is_gophers:
        steps = settings.epochs * samples
        return falling_contestants_of(settings.template(), rates, tries, steps)
    return contestants_of(scheduled(settings.template(), settings.half_life, samples), rates, tries)
