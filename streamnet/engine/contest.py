"""The contest: trains all candidates against each other, then optionally refits the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

from anyio import to_thread

from streamnet.engine.data import DataSplit, EpochCutter, Epochs, FittedEncoder
from streamnet.engine.holdout import (
    BestEpochs,
    EpochTracker,
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
from streamnet.pipeline.stages import Encode, Evaluate, Serve, Stage, Train, run_stages
from streamnet.samples import Block, Task, concatenate_blocks
from streamnet.selection.champion import ModelComposition
from streamnet.selection.criteria import Criterion
from streamnet.selection.ensemble.registry import build_averaging_state
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.engine import EngineSettings

MAX_CANDIDATES = 10_000


@final
@dataclass(frozen=True)
class Contestant:
    """A candidate and its initial weights.

    >>> Contestant(CandidateSettings(hidden=(8,), optimizer="sgd"), 2).describe()
    'try 3: tanh 8, sgd 0.01'
    """

    settings: CandidateSettings
    attempt: int  # candidates of one try have the same initial weights

    def describe(self) -> str:
        """Describe the candidate for a leader board."""
        return f"try {self.attempt + 1}: {self.settings.describe()}"


def build_contestants(settings: EngineSettings, samples: int) -> list[Contestant]:
    """Combine each try with each learning rate; a try has its own initial weights.

    As in gopher-neural, a try has one contestant, whose rate falls linearly over all rates.

    Raises:
        ConfigurationError: If there are too many candidates.
    """
    template, rates, tries = settings.template(), settings.rates(), settings.tries
    if settings.follows_gopher:
        decay = rates[0] - rates[1] if len(rates) > 1 else 0.0
        batches = max(1, settings.epochs * samples // template.batch_size)
        template = replace(template, schedule="linear", decay=decay, decay_steps=batches)
        rates = rates[:1]
    else:
        template = with_half_life(template, settings.half_life, samples)
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


def with_half_life(
    settings: CandidateSettings, half_life: float, samples: int
) -> CandidateSettings:
    """Add an inverse schedule: half the learning rate after ``half_life`` epochs, then a third.

    A ``half_life`` of 0 keeps the rate constant; ``samples`` are those of an epoch.

    >>> with_half_life(CandidateSettings(), 5, 200).decay
    0.001
    """
    if not half_life:
        return settings
    steps = half_life * samples / settings.batch_size
    return replace(settings, schedule="inverse", decay=1.0 / steps)


BLOCK_SIZE = 1024  # samples


@final
class Contest:
    """Trains candidates on the training part and compares them on the validation part."""

    def __init__(
        self,
        task: Task,
        parts: DataSplit,
        criterion: Criterion,
        settings: EngineSettings,
        on_improvement: Callable[[Improvement], None] | None,
    ) -> None:
        self.task: Task = task
        self.criterion: Criterion = criterion
        self.settings: EngineSettings = settings
        self.refitting: bool = False  # whether the best candidates are being refitted
        self.stopped: bool = False
        self.contestants: list[Contestant] = build_contestants(settings, len(parts.training))
        passes = len(settings.rates()) if settings.follows_gopher else 1
        self.epochs: int = settings.epochs * passes  # planned
        self._parts = parts
        self._reader: Reader | None = None
        self._encoder = self._fitted(parts.training, parts.validation)
        self._trainer = self._build_trainer(self.contestants)
        self.best_epochs: BestEpochs = BestEpochs(
            self._trainer.population, criterion, on_improvement
        )
        self.epoch_tracker: EpochTracker = self.best_epochs  # or fixed ones while refitting
        self.members: tuple[int, ...] = ()  # contestants of the final ensemble, the best first
        self._slots: tuple[int, ...] = ()  # where the trainer has these

    async def run(self) -> None:
        """Train for all epochs, then refit if the settings say so.

        Raises:
            NoCandidateError: If no candidate was ever ranked.
        """
        await self._flow(self._parts.training, self._parts.validation)
        best = self.best_epochs.ranking()[: self.settings.ensemble_size]
        if not best:
            raise NoCandidateError(self._explain_no_candidate())
        self.members = self._slots = self._finite(best)
        if not self.members:
            raise NoCandidateError("no network was finite at its best")
        if self.settings.refits and not self.stopped:
            await self._refit(self.members)

    def _explain_no_candidate(self) -> str:
        if self.stopped:
            return "it was stopped before an epoch was scored"
        rates = self.settings.rates()
        return (
            f"no network stayed finite: learning_rate is {rates[0]:g}, which is too large for "
            f"{self.settings.template().describe()}; a smaller one, or activation 'tanh' or "
            "'logistic', may do"
        )

    async def _refit(self, best: Sequence[int]) -> None:
        """Retrain the best on training and validation part, each for its best number of epochs."""
        before = self._encoder, self._trainer, self.epoch_tracker, self.epochs
        training = concatenate_blocks(
            [self._parts.training, self._parts.validation], self._parts.training.schema
        )
        chosen = [self.contestants[slot] for slot in best]
        if not self.settings.follows_gopher:
            fade = partial(with_half_life, half_life=self.settings.half_life, samples=len(training))
            chosen = [replace(one, settings=fade(one.settings)) for one in chosen]
        epochs = [int(self.best_epochs.epochs[slot]) for slot in best]
        self._encoder = await to_thread.run_sync(self._fitted, training)
        self._trainer = self._build_trainer(chosen)
        self.epoch_tracker = FixedEpochs(self._trainer.population, epochs)
        self.epochs, self.refitting = max(epochs), True
        await self._flow(training, None)
        finite = self._finite(range(len(best)))
        if self.stopped or not finite:  # keep the earlier choice
            self._encoder, self._trainer, self.epoch_tracker, self.epochs = before
            self.refitting = False
            return
        self._slots = finite
        self.members = tuple(best[slot] for slot in finite)

    def stop(self) -> None:
        """Stop training."""
        self.stopped = True
        if self._reader is not None:
            self._reader.stop()

    def model(self, weight: str | None = None) -> Model:
        """Build the model: the ensemble of the best, or the winner alone."""
        self.epoch_tracker.restore_weights()
        count = len(self._slots)
        ensemble = build_averaging_state(self.task, count) if count > 1 else None
        composition = ModelComposition(self._slots[0], self._slots, ensemble)
        snapshot = self._trainer.snapshot(composition, self._encoder.snapshot())
        about = {
            "candidate": self.members[0],
            "samples": len(self._parts.training),
            "seed": self.settings.seed,
            "target": self._parts.training.schema.target,
            **({} if weight is None else {"weight": weight}),
        }
        return build_model(snapshot, about)

    def _finite(self, slots: Sequence[int]) -> tuple[int, ...]:
        """Return the slots whose saved weights are finite."""
        self.epoch_tracker.restore_weights()
        population = self._trainer.population
        population.healthy[:] = 1  # regardless of later epochs
        finite = population.find_finite_slots()
        return tuple(slot for slot in slots if slot in finite)

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
        """Train all candidates for all epochs, or until stopped.

        Training runs at most two epochs ahead of scoring, since the trainer waits for the decision
        on the epoch before the last.
        """
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
            self.task, len(self._encoder.labels), threshold=self.settings.regression_threshold
        )
        await self._reader.open()
        train = Train(self._trainer, self.settings.threads)
        unlimited = RejectionLimit(share=0.0, window=1)  # all was readable before
        stages: list[Stage[Any]] = [
            Encode(self._encoder, self._reader, unlimited),
            train,
            Evaluate(evaluator),
            Serve(self.epoch_tracker, train.decide),
        ]
        try:
            await run_stages(self._reader.read, stages, discard)
        except BaseExceptionGroup as group:
            raise_cause(group)
