"""HostedKeys: the models of keys of a hosted model, listed, described, forgotten and exported."""

from __future__ import annotations

from time import monotonic
from typing import final

from msgspec import UNSET

from streamnet.client.schemas import KeyRemovalReply
from streamnet.daemon.hosting.supervisor import Supervisor
from streamnet.errors import ConfigurationError, NotReadyError
from streamnet.learning.learner import Learner
from streamnet.modelfiles.formats import get_format
from streamnet.modelfiles.model import Model
from streamnet.reporting.builder import build_key_details, build_keys
from streamnet.reporting.report import KeyDetails, KeysReport
from streamnet.samples import KeyRemoval

_SUMMARIZED = 5  # worst and best keys, so that the number of series is bounded
_SUMMARY_SECONDS = 20.0


@final
class HostedKeys:
    """The models of keys, while they go on learning.

    All methods but `forget` may be called in any thread, and raise a `NotReadyError` before
    anything was learned, and a `ConfigurationError` where keys have no models.
    """

    def __init__(self, hosted: Supervisor, columns: tuple[str, ...]) -> None:
        self._hosted = hosted
        self.columns: tuple[str, ...] = columns
        """Columns of the key; empty if keys have no models."""
        self._summary: KeysReport | None = None
        self._expires = 0.0

    def rank(self, count: int) -> KeysReport:
        """The worst and the best keys, at most ``count`` of each."""
        found = build_keys(self._learner(), count)
        assert found is not UNSET
        return found

    def summarize(self) -> KeysReport | None:
        """The few worst and best keys, ranked at most every 20 s; None before there are any."""
        run = self._hosted.model_run
        if not self.columns or run is None or run.learner is None:
            return None
        if monotonic() >= self._expires:
            self._summary = self.rank(_SUMMARIZED)
            self._expires = monotonic() + _SUMMARY_SECONDS
        return self._summary

    def describe(self, key: str) -> KeyDetails | None:
        """What is known about a key; None if there is no such key."""
        return build_key_details(self._learner(), key)

    def encode(self, key: str, name: str) -> bytes | None:
        """The published model for one key as a file of a format; None if there is no such key.

        Raises:
            NotReadyError: Also if no model is published yet.
            ConfigurationError: Also if there is no such format, or it cannot represent the model.
        """
        learner, model = self._learner(), self._hosted.current_run().publisher.newest().model
        if self.describe(key) is None:
            return None
        own = {"key": learner.export_key(key), "about": {**model.about, "key": key}}
        document = Model.from_document({**model.document(), **own}).document()
        return get_format(name).encode(document)

    async def forget(self, key: str) -> KeyRemovalReply | None:
        """Delete the model of a key and its last targets; durable once it returns.

        It takes effect between the samples that were accepted before and after it.

        Returns:
            Where that is; None if there is no such key.

        Raises:
            NotReadyError: Also if the model has failed or stopped.
            OutputError: If the disk fails.
        """
        run = self._hosted.current_run()
        run.committer.check()
        if self.describe(key) is None:
            return None
        record, frame = run.committer.intake.change(KeyRemoval(key))
        await run.committer.commit(frame, durable=True)
        return KeyRemovalReply(key, record)

    def _learner(self) -> Learner:
        if not self.columns:
            raise ConfigurationError(f"model {self._hosted.name} has no keys.key, so no keys")
        learner = self._hosted.current_run().learner
        if learner is None:
            raise NotReadyError("there are no keys yet: nothing was learned")
        return learner
