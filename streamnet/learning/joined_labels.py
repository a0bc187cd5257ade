"""Labels that arrive on their own: each names the sample that it belongs to.

The delay of a label is what really happened, instead of a schedule as in `label_delay`; both share
the way in which a sample waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.features.encoder import NO_CLASSES, Encoded, Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.keyed import KeyedEncoder
from streamnet.learning.label_delay import (
    INPUTS,
    interleave,
    make_missing_targets,
    recall_forecasts,
)
from streamnet.learning.pending import FreeRows, PendingTable, find_ages, order_rows
from streamnet.samples import Arrivals, Block, Given, Inputs, Task, Timeline, find_known


@final
class JoiningEncoder:
    """Encodes a stream in which labels may arrive after their samples, see `Block.arrivals`.

    A sample with a target is learned at once. One without waits for its label, which names the
    record of the sample, unless the block says that none will come. Until the first sample waits,
    everything is encoded as without delay; from then on networks with lags also see how old the
    last known target is. No block goes from samples that do not wait to the first one that does,
    see `BlockSplitter`.

    Args:
        encoder: Encodes inputs and targets; its lags are the last targets known at each moment.
        keyed: What encodes samples by the encoder where keys have models of their own.
    """

    def __init__(self, encoder: Encoder, keyed: KeyedEncoder | None = None) -> None:
        self._encoder, self._source = encoder, keyed or encoder
        self._number = 0  # of the next sample
        self._known = -1  # number of the sample whose target became known last
        self._has_waited = False  # whether a sample ever waited
        self._has_weights = False  # whether a sample ever had a weight
        self._table = PendingTable(**INPUTS, weight=1.0)
        self._forecasts = PendingTable(memory=np.nan)
        self._waiting: dict[int, tuple[int, int]] = {}  # number and row of the table, by record
        self._rows = FreeRows()

    @property
    def pending(self) -> int:
        """Number of samples that wait for their label."""
        return len(self._waiting)

    def refused(self, block: Block) -> list[int]:
        """Rows of the samples that `encode` would reject."""
        return self._find_refused(block)[0]

    def accepted(self, block: Block) -> Block:
        """Samples before the first one that `encode` would reject, which is rejected."""
        return self._encoder.accepted(block)

    def snapshot(self) -> EncoderSnapshot:
        """A snapshot of the encoder."""
        return self._encoder.snapshot()

    def encode(self, block: Block) -> Encoded:
        """Encode the next samples, and those whose labels have arrived between them."""
        if block.change is not None:
            return self._source.encode(block)
        waits = block.find_waiting()
        if waits.any():
            self._source.expect_late_targets()
        self._has_waited |= bool(waits.any()) or block.arrivals is not None
        if not self._has_waited:
            self._number += len(block)
            encoded = self._source.encode(block)
            self._number -= len(block) - len(encoded.block)
            return encoded
        if (accepted := self._reject(block)) is not block:
            block, waits = accepted, accepted.find_waiting()
        n, first = len(block), self._number
        numbers = np.arange(first, first + n)
        places = np.full(n, -1, np.int64)
        places[waits] = self._rows.take(int(waits.sum()))
        records = block.marks[:-1, 1]
        for i in np.flatnonzero(waits).tolist():
            self._waiting[int(records[i])] = int(numbers[i]), int(places[i])
        joined, arrived, before = self._join(block.arrivals, first)
        timeline = order_rows(numbers, places, arrived, before)
        self._number += n
        encoded = self._encode(block, timeline, waits, joined)
        return replace(encoded, given=self._read_given(block.arrivals, joined, timeline))

    def _find_refused(self, block: Block) -> tuple[list[int], list[int]]:
        """Samples, and arriving labels, of new classes where there are too many, in their order."""
        arrivals = block.arrivals
        if arrivals is None:
            return self._encoder.refused(block), []
        if self._encoder.task is Task.REGRESSION:
            return [], []
        order = np.argsort(
            np.concatenate((2 * arrivals.before, 2 * np.arange(len(block)) + 1)), kind="stable"
        )
        own = [None] * len(block) if block.target is None else block.target.tolist()
        targets = np.array([*arrivals.target.tolist(), *own], object)[order]
        refused = sorted(order[self._encoder.label_numbers.refused(targets)].tolist())
        late = len(arrivals.target)
        return [k - late for k in refused if k >= late], [k for k in refused if k < late]

    def _reject(self, block: Block) -> Block:
        """Move samples, and labels, that cannot be learned to the rejected records."""
        samples, late = self._find_refused(block)
        arrivals = block.arrivals
        if arrivals is not None and (late or arrivals.letters):
            target, letters = arrivals.target.copy(), dict(arrivals.letters)
            for k in late:
                label, mark = str(arrivals.target[k]), arrivals.marks[k]
                letters[k] = self._encoder.label_numbers.refuse_label(label, block.source, mark)
            target[list(letters)] = None
            merged = sorted((*block.rejected, *letters.values()), key=lambda one: one.offset)
            arrivals = arrivals._replace(target=target, letters={}, refused=len(letters))
            block = replace(block, arrivals=arrivals, rejected=tuple(merged))
        return self._encoder.reject(block, samples) if samples else block

    def _join(
        self, arrivals: Arrivals | None, first: int
    ) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
        """Remove the samples whose labels have arrived from those that wait.

        Returns:
            The arrivals that belong to a waiting sample, shape=(k,); numbers and rows of these
            samples, shape=(k, 2); and the number of the sample before which each label arrives.
        """
        joined: list[int] = []
        arrived: list[tuple[int, int]] = []
        for k, record in enumerate(() if arrivals is None else arrivals.record.tolist()):
            if (found := self._waiting.pop(record, None)) is not None:
                joined.append(k)
                arrived.append(found)
        kept = np.array(joined, np.intp)
        before = np.empty(0, np.int64) if arrivals is None else first + arrivals.before[kept]
        return kept, np.array(arrived, np.int64).reshape(-1, 2), before

    def _encode(
        self, block: Block, timeline: Timeline, waits: NDArray[np.bool_], joined: NDArray[np.intp]
    ) -> Encoded:
        """Encode the rows of a timeline, and keep what waits or let go what has arrived."""
        late, table = timeline.late, self._table
        arrived = timeline.place[late]
        target = self._merge_targets(block, late, joined)
        new, weight = ~late, np.ones(len(late))
        if block.weight is not None:
            self._has_weights = True
            weight[new] = block.weight

        def merge(inputs: Inputs) -> Inputs:
            """Keep the inputs of waiting samples; put those of arrived ones among the others."""
            kept = {name: getattr(inputs, name)[waits] for name in INPUTS}
            rows = timeline.place[new][waits], timeline.sample[new][waits]
            table.write(*rows, **kept, weight=weight[new][waits])
            return interleave(inputs, {name: table.read(arrived, name) for name in INPUTS}, late)

        learned = find_known(target)
        self._known, ages, age = find_ages(timeline, learned, self._known, self._number)
        forecasts = recall_forecasts(self._encoder, self._forecasts, timeline, self._number)
        arrivals = block.arrivals
        sent = None if arrivals is None or arrivals.weight is None else arrivals.weight[joined]
        self._has_weights |= sent is not None
        encoded = self._source.encode_timeline(block, timeline, target, ages, age, merge, forecasts)
        if forecasts is not None:
            self._forecasts.keep(timeline, memory=forecasts.memory)
        if self._has_weights:
            own = table.read(arrived, "weight")
            weight[late] = own if sent is None else np.where(np.isnan(sent), own, sent)
            encoded = replace(encoded, weight=weight)
        table.remove(arrived)
        self._rows.release(arrived)
        return encoded

    def _merge_targets(
        self, block: Block, late: NDArray[np.bool_], joined: NDArray[np.intp]
    ) -> NDArray[Any]:
        """Targets by row of a timeline."""
        numeric = self._encoder.task is Task.REGRESSION
        target = make_missing_targets(len(late), self._encoder.task)
        if block.target is not None:
            target[~late] = block.target
        if len(joined):
            assert block.arrivals is not None
            arrived = block.arrivals.target[joined]
            target[late] = [np.nan if y is None else y for y in arrived] if numeric else arrived
        return target

    def _read_given(
        self, arrivals: Arrivals | None, joined: NDArray[np.intp], timeline: Timeline
    ) -> Given | None:
        """The answers that callers got, by row of the timeline."""
        if arrivals is None or arrivals.answers is None or not len(joined):
            return None
        answers = [arrivals.answers[k] for k in joined.tolist()]
        rows = np.flatnonzero(timeline.late)
        missing = np.array([answer is None for answer in answers], np.bool_)
        if self._encoder.task is Task.REGRESSION:
            numbers = [np.nan if answer is None else float(answer) for answer in answers]
            intervals = _read_intervals(arrivals, joined, _order_bounds)
            return Given(rows, np.array(numbers), NO_CLASSES, missing, intervals)
        known = self._encoder.label_numbers
        labels, probabilities = zip(*(answer or (None, {}) for answer in answers), strict=True)
        classes = known.look_up(np.array(labels, object))
        intervals = _read_intervals(arrivals, joined, known.order_sets)
        return Given(rows, known.order_probabilities(probabilities), classes, missing, intervals)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, except the encoder's state."""
        ordered = sorted((number, record) for record, (number, _) in self._waiting.items())
        return {
            "number": self._number,
            "known": self._known,
            "has_waited": self._has_waited,
            "has_weights": self._has_weights,
            "records": np.array([record for _, record in ordered], np.int64),
            "samples": self._table.export_state(),
            "forecasts": self._forecasts.export_state(),
        }

    def restore_state(
        self, state: Mapping[str, Any], encoder: Encoder, keyed: KeyedEncoder | None = None
    ) -> None:
        """Resume from an exported state, with the encoders of the same moment."""
        self._encoder, self._source = encoder, keyed or encoder
        self._number, self._known = state["number"], state["known"]
        self._has_waited = state["has_waited"]
        self._has_weights = state["has_weights"]
        self._table.restore_state(state["samples"])
        self._forecasts.restore_state(state["forecasts"])
        pairs = enumerate(self._table.numbers.tolist())
        records: Sequence[int] = state["records"].tolist()
        self._waiting = {
            record: (number, place) for record, (place, number) in zip(records, pairs, strict=True)
        }
        self._rows = FreeRows(len(records))


def _read_intervals(
    arrivals: Arrivals,
    joined: NDArray[np.intp],
    order: Callable[[Sequence[Any]], NDArray[np.float64]],
) -> NDArray[np.float64] | None:
    """The intervals or sets that callers got, as in `Given`; ``order`` brings them into rows."""
    if arrivals.intervals is None:
        return None
    given = arrivals.intervals[joined].tolist()
    return order(given) if any(one is not None for one in given) else None


def _order_bounds(given: Sequence[Any]) -> NDArray[np.float64]:
    """Bounds as rows, NaN where none were given."""
    return np.array([(np.nan, np.nan) if one is None else one for one in given], np.float64)
