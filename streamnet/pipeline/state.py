"""The state of a run: what is kept, when, and whether a run may resume from it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from math import inf
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, final

from streamnet.durability.budget import Budget
from streamnet.durability.checkpoint import StateDict
from streamnet.durability.files import DISK, FileSystem
from streamnet.durability.provenance import describe_differences, root_lineage
from streamnet.durability.state_directory import MIN_GENERATIONS, StateDirectory
from streamnet.errors import ConfigurationError, StateError
from streamnet.features.autoencoder import AutoEncoderSettings
from streamnet.features.encoder import Encoder
from streamnet.jit import numerics
from streamnet.learning.label_delay import LabelDelay
from streamnet.learning.learner import Learner, list_row_files
from streamnet.modelfiles.model import Model
from streamnet.pipeline.control_messages import Barrier, JoinedBarrier, list_part_trees
from streamnet.pipeline.outputs import Champion, EmittedModel, ModelQueue
from streamnet.selection.search import Evolution, default_population
from streamnet.settings.candidate import CandidateSettings
from streamnet.version import __version__


def _read_defaults(part: type, *others: str) -> dict[str, Any]:
    """The defaults of a part's settings, but for ``others``, which are no settings of a run."""
    return {
        name: parameter.default
        for name, parameter in signature(part).parameters.items()
        if parameter.default is not Parameter.empty and name not in others
    }


_LEARNER = _read_defaults(Learner, "forecasts", "guests")
_ENCODER = _read_defaults(Encoder, "lags", "delayed", "season", "seasonal_lags")
_EVOLUTION = _read_defaults(Evolution, "seed", "balanced")


