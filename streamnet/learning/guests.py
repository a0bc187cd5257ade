"""GuestCandidates: models of other libraries that predict, are scored, and then learn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from math import isfinite, nan
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import StateError
from streamnet.experts import Answers, Expert, ScoringBatch
from streamnet.features.columns.label import RETIRED, MovedClass
from streamnet.guests.guest import Guest, as_guests
from streamnet.guests.models import GuestModel, Label, read_label
from streamnet.guests.samples import read_samples
from streamnet.learning.evaluator import build_track_metrics, score_tracks
from streamnet.learning.pending import PendingTable
from streamnet.metrics import ClassificationEvaluator
from streamnet.metrics.classification import NONE_PREDICTED
from streamnet.samples import Task
from streamnet.selection.champion import Selector
from streamnet.selection.criteria import SampleLoss
from streamnet.selection.ensemble.base import ABSENT, MOST_PROBABLE
from streamnet.settings.learning import LearningSettings
from streamnet.sources.columns import format_names

logger: logging.Logger = logging.getLogger("streamnet.guests")


class Failure(NamedTuple):
    """Why a guest no longer takes part."""

    number: int  # of the sample at which that happened
    reason: str


class _Answers(NamedTuple):
    """What the guests say of n samples."""

    answers: NDArray[Any]  # probabilities (guests, n, labels), or numbers (guests, n)
    alive: NDArray[np.uint8]  # shape=(guests, n): 1, or ABSENT where there is no prediction
    classes: NDArray[np.int32]  # that are predicted, shape=(guests, n); MOST_PROBABLE if that is it


@final
class _Competitor:
    """A guest and its model, as long as it takes part.

    Args:
        name: Its name.
        guest: As it was given.
        task: What it predicts.
    """

    def __init__(self, name: str, guest: Guest, task: Task) -> None:
        self.name, self.guest, self.task = name, guest, task
        self.model: GuestModel | None = guest.build(name, task)
        self.failure: Failure | None = None

    def fail(self, number: int, reason: str) -> None:
        """End its part at a sample; its model is dropped, since its state may be any."""
        self.model, self.failure = None, Failure(number, reason)
        logger.warning("guest %r is quarantined at sample %d: %s", self.name, number, reason)

    def export_model(self) -> NDArray[np.uint8] | None:
        """The model as bytes, if its guest has a serializer that can."""
        if self.model is None:
            return None
        try:
            data = self.guest.dump(self.model.model)
        except Exception as error:  # noqa: BLE001 - a model and a serializer may raise any
            logger.warning("guest %r is not kept in the checkpoint: %r", self.name, error)
            return None
        return None if data is None else np.frombuffer(data, np.uint8)


@final
class GuestCandidates(Expert):
    """The guests of a learner: each predicts a sample before it learns it.

    One that raises an error or predicts something that is not finite is quarantined at that sample.

    Args:
        guests: Guests by name.
        task: What they predict.
        criterion: By which candidates are ranked; see `SampleLoss`.
        window: Samples of sliding metrics.
        fading: Factor of earlier losses at each sample.

    Raises:
        ConfigurationError: If one is not for the task, or can't be copied.
    """

    name = "guests"
    kept = False

    def __init__(
        self,
        guests: Mapping[str, Guest],
        *,
        task: Task,
        criterion: str | None = None,
        window: int = 1000,
        fading: float = 0.999,
    ) -> None:
        self.task = task
        self._all = [_Competitor(name, guest, task) for name, guest in guests.items()]
        self.scores = build_track_metrics(len(guests), task=task, window=window, fading=fading)
        self._sample_loss = SampleLoss(task, criterion)
        self._selector = Selector(len(guests), fading=fading)  # only for the faded losses
        self._samples = PendingTable(x=None)
        self._answers = PendingTable(answers=0.0, alive=ABSENT, classes=MOST_PROBABLE)
        self._labels: list[Label] = []  # by class number
        self._numbers: dict[Any, int] = {}  # of classes by label
        self._handed: Sequence[Any] | None = None

    def __len__(self) -> int:
        return len(self._all)

    @property
    def names(self) -> list[str]:
        """Names of all guests."""
        return [one.name for one in self._all]

    @property
    def models(self) -> dict[str, Any]:
        """The trained models by name, without those that are quarantined."""
        return {one.name: one.model.model for one in self._all if one.model is not None}

    def describe(self, place: int) -> dict[str, Any]:
        """A guest as the settings of a candidate."""
        one = self._all[place]
        return {"guest": one.name, "model": one.guest.describe()}

    def failure(self, place: int) -> Failure | None:
        """Why a guest no longer takes part; None if it does."""
        return self._all[place].failure

    @property
    def quarantined(self) -> int:
        """How many no longer take part."""
        return sum(one.failure is not None for one in self._all)

    def losses(self) -> NDArray[np.float64]:
        """Faded mean loss of each, comparable with those of networks; inf before its first."""
        return self._selector.losses()

    def predict_then_learn(self, batch: ScoringBatch) -> Answers:
        """Predict each sample before it is learned, and score the predictions."""
        assert batch.block is not None
        timeline, new = batch.timeline, batch.new
        samples = np.empty(len(batch.truth), object)
        samples[new] = read_samples(batch.block)
        if timeline is not None:
            self._samples.recall(timeline, x=samples)
        self._learn_labels(batch)
        found = self._create(batch.answers, len(self))
        rows = samples.tolist()
        for place, one in enumerate(self._all):
            if one.model is not None:
                self._run(one, batch, rows, _select(found, place))
        if timeline is not None:
            answers = np.moveaxis(found.answers, 0, 1)
            self._answers.recall(
                timeline, answers=answers, alive=found.alive.T, classes=found.classes.T
            )
        return self._score(batch, found)

    def _score(self, batch: ScoringBatch, found: _Answers) -> Answers:
        answers, alive, classes = found
        if batch.redirects is not None:
            answers = batch.redirects.apply(answers, batch.known)
            moved = batch.redirects.targets
            inside = (classes >= 0) & (classes < len(moved))
            classes = np.where(inside, moved[np.where(inside, classes, 0)], classes)
        if self.task is Task.REGRESSION:
            classes = NONE_PREDICTED
        losses = score_tracks(self.scores, batch, answers, alive, classes)
        losses = self._sample_loss.update(answers, batch.truth, batch.known, losses)
        self._selector.choose(batch.first, losses, alive, batch.following, batch.weight)
        return Answers(answers, alive)

    def predict(self, batch: ScoringBatch) -> Answers:
        """Predict samples of which each might be the next one, without learning."""
        block, inputs, labels = batch.block, batch.inputs, batch.labels
        assert block is not None
        assert inputs is not None
        found = self._create(batch.answers, len(self))
        rows: list[Any] = list(read_samples(block, {field.name for field in batch.fields}))
        self._add_labels(labels, len(labels))
        for place, one in enumerate(self._all):
            if one.model is None:
                continue
            one.model.begin(block.schema, inputs)
            known = np.full(len(rows), len(labels))
            write = _Writer(one.model, self._numbers, _select(found, place), known, self.task)
            for i, x in enumerate(rows):
                try:
                    write.add(i, one.model.encode(inputs, i) if one.model.encoded else x)
                except Exception as error:  # noqa: BLE001 - a model may raise any
                    logger.warning("guest %r did not predict a sample: %r", one.name, error)
            if (failure := write.close()) is not None:
                logger.warning("guest %r did not predict samples: %s", one.name, failure[1])
        return Answers(found.answers, found.alive)

    def _create(self, answers: NDArray[Any], guests: int) -> _Answers:
        """No answers yet, in the shape of those of the networks."""
        shape = guests, answers.shape[1]
        return _Answers(
            np.zeros((guests, *answers.shape[1:]), answers.dtype),
            np.full(shape, ABSENT, np.uint8),
            np.full(shape, MOST_PROBABLE, np.int32),
        )

    def _learn_labels(self, batch: ScoringBatch) -> None:
        if self.task is Task.CLASSIFICATION:
            count = max(int(batch.known.max(initial=0)), int(batch.truth.max(initial=-1)) + 1)
            self._add_labels(batch.labels, count)

    def _add_labels(self, labels: Sequence[str], count: int) -> None:
        for text in labels[len(self._labels) : count]:
            label = read_label(text)
            self._numbers.setdefault(label, len(self._labels))
            self._labels.append(label)

    def _run(
        self, one: _Competitor, batch: ScoringBatch, rows: Sequence[Any], found: _Answers
    ) -> None:
        """Let one guest predict and learn; an error ends its part."""
        model, block, inputs = one.model, batch.block, batch.inputs
        assert model is not None
        assert block is not None
        assert inputs is not None
        model.begin(block.schema, inputs)
        truth, weights, late, names = self._list_targets(batch)
        write = _Writer(model, self._numbers, found, batch.known, self.task)
        failed: tuple[int, str] | None = None
        add, learn, encoded = write.add, model.learn, model.encoded
        i = 0
        try:
            for i, y in enumerate(truth):
                x = model.encode(inputs, i) if encoded else rows[i]
                if not late[i]:
                    add(i, x)
                if y is not None:
                    learn(x, names[y] if names else y, y if names else 0, weights[i])
        except Exception as error:  # noqa: BLE001 - a model may raise any
            failed = i, repr(error)
        if (failed := write.close() or failed) is not None:
            row, timeline = failed[0], batch.timeline
            number = batch.first + row if timeline is None else int(timeline.number[row])
            one.fail(number, failed[1])

    def _list_targets(
        self, batch: ScoringBatch
    ) -> tuple[list[Any], list[float], list[bool], list[Label]]:
        """By row: target or class number, None for none; weight; if it is late. And all labels.

        Of a block that is only scored, there are no targets to learn.
        """
        n, timeline = len(batch.truth), batch.timeline
        late = [False] * n if timeline is None else timeline.late.tolist()
        weights = [1.0] * n if batch.weight is None else batch.weight.tolist()
        assert batch.block is not None
        truth = batch.truth.tolist() if batch.block.learned else [nan] * n
        if self.task is Task.REGRESSION:
            return [y if isfinite(y) else None for y in truth], weights, late, []
        return [y if y >= 0 else None for y in truth], weights, late, self._labels

    def move_class(self, moved: MovedClass) -> None:
        """Go on without a class that is merged or retired."""
        assert isinstance(self.scores, ClassificationEvaluator)
        self._sample_loss.move_class(*moved)
        if moved.into != RETIRED:
            self.scores.merge_classes(*moved)
            self._answers.merge_columns("answers", *moved)
            self._answers.exchange("classes", *moved)

    def freeze(self) -> None:
        """None: models are objects that may not be copied."""

    def hand_over(self, models: Sequence[Any]) -> None:
        """Models to continue with at the next `restore_state`, in place of those of the state."""
        self._handed = models

    def export_models(self) -> list[Any]:
        """The models themselves, for `hand_over`; None for those that are quarantined."""
        return [one.model and one.model.model for one in self._all]

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, as far as guests have serializers."""
        return {
            "names": self.names,
            "kinds": [one.guest.describe() for one in self._all],
            "models": [one.export_model() for one in self._all],
            "settled": [one.model and one.model.export_state() for one in self._all],
            "failures": [one.failure and list(one.failure) for one in self._all],
            "scores": self.scores.export_state(),
            "sample_loss": self._sample_loss.export_state(),
            "selector": self._selector.export_state(),
            "samples": self._samples.export_state(),
            "answers": self._answers.export_state(),
        }

    def restore_state(self, state: Mapping[str, Any]) -> list[int]:
        """Continue from an exported state.

        Models that it does not hold start again as they were given, and so do their scores.

        Raises:
            StateError: If it is of other guests, or a serializer can't load a model.
        """
        kinds = [one.guest.describe() for one in self._all]
        before, now = (
            dict(zip(*pair, strict=True))
            for pair in ((state["names"], state["kinds"]), (self.names, kinds))
        )
        if list(before.items()) != list(now.items()):
            raise StateError(f"guests is {_list(now)}, but was {_list(before)}")
        self.scores = type(self.scores).restore_state(state["scores"])
        self._sample_loss.restore_state(state["sample_loss"])
        self._selector.restore_state(state["selector"])
        self._samples.restore_state(state["samples"])
        self._answers.restore_state(state["answers"])
        self._labels, self._numbers = [], {}
        handed, self._handed = self._handed, None
        anew = []
        for place, one in enumerate(self._all):
            failure = state["failures"][place]
            if failure is not None:
                one.model, one.failure = None, Failure(*failure)
                continue
            one.model, one.failure = one.guest.build(one.name, self.task), None
            given = handed[place] if handed else _load(one, state["models"][place])
            if given is None:
                anew.append(place)
            else:
                one.model.model = given
                one.model.restore_state(state["settled"][place])
        for place in anew:
            self._start_again(place)
        return anew

    def _start_again(self, place: int) -> None:
        logger.warning(
            "guest %r starts again, since the state does not hold it", self._all[place].name
        )
        self.scores.reset(place)
        self._selector.reset(place)
        self._answers.fill("alive", place, ABSENT)


