"""Samples of a stream as columns: schema, block, position, and the operations on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, wraps
from typing import Any, NamedTuple, NoReturn, TypeVar, final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import DTypeLike, NDArray

from streamnet.errors import ConfigurationError

Sample = Mapping[str, Any]
"""One observation: values by feature name."""


class Choice(StrEnum):
    """One of a few words; any other is refused with the list of allowed ones."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        rule = f"must be one of {', '.join(cls)}"
        raise ConfigurationError(f"{cls.__name__.lower()} is {value!r}, but {rule}")


class Kind(Choice):
    """How the values of a column are interpreted.

    A NUMBER is scaled, each value of a CATEGORY has an input of its own, a TEXT is split into
    words, and a TIME is a number and a phase of day, week and year. DAY_FIRST and MONTH_FIRST are
    times that differ only in how dates such as 3/4/2026 are parsed. An ID is a whole number that
    stands for something: a number and a category.
    """

    NUMBER = "number"
    ID = "id"
    TIME = "time"
    DAY_FIRST = "day_first"
    MONTH_FIRST = "month_first"
    CATEGORY = "category"
    TEXT = "text"


TIMES = frozenset({Kind.TIME, Kind.DAY_FIRST, Kind.MONTH_FIRST})
"""Kinds whose values are points in time."""

QUANTITIES = frozenset({Kind.NUMBER, Kind.ID})
"""Kinds whose values are parsed as numbers."""

NUMERIC = TIMES | QUANTITIES
"""Kinds whose values are numbers in a block; times are seconds since 1970."""


def are_compatible(kind: Kind, other: Kind) -> bool:
    """Whether a column of one kind can replace one of the other, since it is parsed as one."""
    return any(kind in alike and other in alike for alike in (TIMES, QUANTITIES, {kind}))


class Task(Choice):
    """What is predicted: a label or a number."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"


class Field(NamedTuple):
    """A feature column."""

    name: str
    kind: Kind


@final
@dataclass(frozen=True)
class Schema:
    """Feature columns in the order of the source, and the target.

    A schema only grows: `extended` appends fields and keeps the existing ones.

    >>> schema = Schema((Field("age", Kind.NUMBER), Field("job", Kind.CATEGORY)), "income")
    >>> schema.numbers, schema.words
    (('age',), ('job',))
    """

    fields: tuple[Field, ...]
    target: str | None = None
    task: Task | None = None
    numbers: tuple[str, ...] = ()  # derived: names whose kind is NUMBER or a time
    words: tuple[str, ...] = ()  # derived: names whose kind is CATEGORY or TEXT

    def __post_init__(self) -> None:
        numbers = tuple(f.name for f in self.fields if f.kind in NUMERIC)
        words = tuple(f.name for f in self.fields if f.kind not in NUMERIC)
        object.__setattr__(self, "numbers", numbers)
        object.__setattr__(self, "words", words)

    def extended(self, fields: Sequence[Field]) -> Schema:
        """This schema with more fields at the end."""
        return Schema((*self.fields, *fields), self.target, self.task)


class Position(NamedTuple):
    """A position between two samples of a source; resuming there returns the next sample."""

    source: str = ""  # name of the file or stream
    offset: int = 0  # of the next record: bytes (uncompressed) or rows
    record: int = 0  # number of records before it, including rejected ones, without a header
    line: int = 0  # 1-based line of the next record; 0 if the format has no lines


class SparseRows(NamedTuple):
    """Rows of few non-zero inputs by index, padded to the longest row."""

    # These two names hide methods of tuple that are not needed here.
    index: NDArray[np.int64]  # type: ignore[assignment]  # shape=(n, width)
    value: NDArray[np.float64]  # shape=(n, width)
    count: NDArray[np.int32]  # type: ignore[assignment]  # shape=(n,), number of entries used in each row

    def rows(self, order: slice | NDArray[np.intp]) -> SparseRows:
        """Some of the rows."""
        return SparseRows(self.index[order], self.value[order], self.count[order])


class ClassChange(NamedTuple):
    """An operator's change of the classes: one is merged into another, or retired."""

    label: str
    into: str | None = None  # None: it is retired

    def describe(self) -> str:
        """What happened, in words.

        >>> ClassChange("SIDEWAYS", "FLAT").describe(), ClassChange("SIDEWAYS").describe()
        ("'SIDEWAYS' merged into 'FLAT'", "'SIDEWAYS' retired")
        """
        what = "retired" if self.into is None else f"merged into {self.into!r}"
        return f"{self.label!r} {what}"


