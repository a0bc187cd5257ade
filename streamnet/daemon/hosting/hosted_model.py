"""A hosted model: learn, predict, remember predictions, join labels and report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, final

import msgspec

from streamnet.daemon.hosting import status
from streamnet.daemon.hosting.events import EventLog
from streamnet.daemon.hosting.model_run import MAX_QUEUED, ModelRun
from streamnet.daemon.hosting.status import build_status, summarize_rejected
from streamnet.daemon.hosting.supervisor import ModelState, Supervisor
from streamnet.daemon.journal.delayed_labels import now
from streamnet.daemon.journal.frames import count_lines, encode_sample, encode_samples
from streamnet.daemon.predictions import Answer, Outcome, Predictions, Receipt
from streamnet.durability.files import DISK, FileSystem
from streamnet.errors import BusyError, ConfigurationError
from streamnet.learning.learner import Learner
from streamnet.modelfiles.formats import SUFFIXES
from streamnet.pipeline.concurrency import Worker
from streamnet.reporting.builder import build_leader_board, build_outcomes
from streamnet.reporting.report import LeaderBoard
from streamnet.runs.builder import STATE_DEAD_LETTERS
from streamnet.samples import Block, Field, Sample
from streamnet.settings.daemon import ModelSettings

__all__ = (
    "HostedModel",
    "check_backpressure",
)


_MIN_RETRY_DELAY, _DEFAULT_RETRY_DELAY, _MAX_RETRY_DELAY = (
    0.1,
    1.0,
    60.0,
)  # seconds until a sender is asked to come again


def check_backpressure(name: str, *, queued: int, most: int, pace: float) -> None:
    """Refuse more samples while too many wait.

    Args:
        name: Of the model.
        queued: Samples that wait to be learned.
        most: How many may.
        pace: Samples learned a second, of late; 0 if that is not known.

    Raises:
        BusyError: If so many wait. It tells when a tenth of the room should be free.

    >>> check_backpressure("spam", queued=100, most=100, pace=20.0)
    Traceback (most recent call last):
    streamnet.errors.BusyError: model spam has 100 samples to learn, and may have 100
    """
    if queued >= most:
        seconds = (queued - 0.9 * most) / pace if pace else _DEFAULT_RETRY_DELAY
        raise BusyError(
            f"model {name} has {queued:,} samples to learn, and may have {most:,}",
            min(max(seconds, _MIN_RETRY_DELAY), _MAX_RETRY_DELAY),
        )


_BYTES_PER_SAMPLE = 128  # bytes that are reckoned as one sample
_BATCH_SIZE = 1000  # labels or predictions that are taken at once


@final
class HostedModel:
    """One model: its journal, what is learned from it, and the model that answers.

    Everything that was accepted as durable is learned exactly once, whenever the process dies.
    All methods but `predict` belong to the event loop.

    Args:
        name: What it is called.
        settings: What is learned, and how.
        folder: Where it lives; made if it is absent.
        files: The file system.

    >>> import anyio, tempfile
    >>> from streamnet.settings.daemon import model_settings
    >>> settings = model_settings({"source": {"target": "y"}, "population": {"candidates": 2}})
    >>> rows = [{"x": i % 2, "y": "ab"[i % 2]} for i in range(300)]
    >>> async def main():
    ...     hosted = HostedModel("spam", settings, Path(tempfile.mkdtemp()))
    ...     async with anyio.create_task_group() as group:
    ...         group.start_soon(hosted.run)
    ...         await hosted.opened()
    ...         receipt = await hosted.learn(rows, key="first")
    ...         await hosted.published()
    ...         answer = hosted.predict({"x": 1}).values.tolist()
    ...         hosted.stop()
    ...     return receipt.last, answer
    >>> anyio.run(main)
    (299, ['b'])
    """

    def __init__(
        self, name: str, settings: ModelSettings, folder: Path, *, files: FileSystem = DISK
    ) -> None:
        self.name = name
        self.settings = settings
        given = settings.intake.max_queued
        self.max_queued = MAX_QUEUED if given is None else given
        self.predicted = 0  # samples that were answered
        self.duplicates = 0  # requests that were sent again
        self._lifecycle = Supervisor(name, settings, folder, files=files)
        self._born = monotonic()
        self._worker = Worker()

    # ------------------------------------------------------------- lifetime

    @property
    def state(self) -> ModelState:
        """Where it stands."""
        return self._lifecycle.state

    @property
    def failure(self) -> str | None:
        """What happened, in words, where the state is "failed"."""
        return self._lifecycle.failure

    @property
    def waits_for_disk(self) -> bool:
        """Whether nothing can be taken until the disk recovers; it goes on by itself then."""
        return self._lifecycle.waits_for_disk

    @property
    def lives(self) -> int:
        """How many have begun: generations of models may begin anew with each."""
        return self._lifecycle.lives

    @property
    def events(self) -> EventLog:
        """What happens, as it happens."""
        return self._lifecycle.events

    async def run(self) -> None:
        """Learn until `stop`; a failure is kept in `failure`, and nothing is raised.

        After a failure it waits for somebody, or for the disk: see `Lifecycle.run`.
        """
        await self._lifecycle.run()

    def stop(self) -> None:
        """End `run` when what was read is learned and the last state is saved."""
        self._lifecycle.stop()

    async def opened(self) -> None:
        """Wait until samples can be taken, or it has failed."""
        await self._lifecycle.opened()

    async def published(self) -> None:
        """Wait until there is a model that answers, for which something must be learned.

        Raises:
            NotReadyError: If it has failed or stopped.
        """
        await self._lifecycle.published()

    async def pause(self) -> None:
        """Learn no more for now, also after a restart; samples are accepted until too many wait.

        Twice is allowed.

        Raises:
            OutputError: If it can't be written down; StateError, if another process is at it.
        """
        await self._lifecycle.pause()

    async def resume(self) -> None:
        """Learn on, also after a failure. Twice is allowed.

        Raises:
            OutputError: If it can't be written down; StateError, if another process is at it.
        """
        await self._lifecycle.resume()

    async def reset(self, *, keep_old: bool = True) -> None:
        """Forget everything and begin anew; the old state is moved aside, or deleted.

        Raises:
            NotReadyError: If it has stopped.
            OutputError: If the old state can't be moved; StateError, if another process is at it.
        """
        await self._lifecycle.reset(keep_old=keep_old)

    # --------------------------------------------------------------- senders

    async def learn(
        self,
        samples: Sequence[Sample] | bytes,
        *,
        key: str | None = None,
        durable: bool = True,
    ) -> Receipt:
        """Take samples with their target: dicts, or JSON lines as they came.

        What has no target, or is no sample, is rejected when it is read; the receipt tells how
        many dicts that will be.

        Args:
            samples: They are learned in this order.
            key: Text by which the same request may be sent again: it is taken once.
            durable: Wait until they are on the disk, not only until they would survive the process.

        Raises:
            NotReadyError: If the model is starting, has failed or stopped.
            BusyError: If too many wait to be learned; it tells when to try again.
            ConflictError: If the key was used for other samples.
            ConfigurationError: If a sample can't be written as JSON, or a line is too long.
            OutputError: If the disk takes no more; nothing was accepted.
        """
        if isinstance(samples, bytes):
            lines = await self._worker.run(len(samples) / _BYTES_PER_SAMPLE, count_lines, samples)
        else:
            target = str(self.settings.source.target)
            lines = await self._worker.run(len(samples), encode_samples, samples, target)
        life = self._writable()
        if key is None or not life.committer.intake.knows(key):  # what is taken needs no room
            self._check_backpressure(life)
        if key is None and not lines.samples:
            return Receipt(0, 0, False, None, None)
        receipt, frame = life.committer.intake.take(*lines[:2], rejected=lines.rejected, key=key)
        self.duplicates += receipt.duplicate
        await life.committer.commit(frame, durable=durable)
        return receipt

    def predict(
        self, samples: Sample | Sequence[Sample] | Block, *, counts: bool = True
    ) -> Predictions:
        """Answers of the newest published model, at once, in whatever thread.

        They are counted as predicted, unless they only serve to explain others.

        Raises:
            NotReadyError: If no model is published yet.
            ConfigurationError: If a sample can't be read.
        """
        predictions = self._lifecycle.living().publication.predict(samples, counts=counts)
        if counts:
            self.predicted = len(predictions.values) + self.predicted  # read last: threads, too
        return predictions

    async def remember(
        self,
        ids: Sequence[str],
        samples: Sequence[Sample],
        predictions: Predictions,
        *,
        durable: bool = True,
    ) -> list[Answer]:
        """Keep predictions under their ids until labels come; the answers as they are kept.

        An id that is kept already gives the answer of that time, so a call may be repeated. More
        than 1,000 are kept in pieces, between which others have their turn; an error leaves those
        before it in force.

        Raises:
            NotReadyError: If the model is starting, has failed or stopped.
            ConflictError: If an id was used for another sample, or has got its label.
            ConfigurationError: If a sample can't be written as JSON, or is too long.
            OutputError: If the disk takes no more.
        """
        target = str(self.settings.source.target)
        lines = [encode_sample(number, sample, target) for number, sample in enumerate(samples)]
        answers, kept = predictions.answers(), []
        for piece in _slice_batches(len(lines)):
            committer = self._lifecycle.living().committer
            committer.check()
            found, frame = committer.intake.remember(
                ids[piece], lines[piece], answers[piece], now()
            )
            kept += found
            await committer.commit(frame, durable=durable and piece.stop >= len(lines))
        return kept

    async def label(
        self, labels: Sequence[tuple[str, Any]], *, durable: bool = True
    ) -> list[Outcome]:
        """Join labels with the predictions of those ids; each sample that is joined is learned.

        A call may be repeated. More than 1,000 labels are taken in pieces, between which others
        have their turn; an error leaves those before it in force.

        Raises:
            NotReadyError: If the model is starting, has failed or stopped.
            BusyError: If too many wait to be learned.
            ConfigurationError: If a label can't be one.
            OutputError: If the disk takes no more.
        """
        outcomes = []
        for piece in _slice_batches(len(labels)):
            life = self._writable()
            committer = life.committer
            if not committer.intake.knows_all(labels[piece]):
                self._check_backpressure(life)
            found, frame = committer.intake.label(labels[piece], now())
            outcomes += found
            await committer.commit(frame, durable=durable and piece.stop >= len(labels))
        return outcomes

    @property
    def queued(self) -> int:
        """Samples that were accepted and not learned."""
        return 0 if self._life is None else self._life.queued

    def _writable(self) -> ModelRun:
        """What is alive, if its journal can be written."""
        life = self._lifecycle.living()
        life.committer.check()
        return life

    def _check_backpressure(self, life: ModelRun) -> None:
        check_backpressure(
            self.name, queued=self.queued, most=self.max_queued, pace=life.watch.pace.value
        )

    # ------------------------------------------------------------ what there is

    def status(self) -> dict[str, Any]:
        """Where the model stands, by the names of `shapes.Status`."""
        life = self._life
        fixed = {
            "name": self.name,
            "state": self.state,
            "failure": self.failure,
            "target": self.settings.source.target,
            "max_queued": self.max_queued,
            "uptime": monotonic() - self._born,
        }
        counted = {"predicted": self.predicted, "duplicates": self.duplicates}
        return fixed | counted | ({} if life is None else build_status(life))

    @property
    def fields(self) -> tuple[Field, ...]:
        """Columns of the model that answers.

        Raises:
            NotReadyError: If no model is published yet.
        """
        return self._lifecycle.living().publication.newest().model.fields

    @property
    def known_labels(self) -> tuple[str, ...]:
        """Labels of the model that answers; none where it predicts numbers.

        Raises:
            NotReadyError: If no model is published yet.
        """
        return self._lifecycle.living().publication.newest().model.labels

    @property
    def _life(self) -> ModelRun | None:
        return self._lifecycle.life

    @property
    def _learner(self) -> Learner | None:
        life = self._life
        return life.pipeline.learner if life and life.pipeline.ready.is_set() else None

    def board(self) -> LeaderBoard | None:
        """Current scores and leaders; None before the first sample could be learned."""
        return None if self._learner is None else build_leader_board(self._learner)

    def champion(self) -> dict[str, Any] | None:
        """The model that answers now, by the names of `shapes.Champion`; None before the first."""
        published = None if self._life is None else self._life.publication.published
        if published is None:
            return None
        return status.describe_champion(published.model, published.generation)

    def leaders(self) -> list[dict[str, Any]]:
        """All candidates, the best first, by the names of `shapes.CandidateLine`."""
        return [] if self._learner is None else status.list_candidates(self._learner)

    def history(self) -> dict[str, Any] | None:
        """The score over time, by the names of `shapes.History`; None before the first sample."""
        return None if self._learner is None else status.build_history(self._learner)

    def confusion(self) -> dict[str, Any] | None:
        """By the names of `shapes.Confusion`; None where numbers are predicted."""
        return self._outcomes("confusion")

    def residuals(self) -> dict[str, Any] | None:
        """Of the last samples, by the names of `shapes.Residuals`; None where labels are."""
        return self._outcomes("residuals")

    def _outcomes(self, kind: str) -> dict[str, Any] | None:
        if self._learner is None:
            return None
        outcomes: dict[str, Any] = msgspec.to_builtins(build_outcomes(self._learner))
        return outcomes if outcomes["kind"] == kind else None

    def rejected(self) -> dict[str, Any]:
        """How many records were rejected, and the last ones, by the names of `shapes.Rejected`."""
        return summarize_rejected(self._life)

    @property
    def dead_letters(self) -> Path:
        """File of the rejected records, JSON lines; it is there once there is one."""
        return self._lifecycle.folder / "state" / STATE_DEAD_LETTERS

    def model_bytes(self, suffix: str) -> bytes:
        """The published model as a file of that suffix, ``.json`` or ``.safetensors``.

        Raises:
            NotReadyError: If no model is published yet.
            ConfigurationError: If the suffix is another.
        """
        if suffix not in SUFFIXES:
            raise ConfigurationError(
                f"format is {suffix!r}, but must be one of {', '.join(SUFFIXES)}"
            )
        model = self._lifecycle.living().publication.newest().model
        return SUFFIXES[suffix].encode(model.document())


def _slice_batches(count: int) -> list[slice]:
    """Ranges of at most so many that nobody has to wait long."""
    return [slice(start, start + _BATCH_SIZE) for start in range(0, count, _BATCH_SIZE)]