def build_identity(
    *,
    candidates: Sequence[CandidateSettings] | None,
    start: Model | None,
    encoder: dict[str, Any] | None = None,
    evolution: dict[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """The settings of a pipeline in full, as plain values; see `Learner` for the defaults."""
    delayed = LabelDelay.build_all(**{**_LEARNER, **others}) != [None]
    keyed = bool(others.get("key"))
    effort = others.get("effort", 1.0)
    chosen = candidates or default_population(
        encoder=encoder, delayed=delayed, keyed=keyed, effort=effort
    )
    if evolution is None:
        evolution = {} if candidates is None and start is None else {"every": 0}
    identity = {
        "effort": None,  # the first of the differences: candidates and trees follow from it
        **_LEARNER,
        "candidates": [settings.as_dict() for settings in chosen],
        "start": None if start is None else start.document()["checksum"],
        "encoder": encoder,
        "evolution": {**_EVOLUTION, **evolution},
        **others,
    }
    if effort == 1.0:  # like an absent one, as in states from before there was an effort
        identity["effort"] = None
    if start is None:
        identity["encoder"] = _fill_encoder(encoder or {}, seed=identity["seed"])
    return identity


def _fill_encoder(encoder: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    full = {**_ENCODER, **encoder}
    if full["autoencoder"] is not None:
        own = AutoEncoderSettings.from_dict({"seed": seed, **full["autoencoder"]})
        full["autoencoder"] = own.as_dict()
    return full


def describe_changes(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Phrases on the settings of a run that differ from the saved ones.

    Before the source is opened, ``now`` is without what follows from it.

    >>> saved = build_identity(candidates=None, start=None, seed=1)
    >>> describe_changes(saved, {**saved, "alpha": 0.5})
    ['alpha is 0.5, but was 0.05']
    """
    known = {name: value for name, value in saved.items() if name in now}
    return describe_differences(_relax_drift(known, now), now)


def _relax_drift(saved: dict[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The saved settings, in which "stop" on schema drift may have been any other reaction.

    Such a run ended before the first drift, so it would have learned the same with another one.
    """
    drift = saved.get("source", {}).get("drift")
    if not drift:
        return saved
    here = now["source"]["drift"] or {}
    relaxed = {name: here.get(name) if way == "stop" else way for name, way in drift.items()}
    return {**saved, "source": {**saved["source"], "drift": relaxed}}


_RUNS_AT_A_TIME = 16  # that a full budget is for, before the sizes of checkpoints are known
_BUSY_SECONDS = 0.25  # between checks whether the pending checkpoint was written
_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 1.0, 60.0  # seconds between retries


@final
class Cadence:
    """Decides when the next checkpoint is due; at most one is pending at a time.

    It is after so many samples, or so many seconds if there is news; None is no limit. Rejected
    records count as news as well, since files that hold them wait for a checkpoint. While a
    ``budget`` of bytes, which runs share, is overdrawn, none is due.

    >>> cadence = Cadence(every_samples=100, every_seconds=None)
    >>> cadence.due(99, 120), cadence.due(100, 121)
    (False, True)
    """

    def __init__(
        self,
        *,
        every_samples: int | None,
        every_seconds: float | None,
        budget: Budget | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.size: int = 0  # bytes of the last checkpoint
        self._budget = budget
        self.every_samples: float = inf
        self.every_seconds: float = inf
        self.change(every_samples=every_samples, every_seconds=every_seconds)
        self.failures: int = 0  # in a row
        self._clock = clock
        self._busy = False
        self._charged = 0  # bytes, for the pending one
        self._number = self._records = 0
        self._time = clock()
        self._not_before = -inf
        self._overdue = False  # since the last one failed
        self._asked = False

    def change(self, *, every_samples: int | None, every_seconds: float | None) -> None:
        """Change the intervals."""
        if every_samples is not None and every_samples < 1:
            raise ConfigurationError(f"every_samples is {every_samples}, but must be >= 1")
        if every_seconds is not None and not every_seconds > 0:
            raise ConfigurationError(f"every_seconds is {every_seconds}, but must be > 0")
        self.every_samples = inf if every_samples is None else every_samples
        self.every_seconds = inf if every_seconds is None else every_seconds

    def resume_at(self, number: int, records: int) -> None:
        """Count from a durable checkpoint after so many samples, and records in all."""
        self._number, self._records = number, records
        self._time = self._clock()

    def ask(self) -> None:
        """Make a checkpoint due at once, even if nothing is new."""
        self._asked = True

    def due(self, number: int, records: int) -> bool:
        """Whether a checkpoint is due after so many samples, and records in all."""
        if self._busy or self._budget_seconds() > 0:
            return False
        if not self._overdue and number - self._number >= self.every_samples:
            return True
        return self.seconds_left(records) <= 0

    def seconds_left(self, records: int) -> float:
        """Seconds until a checkpoint may be due, even if no further record arrives."""
        if self._busy:
            return _BUSY_SECONDS  # if it fails, another one is due
        return max(self._time_left(records), self._budget_seconds())

    def _budget_seconds(self) -> float:
        return 0.0 if self._budget is None else self._budget.seconds_left()

    def _time_left(self, records: int) -> float:
        if self._overdue:
            return self._not_before - self._clock()
        if self._asked:
            return 0.0
        if records == self._records:
            return inf
        return self._time + self.every_seconds - self._clock()

    def cut(self, number: int, records: int) -> None:
        """Note that a checkpoint is pending after so many samples, and records in all."""
        self._busy = True
        self._charged = self.size  # as far as is known; see `written`
        if self._budget is not None:
            # Rather too much: otherwise many runs whose checkpoints grow would all find the budget
            # positive before one of them is charged.
            self._charged = max(self.size, int(self._budget.most / _RUNS_AT_A_TIME))
            self._budget.spend(self._charged)
        self._overdue = self._asked = False
        self._number, self._records = number, records
        self._time = self._clock()

    def written(self, size: int) -> None:
        """Note how many bytes a checkpoint has; the budget is charged these, not the guess."""
        if self._budget is not None and self._busy:
            self._budget.spend(size - self._charged)
        self.size = size

    def done(self, *, failed: bool) -> None:
        """Note that the pending checkpoint was written, or failed and is to be retried."""
        self._busy = False
        self.failures = self.failures + 1 if failed else 0
        self._overdue = failed
        if failed:
            wait = _MIN_RETRY_SECONDS * 2.0 ** min(self.failures - 1, 10)
            self._not_before = self._clock() + min(wait, _MAX_RETRY_SECONDS)


logger: logging.Logger = logging.getLogger("streamnet.durability")

CHECKPOINT_SECONDS = 10.0
KEPT_MODELS = 8
_FINAL_ATTEMPTS = 4  # to write the last checkpoint of a run
_FINAL_RETRY_SECONDS = 0.5  # between two attempts


class StateStatistics(NamedTuple):
    """The condition of a run's state on disk."""

    generation: int | None  # newest durable checkpoint
    samples: int  # read before it
    failures: int  # consecutive failed attempts since
    error: str  # of the last attempt, empty if it succeeded
    unpublished: int  # models that wait to be written
    records: int  # good and rejected ones, read before the checkpoint
    offset: int | None  # in the source, of what follows the checkpoint


@final
class State:
    """The state directory of a pipeline, from which it resumes bit for bit.

    A pipeline with the same settings and source that resumes from the state of one that was stopped
    or killed at any instant produces the same bits as an uninterrupted one. Writing runs in
    parallel to learning. A full or failing disk does not stop a run; writes are retried with the
    state of that time.

    Args:
        folder: The state directory; created if absent.
        every_samples: Samples between two checkpoints.
        every_seconds: Seconds between two checkpoints.
        generations: Number of checkpoints to keep, at least 3.
        models: Number of emitted models to keep.
        resume: Whether to resume from an existing state; otherwise it is an error.
        identity: More settings, besides the pipeline's own, that must match on resume.
        files: The file system.
        budget: Bytes of checkpoints, shared with other runs; while it is overdrawn, only the first
            and the last checkpoint of a run are written.
        clock: A monotonic clock, in seconds.

    Raises:
        ConfigurationError: If a number is out of range.

    >>> import anyio, tempfile
    >>> from streamnet.pipeline.pipeline import Pipeline
    >>> from streamnet.sources import IterableSource
    >>> folder = tempfile.mkdtemp()
    >>> def learned(n):
    ...     rows = ({"x": i % 2, "y": "ab"[i % 2]} for i in range(n))
    ...     state = State(folder)
    ...     pipeline = Pipeline(IterableSource(rows, target="y"), state=state)
    ...     return anyio.run(pipeline.run).report["learned"], state.statistics().generation
    >>> learned(2000), learned(3000)
    ((2000, 1), (3000, 2))
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every_samples: int | None = None,
        every_seconds: float | None = CHECKPOINT_SECONDS,
        generations: int = MIN_GENERATIONS,
        models: int = KEPT_MODELS,
        resume: bool = True,
        identity: dict[str, Any] | None = None,
        files: FileSystem = DISK,
        budget: Budget | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.folder: StateDirectory = StateDirectory(
            Path(folder), generations=generations, models=models, files=files
        )
        self.cadence: Cadence = Cadence(
            every_samples=every_samples, every_seconds=every_seconds, budget=budget, clock=clock
        )
        self.resume = resume
        self.on_saved: Callable[[Mapping[str, Any]], object] | None = None
        """Called with the state of the source after each checkpoint."""
        self.queues: dict[str, ModelQueue] = {"": ModelQueue(self.folder.publisher, clock)}
        self.lineage: Any = ""
        self.identity: dict[str, Any] = identity or {}
        self._about: StateDict = {}
        self._clock = clock
        self._generation: int | None = None
        self._samples = self._records = 0
        self._offset: int | None = None
        self._error = ""

    @property
    def name(self) -> str:
        """Name of the state directory in messages."""
        return self.folder.files.describe(self.folder.path)

    # ------------------------------------------------------------- lifetime

    def split(self, slugs: Mapping[str, str]) -> None:
        """Keep models for each part of a run by name; ``slugs`` are their names in file names."""
        self.folder.split(slugs)
        self.queues = {
            name: ModelQueue(publisher, self._clock)
            for name, publisher in self.folder.publishers.items()
        }

    def open(self) -> StateDict | None:
        """Lock the directory and load the newest checkpoint; None for a new run."""
        self.folder.open()
        try:
            return self._load()
        except BaseException:
            self.folder.close()
            raise

    def _load(self) -> StateDict | None:
        loaded = self.folder.generations.newest()
        if loaded is None:
            return None
        if not self.resume:
            raise StateError(
                f"state {self.name} holds an earlier run; --resume, or resume=True in "
                "Python, resumes it"
            )
        for sentence in loaded.damaged:
            logger.warning("%s; going on from generation %d", sentence, loaded.number)
        self._generation = loaded.number
        self._note_reading(loaded.tree["reading"])
        return loaded.tree

    def _note_reading(self, reading: Mapping[str, Any]) -> None:
        """Note how much was read before a checkpoint."""
        self._samples, self._records = int(reading["number"]), int(reading["records"])
        self._offset = None if reading["position"] is None else int(reading["position"][1])

    def close(self) -> None:
        """Unlock the directory."""
        self.folder.close()

    def check(self, identity: dict[str, Any], saved: StateDict) -> None:
        """Raise a StateError if settings that are known so far differ from the saved ones."""
        changed = describe_changes(saved["identity"], {**identity, **self.identity})
        if changed:
            raise StateError(
                f"the state in {self.name} can't be resumed: {'; '.join(changed[:10])}"
            )

    def begin(
        self, identity: dict[str, Any], settings: dict[str, Any], saved: StateDict | None
    ) -> None:
        """Set the identity of the run, and `check` it if it resumes."""
        identity = {**identity, **self.identity}
        self._about = {"identity": identity, "settings": settings, "numerics": numerics()}
        if saved is None:
            self.lineage = root_lineage(identity)
            return
        self.check(identity, saved)
        for sentence in describe_differences(saved["numerics"], self._about["numerics"]):
            logger.warning("%s: bits may differ from those of an uninterrupted run", sentence)
        self.lineage = saved["lineage"]
        for name, part in list_part_trees(saved).items():
            self.queues[name].emitted = part["emitted"]
        self.cadence.resume_at(self._samples, self._records)

    def remove_rolled_back(self, saved: StateDict) -> None:
        """Remove checkpoints that a rollback skipped; their outputs are about to be truncated."""
        if "rolled_back_to" not in saved:
            return
        assert self._generation is not None
        try:
            self.folder.generations.forget(int(saved["rolled_back_to"]), self._generation)
        except OSError as error:
            raise StateError(f"state {self.name}: {error.strerror}") from error

    def change(
        self,
        *,
        every_samples: int | None = None,
        every_seconds: float | None = CHECKPOINT_SECONDS,
        generations: int = MIN_GENERATIONS,
        models: int = KEPT_MODELS,
    ) -> None:
        """Change settings from the next sample on; if a number is out of range, nothing changes."""
        StateDirectory(self.folder.path, generations=generations, models=models)
        self.cadence.change(every_samples=every_samples, every_seconds=every_seconds)
        self.folder.generations.keep = generations
        for publisher in self.folder.publishers.values():
            publisher.keep = models

    # -------------------------------------------------------------- writing

    @property
    def emitted(self) -> int:
        """Models that were emitted so far."""
        return sum(queue.emitted for queue in self.queues.values())

    def emit(self, champion: Champion) -> EmittedModel:
        """Number an emitted champion."""
        return self.queues[champion.part].emit(champion)

    def first(self, cut: Callable[[], Barrier | JoinedBarrier]) -> None:
        """Write the checkpoint before the first sample; a StateError if that fails."""
        try:
            self._save(cut())
        except OSError as error:
            raise StateError(f"state {self.name}: {error.strerror}") from error

    def write(self, barrier: Barrier | JoinedBarrier) -> None:
        """Write a checkpoint; if that fails, a later one is written instead.

        A StateError if the directory was replaced, so that another process may write there.
        """
        tries = _FINAL_ATTEMPTS if barrier.last else 1
        for left in reversed(range(tries)):
            try:
                self._publish_waiting()
                self._save(barrier)
            except OSError as error:
                self.failed(error)
                if left:
                    sleep(_FINAL_RETRY_SECONDS)
            else:
                self._succeeded()
                return

    def publish(self, emission: EmittedModel) -> None:
        """Queue an emitted model, which is written together with others that follow shortly."""
        self.queues[emission.champion.part].add(emission)
        if self.seconds_until_publish() <= 0:
            self.publish_waiting()

    def seconds_until_publish(self) -> float:
        """Seconds until queued models are to be written; infinite if there are none."""
        return min(queue.seconds_left() for queue in self.queues.values())

    def publish_waiting(self) -> None:
        """Write the queued models; if that fails, it is retried later."""
        try:
            self._publish_waiting()
        except OSError as error:
            self._note(error)

    def _publish_waiting(self) -> None:
        self.folder.check()
        for queue in self.queues.values():
            queue.write(self.lineage)

    def _save(self, barrier: Barrier | JoinedBarrier) -> None:
        for output in barrier.outputs:
            output.sync()
        tree = {"streamnet": __version__, "lineage": self.lineage, **self._about, **barrier.tree()}
        learners = [part["learner"] for part in list_part_trees(tree).values()]
        if row_files := [name for learner in learners for name in list_row_files(learner)]:
            tree["row_files"] = row_files
        self._generation = self.folder.generations.save(tree)
        self.cadence.written(self.folder.generations.written)
        self._note_reading(barrier.reading)
        if self.on_saved is not None:
            self.on_saved(barrier.reading["source"])

    def failed(self, error: OSError) -> None:
        """Note that a checkpoint could not be written; a later one is tried."""
        self._note(error)
        self.cadence.done(failed=True)

    def _note(self, error: OSError) -> None:
        why = error.strerror or str(error)
        if why != self._error:
            logger.warning("state %s: %s; learning continues", self.name, why)
        self._error = why

    def _succeeded(self) -> None:
        if self._error:
            logger.warning("state %s: written again", self.name)
        self._error = ""
        self.cadence.done(failed=False)

    def statistics(self) -> StateStatistics:
        """The condition of the state on disk."""
        return StateStatistics(
            self._generation,
            self._samples,
            self.cadence.failures,
            self._error,
            sum(map(len, self.queues.values())),
            self._records,
            self._offset,
        )