class KeyRemoval(NamedTuple):
    """The end of a key, whose model and last targets are deleted; if it comes again, it is new."""

    key: str

    def describe(self) -> str:
        """What happened, in words.

        >>> KeyRemoval("d7").describe()
        "key 'd7' forgotten"
        """
        return f"key {self.key!r} forgotten"


Change = ClassChange | KeyRemoval
"""A change of what is learned that takes effect between two samples."""
_CHANGES: dict[str, type[ClassChange] | type[KeyRemoval]] = {
    "classes": ClassChange,
    "forgotten": KeyRemoval,
}


def change_to_list(change: Change) -> list[str | None]:
    """A change as plain values.

    >>> change_to_list(KeyRemoval("d7"))
    ['forgotten', 'd7']
    """
    name = next(name for name, kind in _CHANGES.items() if isinstance(change, kind))
    return [name, *change]


def change_from_list(values: Sequence[Any]) -> Change:
    """The change of `change_to_list`."""
    name, *fields = values
    return _CHANGES[name](*fields)


@final
@dataclass(frozen=True)
class DeadLetter:
    """A rejected record, with what is needed to correct or replay it."""

    source: str
    offset: int  # of the record: bytes (uncompressed) or rows
    line: int | None  # 1-based; None if the format has no lines
    reason: str  # a code, see `streamnet.sources.Reason`
    detail: str  # a sentence
    raw: str  # the record's text, cut to 4,096 characters
    raw_base64: str | None = None  # its bytes if they are not UTF-8, cut to 16,384, as base64
    message: Mapping[str, Any] | None = None  # of a broker: names of the stream, its id and key

    @property
    def place(self) -> str:
        """Where the record is, for messages.

        >>> DeadLetter("f.csv", 120, 7, "arity", "...", "1,2").place
        'f.csv, line 7'
        """
        where = f"line {self.line}" if self.line else f"record at {self.offset}"
        return f"{self.source}, {where}"


MAX_WEIGHT = 1e9  # of a sample, so that no sum of products of weights overflows


class Arrivals(NamedTuple):
    """Labels that arrive on their own, each for an earlier sample, in order.

    A label that is None frees its sample, which is then never learned. ``before[k]`` samples of the
    block come before label k; ``letters`` holds the rejected records of labels that are invalid.
    """

    before: NDArray[np.int64]  # shape=(k,), ascending
    record: NDArray[np.int64]  # shape=(k,): record of the sample, as in the marks of its block
    target: NDArray[np.object_]  # shape=(k,): float, str or None
    marks: NDArray[np.int64]  # shape=(k, 3): where each label starts, as in those of a block
    # What callers got, shape=(k,): a number, a label with the probabilities of all, or None.
    answers: NDArray[np.object_] | None = None
    # With them, shape=(k,): a list of both bounds of the number, or of labels, or None.
    intervals: NDArray[np.object_] | None = None
    weight: NDArray[np.float64] | None = None  # shape=(k,): in place of the sample's; NaN: its own
    letters: Mapping[int, DeadLetter] = {}
    refused: int = 0  # labels that are among the rejected records of the block

    @property
    def records(self) -> int:
        """Number of records of a source, without those that are rejected."""
        return len(self.before) - self.refused

    def select(self, start: int, stop: int, shift: int) -> Arrivals:
        """Some of the labels, in a part of the block that begins with sample ``shift``."""
        return self._replace(
            before=self.before[start:stop] - shift,
            record=self.record[start:stop],
            target=self.target[start:stop],
            marks=self.marks[start:stop],
            answers=None if self.answers is None else self.answers[start:stop],
            intervals=None if self.intervals is None else self.intervals[start:stop],
            weight=None if self.weight is None else self.weight[start:stop],
            letters={k - start: one for k, one in self.letters.items() if start <= k < stop},
        )


