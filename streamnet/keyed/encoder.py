"""KeyedEncoder: an encoder whose samples also have the last targets of their key as columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.features.encoder import Encoded, Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.keyed.history import TargetsByKey
from streamnet.samples import Block, Field, Inputs, KeyRemoval, Kind, Schema, Task, Timeline

SEPARATOR = "|"  # between the parts of a key of several columns

Keys = list[str | None]
"""Key of each sample; None where a column of it is missing."""

KeyColumns = Sequence[NDArray[Any]]
"""Columns that samples have by their keys, in the order of `TargetsByKey.fields`."""


def read_keys(block: Block, columns: Sequence[str]) -> Keys:
    r"""The key of each sample: the texts of its columns, joined by ``|``.

    Whole numbers have no decimals. A ``|`` or backslash within a part of several gets a backslash.

    >>> from streamnet.samples import Field, Kind
    >>> schema = Schema((Field("store", Kind.CATEGORY), Field("shelf", Kind.NUMBER)))
    >>> words = (np.array(["a|b", None], object),)
    >>> block = Block(schema, "", np.array([[3.0], [4.0]]), words, None, np.zeros((3, 3), int))
    >>> read_keys(block, ["store", "shelf"]), read_keys(block, ["shelf"])
    (['a\\|b|3', None], ['3', '4'])
    """
    parts = [_read_column(block, column) for column in columns]
    if len(parts) == 1:
        return parts[0]
    return [None if None in values else join_key(values) for values in zip(*parts, strict=True)]


def join_key(parts: str | Sequence[str | None]) -> str:
    r"""The key of the texts of its columns; a single text is a key itself.

    >>> join_key(["a|b", "3"]), join_key(["a|b"]), join_key("a|b")
    ('a\\|b|3', 'a|b', 'a|b')
    """
    if isinstance(parts, str):
        return parts
    texts = list(map(str, parts))
    if len(texts) == 1:
        return texts[0]
    return SEPARATOR.join(t.replace("\\", "\\\\").replace("|", "\\|") for t in texts)


def _read_column(block: Block, column: str) -> Keys:
    schema = block.schema
    if column in schema.words:
        words: Keys = block.words[schema.words.index(column)].tolist()
        return words
    if column in schema.numbers:
        numbers = block.numbers[:, schema.numbers.index(column)].tolist()
        return [None if x != x else str(int(x)) if x.is_integer() else repr(x) for x in numbers]
    return [None] * len(block)


def set_columns(block: Block, names: Sequence[str], columns: KeyColumns) -> Block:
    """Set columns of a block, as far as its schema has them."""
    schema = block.schema
    numbers, words = block.numbers.copy(), list(block.words)
    for name, column in zip(names, columns, strict=True):
        if name in schema.numbers:
            numbers[:, schema.numbers.index(name)] = column
        elif name in schema.words:
            words[schema.words.index(name)] = column.astype(object)
    return replace(block, numbers=numbers, words=tuple(words))


@final
class KeyedEncoder:
    """Encodes the samples of a stream with the last targets of their keys.

    Args:
        encoder: What encodes the samples with these columns.
        columns: Columns whose values together are the key.
        resident: Keys in memory at a time.
        season: Samples of a key's season; 0 for none.
        late: Whether targets become known late from the first sample on.
    """

    def __init__(
        self,
        encoder: Encoder,
        columns: Sequence[str],
        *,
        resident: int,
        season: int = 0,
        late: bool = False,
    ) -> None:
        self._encoder = encoder
        self.columns: tuple[str, ...] = tuple(columns)
        self.history: TargetsByKey = TargetsByKey(encoder.task, resident=resident, season=season)
        self.history.late = late
        self._schema = self._wide = Schema(())
        # Keys of the samples whose targets are yet to become known, by number; and how many there
        # are of each key.
        self._waiting: dict[int, str | None] = {}
        self._awaited: Counter[str | None] = Counter()

    @property
    def fields(self) -> tuple[Field, ...]:
        """All columns of samples so far, without those that are added."""
        own = {field.name for field in self.history.fields}
        return tuple(field for field in self._encoder.fields if field.name not in own)

    def encode(self, block: Block) -> Encoded:
        """Learn the next samples of the stream, which come with their targets, and encode them.

        Raises:
            SchemaError: If a field had another kind before.
        """
        if refused := self._encoder.refused(block):
            block = self._encoder.reject(block, refused)
        if isinstance(block.change, KeyRemoval):
            self.forget(block.change.key)
        keys = read_keys(block, self.columns)
        target = block.target
        if target is None:
            numeric = self._encoder.task is Task.REGRESSION
            target = np.full(len(block), np.nan if numeric else None)
        encoded = self._encoder.encode(self._widen(block, self._recall(keys, target)))
        return replace(encoded, block=block, key=keys)

    def expect_late_targets(self) -> None:
        """From now on, targets may become known late; see `Encoder.expect_late_targets`."""
        if not self.history.late:
            self.history.late, self._schema = True, Schema(())
        self._encoder.expect_late_targets()

    def encode_timeline(
        self, block: Block, timeline: Timeline, target: NDArray[Any], *others: Any
    ) -> Encoded:
        """Encode the next samples, and learn the targets that arrive between them.

        Args:
            block: The samples that are predicted.
            timeline: They and the arriving targets in order; m rows.
            target: Targets as `Encoder.encode_timeline` takes them, shape=(m,).
            others: Its other arguments.

        Raises:
            SchemaError: If a field had another kind before.
        """
        keys, awaited = self._find_keys(timeline, read_keys(block, self.columns))
        columns = self._recall(keys, target, awaited)
        new = ~timeline.late
        wide = self._widen(block, [column[new] for column in columns])
        encoded = self._encoder.encode_timeline(wide, timeline, target, *others)
        return replace(encoded, block=block, key=keys)

    def _find_keys(self, timeline: Timeline, new: Keys) -> tuple[Keys, NDArray[np.int64]]:
        """The key of each row, and how many targets of it are awaited then."""
        keys, counts, given = Keys(), list[int](), iter(new)
        columns = (timeline.late, timeline.sample, timeline.place)
        for late, sample, place in zip(*(c.tolist() for c in columns), strict=True):
            if late:
                key = self._waiting.pop(sample)
                self._awaited[key] -= 1
                if not self._awaited[key]:
                    del self._awaited[key]
                counts.append(0)
            else:
                key = next(given)
                counts.append(self._awaited.get(key, 0))
                if place >= 0:
                    self._waiting[sample] = key
                    self._awaited[key] += 1
            keys.append(key)
        return keys, np.array(counts, np.int64)

    def transform(self, block: Block) -> tuple[Keys, Inputs]:
        """Keys and inputs of samples of which each might be the next of its key."""
        keys = read_keys(block, self.columns)
        return keys, self._encoder.transform(self._widen(block, self.recall(keys)))

    def recall(self, keys: Keys) -> KeyColumns:
        """The columns of samples of which each might be the next of its key; in any thread."""
        if not self.history.late:
            return self._recall(keys)
        return self._recall(keys, None, np.array([self.count_awaited(key) for key in keys]))

    def count_awaited(self, key: str | None) -> int:
        """How many targets of a key are yet to become known."""
        return self._awaited.get(key, 0)

    def _recall(
        self,
        keys: Keys,
        target: NDArray[Any] | None = None,
        awaited: NDArray[np.int64] | None = None,
    ) -> KeyColumns:
        return list_columns(self.history, self.history.recall(keys, target, awaited), awaited)

    def snapshot(self) -> EncoderSnapshot:
        """See `Encoder.snapshot`."""
        return self._encoder.snapshot()

    def accepted(self, block: Block) -> Block:
        """See `Encoder.accepted`."""
        return self._encoder.accepted(block)

    def refused(self, block: Block) -> list[int]:
        """See `Encoder.refused`."""
        return self._encoder.refused(block)

    def forget(self, key: str) -> bool:
        """Delete the last targets of a key; return whether there were any.

        Targets of it that are yet to become known will be those of no key.
        """
        if moved := self._awaited.pop(key, 0):
            self._awaited[None] += moved
            for sample, own in self._waiting.items():
                if own == key:
                    self._waiting[sample] = None
        return self.history.rows.forget(key)

    def _widen(self, block: Block, columns: KeyColumns) -> Block:
        """Add the columns of the key before all others."""
        fields = self.history.fields
        if block.schema is not self._schema:
            given = block.schema
            self._schema = given
            self._wide = Schema((*fields, *given.fields), given.target, given.task)
        pairs = list(zip(fields, columns, strict=True))
        numbers = [column[:, None] for field, column in pairs if field.kind is Kind.NUMBER]
        words = [column for field, column in pairs if field.kind is not Kind.NUMBER]
        wide = np.concatenate((*numbers, block.numbers), axis=1) if numbers else block.numbers
        return replace(block, schema=self._wide, numbers=wide, words=(*words, *block.words))

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, except the encoder's state."""
        numbers = np.array(list(self._waiting), np.int64)
        waiting = {"numbers": numbers, "keys": list(self._waiting.values())}
        return {**self.history.export_state(), "waiting": waiting}

    def restore_state(self, state: dict[str, Any], encoder: Encoder) -> None:
        """Resume from an exported state, with the encoder of the same moment."""
        self._encoder = encoder
        self.history.restore_state(state)
        self._schema = Schema(())
        self._waiting = {}
        if (waiting := state.get("waiting")) is not None:  # states from before late labels
            self._waiting = dict(zip(waiting["numbers"].tolist(), waiting["keys"], strict=True))
        self._awaited = Counter(self._waiting.values())


def list_columns(
    history: TargetsByKey, targets: NDArray[Any], awaited: NDArray[np.int64] | None
) -> KeyColumns:
    """The columns of a history's fields from those of targets, shape=(n, columns)."""
    columns = [*targets.T]
    if history.late:
        ages = np.ones(len(targets)) if awaited is None else awaited + 1.0
        none = [value is None or value != value for value in columns[0].tolist()]
        columns.append(np.where(none, np.nan, ages))
    return columns