def build_guests(
    given: Mapping[str, Any] | None, settings: LearningSettings, task: Task
) -> GuestCandidates | None:
    """The guests of a learner; None without any.

    Raises:
        ConfigurationError: If one is invalid.
    """
    if not (guests := as_guests(given)):
        return None
    return GuestCandidates(
        guests,
        task=task,
        criterion=settings.criterion,
        window=settings.window,
        fading=settings.fading,
    )


def check_same_guests(guests: GuestCandidates | None, state: Mapping[str, Any] | None) -> None:
    """Check that a state is with guests if these are given; StateError if not."""
    if guests is None and state is not None:
        names = format_names(state["names"])
        raise StateError(
            f"guests is not given, but was {names}: only what gives them again can resume"
        )
    if guests is not None and state is None:
        raise StateError(f"guests is {format_names(guests.names)}, but was not given")


def _list(guests: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in guests.items())


def _load(one: _Competitor, data: NDArray[np.uint8] | None) -> Any:
    """The model of a state; None if it holds none.

    Only the caller's own serializer reads it, and only if the caller gave the guest with one.
    """
    if data is None:
        return None
    try:
        return one.guest.load(data.tobytes())
    except Exception as error:
        raise StateError(f"guests[{one.name!r}] can't be loaded: {error!r}") from error