class Prediction(NamedTuple):
    """One prediction that a caller got."""

    value: str | float | None  # label or number; None if no finite value was predicted
    probabilities: dict[str, float] | None  # of labels, where > 0; None for numbers
    generation: int  # of the model that predicted; 0 if there was none yet
    # Lower and upper bound of a number, or the labels in the set, if the model has an `interval`.
    interval: list[Any] | None = None

    @property
    def task(self) -> Task | None:
        """What was predicted; None if there was no model yet."""
        if not self.generation:
            return None
        return Task.REGRESSION if self.probabilities is None else Task.CLASSIFICATION


class Given(NamedTuple):
    """Answers that callers got to samples whose labels have arrived: these count as served."""

    rows: NDArray[np.intp]  # shape=(k,)
    answers: NDArray[np.float64]  # shape=(k, classes) or (k,)
    classes: NDArray[np.int32]  # shape=(k,), that were predicted; empty for numbers
    missing: NDArray[np.bool_]  # shape=(k,): whether there was no answer
    # Bounds (k, 2), or whether each class is in the set (k, classes), as numbers; rows of NaN where
    # none were given, None if there were none at all.
    intervals: NDArray[np.float64] | None = None


# Per-block objects are msgspec Structs: construction is four times as fast as a dataclass's, which
# matters where samples come one by one.
@final
class Block(Struct, frozen=True, eq=False, gc=False):
    """Consecutive samples of one file or stream, as columns.

    ``marks[i]`` is where sample i starts and ``marks[n]`` where the block ends, each as offset
    (bytes after decompression, or rows), record (0-based, including rejected ones, without a
    header) and line (1-based; 0 if the format has none).
    """

    schema: Schema
    source: str
    numbers: NDArray[np.float64]  # shape=(n, len(schema.numbers)), NaN = missing, times in seconds
    words: tuple[NDArray[np.object_], ...]  # one per schema.words, shape=(n,), str or None
    target: NDArray[Any] | None  # shape=(n,): float64 (regression) or object of str
    marks: NDArray[np.int64]  # shape=(n + 1, 3)
    sparse: SparseRows | None = None
    rejected: tuple[DeadLetter, ...] = ()  # after the end of the previous block
    scored: bool = True  # False: learned but not scored, since it was seen in an earlier epoch
    learned: bool = True  # False: predicted and scored but not learned, since it is held out
    weight: NDArray[np.float64] | None = None  # shape=(n,), of each sample; None: all are 1
    ids: NDArray[np.object_] | None = None  # shape=(n,), of each sample: a text, or None
    # shape=(n,): the `Prediction` that a caller got for each sample, if all were predicted before.
    requested: NDArray[np.object_] | None = None
    arrivals: Arrivals | None = None  # labels of earlier samples that arrive between these
    # Where labels may arrive on their own: whether those of samples without a target will.
    awaits_labels: bool = True
    change: Change | None = None  # from here on; then there are no samples

    def __len__(self) -> int:
        return len(self.marks) - 1

    def find_targets(self) -> NDArray[np.bool_]:
        """Which samples have a target, shape=(n,)."""
        if self.target is None:
            return np.zeros(len(self), np.bool_)
        if self.schema.task is Task.REGRESSION:
            return find_known(self.target.astype(np.float64, copy=False))
        return find_known(self.target)

    def find_waiting(self) -> NDArray[np.bool_]:
        """Which samples wait for their target, shape=(n,): those without, but of weight 0."""
        if not self.awaits_labels:
            return np.zeros(len(self), np.bool_)
        waits = ~self.find_targets()
        return waits if self.weight is None else waits & (self.weight > 0.0)

    @property
    def end(self) -> Position:
        """Position after the last sample of this block."""
        return Position(self.source, *(int(n) for n in self.marks[-1]))

    def part(self, start: int, stop: int) -> Block:
        """Samples ``start`` to ``stop``, with the rejected records among them.

        Consecutive parts that are not empty have each rejected record exactly once, and each label
        that arrives, before the sample that follows it.
        """
        part = replace(
            self._rows(slice(start, stop)),
            marks=self.marks[start : stop + 1],
            rejected=self._rejected_within(start, stop) if self.rejected else (),
        )
        return part if self.arrivals is None else self._with_arrivals(part, start, stop)

    def _with_arrivals(self, part: Block, start: int, stop: int) -> Block:
        """Add the labels that arrive in a part, which ends before the next one."""
        assert self.arrivals is not None
        arrivals, before = self.arrivals, self.arrivals.before
        first, last = np.searchsorted(before, (start, stop)).tolist()
        if stop == len(self):
            return replace(part, arrivals=arrivals.select(first, len(before), start))
        if last < len(before) and before[last] == stop:
            marks = np.vstack((part.marks[:-1], arrivals.marks[last : last + 1]))
            part = replace(part, marks=marks)
        return replace(part, arrivals=arrivals.select(first, last, start))

    def split_off_last_arrivals(self) -> tuple[Block, Block | None]:
        """The block without the labels after its last sample, and these; None without any."""
        if self.arrivals is None or not len(self):
            return self, None
        arrivals, n = self.arrivals, len(self)
        last, total = int(np.searchsorted(arrivals.before, n)), len(arrivals.before)
        if last == total:
            return self, None
        marks = np.vstack((self.marks[:-1], arrivals.marks[last : last + 1]))
        first = replace(self, marks=marks, arrivals=arrivals.select(0, last, 0))
        rest = replace(self._rows(slice(n, n)), marks=self.marks[n:], rejected=())
        return first, replace(rest, arrivals=arrivals.select(last, total, n))

    def places(self) -> NDArray[np.int64]:
        """Number of samples of this block before each rejected record.

        All samples, if they were reordered. None, for records of an earlier file.
        """
        offsets = self.marks[:-1, 0]
        if not (offsets[1:] >= offsets[:-1]).all():
            return np.full(len(self.rejected), len(self), np.int64)
        own = [letter.offset if letter.source == self.source else -1 for letter in self.rejected]
        before = np.searchsorted(offsets, np.array(own, np.int64)).astype(np.int64)
        ordered: NDArray[np.int64] = np.maximum.accumulate(before)
        return ordered

    def take(self, order: NDArray[np.intp]) -> Block:
        """The samples with these indices, in this order; the end of the block is kept."""
        arrivals = self.arrivals
        if arrivals is not None:  # then the order ascends
            arrivals = arrivals._replace(before=np.searchsorted(order, arrivals.before))
        marks = np.vstack((self.marks[order], self.marks[-1:]))
        return replace(self._rows(order), marks=marks, arrivals=arrivals)

    def _rows(self, rows: slice | NDArray[np.intp]) -> Block:
        return replace(
            self,
            numbers=self.numbers[rows],
            words=tuple(column[rows] for column in self.words),
            target=None if self.target is None else self.target[rows],
            sparse=None if self.sparse is None else self.sparse.rows(rows),
            weight=None if self.weight is None else self.weight[rows],
            ids=None if self.ids is None else self.ids[rows],
            requested=None if self.requested is None else self.requested[rows],
        )

    def _rejected_within(self, start: int, stop: int) -> tuple[DeadLetter, ...]:
        if start == stop and len(self):
            return ()
        first = start + 1 if start else 0
        pairs = zip(self.places().tolist(), self.rejected, strict=True)
        return tuple(letter for place, letter in pairs if first <= place <= stop)


