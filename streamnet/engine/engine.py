"""The engine: trains on a data set for several epochs and returns the best networks as a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple, final

from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from streamnet.engine.contest import Contest
from streamnet.engine.data import Data, DataSplit, read_data, split_data
from streamnet.engine.holdout import Improvement
from streamnet.engine.report import AnyEvaluation, build_report, evaluate_model
from streamnet.errors import ConfigurationError, NoCandidateError
from streamnet.learning.validation import check_settings
from streamnet.learning.warmup import warm_up
from streamnet.modelfiles.model import Model
from streamnet.pipeline.concurrency import run_abandonable
from streamnet.samples import DeadLetter, Kind, Task
from streamnet.selection.criteria import find_criterion
from streamnet.settings.engine import EngineSettings
from streamnet.sources import Columns
from streamnet.sources.inference import MISSING

__all__ = ("Engine", "EngineProgress", "Trained")


class Trained(NamedTuple):
    """What an engine leaves."""

    model: Model
    evaluation: AnyEvaluation  # of the model on the test part; with protocol gopher on validation
    report: dict[str, Any]


class EngineProgress(NamedTuple):
    """Where an engine stands."""

    epoch: int  # how many were judged
    epochs: int
    candidates: int
    best: Improvement | None
    refitting: bool
    seconds: float  # since learning began


@final
class Engine:
    """Finds the network that answers best what it has not learned.

    All tries with all rates learn at the same time, as one population, in the stages and channels
    of the pipeline. After each epoch they answer the validation part. The best of them, each as it
    was at its best, make the model; the test part, which had no say in that, tells how good it is.

    Args:
        task: Classification or regression; None lets the target's values tell it.
        heard: Called with each improvement, in a worker thread or in the event loop.
        settings: See `EngineSettings`.

    Attributes:
        rejected: Records that could not be read.

    Raises:
        ConfigurationError: If a setting is unknown or breaks its rule.

    >>> from streamnet.datasets import Sample, Set
    >>> rows = Set("classification", columns=("x", "y"))
    >>> for i in range(200):
    ...     rows.add(Sample([i % 10, i % 7], label="more" if i % 10 > i % 7 else "less"))
    >>> trained = Engine(seed=1, epochs=40, tries=2).fit(rows)
    >>> trained.evaluation.measures()["accuracy"] > 0.9
    True
    >>> trained.model.predict({"x": 9, "y": 1}).tolist()
    ['more']
    """

    def __init__(
        self,
        task: Task | str | None = None,
        *,
        heard: Callable[[Improvement], None] | None = None,
        **settings: Any,
    ) -> None:
        check_settings(settings, Engine, EngineSettings)
        self.settings = EngineSettings(**settings)
        self.task = None if task is None else Task(task)
        find_criterion(self.settings.criterion, self.task)
        if self.task is not None:
            self.settings.template().for_task(self.task)
        self.rejected: tuple[DeadLetter, ...] = ()
        self.trained: Trained | None = None
        self._heard = heard
        self._contest: Contest | None = None
        self._stopped = False
        self._started = 0.0

    def fit(self, data: Data, **reading: Any) -> Trained:
        """Learn ``data``; see `run`, for which this waits in a thread with its own event loop."""
        with start_blocking_portal() as portal:
            trained: Trained = portal.call(partial(self.run, data, **reading))
        return trained

    async def run(
        self,
        data: Data,
        *,
        target: str | None = None,
        drop: Sequence[str] = (),
        kinds: Mapping[str, Kind] | None = None,
        missing: Sequence[str] = MISSING,
        **shape: Any,
    ) -> Trained:
        """Learn a set, blocks, or files.

        Args:
            data: What to learn.
            target: Column of files to predict, by name or number; None is the last one.
            drop: Columns of files to leave out.
            kinds: What columns of files are, where their values would tell it wrongly.
            missing: Texts in files that stand for a missing value.
            shape: Of files: format, delimiter, header, ..., see `open_files`.

        Raises:
            DataError: If a file can't be read, or nothing in it can be learned.
            ConfigurationError: If a part would be empty, or criterion, loss or output are not for
                the task.
            NoCandidateError: If it was stopped before the first epoch was judged, or no network
                stayed finite.
        """
        begun = perf_counter()
        columns = Columns(
            target=target,
            task=self.task,
            drop=tuple(drop),
            kinds=dict(kinds or {}),
            missing=tuple(missing),
        )
        block, self.rejected = await read_data(data, columns, **shape)
        task = block.schema.task
        assert task is not None
        if self.task not in (None, task):
            raise ConfigurationError(f"task is '{self.task}', but that of the data is '{task}'")
        judge = find_criterion(self.settings.criterion, task)
        self.settings.template().for_task(task)
        parts = split_data(block, self.settings)
        await run_abandonable(partial(warm_up, task, self.settings.dtype))
        self._started = perf_counter()
        self._contest = Contest(task, parts, judge, self.settings, self._heard or _ignore)
        if self._stopped:
            self._contest.stop()
        await self._contest.run()
        model = await to_thread.run_sync(self._contest.model)
        times = self._started - begun, perf_counter() - self._started
        self.trained = await to_thread.run_sync(self._result, model, parts, self._contest, times)
        return self.trained

    def stop(self) -> None:
        """Learn no more; the best so far is kept. To be called in the event loop."""
        self._stopped = True
        if self._contest is not None:
            self._contest.stop()

    @property
    def winner(self) -> Model:
        """The model that came out.

        Raises:
            NoCandidateError: If nothing was learned yet.
        """
        return self._done.model

    @property
    def evaluation(self) -> AnyEvaluation:
        """How good the winner is.

        Raises:
            NoCandidateError: If nothing was learned yet.
        """
        return self._done.evaluation

    @property
    def history(self) -> tuple[Improvement, ...]:
        """All improvements so far."""
        return () if self._contest is None else tuple(self._contest.winners.history)

    def describe(self, candidate: int) -> str:
        """A few words about a candidate that an improvement names."""
        assert self._contest is not None
        return self._contest.contestants[candidate].describe()

    def progress(self) -> EngineProgress | None:
        """Where it stands; None before learning begins."""
        contest = self._contest
        if contest is None:
            return None
        history = contest.winners.history
        return EngineProgress(
            epoch=contest.chooser.epoch,
            epochs=contest.epochs,
            candidates=len(contest.contestants),
            best=history[-1] if history else None,
            refitting=contest.refitting,
            seconds=perf_counter() - self._started,
        )

    @property
    def _done(self) -> Trained:
        if self.trained is None:
            raise NoCandidateError("nothing was learned yet")
        return self.trained

    def _result(
        self, model: Model, parts: DataSplit, contest: Contest, times: tuple[float, float]
    ) -> Trained:
        evaluation = evaluate_model(model, parts.reported, self.settings.regression_threshold)
        report = build_report(contest, parts, evaluation, len(self.rejected), times)
        return Trained(model, evaluation, report)


def _ignore(_: Improvement) -> None:
    """Nobody wants to hear of improvements."""
