"""Network inputs computed from the feature columns of a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features.columns.category import Vocabulary
from streamnet.features.columns.number import MISSING, NumberStatistics, as_float64, standardize
from streamnet.features.columns.text import (
    HashedText,
    TextColumn,
    TextHasher,
    write_text_keys,
)
from streamnet.features.columns.time import encode_calendar
from streamnet.features.duplicates import DuplicateFilter
from streamnet.features.layout import (
    FIELD_BITS,
    NO_LAGS,
    NO_WEIGHTS,
    SPARSE_BASE,
    TRUNCATED,
    ColumnPlan,
    InputLayout,
    LagEntries,
    RowTable,
    WordColumn,
)
from streamnet.features.scaling import MAX_INPUT, FieldScalers
from streamnet.samples import TIMES, Block, Field, Inputs, Kind, Schema, SparseRows, cache_small
from streamnet.settings.encoder import Scaling, TextMode

__all__ = ("InputEncoder",)


class _WeightedKeys(NamedTuple):
    """Keys that have a weight: those of hashed words, then those of numbered inputs."""

    texts: list[list[HashedText]]  # of each text column
    segments: list[int]  # key columns of each
    numbered: int  # key columns of numbered inputs
    width: int  # of all of them


_NO_WEIGHTED_KEYS = _WeightedKeys([], [], 0, 0)


@final
class InputEncoder:
    """Columns to inputs; its moments, vocabularies and rows learn from every encoded sample.

    >>> from streamnet.samples import Block, Field, Kind, Schema
    >>> schema = Schema((Field("job", Kind.CATEGORY),))
    >>> jobs = np.array(["cook", None, "cook"], object)
    >>> block = Block(schema, "-", np.empty((3, 0)), (jobs,), None, np.zeros((4, 3), np.int64))
    >>> InputEncoder().inputs(block, learn=True).row.tolist()
    [[0], [1], [0]]
    """

    def __init__(
        self,
        *,
        clip: float = 8.0,
        max_rows: int = 8192,
        category_limit: int = 64,
        max_categories: int = 1000,
        text_buckets: int = 4096,
        max_words: int = 256,
        text_digits: int = 4,
        scaling: str = Scaling.STANDARD,
        scalings: Mapping[str, str] | None = None,
        text: str = TextMode.WORDS,
        texts: Mapping[str, str] | None = None,
        duplicates: str = "keep",
    ) -> None:
        self.layout = InputLayout()
        self.measures = NumberStatistics(category_limit=category_limit)
        self.clocks = np.zeros(0, np.int64)  # by time field: 1 once it had a time of day
        self.vocabularies: list[Vocabulary] = []  # by category field
        self.rows = RowTable(max_rows=max_rows)
        self.scales = FieldScalers(scaling=scaling, scalings=scalings or {})
        self.texts: list[TextColumn] = []  # by text field
        self.duplicates = DuplicateFilter() if duplicates == "drop" else None
        self._raw = scaling == Scaling.NONE
        # Numbers that nothing scales keep all their digits.
        self._dtype = np.dtype(np.float64 if self._raw else np.float32)
        self._text = text
        self._named: dict[str, Mapping[str, str]] = {
            "scalings": scalings or {},
            "texts": texts or {},
        }
        self._clip = float(clip)
        self._max_categories = max_categories
        self._hasher = TextHasher(buckets=text_buckets, max_words=max_words, digits=text_digits)
        self._fields: tuple[Field, ...] | None = None  # that the plan was made for
        self._plan = self.layout.plan(Schema(()))
        self._scaled = self.scales.plan(self._plan.numbers)

    def append(self, field: Field) -> None:
        """Make room for a new field, after all others."""
        place = self.layout.append(field)
        kind = place.field.kind
        if kind is Kind.NUMBER:
            self.measures.append(category=True, origin=0.0)
            self.scales.append(field.name, measure=place.measure)
        elif kind in TIMES:
            self.measures.append(category=False, origin=np.nan)
            self.clocks = np.append(self.clocks, 0)
        elif kind is Kind.CATEGORY:
            self.vocabularies.append(Vocabulary(base=place.base, limit=self._max_categories))
        else:
            self.measures.append(category=False, origin=0.0)
            self.measures.append(category=False, origin=0.0)
            mode, limit = self._named["texts"].get(field.name, self._text), self._max_categories
            self.texts.append(TextColumn(mode=mode, hasher=self._hasher, limit=limit))

    @property
    def stateful_texts(self) -> list[TextColumn]:
        """The text columns if any of them may have something to remember, else none."""
        return self.texts if self._text != TextMode.WORDS or self._named["texts"] else []

    def choose(self, blocks: Sequence[Block]) -> None:
        """Let text columns choose their mode by the blocks' first texts; nothing is learned."""
        for block in blocks:
            self.turn_to(block.schema, learn=True)
            for column in self._plan.words:
                if column.source >= 0:
                    self.texts[column.nth].look(block.words[column.source].tolist())
        for text in self.texts:
            text.settle()

    def settle(self) -> None:
        """Decide which inputs are duplicates by all samples so far."""
        if self.duplicates is not None:
            self.duplicates.settle()

    def inputs(self, block: Block, *, lagged: LagEntries = NO_LAGS, learn: bool) -> Inputs:
        """Inputs of a block; without ``learn`` nothing changes and what is new has no row.

        Raises:
            SchemaError: a field's kind is not the one it had when it first came.
        """
        self.turn_to(block.schema, learn=learn)
        plan, n = self._plan, len(block)
        weighted = _NO_WEIGHTED_KEYS
        if plan.words or block.sparse is not None:
            weighted = self._weighted(block, plan.words, learn)
        dense = np.empty((n, self.layout.dense), self._dtype)
        keys = np.empty((n, plan.width + weighted.width), np.int64)
        splined = np.empty((n, plan.curves), np.int32)
        splined.fill(-1)
        active = self._numbers(block, plan, dense, keys, splined, learn) + weighted.width
        for column in plan.categories:
            self._categories(block, column, keys, learn)
            active += 1
        if weighted.texts:
            self._measure_texts(weighted.texts, plan, dense, keys, splined, learn)
        if self.duplicates is not None:
            self.duplicates.drop(dense, learn=learn)
        if not active and not len(lagged.missing):
            return Inputs(dense, *_no_entries(n), len(self.rows), 0, splined)
        weights = NO_WEIGHTS
        if weighted.width:
            weights = np.empty((n, weighted.width), np.float64)
            self._fill_weighted(block, weighted, plan.words, keys[:, plan.width :], weights)
        entries = self.rows.activate(
            keys,
            weights,
            weighted=weighted.width,
            scaled=0 if self._raw else weighted.numbered,
            clip=self._clip,
            lagged=lagged,
            learn=learn,
        )
        return Inputs(dense, *entries, len(self.rows), len(lagged.missing), splined)

    def turn_to(self, schema: Schema, *, learn: bool) -> None:
        """Get ready for the fields of ``schema``; with ``learn`` new ones get their inputs.

        Raises:
            SchemaError: a field's kind is not the one it had when it first came; then nothing
                has changed.
        """
        if schema.fields is self._fields:
            return
        if schema.fields == self._fields:
            self._fields = schema.fields
            return
        self.layout.check(schema)
        if learn:
            self._check_named(schema)
            self.layout.tell(schema)
            for field in self.layout.unknown(schema):
                self.append(field)
        self._plan = self.layout.plan(schema)
        self._scaled = self.scales.plan(self._plan.numbers)
        # A plan that left out unknown fields does not serve for learning.
        self._fields = None if self.layout.unknown(schema) else schema.fields

    def _check_named(self, schema: Schema) -> None:
        """Raise `ConfigurationError` if a setting for a field is not for fields of its kind."""
        for setting, kind in (("scalings", Kind.NUMBER), ("texts", Kind.TEXT)):
            for field in schema.fields:
                if field.name in self._named[setting] and field.kind != kind:
                    raise ConfigurationError(
                        f"{setting} names {field.name!r}, but it is of kind {field.kind}, "
                        f"and must be {kind}"
                    )

    def dropped(self) -> list[str]:
        """Names of the fields of which an input is dropped as a duplicate."""
        inputs = [] if self.duplicates is None else self.duplicates.dropped
        return list(dict.fromkeys(map(self.layout.find_field_name, inputs)))

    def export_optional(self) -> dict[str, Any]:
        """What is kept for settings that are not the default, as copies."""
        state = self.scales.export_state()
        if self.duplicates is not None:
            state |= self.duplicates.export_state()
        if columns := self.stateful_texts:
            state["texts"] = [column.export_state() for column in columns]
        return state

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Take over what an encoder exported, but for the vocabularies of categories.

        Raises:
            ModelFileError: the state contradicts itself.
        """
        for name, kind in state["fields"]:
            self.append(Field(name, Kind(kind)))
        self.measures.restore_state(state["moments"], state["distinct_count"], state["distinct"])
        clocks = np.array(state["clocks"], np.int64)
        if clocks.shape != self.clocks.shape:
            raise ModelFileError("the encoder's clocks do not fit its time fields")
        self.clocks = clocks
        self.restore_optional(state)
        self.rows.restore_state(state["row_keys"], state["counters"], state["squares"])

    def restore_optional(self, state: Mapping[str, Any]) -> None:
        """Take over what `export_optional` gave, and the vocabularies of texts."""
        self.scales.restore_state(state)
        if self.duplicates is not None:
            self.duplicates.restore_state(state)
        if columns := self.stateful_texts:
            kept = zip(columns, state["texts"], state["text_vocabularies"], strict=True)
            for column, known, values in kept:
                column.restore_state(known, values)

    def _numbers(
        self,
        block: Block,
        plan: ColumnPlan,
        dense: NDArray[np.floating],
        keys: NDArray[np.int64],
        splined: NDArray[np.int32],
        learn: bool,
    ) -> int:
        if not len(plan.numbers):
            return 0
        measures = self.measures
        values = as_float64(block.numbers)
        active = standardize(
            values,
            plan.numbers,
            measures.moments,
            measures.tables,
            measures.limit,
            self._clip,
            learn,
            dense,
            keys,
            splined,
        )
        if len(self._scaled):
            self.scales.apply(values, self._scaled, clip=self._clip, learn=learn, dense=dense)
        if len(plan.times):
            encode_calendar(values, plan.times, self.clocks, learn, dense, keys)
            active += len(values)
        return active

    def _categories(
        self, block: Block, column: WordColumn, keys: NDArray[np.int64], learn: bool
    ) -> None:
        if column.source < 0:
            keys[:, column.key] = column.base + MISSING
            return
        vocabulary = self.vocabularies[column.nth]
        values = block.words[column.source].tolist()
        found = vocabulary.learn(values) if learn else vocabulary.look_up(values)
        keys[:, column.key] = np.fromiter(found, np.int64, len(values))

    def _weighted(
        self, block: Block, columns: tuple[WordColumn, ...], learn: bool
    ) -> _WeightedKeys:
        texts = [self._hashed(block, column, learn) for column in columns]
        segments = [max((len(t.codes) for t in column), default=0) for column in texts]
        numbered = 0 if block.sparse is None else block.sparse.index.shape[1]
        return _WeightedKeys(texts, segments, numbered, sum(segments) + numbered)

    def _fill_weighted(
        self,
        block: Block,
        weighted: _WeightedKeys,
        columns: tuple[WordColumn, ...],
        keys: NDArray[np.int64],
        weights: NDArray[np.float64],
    ) -> None:
        """Write keys and weights, shape=(n, weighted.width) each."""
        first = 0
        for column, texts, width in zip(columns, weighted.texts, weighted.segments, strict=True):
            own = slice(first, first + width)
            write_text_keys(texts, column.base, keys[:, own], weights[:, own])
            first += width
        if block.sparse is not None:
            _fill_sparse(block.sparse, keys[:, first:], weights[:, first:])
            if self._raw:
                np.clip(weights[:, first:], -MAX_INPUT, MAX_INPUT, out=weights[:, first:])

    def _hashed(self, block: Block, column: WordColumn, learn: bool) -> list[HashedText]:
        if column.source < 0:
            return [self._hasher.hashed(None)] * len(block)
        texts = block.words[column.source].tolist()
        return self.texts[column.nth].hashed(texts, learn=learn)

    def _measure_texts(
        self,
        texts: list[list[HashedText]],
        plan: ColumnPlan,
        dense: NDArray[np.floating],
        keys: NDArray[np.int64],
        splined: NDArray[np.int32],
        learn: bool,
    ) -> None:
        if learn:
            self.rows.counters[TRUNCATED] += sum(text.truncated for text in chain(*texts))
        rows = [
            tuple(chain(*(text.measures for text in sample))) for sample in zip(*texts, strict=True)
        ]
        measures = self.measures
        standardize(
            np.array(rows, np.float64).reshape(len(rows), len(plan.texts)),
            plan.texts,
            measures.moments,
            measures.tables,
            measures.limit,
            self._clip,
            learn,
            dense,
            keys,
            splined,
        )


@cache_small
def _no_entries(n: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Rows, values and counts of samples that have none; not to be changed."""
    return np.zeros((n, 1), np.int32), np.zeros((n, 1), np.float32), np.zeros(n, np.int32)


def _fill_sparse(sparse: SparseRows, keys: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
    """Write the indices of non-zero numbers as keys, -1 for all else, and the numbers."""
    used = np.arange(keys.shape[1]) < sparse.count[:, None]
    used &= (sparse.value != 0.0) & np.isfinite(sparse.value)
    codes = sparse.index & ((1 << FIELD_BITS) - 1)
    keys[:] = np.where(used, SPARSE_BASE + codes, -1)
    weights[:] = sparse.value
