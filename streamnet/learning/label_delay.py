"""Labels that arrive late: when each becomes known, and what is kept until then.

A stream whose labels arrive late is learned as a `Timeline`: a sample is predicted with what is
known at that moment, its inputs are kept, and once its label has arrived it is learned and its
prediction is scored. Stages keep what they need of a waiting sample in a `PendingTable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, DataError
from streamnet.features.encoder import NO_PENDING, NO_SCORES, Encoded, Encoder
from streamnet.features.forecasts.history import TargetRows
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.keyed import KeyedEncoder
from streamnet.learning.pending import FreeRows, PendingTable, find_ages, leading, order_rows
from streamnet.samples import Block, Inputs, Schema, Task, Timeline, make_marks
from streamnet.settings.horizon import Horizon, list_horizons, parse_duration

MAX_PENDING = 1_000_000  # samples that may wait for their labels


@final
class LabelDelay(NamedTuple):
    """When the label of a sample becomes known.

    Either after a number of further samples, or after a time span, or at a time that the sample
    itself holds; the last two need the column with the time of each sample.
    """

    samples: int = 0  # the label of sample i is known before sample i + samples is predicted
    seconds: float | None = None
    time: str | None = None  # column with the time of each sample
    label_time: str | None = None  # column with the time at which its label becomes known
    horizon: Horizon | None = None  # how far ahead the target lies that is a sample's label

    @classmethod
    def build(
        cls,
        delay: int | str = 0,
        time: str | None = None,
        label_time: str | None = None,
        horizon: int | str | None = None,
    ) -> Self | None:
        """Build from settings; None if labels are known at once.

        Args:
            delay: Number of samples, or a duration such as "2h"; 0 for none.
            time: Column with the time of each sample.
            label_time: Column with the time at which its label becomes known.
            horizon: Samples ahead of which targets are predicted, or a duration; None for a
                sample's own.

        Raises:
            ConfigurationError: If they are invalid or do not fit together.
        """
        samples, seconds = _parse_delay(delay)
        ahead = None if horizon is None else Horizon.parse(horizon)
        if label_time is not None and (samples or seconds is not None):
            raise ConfigurationError("label_delay is given, but must not be where label_time is")
        spans = {
            "label_time": label_time is not None,
            f"label_delay {delay!r}": seconds is not None,
            f"horizon {horizon!r}": ahead is not None and ahead.seconds is not None,
        }
        for cause, needed in spans.items():
            if needed and time is None:
                raise ConfigurationError(
                    f"time is not given, but {cause} needs the column with the time of each sample"
                )
        if time is not None and time == label_time:
            raise ConfigurationError(f"label_time is {time!r}, but must differ from time")
        if not any(spans.values()):
            return cls(samples, horizon=ahead) if samples > 1 or ahead else None
        return cls(samples, seconds, time, label_time, ahead)

    @classmethod
    def build_all(
        cls,
        label_delay: int | str = 0,
        time: str | None = None,
        label_time: str | None = None,
        horizon: object = None,
        **others: object,
    ) -> list[Self | None]:
        """Build one for each horizon of the settings, or the only one; ``others`` do not matter."""
        del others
        horizons = list_horizons(horizon) or (None,)
        return [cls.build(label_delay, time, label_time, ahead) for ahead in horizons]

    @property
    def in_samples(self) -> bool:
        """Whether the label becomes known after a number of samples."""
        return self.seconds is None and self.label_time is None

    @property
    def knows_own(self) -> bool:
        """Whether a forecast from a sample knows the target of that sample."""
        return self.horizon is not None and self.in_samples and not self.samples


def _parse_delay(delay: int | str) -> tuple[int, float | None]:
    """Samples and seconds of a delay, of which at most one is given."""
    if isinstance(delay, str) and not delay.isdecimal():
        seconds = parse_duration(delay)
    else:
        seconds, samples = None, int(delay)
        if samples >= 0:
            return samples, None
    if seconds is None:
        rule = "must be a number of samples >= 0, or a duration such as 30min, 2h or 7d"
        raise ConfigurationError(f"label_delay is {delay!r}, but {rule}")
    return 0, seconds


INPUTS: dict[str, Any] = {
    "dense": 0.0,
    "row": 0,
    "value": 0.0,
    "count": 0,
    "splined": -1,
    "unscaled": np.nan,
}


@final
class DelayedEncoder:
    """Encodes a stream whose labels arrive late, as timelines.

    Args:
        encoder: Encodes inputs and targets; its lags are the last targets known at each moment.
        delay: When labels become known.
        keyed: What encodes samples by the encoder where keys have models of their own.
    """

    def __init__(
        self, encoder: Encoder, delay: LabelDelay, keyed: KeyedEncoder | None = None
    ) -> None:
        self._encoder, self._delay = encoder, delay
        self._source = keyed or encoder
        self._number = 0  # of the next sample
        self._known = -1  # number of the last sample whose label is known
        self._clock = -np.inf  # time of the last sample
        self._table = PendingTable(**INPUTS, target=None, weight=1.0)
        self._forecasts = PendingTable(memory=np.nan)
        self._rows = FreeRows()
        self._schema = Schema(())  # the last one without the column of label times
        # Of the waiting samples, by arrival: when their label becomes known, number, row, and
        # number of the sample whose target the label is.
        self._arrival = np.empty(0)
        self._waiting = np.empty((0, 3), np.int64)
        # Of the samples whose target lies further ahead: from when on it may come, number and row.
        self._due = np.empty(0)
        self._open = np.empty((0, 2), np.int64)
        self._steps = 0 if delay.horizon is None else max(delay.horizon.samples, 1)  # of the last

    @property
    def pending(self) -> int:
        """Number of samples that wait for their label."""
        return len(self._arrival) + len(self._open)

    def refused(self, block: Block) -> list[int]:
        """Rows of the samples that `encode` would reject."""
        return self._encoder.refused(block, self._pending_targets())

    def accepted(self, block: Block) -> Block:
        """Samples before the first one that `encode` would reject, which is rejected."""
        return self._encoder.accepted(block, self._pending_targets())

    def snapshot(self) -> EncoderSnapshot:
        """A snapshot of the encoder."""
        return self._encoder.snapshot()

    def _pending_targets(self) -> NDArray[Any]:
        if not len(self._waiting) or self._encoder.task is Task.REGRESSION:
            return NO_PENDING
        return self._table.read(self._waiting[:, 1], "target")

    def encode(self, block: Block, *, due: bool = False) -> Encoded:
        """Encode the next samples, and those whose labels have arrived meanwhile.

        Args:
            block: The samples.
            due: Whether labels that `encode_due` would encode right after it come with it.

        Raises:
            ConfigurationError: If a column of times is missing.
            DataError: If too many samples wait for their labels.
        """
        if block.change is not None:
            return self._source.encode(block)
        if refused := self.refused(block):
            block = self._encoder.reject(block, refused)
        n, first = len(block), self._number
        clock, arrival, moments = self._find_times(block)
        block = self._without_label_time(block)
        labeled = block.find_targets() & np.isfinite(arrival)
        known, forecasts = self._find_known(block), self._delay.horizon is not None
        targets = self._own_targets(block, labeled) if forecasts else NO_PENDING
        if forecasts:
            arrival = np.where(labeled, arrival, clock)  # of targets that never come, at once
            labeled = np.ones(n, np.bool_)
        places = np.full(n, -1, np.int64)
        places[labeled] = self._allocate(int(labeled.sum()))
        numbers = np.arange(first, first + n)
        steps = np.zeros(n, np.int64)
        if forecasts:
            block, steps = self._look_ahead(block, targets, arrival, moments, places)
        else:
            rows = np.stack((numbers, places, numbers), axis=1)
            self._await(arrival[labeled], rows[labeled])
        clock = np.append(clock, first + n) if due and self._knows_due else clock
        arrived, before = self._pop_arrived(clock, first)
        timeline = order_rows(numbers, places, arrived, before)
        self._number += n
        ahead = _find_targets(timeline, arrived, numbers + steps)
        encoded = self._encode(block, timeline, labeled, ahead, known)
        if forecasts:  # the targets of these samples are yet to come
            encoded = replace(encoded, block=replace(encoded.block, target=None))
        return encoded

    def _find_known(self, block: Block) -> NDArray[np.float64]:
        """Numbers that are known when each sample is predicted, shape=(n,); or empty."""
        numeric = self._encoder.task is Task.REGRESSION
        if not self._delay.knows_own or not numeric or block.target is None:
            return np.empty(0)
        return block.target.astype(np.float64)

    def _own_targets(self, block: Block, labeled: NDArray[np.bool_]) -> NDArray[Any]:
        """Targets of the samples themselves, missing where they never become known."""
        numeric = self._encoder.task is Task.REGRESSION
        targets: NDArray[Any] = np.full(len(block), np.nan if numeric else None, object)
        if block.target is not None:
            targets[labeled] = block.target[labeled]
        return targets

    def _look_ahead(
        self,
        block: Block,
        targets: NDArray[Any],
        arrival: NDArray[np.float64],
        moments: NDArray[np.float64],
        places: NDArray[np.intp],
    ) -> tuple[Block, NDArray[np.int64]]:
        """Let each target wait as that of the samples it was to be predicted from.

        Args:
            block: The next samples.
            targets: Their own targets.
            arrival: When each becomes known.
            moments: Their numbers or times, as the horizon counts them.
            places: Their rows of the table.

        Returns:
            The samples with the targets ahead of them, as far as these are in the block; and how
            many samples ahead each target is expected.
        """
        n, first, horizon = len(block), self._number, self._delay.horizon
        assert horizon is not None
        span = horizon.samples if horizon.seconds is None else horizon.seconds
        numbers = np.arange(first, first + n)
        due = np.concatenate((self._due, moments + span))
        opened = np.concatenate((self._open, np.stack((numbers, places), axis=1)))
        ahead = np.maximum(np.searchsorted(moments, due), opened[:, 0] + 1 - first)
        count = int((ahead < n).sum())  # they are the first ones
        steps = self._expect_steps(due, moments)
        found, ahead = opened[:count], ahead[:count]
        self._open, self._due = opened[count:], due[count:]
        earlier = found[:, 0] < first
        if earlier.any():
            self._table.replace("target", found[earlier, 1], targets[ahead[earlier]])
        self._await(arrival[ahead], np.column_stack((found, first + ahead)))
        shifted: NDArray[Any] = np.full(n, None, object)
        shifted[found[~earlier, 0] - first] = targets[ahead[~earlier]]
        return replace(block, target=shifted), steps

    def _expect_steps(
        self, due: NDArray[np.float64], moments: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """How many samples ahead each target is expected, shape=(n,): as many as in the last span.

        Args:
            due: From when on the targets of the open samples may come, the last n of which are new.
            moments: Numbers or times of the new samples.
        """
        n, horizon = len(moments), self._delay.horizon
        assert horizon is not None
        if horizon.seconds is None:
            return np.full(n, horizon.samples)
        opened = len(due) - n + np.arange(1, n + 1)
        steps: NDArray[np.int64] = np.maximum(opened - np.searchsorted(due, moments, "right"), 1)
        if n:
            self._steps = int(steps[-1])
        return steps

    def flush(self) -> Encoded | None:
        """Encode all samples that wait as if their labels had arrived now; None without any."""
        arrived, self._waiting = self._waiting, self._waiting[:0]
        self._arrival = self._arrival[:0]
        return self._encode_arrived(arrived)

    def encode_due(self) -> Encoded | None:
        """Encode the samples whose labels are known before the next one is predicted, if any.

        That is so of labels that come after a number of samples. It makes no difference to what is
        learned, but the next sample can be predicted with them before it is here.
        """
        if not self._knows_due:
            return None
        arrived, _ = self._pop_arrived(np.array([float(self._number)]), self._number)
        return self._encode_arrived(arrived)

    @property
    def _knows_due(self) -> bool:
        """Whether it is known, before the next sample, which labels arrive before it."""
        return self._delay.in_samples and self._delay.horizon is None

    def _encode_arrived(self, arrived: NDArray[np.int64]) -> Encoded | None:
        """Encode samples whose labels arrive before the next one; None without any."""
        if not len(arrived):
            return None
        none = np.empty(0, np.int64)
        timeline = order_rows(none, none, arrived, np.full(len(arrived), self._number))
        ahead = _find_targets(timeline, arrived, none)
        schema = Schema(self._source.fields, None, self._encoder.task)
        columns = (
            np.empty((0, len(schema.numbers))),
            tuple(np.empty(0, object) for _ in schema.words),
        )
        block = Block(schema, "", *columns, None, make_marks(0, 0))
        return self._encode(block, timeline, none > 0, ahead)

    def _encode(
        self,
        block: Block,
        timeline: Timeline,
        labeled: NDArray[np.bool_],
        ahead: NDArray[np.int64],
        known: NDArray[np.float64] = NO_SCORES,
    ) -> Encoded:
        """Encode the rows of a timeline, and keep what waits or let go what has arrived."""
        late = timeline.late
        arrived = timeline.place[late]
        table, target = self._table, self._merge_targets(block, timeline)
        self._known, ages, age = find_ages(timeline, late, self._known, self._number)

        def merge(inputs: Inputs) -> Inputs:
            """Keep the inputs of waiting samples; put those of arrived ones among the others."""
            kept = {name: getattr(inputs, name)[labeled] for name in INPUTS}
            own = () if block.target is None else block.target[labeled]
            table.write(
                timeline.place[~late][labeled],
                timeline.sample[~late][labeled],
                **kept,
                target=np.array(own, object),
                weight=np.ones(len(own)) if block.weight is None else block.weight[labeled],
            )
            return interleave(inputs, {name: table.read(arrived, name) for name in INPUTS}, late)

        rows = recall_forecasts(self._encoder, self._forecasts, timeline, self._number)
        if rows is not None and self._delay.horizon:
            rows = self._look_ahead_rows(rows._replace(target=ahead), timeline, known)
        unlabeled = self._find_unlabeled(timeline, known)
        encoded = self._source.encode_timeline(
            block, timeline, target, ages, age, merge, rows, unlabeled
        )
        if rows is not None:
            self._forecasts.keep(timeline, memory=rows.memory)
        weight = np.ones(len(late))
        if len(arrived):
            weight[late] = table.read(arrived, "weight")
        table.remove(arrived)
        self._rows.release(arrived)
        return replace(encoded, weight=weight)

    def _find_unlabeled(
        self, timeline: Timeline, known: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Known targets that are no earlier sample's label: those before the horizon."""
        horizon = self._delay.horizon
        if not len(known) or horizon is None or self._number - len(known) >= horizon.samples:
            return NO_SCORES
        own = np.full(len(timeline.late), np.nan)
        own[~timeline.late] = known
        own[timeline.number >= horizon.samples] = np.nan
        return own

    def _look_ahead_rows(
        self, rows: TargetRows, timeline: Timeline, known: NDArray[np.float64]
    ) -> TargetRows:
        """The rows of forecasts with what is known before each."""
        history = self._encoder.history
        assert history is not None
        history.expect(self._number + self._steps)
        if not len(known):
            return rows
        own = np.full(len(timeline.late), np.nan)
        own[~timeline.late] = known
        return rows._replace(number=timeline.number, own=own)

    def _merge_targets(self, block: Block, timeline: Timeline) -> NDArray[Any]:
        """Targets by row of a timeline: of samples whose label arrives; none of the others."""
        late, target = timeline.late, make_missing_targets(len(timeline.late), self._encoder.task)
        if late.any():
            target[late] = self._arrived_targets(block, timeline)
        return target

    def _arrived_targets(self, block: Block, timeline: Timeline) -> NDArray[Any]:
        first = self._number - len(block)
        numbers, places = timeline.sample[timeline.late], timeline.place[timeline.late]
        earlier = numbers < first
        targets = np.empty(len(numbers), object)
        if earlier.any():
            targets[earlier] = self._table.read(places[earlier], "target")
        if not earlier.all():
            assert block.target is not None
            targets[~earlier] = block.target[numbers[~earlier] - first]
        return targets

    def _find_times(
        self, block: Block
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The clock at each sample, when its label becomes known, and what horizons count."""
        delay = self._delay
        numbers = np.arange(self._number, self._number + len(block), dtype=float)
        if delay.time is None:
            return numbers, numbers + delay.samples, numbers
        times = _read_times(block, delay.time)
        clock = np.fmax.accumulate(np.append(self._clock, times))[1:]
        if len(clock):
            self._clock = float(clock[-1])
        moments = clock if delay.horizon and delay.horizon.seconds is not None else numbers
        if delay.in_samples:
            return numbers, numbers + delay.samples, moments
        if delay.label_time is None:
            assert delay.seconds is not None
            return clock, np.where(np.isnan(times), clock, times) + delay.seconds, moments
        return clock, _read_times(block, delay.label_time), moments

    def _without_label_time(self, block: Block) -> Block:
        """The block without the column of label times, which no prediction may depend on."""
        name = self._delay.label_time
        if name is None:
            return block
        fields = tuple(field for field in block.schema.fields if field.name != name)
        if fields != self._schema.fields:
            self._schema = Schema(fields, block.schema.target, block.schema.task)
        numbers = np.delete(block.numbers, block.schema.numbers.index(name), axis=1)
        return replace(block, schema=self._schema, numbers=numbers)

    def _allocate(self, count: int) -> list[int]:
        """Unused rows of the table."""
        if self.pending + count > MAX_PENDING:
            raise DataError(f"more than {MAX_PENDING:,} samples wait for their labels")
        return self._rows.take(count)

    def _await(self, arrival: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        """Add samples that wait, keeping all in the order in which labels arrive."""
        when = np.concatenate((self._arrival, arrival))
        waiting = np.concatenate((self._waiting, rows))
        if (when[1:] < when[:-1]).any():
            order = np.lexsort((waiting[:, 0], when))
            when, waiting = when[order], waiting[order]
        self._arrival, self._waiting = when, waiting

    def _pop_arrived(
        self, clock: NDArray[np.float64], first: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Remove the samples whose label arrives before one of the next is predicted.

        Returns:
            What is known of them, shape=(k, 3), and the number of the sample before which each
            label arrives, shape=(k,).
        """
        before = first + np.searchsorted(clock, self._arrival)
        # The target of a sample is known after it at the earliest, or with it where it is a label
        # of earlier ones.
        before = np.maximum(before, self._waiting[:, 2] + (self._delay.horizon is None))
        arrived = before < first + len(clock)
        popped = self._waiting[arrived]
        self._waiting, self._arrival = self._waiting[~arrived], self._arrival[~arrived]
        return popped, before[arrived]

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, except the encoder's state."""
        return {
            "number": self._number,
            "known": self._known,
            "clock": self._clock,
            "arrival": self._arrival,
            "waiting": self._waiting[:, 0],
            "target": self._waiting[:, 2],
            "open": self._open[:, 0],
            "due": self._due,
            "steps": self._steps,
            "samples": self._table.export_state(),
            "forecasts": self._forecasts.export_state(),
        }

    def restore_state(
        self, state: Mapping[str, Any], encoder: Encoder, keyed: KeyedEncoder | None = None
    ) -> None:
        """Resume from an exported state, with the encoders of the same moment."""
        self._encoder, self._source = encoder, keyed or encoder
        self._number, self._known, self._clock = state["number"], state["known"], state["clock"]
        self._table.restore_state(state["samples"])
        self._forecasts.restore_state(state["forecasts"])
        kept = self._table.numbers
        self._arrival = np.array(state["arrival"], np.float64)
        waiting, target, opened = (
            np.array(state[name], np.int64) for name in ("waiting", "target", "open")
        )
        self._waiting = np.stack((waiting, np.searchsorted(kept, waiting), target), axis=1)
        self._open = np.stack((opened, np.searchsorted(kept, opened)), axis=1)
        self._due, self._steps = np.array(state["due"], np.float64), state["steps"]
        self._rows = FreeRows(len(kept))


def _read_times(block: Block, name: str) -> NDArray[np.float64]:
    """A column of times in seconds, shape=(n,); NaN where missing.

    Raises:
        ConfigurationError: If there is no such column of numbers or times.
    """
    schema = block.schema
    if name not in schema.numbers:
        found = "is not a column" if name not in schema.words else "holds no times"
        raise ConfigurationError(
            f"{name!r} {found}, but must be a column of times or numbers; those are "
            f"{', '.join(map(repr, schema.numbers)) or 'none'}"
        )
    return block.numbers[:, schema.numbers.index(name)].astype(np.float64)


def make_missing_targets(count: int, task: Task) -> NDArray[Any]:
    """Targets that are all missing, shape=(count,)."""
    return np.full(count, np.nan) if task is Task.REGRESSION else np.full(count, None, object)


def _find_targets(
    timeline: Timeline, arrived: NDArray[np.int64], ahead: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Numbers of the samples whose targets the rows of a timeline are about, shape=(rows,)."""
    targets = np.empty(len(timeline.late), np.int64)
    targets[~timeline.late] = ahead
    arrived = arrived[np.argsort(arrived[:, 0])]
    places = np.searchsorted(arrived[:, 0], timeline.sample[timeline.late])
    targets[timeline.late] = arrived[places, 2]
    return targets


def recall_forecasts(
    encoder: Encoder, kept: PendingTable, timeline: Timeline, number: int
) -> TargetRows | None:
    """Which targets the rows are about, and what is kept of forecasts; None without a history.

    Args:
        encoder: Has the history.
        kept: What is kept of waiting samples.
        timeline: The rows.
        number: Number of the sample after them.
    """
    history = encoder.history
    if history is None:
        return None
    history.expect(number)
    memory = history.prepare(len(timeline.late))
    kept.load(timeline, memory=memory)
    return TargetRows(timeline.sample, timeline.late, timeline.origin, memory=memory)


def interleave(inputs: Inputs, kept: Mapping[str, NDArray[Any]], late: NDArray[np.bool_]) -> Inputs:
    """Inputs by row of a timeline: of new samples, and of those whose label has arrived."""
    merged = {}
    for name, fill in INPUTS.items():
        new, old = getattr(inputs, name), kept[name]
        shape = (len(late), *map(max, new.shape[1:], old.shape[1:]))
        merged[name] = array = np.full(shape, fill, new.dtype)
        array[leading(~late, new)] = new
        array[leading(late, old)] = old
    return Inputs(rows=inputs.rows, lags=inputs.lags, fields=inputs.fields, **merged)
