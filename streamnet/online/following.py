"""Callbacks of estimators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any, final

from streamnet.errors import NoCandidateError
from streamnet.learning.learner import Learner
from streamnet.learning.serving import Served
from streamnet.learning.trainer import Snapshot
from streamnet.modelfiles.model import Model
from streamnet.online.learned import LearnedViews
from streamnet.pipeline.callbacks import Callback, Callbacks, PartFollower
from streamnet.pipeline.outputs import Champion
from streamnet.reporting.builder import RunTimes, build_report
from streamnet.reporting.result import PartResult, Result
from streamnet.settings.candidate import CandidateSettings
from streamnet.validation import to_builtin

_OBJECTS = ("callbacks", "guests", "start")  # settings that are no plain values


class FollowedEstimator(LearnedViews):
    """What estimators with callbacks share."""

    _follower: Follower | None = None

    def _follow(self) -> Follower | None:
        """Prepare to tell what is learned next; None without callbacks."""
        given, learner, follower = self._params["callbacks"], self._learner, self._follower
        if not given:
            self._follower = None
        elif follower is None or follower.given is not given or follower.learner is not learner:
            settings = _describe_settings(self._list_given())
            self._follower = Follower(given, learner, settings, self._list_labels)
        return self._follower

    def _tell(self) -> None:
        """Call the callbacks for what was learned since they were last called."""
        if (follower := self._follower) is None:
            return
        try:
            follower.tell()
        except BaseException:
            self._follower = None  # what is learned later begins anew
            raise

    @contextmanager
    def _told_to_end(self) -> Iterator[None]:
        """Learn a run with an end."""
        if (follower := self._follow()) is None:
            yield
            return
        try:
            with follower.until_end(self.model):
                yield
        finally:
            self._follower = None  # what is learned later begins anew

    def model(self) -> Model:
        """Build an immutable model."""
        raise NotImplementedError

    def _list_labels(self) -> Sequence[Any] | None:
        """The labels as they were learned; None if the target is a number."""
        return None


@final
class Follower:
    """Calls callbacks for what an estimator learns.

    Rounds end within blocks, so they are noted while a block is learned, and told after it: an
    error of a callback then leaves the estimator whole.

    Args:
        given: The callbacks.
        learner: Learner of the estimator.
        settings: The settings that were given, as plain values.
        list_labels: Lists the labels as they were learned; None for numbers.

    Raises:
        ConfigurationError: If one is no `Callback`.
    """

    def __init__(
        self,
        given: Sequence[Callback],
        learner: Learner,
        settings: dict[str, Any],
        list_labels: Callable[[], Sequence[Any] | None],
    ) -> None:
        self.given, self.learner = given, learner
        self._settings, self._list_labels = settings, list_labels
        self._callbacks = Callbacks(given)
        self._part = PartFollower(self._callbacks, learner, "", self._make_champion)
        self._served: list[Served] = []
        self._callbacks.call(lambda one: one.on_start(settings))

    def note(self, served: Served) -> None:
        """Note a block, before more is learned."""
        if served.decision is not None:
            self._part.note_round()
        if served.decision is not None or served.emitted is not None:
            self._served.append(served)

    def tell(self) -> None:
        """Call the callbacks for the noted blocks."""
        while self._served:
            self._part(self._served.pop(0))

    @contextmanager
    def until_end(self, build_model: Callable[[], Model]) -> Iterator[None]:
        """Call `Callback.on_end` after the work, or `Callback.on_error` if it or a callback fails.

        Args:
            build_model: Builds the model to take home.
        """
        begin = perf_counter()
        try:
            yield
            seconds = perf_counter() - begin
        except BaseException as error:
            self._fail(error)
            raise
        try:
            result = self._build_result(build_model(), seconds)
        except NoCandidateError as error:
            self._fail(error)
        else:
            self._callbacks.call(lambda one: one.on_end(result))

    def _fail(self, error: BaseException) -> None:
        self._callbacks.call(lambda one: one.on_error(error))

    def _build_result(self, model: Model, seconds: float) -> Result:
        report = build_report(
            self.learner,
            target="y",
            rejected={"total": 0, "reasons": {}, "not_kept": 0},
            times=RunTimes(startup=0.0, running=seconds, earlier=0),
            settings=self._settings,
            threads=1,
        )
        guests = {} if self.learner.guests is None else self.learner.guests.models
        return Result({"": PartResult(report.as_dict(), model, guests=guests)})

    def _make_champion(self, snapshot: Snapshot) -> Champion:
        settings, serial, born = snapshot.member
        about = {
            "candidate": serial,
            "born": born,
            "samples": snapshot.number,
            "seed": self.learner.seed,
            **self.learner.describe_absent(),
        }
        labels = self._list_labels()
        # Later ones may be known by now.
        classes = None if labels is None else tuple(labels[: snapshot.encoder.classes])
        return Champion(serial, settings, snapshot.number, about, snapshot, classes=classes)


def _describe_settings(given: dict[str, Any]) -> dict[str, Any]:
    """The given settings that are plain values, as such."""
    plain = {name: to_builtin(value) for name, value in given.items() if name not in _OBJECTS}
    candidates = plain.get("candidates")
    if candidates is not None:
        plain["candidates"] = [
            one.as_dict() if isinstance(one, CandidateSettings) else one for one in candidates
        ]
    return plain