NO_INPUTS = np.empty((0, 0), np.int32)
NO_FIELDS = np.empty(0, np.int32)
NO_UNSCALED = np.empty((0, 0))


@final
class Inputs(Struct, frozen=True, eq=False, gc=False):
    """Network inputs of n samples: dense numbers and a few active rows of the first layer."""

    dense: NDArray[np.floating]  # shape=(n, d), C order; float32, or float64 of unscaled numbers
    row: NDArray[np.int32]  # shape=(n, width)
    value: NDArray[np.float32]  # shape=(n, width)
    count: NDArray[np.int32]  # shape=(n,), number of entries used in each row
    rows: int  # number of rows assigned so far: every entry of `row` is below it
    lags: int = 0  # number of a sample's entries, the last ones used, that are earlier targets
    # shape=(n, at most d): indices of the dense inputs of more than two values, ascending, then -1
    splined: NDArray[np.int32] = NO_INPUTS
    # Number of the column of each row, shape=(at least rows,); append-only, not to be changed.
    fields: NDArray[np.int32] = NO_FIELDS
    # shape=(n, at most d): the first dense inputs, numbers as in the block; empty unless kept
    unscaled: NDArray[np.float64] = NO_UNSCALED


@final
class Timeline(NamedTuple):
    """Samples to predict and labels that have arrived, in the order of their moments.

    A row is either a sample that is predicted, or an earlier one whose label has just arrived, so
    that it can be learned. A sample that comes with its target is predicted, then learned, in one
    row. All arrays have shape=(rows,).
    """

    late: NDArray[np.bool_]  # whether the row is a label that has arrived
    place: NDArray[np.intp]  # where stages keep the row's sample; -1 if it does not wait
    sample: NDArray[np.int64]  # number of the row's sample
    number: NDArray[np.int64]  # samples that were predicted before the row

    @property
    def first(self) -> int:
        """Number of the first sample that is predicted."""
        return int(self.number[0]) if len(self.number) else 0

    @property
    def ages(self) -> NDArray[np.int64]:
        """How many samples after its own each label arrives, 1 for at once; 1 for samples."""
        return np.where(self.late, self.number - self.sample, 1)

    @property
    def answered(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows of labels whose samples are among the rows, and the rows of those samples."""
        label = np.flatnonzero(self.late & (self.sample >= self.first))
        new = np.flatnonzero(~self.late)
        return label, new[self.sample[label] - self.first]

    @property
    def origin(self) -> NDArray[np.int64]:
        """Row that holds what is kept of each label's sample, -1 for samples; shape=(rows,)."""
        origin = np.where(self.late, np.arange(len(self.late)), -1)
        label, sample = self.answered
        origin[label] = sample
        return origin

    @property
    def pending(self) -> NDArray[np.bool_]:
        """Rows of samples whose labels have not arrived by the last row."""
        waiting = ~self.late & (self.place >= 0)
        waiting[self.answered[1]] = False
        return waiting


def find_known(target: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of n targets are there, shape=(n,): a missing number is NaN, a missing label None."""
    if target.dtype == np.float64:
        known: NDArray[np.bool_] = np.isfinite(target)
        return known
    return np.array([label is not None for label in target.tolist()], np.bool_)


def make_marks(first: int, count: int) -> NDArray[np.int64]:
    """Make the marks of ``count`` rows without lines, from row ``first`` on; see `Block`.

    >>> make_marks(5, 1).tolist()
    [[5, 5, 0], [6, 6, 0]]
    """
    marks = np.zeros((count + 1, 3), np.int64)
    marks[:, :2] = np.arange(first, first + count + 1)[:, None]
    return marks


def schema_to_dict(schema: Schema) -> dict[str, Any]:
    """Convert a schema to plain values."""
    return {
        "fields": [[name, str(kind)] for name, kind in schema.fields],
        "target": schema.target,
        "task": None if schema.task is None else str(schema.task),
    }


def schema_from_dict(values: Mapping[str, Any]) -> Schema:
    """Restore a schema from the values of `schema_to_dict`."""
    fields = tuple(Field(name, Kind(kind)) for name, kind in values["fields"])
    task = None if values["task"] is None else Task(values["task"])
    return Schema(fields, values["target"], task)


def widen_block(block: Block, schema: Schema) -> Block:
    """Add the new fields of a grown schema to a block, as missing values."""
    if block.schema == schema:
        return block if block.schema is schema else replace(block, schema=schema)
    rows = len(block)
    more = len(schema.numbers) - len(block.schema.numbers)
    numbers = np.hstack((block.numbers, np.full((rows, more), np.nan)))
    words = [np.full(rows, None, np.object_) for _ in schema.words[len(block.words) :]]
    return replace(block, schema=schema, numbers=numbers, words=(*block.words, *words))


def concatenate_blocks(blocks: Sequence[Block], schema: Schema) -> Block:
    """Concatenate at least one block, without rejected records or ids; the schema may grow."""
    wide = [widen_block(block, schema) for block in blocks]
    last = wide[-1]
    target = None
    if last.target is not None:
        target = np.concatenate([block.target for block in wide if block.target is not None])
    return replace(
        last,
        numbers=np.concatenate([block.numbers for block in wide]),
        words=tuple(map(np.concatenate, zip(*(block.words for block in wide), strict=True))),
        target=target,
        marks=np.concatenate([*(block.marks[:-1] for block in wide), last.marks[-1:]]),
        sparse=_concatenate_rows([block.sparse for block in wide if block.sparse is not None]),
        rejected=(),
        weight=concatenate_weights([(block.weight, len(block)) for block in wide]),
        ids=None,
        requested=None,
        arrivals=None,
    )


NO_WEIGHTS = np.empty(0)  # of samples that all have a weight of 1


def concatenate_weights(
    parts: Sequence[tuple[NDArray[np.float64] | None, int]],
) -> NDArray[np.float64] | None:
    """Join weights of samples, given with their number; None stands for weights of 1."""
    if all(weight is None for weight, _ in parts):
        return None
    return np.concatenate([np.ones(n) if weight is None else weight for weight, n in parts])


def _concatenate_rows(rows: Sequence[SparseRows]) -> SparseRows | None:
    if not rows:
        return None
    width = max(part.index.shape[1] for part in rows)
    index = np.concatenate([_pad_columns(part.index, width) for part in rows])
    value = np.concatenate([_pad_columns(part.value, width) for part in rows])
    return SparseRows(index, value, np.concatenate([part.count for part in rows]))


def _pad_columns(array: NDArray[np.generic], width: int) -> NDArray[np.generic]:
    return np.pad(array, ((0, 0), (0, width - array.shape[1])))


T = TypeVar("T")

_MAX_CACHED = 1024  # samples per array, so that all cached ones take a megabyte or two


def cache_small(make: Callable[..., T]) -> Callable[..., T]:
    """Cache what ``make`` returns for small numbers of samples, its first argument.

    Results must not be modified, because they are shared.

    >>> zeros = cache_small(np.zeros)
    >>> zeros(1024) is zeros(1024), zeros(1025) is zeros(1025)
    (True, False)
    """
    kept = lru_cache(maxsize=256)(make)

    @wraps(make)
    def made(count: int, *others: Any) -> T:
        return kept(count, *others) if count <= _MAX_CACHED else make(count, *others)

    return made


@cache_small
def constant_column(count: int, number: float, dtype: DTypeLike) -> NDArray[Any]:
    """An array of ``count`` equal numbers, not to be modified; see `cache_small`."""
    return np.full(count, number, dtype)
