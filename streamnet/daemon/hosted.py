"""Hosted: one model of the daemon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import final

from streamnet.daemon.answers import Answer
from streamnet.daemon.answers import Outcome
from streamnet.daemon.answers import Predictions
from streamnet.daemon.answers import Receipt
from streamnet.daemon.events import EventLog
from streamnet.pipeline.board import Board
from streamnet.samples import Block
from streamnet.samples import Sample
from streamnet.settings import RunSettings

__all__ = ("Hosted", "HostedState")

HostedState = Literal["starting", "learning", "paused", "failed", "stopped"]


@final
class Hosted:
    """One model: its journal, what is learned from it, and the model that answers."""

    name: str
    settings: RunSettings
    events: EventLog
    state: HostedState
    failure: str | None  # in words, of state "failed"
    queued: int  # samples accepted and not learned
    max_queued: int

    async def run(self) -> None:
        """Learn until `stop`; a failure is kept in `failure`, and nothing is raised."""
        raise NotImplementedError

    def stop(self) -> None:
        """End `run` when what it is at is done: what was read is learned, the last state saved."""
        raise NotImplementedError

    async def learn(
        self,
        samples: Sequence[Sample] | bytes,
        *,
        key: str | None = None,
        durable: bool = True,
    ) -> Receipt:
        """Take samples with their target: dicts, or JSON lines as they came.

        Raises:
            BusyError: If too many wait to be learned; it tells when to try again.
            ConflictError: If the key was used for other samples.
            ConfigurationError: If a line is too long.
            OutputError: If the disk takes no more; nothing was accepted.
        """
        raise NotImplementedError

    def predict(self, samples: Sample | Sequence[Sample] | Block) -> Predictions:
        """Answers of the newest published model, at once, in whatever thread.

        Raises:
            NotReadyError: If no model is published yet.
            ConfigurationError: If a sample can't be read.
        """
        raise NotImplementedError

    async def remember(
        self,
        ids: Sequence[str],
        samples: Sequence[Sample],
        predictions: Predictions,
        *,
        durable: bool = True,
    ) -> list[Answer]:
        """Keep predictions under their ids until labels come; the answers as they are kept.

        An id that is kept already gives the answer of that time, so a call may be repeated.

        Raises:
            ConflictError: If an id was used for another sample, or has got its label.
            OutputError: If the disk takes no more; nothing was kept.
        """
        raise NotImplementedError

    async def label(
        self, labels: Sequence[tuple[str, Any]], *, durable: bool = True
    ) -> list[Outcome]:
        """Join labels with the predictions of those ids; each sample that is joined is learned.

        Raises:
            BusyError: If too many wait to be learned.
            OutputError: If the disk takes no more; nothing was joined.
        """
        raise NotImplementedError

    def status(self) -> dict[str, Any]:
        """Where the model stands, by the names of `shapes.Status`."""
        raise NotImplementedError

    def board(self) -> Board | None:
        """Scores and leaders of this moment; None before the first sample could be learned."""
        raise NotImplementedError

    def champion(self) -> dict[str, Any] | None:
        """The model that answers now, by the names of `shapes.Champion`; None before the first."""
        raise NotImplementedError

    def leaders(self) -> list[dict[str, Any]]:
        """All candidates, the best first, by the names of `shapes.CandidateLine`."""
        raise NotImplementedError

    def history(self) -> dict[str, Any] | None:
        """The score over time, by the names of `shapes.History`; None before the first sample."""
        raise NotImplementedError

    def confusion(self) -> dict[str, Any] | None:
        """Of the last samples, by the names of `shapes.Confusion`; None where there are numbers."""
        raise NotImplementedError

    def residuals(self) -> dict[str, Any] | None:
        """Of the last samples, by the names of `shapes.Residuals`; None where there are labels."""
        raise NotImplementedError

    def rejected(self) -> dict[str, Any]:
        """How many records were rejected, and the last ones, by the names of `shapes.Rejected`."""
        raise NotImplementedError

    async def pause(self) -> None:
        """Learn no more for now; samples are accepted until too many wait. Twice is allowed."""
        raise NotImplementedError

    async def resume(self) -> None:
        """Learn on. Twice is allowed."""
        raise NotImplementedError

    async def reset(self, *, keep_old: bool = True) -> None:
        """Forget everything and begin anew; the old state is moved aside, or deleted."""
        raise NotImplementedError

    def model_bytes(self, suffix: str) -> bytes:
        """The published model as a file of that suffix, ``.json`` or ``.safetensors``.

        Raises:
            NotReadyError: If no model is published yet.
            ConfigurationError: If the suffix is another.
        """
        raise NotImplementedError
