"""ReplicaModel: one model of a read replica, which predicts with the newest file it has seen."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import NamedTuple, final

from anyio import to_thread
from msgspec.structs import asdict

from streamnet.client.schemas import Champion, ModelState, Overview, Status
from streamnet.daemon.hosting.events import EventLog, Rate
from streamnet.daemon.hosting.hosted_model import describe_champion
from streamnet.daemon.hosting.model_run import decode_model
from streamnet.daemon.hosting.troubles import Finding, TroubleLog
from streamnet.daemon.predictions import MicroBatcher, Predictions, predict_samples
from streamnet.daemon.replicas.origins import Listed, Origin, OriginError
from streamnet.errors import ModelFileError, NotReadyError
from streamnet.modelfiles.document import CONTRADICTIONS
from streamnet.modelfiles.formats import get_format
from streamnet.modelfiles.model import Model
from streamnet.samples import Block, Sample
from streamnet.settings.replica import ReplicaSection
from streamnet.sources.unknown_columns import ColumnCheck

_LOG = logging.getLogger("streamnet.daemon")
_PATIENCE = 10.0  # seconds: a daemon may restart


def describe_refusal(settings: ReplicaSection) -> str:
    """Why a replica does not learn, and who does."""
    return (
        f"this is a read replica of {settings.of}: it predicts, without ids, and learns nothing; "
        f"what learns, and knows scores and labels, is at {settings.place}"
    )


class FollowedModel(NamedTuple):
    """A model that predicts until the next one replaces it."""

    model: Model
    generation: int
    version: str
    since: float  # when it was published, by the monotonic clock of this machine


@final
class ReplicaModel:
    """A model that is read from an origin, again whenever a newer one is there.

    It is replaced at once: a request is answered by one model or the other, and waits for none.
    A file that can't be read or used leaves the last model in its place.
    """

    def __init__(self, name: str, settings: ReplicaSection) -> None:
        self.name = name
        self.settings = settings
        self.events: EventLog = EventLog()
        self.predicted: int = 0  # samples
        self.expected_columns: tuple[str, ...] = ()  # besides the model's
        self._rate = Rate()
        self.microbatcher: MicroBatcher = MicroBatcher(self.predict)
        self._followed: FollowedModel | None = None
        self._columns = ColumnCheck(settings.on_unknown)
        self._troubles = TroubleLog(name, self.events)
        self._started = self._confirmed = monotonic()
        self._failure: str | None = None  # of the last attempt to follow
        self._refused: str | None = None  # version of a file that can't be used
        self._is_stopped = False
        self._is_waiting = True  # until it is known whether there is a model

    # ------------------------------------------------------------------ following

    async def follow(self, listed: Listed, origin: Origin) -> None:
        """Read the newest model if it is another one; failures are kept and not raised."""
        followed = self._followed
        if listed.version is None or (followed is not None and followed.version == listed.version):
            self._confirm()
        elif listed.version != self._refused:
            try:
                await self._replace(listed, await origin.load(self.name))
            except OriginError as error:
                self._failure = str(error)
            except ModelFileError as error:
                self._failure, self._refused = str(error), listed.version
            else:
                self._confirm()
        self._rate.update(self.predicted)
        self.check_troubles()

    def fail(self, reason: str) -> None:
        """Record that the origin gave no answer."""
        self._failure = reason
        self.check_troubles()

    def close(self) -> None:
        """End the streams of events."""
        self._is_stopped = True
        self.events.close()

    def _confirm(self) -> None:
        self._confirmed, self._failure, self._is_waiting = monotonic(), None, False

    async def _replace(self, listed: Listed, data: bytes) -> None:
        assert listed.version is not None
        since = monotonic() - listed.age
        model = await to_thread.run_sync(partial(_open_model, data))
        before = None if self._followed is None else self._followed.generation
        target = model.about.get("target")
        columns = ColumnCheck(self.settings.on_unknown, () if target is None else (target,))
        columns.know(name for name, _ in model.fields)
        self.expected_columns = () if target is None else (target,)
        self._columns = columns
        self._followed = FollowedModel(model, listed.generation, listed.version, since)
        self.events.add("champion", before=before, after=listed.generation)
        extra = {"model": self.name, "generation": listed.generation}
        _LOG.debug("model %s: generation %d", self.name, listed.generation, extra=extra)

    # ----------------------------------------------------------------- predictions

    def predict(self, samples: Sample | Sequence[Sample] | Block) -> Predictions:
        """Predict with the newest model, immediately and in any thread.

        Raises:
            NotReadyError: If there is no model yet.
            ConfigurationError: If a sample can't be read.
        """
        followed = self.newest()
        predictions = predict_samples(followed.model, followed.generation, samples)
        self.predicted = len(predictions.values) + self.predicted  # read last: threads
        return predictions

    def check_columns(self, samples: Sequence[Sample]) -> str | None:
        """Check the columns of samples to predict; return a warning about unknown ones.

        Raises:
            NotReadyError: If there is no model yet.
            SampleError: As `ColumnCheck.rows`.
        """
        self.newest()
        return self._columns.rows(samples)

    def newest(self) -> FollowedModel:
        """The newest model; raises NotReadyError if there is none yet."""
        if self._followed is None:
            reason = self._failure or f"{self.settings.of} has none of that name"
            raise NotReadyError(f"there is no model yet: {reason}")
        return self._followed

    def published_model(self) -> Model:
        """The newest model; raises NotReadyError if there is none yet."""
        return self.newest().model

    def served_model(self) -> Model:
        """What answers requests: the newest model."""
        return self.published_model()

    def encode_model(self, name: str) -> bytes:
        """Encode the newest model as a file of the format of this name.

        Raises:
            NotReadyError: If there is no model yet.
            ConfigurationError: If there is no such format, or it cannot represent the model.
        """
        model_format = get_format(name)
        return model_format.encode(self.published_model().document())

    # --------------------------------------------------------------------- reports

    @property
    def state(self) -> ModelState:
        """The state of the model."""
        if self._is_stopped:
            return "stopped"
        return "starting" if self._is_waiting and self._followed is None else "following"

    @property
    def age(self) -> float | None:
        """Seconds since the model was published; None if there is none yet."""
        return None if self._followed is None else monotonic() - self._followed.since

    @property
    def silence(self) -> float:
        """Seconds since it was last known that the model is the newest."""
        return monotonic() - self._confirmed

    @property
    def is_stale(self) -> bool:
        """Whether it is older, or was unconfirmed for longer, than the settings allow."""
        return self._describe_staleness() is not None

    def _describe_staleness(self) -> str | None:
        limits, age = self.settings, self.age
        if limits.max_age is not None and age is not None and age > limits.max_age:
            return f"its model is {age:,.0f} seconds old; the limit is {limits.max_age:,.0f}"
        if limits.max_silence is not None and self.silence > limits.max_silence:
            limit = f"the limit is {limits.max_silence:,.0f}"
            return f"whether its model is the newest is unknown for {self.silence:,.0f} s; {limit}"
        return None

    def check_troubles(self) -> None:
        """Find what needs attention now."""
        staleness = self._describe_staleness()
        reasons = "; ".join(filter(None, (self._failure, staleness)))
        patience = _PATIENCE if staleness is None and self._refused is None else 0.0
        self._troubles.update({"replica": Finding(reasons, patience=patience)} if reasons else {})

    def status(self) -> Status:
        """The status of the model."""
        self.check_troubles()
        followed = self._followed
        model = None if followed is None else followed.model
        return Status(
            name=self.name,
            state=self.state,
            task=None if model is None else model.task,
            target=None if model is None else model.about.get("target"),
            samples=0 if model is None else int(model.about.get("samples") or 0),
            troubles=self._troubles.current,
            last_error=self._troubles.last,
            uptime=monotonic() - self._started,
            predicted=self.predicted,
            predicted_per_second=self._rate.value,
            generation=None if followed is None else followed.generation,
            version=None if followed is None else followed.version,
            model_age=self.age,
            champion=None if model is None else model.describe(),
            replica_of=self.settings.of,
            replica_silence=self.silence,
        )

    def overview(self) -> Overview:
        """The status; how scores came about is known to who learns."""
        return Overview(**asdict(self.status()))

    def champion(self) -> Champion | None:
        """The newest model; None before the first one."""
        followed = self._followed
        return None if followed is None else describe_champion(followed.model, followed.generation)


def _open_model(data: bytes) -> Model:
    """Decode a model, and predict with it, so that no request finds that it can't or compiles."""
    model = decode_model(data, ".safetensors")
    try:
        predict_samples(model, 0, [dict.fromkeys(name for name, _ in model.fields)])
    except CONTRADICTIONS as error:
        raise ModelFileError(f"the file can't predict: {error!r}") from error
    return model
