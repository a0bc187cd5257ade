"""KeyedEncoder: an encoder whose samples also have the last targets of their key as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.features.encoder import Encoded, Encoder
from streamnet.features.snapshot import EncoderSnapshot
from streamnet.keyed.history import TargetsByKey
from streamnet.samples import Block, Inputs, KeyRemoval, Schema, Task

SEPARATOR = "|"  # between the parts of a key of several columns

Keys = list[str | None]
"""Key of each sample; None where a column of it is missing."""


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


@final
class KeyedEncoder:
    """Encodes the samples of a stream with the last targets of their keys.

    Args:
        encoder: What encodes the samples with these columns.
        columns: Columns whose values together are the key.
        resident: Keys in memory at a time.
        season: Samples of a key's season; 0 for none.
    """

    def __init__(
        self, encoder: Encoder, columns: Sequence[str], *, resident: int, season: int = 0
    ) -> None:
        self._encoder = encoder
        self.columns: tuple[str, ...] = tuple(columns)
        self.history: TargetsByKey = TargetsByKey(encoder.task, resident=resident, season=season)
        self._schema = self._wide = Schema(())

    def encode(self, block: Block) -> Encoded:
        """Learn the next samples of the stream and encode them.

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
        encoded = self._encoder.encode(self._widen(block, self.history.recall(keys, target)))
        return replace(encoded, block=block, key=keys)

    def transform(self, block: Block) -> tuple[Keys, Inputs]:
        """Keys and inputs of samples of which each might be the next of its key."""
        keys = read_keys(block, self.columns)
        return keys, self._encoder.transform(self._widen(block, self.history.recall(keys)))

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
        """Delete the last targets of a key; return whether there were any."""
        return self.history.rows.forget(key)

    def _widen(self, block: Block, columns: NDArray[Any]) -> Block:
        """Add the columns of the key before all others."""
        if block.schema is not self._schema:
            given, own = block.schema, self.history.fields
            self._schema = given
            self._wide = Schema((*own, *given.fields), given.target, given.task)
        if self._encoder.task is Task.REGRESSION:
            numbers = np.concatenate((columns, block.numbers), axis=1)
            return replace(block, schema=self._wide, numbers=numbers)
        words = (*(columns[:, j] for j in range(columns.shape[1])), *block.words)
        return replace(block, schema=self._wide, words=words)

    def export_state(self) -> dict[str, Any]:
        """Everything needed to resume, except the encoder's state."""
        return self.history.export_state()

    def restore_state(self, state: dict[str, Any], encoder: Encoder) -> None:
        """Resume from an exported state, with the encoder of the same moment."""
        self._encoder = encoder
        self.history.restore_state(state)