def _select(found: _Answers, place: int) -> _Answers:
    """Views of the answers of one guest."""
    return _Answers(*(array[place] for array in found))


@final
class _Writer:
    """Collects the predictions of a guest, and writes them all at once: one by one takes longer.

    Args:
        model: What predicts.
        numbers: Class numbers by label.
        found: Where to write, without the axis of the guests.
        known: Known classes before each sample.
        task: What is predicted.
    """

    def __init__(
        self,
        model: GuestModel,
        numbers: Mapping[Any, int],
        found: _Answers,
        known: NDArray[np.integer],
        task: Task,
    ) -> None:
        self._model = model
        self._numbers, self._found, self._known = numbers, found, known
        self._rows: list[int] = []
        self._predicted: list[Any] = []
        self._decided: list[Any] = []
        self._labels = task is Task.CLASSIFICATION
        predict = model.predict_label if self._labels else model.predict_number
        self._predict: Callable[[Any], Any] = predict

    def add(self, row: int, x: Any) -> None:
        """Let the model predict a sample."""
        found: Any = self._predict(x)
        if found and self._labels:
            # Whatever else it predicts shall fail here, where that is caught.
            found = found if type(found) is dict else dict(found)
            if self._model.decides:
                label = self._model.decide(x)
                hash(label)
                self._decided.append(label)
        if found or found == 0.0:
            self._rows.append(row)
            self._predicted.append(found)

    def close(self) -> tuple[int, str] | None:
        """Write what was collected, up to a prediction that is invalid: its row, and why it is."""
        if not self._rows:
            return None
        return self._write_labels() if self._labels else self._write_numbers()

    def _write_numbers(self) -> tuple[int, str] | None:
        values, rows = np.array(self._predicted, np.float64), np.array(self._rows)
        stop = _find_first(~np.isfinite(values))
        self._found.answers[rows[:stop]] = values[:stop]
        self._found.alive[rows[:stop]] = 1
        return None if stop == len(rows) else (int(rows[stop]), f"it predicts {values[stop]}")

    def _write_labels(self) -> tuple[int, str] | None:
        answers, alive, classes = self._found
        labels = list(chain.from_iterable(self._predicted))
        given = list(chain.from_iterable(map(dict.values, self._predicted)))
        values, rows = _to_floats(given), np.array(self._rows)
        row = np.repeat(rows, list(map(len, self._predicted)))
        stop = _find_first(~(np.isfinite(values) & (values >= 0.0)))
        failure = None
        if stop < len(values):
            failure = int(row[stop]), f"it predicts {labels[stop]!r} with {given[stop]!r}"
            rows = rows[rows < row[stop]]
            row = row[: int(np.searchsorted(row, row[stop]))]
            labels, values = labels[: len(row)], values[: len(row)]
        number = self._find_classes(labels)
        inside = number < self._known[row]
        row, number, values = row[inside], number[inside], values[inside]
        total = np.bincount(row, values, len(alive))
        there = np.isfinite(total) & (total > 0.0)
        good = there[row]
        row, number, values = row[good], number[good], values[good]
        answers[row, number] = values / total[row]
        alive[there] = 1
        if self._decided:
            number = self._find_classes(self._decided[: len(rows)])
            inside = there[rows] & (number < self._known[rows])
            classes[rows[inside]] = number[inside]
        else:
            first = _find_first_largest(row, values)
            classes[row[first]] = number[first]
        return failure

    def _find_classes(self, labels: Sequence[Any]) -> NDArray[np.int64]:
        numbers = map(self._numbers.get, labels, repeat(_UNKNOWN))
        return np.fromiter(numbers, np.int64, len(labels))


_UNKNOWN = 1 << 40  # in place of the number of a class that is not known


def _to_floats(values: Sequence[Any]) -> NDArray[np.float64]:
    """Probabilities as an array, NaN for what is no number."""
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError):
        return np.array([v if isinstance(v, int | float) else nan for v in values], np.float64)


def _find_first(flags: NDArray[np.bool_]) -> int:
    """Place of the first flag, or how many there are."""
    return int(flags.argmax()) if flags.any() else len(flags)


def _find_first_largest(row: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.intp]:
    """Place of the first one of the largest values of each row; rows are in order."""
    if not len(row):
        return np.empty(0, np.intp)
    starts = _find_starts(row)
    highest = np.maximum.reduceat(values, starts)
    largest = np.flatnonzero(values == np.repeat(highest, np.diff(starts, append=len(row))))
    places: NDArray[np.intp] = largest[_find_starts(row[largest])]
    return places


def _find_starts(row: NDArray[np.int64]) -> NDArray[np.intp]:
    return np.flatnonzero(np.append(True, row[1:] != row[:-1]))
