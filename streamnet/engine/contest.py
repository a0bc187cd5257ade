"""The contest: trains all candidates against each other, then optionally refits the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from anyio import to_thread

from streamnet.engine.data import DataSplit, EpochCutter, Epochs, FittedEncoder
from streamnet.engine.holdout import (
    BestEpochs,
    FixedEpochs,
    HoldoutEvaluator,
    Improvement,
)
from streamnet.errors import ConfigurationError, NoCandidateError
from streamnet.features.encoder import Encoder
from streamnet.learning.learner import build_model, check_transforms
from streamnet.learning.trainer import Trainer
from streamnet.modelfiles.model import Model
from streamnet.pipeline.concurrency import raise_cause
from streamnet.pipeline.reader import Reader
from streamnet.pipeline.recorder import discard
from streamnet.pipeline.rejections import RejectionLimit
from streamnet.pipeline.stages import BlockServer, Encode, Evaluate, Serve, Stage, run_stages
from streamnet.pipeline.training_stage import Train
from streamnet.samples import Block, Task, concatenate_blocks
from streamnet.selection.criteria import Criterion
from streamnet.selection.decisions import ModelComposition
from streamnet.selection.ensemble.registry import build_averaging_state
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.engine import EngineSettings

__all__ = (
    "MAX_CANDIDATES",
    "Contest",
    "Contestant",
    "build_contestants",
    "build_decaying_contestants",
    "flow",
    "with_half_life",
)


MAX_CANDIDATES = 10_000


@final
@dataclass(frozen=True)
class Contestant:
    """A candidate, and from which start weights it sets out.

    >>> Contestant(CandidateSettings(hidden=(8,), optimizer="sgd"), 2).describe()
    'try 3: tanh 8, sgd 0.01'
    """

    settings: CandidateSettings
    attempt: int  # number of the try: equal ones have equal start weights

    def describe(self) -> str:
        """A few words for a leader board."""
        return f"try {self.attempt + 1}: {self.settings.describe()}"


def build_contestants(
    template: CandidateSettings, rates: Sequence[float], tries: int
) -> list[Contestant]:
    """Each try with each rate: the tries start anew, the rates of a try from the same weights.

    Raises:
        ConfigurationError: If there is no try, or there are too many candidates.
    """
    if tries < 1:
        raise ConfigurationError(f"tries is {tries}, but must be >= 1")
    if tries * len(rates) > MAX_CANDIDATES:
        raise ConfigurationError(
            f"tries is {tries} with {len(rates):,} rates each, but must make <= "
            f"{MAX_CANDIDATES:,} candidates"
        )
    return [
        Contestant(replace(template, learning_rate=rate), attempt)
        for attempt in range(tries)
        for rate in rates
    ]


def build_decaying_contestants(
    template: CandidateSettings, rates: Sequence[float], tries: int, steps: int
) -> list[Contestant]:
    """Each try once: its rate falls from the first to the last of ``rates``, which are even steps.

    Args:
        template: Everything but rate and schedule.
        rates: As `rates_of` gives them.
        tries: How many.
        steps: Samples that are learned at each rate.
    """
    decay = rates[0] - rates[1] if len(rates) > 1 else 0.0
    batches = max(1, steps // template.batch_size)
    falling = replace(template, schedule="linear", decay=decay, decay_steps=batches)
    return build_contestants(falling, rates[:1], tries)


def with_half_life(
    settings: CandidateSettings, half_life: float, samples: int
) -> CandidateSettings:
    """The settings with a rate that is halved after ``half_life`` epochs, a third after two, ...

    Args:
        settings: Of a candidate.
        half_life: In epochs; 0 leaves the rate as it is.
        samples: Of an epoch.

    >>> with_half_life(CandidateSettings(), 5, 200).decay
    0.001
    """
    if not half_life:
        return settings
    steps = half_life * samples / settings.batch_size
    return replace(settings, schedule="inverse", decay=1.0 / steps)


async def flow(
    reader: Reader,
    encoder: FittedEncoder,
    trainer: Trainer,
    evaluator: HoldoutEvaluator,
    chooser: BlockServer,
    *,
    threads: int,
) -> None:
    """Let all candidates learn what the reader gives, until it ends or is stopped.

    Training goes on while the epoch before is judged: at most two epochs ahead, since the trainer
    waits for what was decided on the epoch before the last.

    Raises:
        StreamnetError: If a part fails.
    """
    await reader.open()
    train = Train(trainer, threads)
    stages: list[Stage[Any]] = [
        Encode(encoder, reader, RejectionLimit(share=0.0, window=1)),  # all was readable before
        train,
        Evaluate(evaluator),
        Serve(chooser, train.decide),
    ]
    try:
        await run_stages(reader.read, stages, discard)
    except BaseExceptionGroup as group:
        raise_cause(group)


BLOCK_SIZE = 1024  # most samples that travel together


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
        parts: DataSplit,
        criterion: Criterion,
        settings: EngineSettings,
        heard: Callable[[Improvement], None],
    ) -> None:
        self.task = task
        self.criterion = criterion
        self.settings = settings
        self.refitting = False
        self.stopped = False
        self.contestants = _enter_contestants(settings, len(parts.training))
        self.epochs = settings.epochs * (len(settings.rates()) if settings.follows_gopher else 1)
        self._parts = parts
        self._reader: Reader | None = None
        self._encoder = self._fitted(parts.training, parts.validation)
        self._trainer = self._build_trainer(self.contestants)
        self.winners = BestEpochs(self._trainer.population, criterion, heard)
        self.chooser: BestEpochs | FixedEpochs = self.winners
        self._saved_weights = self.winners.shelf
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
            raise NoCandidateError(self._explain_no_candidate())
        self.members = self._slots = self._finite(best)
        if not self.members:
            raise NoCandidateError("no network was finite at its best")
        if self.settings.refits and not self.stopped:
            await self._refit(self.members)

    def _explain_no_candidate(self) -> str:
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
        before = self._encoder, self._trainer, self._saved_weights
        training = concatenate_blocks(
            [self._parts.training, self._parts.validation], self._parts.training.schema
        )
        chosen = [self.contestants[slot] for slot in best]
        if not self.settings.follows_gopher:
            chosen = [replace(one, settings=self._scheduled(one, len(training))) for one in chosen]
        epochs = [int(self.winners.epochs[slot]) for slot in best]
        self._encoder = await to_thread.run_sync(self._fitted, training)
        self._trainer = self._build_trainer(chosen)
        finishers = FixedEpochs(self._trainer.population, epochs)
        self.chooser, self.epochs, self.refitting = finishers, max(epochs), True
        await self._flow(training, None)
        self._saved_weights = finishers.shelf
        finite = self._finite(range(len(best)))
        if self.stopped or not finite:  # what was chosen before stands
            self._encoder, self._trainer, self._saved_weights = before
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
        self._saved_weights.restore_weights()
        count = len(self._slots)
        together = build_averaging_state(self.task, count) if count > 1 else None
        emission = ModelComposition(self._slots[0], self._slots, together)
        snapshot = self._trainer.snapshot(emission, self._encoder.snapshot())
        about = {
            "candidate": self.members[0],
            "samples": len(self._parts.training),
            "seed": self.settings.seed,
            "target": self._parts.training.schema.target,
        }
        return build_model(snapshot, about)

    def _finite(self, slots: Sequence[int]) -> tuple[int, ...]:
        """Of these, those that are finite as they were at their best."""
        self._saved_weights.restore_weights()
        population = self._trainer.population
        population.healthy[:] = 1  # whatever became of them later on
        finite = population.find_finite_slots()
        return tuple(slot for slot in slots if slot in finite)

    def _scheduled(self, one: Contestant, samples: int) -> CandidateSettings:
        return with_half_life(one.settings, self.settings.half_life, samples)

    def _fitted(self, training: Block, held_out: Block | None = None) -> FittedEncoder:
        encoder = Encoder(task=self.task, **self.settings.encoder)
        check_transforms([self.settings.template().for_task(self.task)], encoder)
        return FittedEncoder(encoder, training, held_out)

    def _build_trainer(self, contestants: Sequence[Contestant]) -> Trainer:
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
        cutter = EpochCutter(block_size=BLOCK_SIZE, held_out=held_out is not None)
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


def _enter_contestants(settings: EngineSettings, samples: int) -> list[Contestant]:
    rates, tries = settings.rates(), settings.tries
    if settings.follows_gopher:
        steps = settings.epochs * samples
        return build_decaying_contestants(settings.template(), rates, tries, steps)
    return build_contestants(
        with_half_life(settings.template(), settings.half_life, samples), rates, tries
    )
