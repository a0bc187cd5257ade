"""Encoding of blocks into network inputs, without columns that duplicate others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features.autoencoder.network import Reconstruction
from streamnet.features.base import (
    CODE_MASK,
    FIELD_BITS,
    LAG_BASE,
    NO_LAGS,
    SPARSE_BASE,
    TRANSFORMERS,
    FieldSlot,
    InputArrays,
    LagEntries,
    Prepared,
    Transformer,
    WeightedTransformer,
)
from streamnet.features.columns.number import MAX_INPUT
from streamnet.features.frozen import FrozenInputs
from streamnet.features.layout import MAX_ACTIVE, NO_WEIGHTS, TRUNCATED, InputLayout, RowTable
from streamnet.features.statistics import (
    MAX_COUNT,
    MISSING,
    NumberStatistics,
    as_float64,
    restore_array,
)
from streamnet.jit import exact, flush_subnormal
from streamnet.samples import (
    NUMERIC,
    Block,
    Field,
    Inputs,
    Kind,
    Sample,
    Schema,
    SparseRows,
    cache_small,
)
from streamnet.settings.encoder import EncoderSettings

MAX_COMPARED = 64  # only the first dense inputs are compared
DECISION_INTERVAL = 1024  # samples
MIN_CORRELATION = 0.999  # of either sign, above which the later input is a duplicate
MIN_SAMPLES = 32  # samples before correlations are trusted
MAX_DIFFERENCE = 1e100  # larger differences are clipped, so that no product overflows


@exact
def _decide(count: int, products: NDArray[np.float64], dropped: NDArray[np.int64]) -> None:
    """Drop inputs that are constant, or correlate with an earlier one that is kept."""
    if count < MIN_SAMPLES:
        return
    for j in range(dropped.size):
        dropped[j] = not products[j, j] > 0.0
        for i in range(j):
            if dropped[i] == 0 and dropped[j] == 0:
                most = np.sqrt(products[i, i]) * np.sqrt(products[j, j])
                dropped[j] = abs(products[i, j]) > MIN_CORRELATION * most


@exact
def _drop(
    dense: NDArray[np.floating],
    count: int,
    means: NDArray[np.float64],
    products: NDArray[np.float64],
    dropped: NDArray[np.int64],
    learn: bool,
) -> int:
    """Zero dropped inputs, learning each sample first; return the number of learned samples."""
    compared = dropped.size
    delta = np.empty(compared)
    for n in range(dense.shape[0]):
        if learn:
            count += 1
            weight = min(count, MAX_COUNT)  # earlier samples fade, as in moments
            for j in range(compared):
                delta[j] = min(max(dense[n, j] - means[j], -MAX_DIFFERENCE), MAX_DIFFERENCE)
                means[j] += delta[j] / weight
            share = (weight - 1.0) / weight
            kept = share if count > MAX_COUNT else 1.0
            for i in range(compared):
                for j in range(i, compared):
                    products[i, j] = flush_subnormal(
                        kept * products[i, j] + share * delta[i] * delta[j]
                    )
            if count % DECISION_INTERVAL == 0:
                _decide(count, products, dropped)
        for j in range(compared):
            if dropped[j] == 1:
                dense[n, j] = 0.0
    return count


@final
class DuplicateFilter:
    """Zeroes dense inputs that duplicate others, by correlations over the last million samples.

    After every 1,024 samples, and at the end of a batch, an input is dropped if it is constant, or
    if its correlation with an earlier input that is kept exceeds 0.999. It returns when that no
    longer holds. Only the first 64 dense inputs are compared, at a cost of some 2,000 products a
    sample. Missing values count as 0.

    >>> duplicates = DuplicateFilter()
    >>> celsius = np.arange(-50.0, 50.0)
    >>> dense = np.stack((celsius, 1.8 * celsius + 32.0), axis=1)
    >>> duplicates.drop(dense, learn=True)
    >>> duplicates.settle()
    >>> duplicates.drop(dense, learn=False)
    >>> dense[:2].tolist()
    [[-50.0, 0.0], [-49.0, 0.0]]
    """

    def __init__(self) -> None:
        self._count = 0
        self._means = np.empty(0)
        self._products = np.empty((0, 0))  # of differences from the means; upper triangle
        self._dropped = np.empty(0, np.int64)  # by dense input: 1 if it is zeroed

    @property
    def dropped(self) -> list[int]:
        """Indices of the dropped dense inputs."""
        found: list[int] = np.flatnonzero(self._dropped).tolist()
        return found

    def drop(self, dense: NDArray[np.floating], *, learn: bool) -> None:
        """Zero the dropped inputs of a block in place."""
        grown = min(dense.shape[1], MAX_COMPARED) - len(self._dropped)
        if learn and grown > 0:
            self._means = np.pad(self._means, (0, grown))
            self._products = np.pad(self._products, (0, grown))
            self._dropped = np.pad(self._dropped, (0, grown))
        states = self._count, self._means, self._products, self._dropped
        self._count = _drop(dense, *states, learn)

    def settle(self) -> None:
        """Decide by the samples so far, if there are at least 32."""
        _decide(self._count, self._products, self._dropped)

    def export_state(self) -> dict[str, Any]:
        """Export what was learned, as arrays."""
        return {
            "compared": np.array([self._count]),
            "compared_means": self._means.copy(),
            "compared_products": self._products.copy(),
            "dropped": self._dropped.copy(),
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore an exported state."""
        misfit = "the encoder's comparisons do not fit its inputs"
        inputs = len(state["dropped"])
        if inputs > MAX_COMPARED:
            raise ModelFileError(misfit)
        (self._count,) = np.array(state["compared"], np.int64).tolist()
        self._means = restore_array(state["compared_means"], np.float64, (inputs,), misfit)
        products = state["compared_products"]
        self._products = restore_array(products, np.float64, (inputs, inputs), misfit)
        self._dropped = restore_array(state["dropped"], np.int64, (inputs,), misfit)


_DEFAULTS = EncoderSettings()


@final
class InputEncoder:
    """Encodes feature columns by the transformers of their kinds, which learn online.

    >>> from streamnet.samples import Block, Field, Kind, Schema
    >>> schema = Schema((Field("job", Kind.CATEGORY),))
    >>> jobs = np.array(["cook", None, "cook"], object)
    >>> block = Block(schema, "-", np.empty((3, 0)), (jobs,), None, np.zeros((4, 3), np.int64))
    >>> InputEncoder().inputs(block, learn=True).row.tolist()
    [[0], [1], [0]]
    """

    def __init__(self, settings: EncoderSettings = _DEFAULTS) -> None:
        self.layout: InputLayout = InputLayout()
        self.statistics: NumberStatistics = NumberStatistics(category_limit=settings.category_limit)
        self.rows: RowTable = RowTable(max_rows=settings.max_rows)
        self.transformers: dict[type[Transformer], Transformer] = {
            kind: kind(settings, self.statistics)
            for kind in dict.fromkeys(TRANSFORMERS[kind] for kind in Kind)
        }
        self.duplicates: DuplicateFilter | None = (
            DuplicateFilter() if settings.duplicates == "drop" else None
        )
        self._settings = settings
        self._raw = settings.scaling == "none"
        # Numbers that are not scaled keep all their digits.
        self._dtype = np.dtype(np.float64 if self._raw else np.float32)
        self._clip = float(settings.clip)
        self._fields: tuple[Field, ...] | None = None  # fields of the current plan
        self._unscaled = 0  # numbers that inputs have unscaled, at most
        # Dense inputs that are numbers or times, and their columns among the block's.
        self._measured: tuple[list[int], list[int]] = [], []
        self._key_columns = 0  # of transformers without weights
        self._plain: list[Transformer] = []  # those with columns
        self._weighted: list[WeightedTransformer] = []
        self._plan(Schema(()))

    def keep_unscaled(self, numbers: int) -> None:
        """Give inputs up to so many `Inputs.unscaled` numbers from now on."""
        self._unscaled, self._fields = numbers, None

    def append(self, field: Field) -> None:
        """Add a new field, after all others."""
        slot = self.layout.append(field)
        self._transformer(slot).append(slot)

    def choose(self, blocks: Sequence[Block]) -> None:
        """Let transformers make decisions by all blocks; nothing is learned."""
        for block in blocks:
            self.turn_to(block.schema, learn=True)
            for transformer in self.transformers.values():
                transformer.collect(block)
        for transformer in self.transformers.values():
            transformer.settle()

    def settle(self) -> None:
        """Decide which inputs are duplicates by all samples so far."""
        if self.duplicates is not None:
            self.duplicates.settle()

    def inputs(self, block: Block, *, lagged: LagEntries = NO_LAGS, learn: bool) -> Inputs:
        """Compute the inputs of a block; without ``learn`` new values have no row."""
        self.turn_to(block.schema, learn=learn)
        n, width, numbered = len(block), 0, 0
        prepared: list[Prepared] = []
        has_weights = self._weighted or block.sparse is not None
        if has_weights:
            prepared = [transformer.prepare(block, learn=learn) for transformer in self._weighted]
            numbered = 0 if block.sparse is None else block.sparse.index.shape[1]
            width = numbered + sum(one.width for one in prepared)
        dense = np.empty((n, self.layout.dense), self._dtype)
        keys = np.empty((n, self._key_columns + width), np.int64)
        splined = np.empty((n, self.layout.standardized), np.int32)
        splined.fill(-1)
        arrays = InputArrays(as_float64(block.numbers), dense, keys, splined)
        active = width
        for transformer in self._plain:
            active += transformer.transform(block, arrays, learn)
        weights = NO_WEIGHTS
        if has_weights:
            weights = np.empty((n, width), np.float64)
            self._write_weighted(block, prepared, arrays, weights, learn)
        unscaled = self._copy_unscaled(arrays) if self._unscaled else np.empty((n, 0))
        if self.duplicates is not None:
            self.duplicates.drop(dense, learn=learn)
        fields = self.rows.fields
        if not active and not len(lagged.missing):
            entries = _no_entries(n)
            return Inputs(dense, *entries, len(self.rows), 0, splined, fields, unscaled)
        entries = self.rows.activate(
            keys,
            weights,
            weighted=width,
            scaled=0 if self._raw else numbered,
            clip=self._clip,
            lagged=lagged,
            learn=learn,
        )
        lags, fields = len(lagged.missing), self.rows.fields
        return Inputs(dense, *entries, len(self.rows), lags, splined, fields, unscaled)

    def _copy_unscaled(self, arrays: InputArrays) -> NDArray[np.float64]:
        """The first dense inputs, with numbers and times as they are in the block."""
        unscaled = arrays.dense[:, : self._unscaled].astype(np.float64)
        inputs, columns = self._measured
        unscaled[:, inputs] = arrays.numbers[:, columns]
        return unscaled

    def _write_weighted(
        self,
        block: Block,
        prepared: list[Prepared],
        arrays: InputArrays,
        weights: NDArray[np.float64],
        learn: bool,
    ) -> None:
        """Write the keys and weights of texts and numbered inputs."""
        keys, first = arrays.keys[:, self._key_columns :], 0
        for transformer, one in zip(self._weighted, prepared, strict=True):
            own = slice(first, first := first + one.width)
            transformer.write(one.data, arrays, keys[:, own], weights[:, own], learn=learn)
            self.rows.counters[TRUNCATED] += one.truncated
        if block.sparse is not None:
            _write_sparse(block.sparse, keys[:, first:], weights[:, first:])
            if self._raw:
                np.clip(weights[:, first:], -MAX_INPUT, MAX_INPUT, out=weights[:, first:])

    def turn_to(self, schema: Schema, *, learn: bool) -> None:
        """Prepare for the fields of a schema; with ``learn`` new ones get their inputs.

        Raises:
            SchemaError: If a field had another kind before; then nothing has changed.
        """
        if schema.fields is self._fields:
            return
        if schema.fields == self._fields:
            self._fields = schema.fields
            return
        self.layout.check(schema)
        if learn:
            self._check_overrides(schema)
            self.layout.refine_kinds(schema)
            for field in self.layout.unknown(schema):
                self.append(field)
        self._plan(schema)
        # A plan without the unknown fields does not serve for learning.
        self._fields = None if self.layout.unknown(schema) else schema.fields

    def turn_to_known(self) -> None:
        """Prepare for blocks that have all fields in their order."""
        self.turn_to(Schema(tuple(slot.field for slot in self.layout.slots)), learn=False)

    def dropped(self) -> list[str]:
        """Names of fields of which an input is dropped as a duplicate."""
        inputs = [] if self.duplicates is None else self.duplicates.dropped
        return list(dict.fromkeys(map(self.layout.find_field_name, inputs)))

    def describe(self) -> dict[str, dict[str, Any]]:
        """Statistics of the transformers: by name of the statistic, by field."""
        found: dict[str, dict[str, Any]] = {}
        for slot in self.layout.slots:
            for name, value in self._transformer(slot).describe(slot).items():
                found.setdefault(name, {})[slot.field.name] = value
        return found

    @property
    def vocabularies(self) -> list[Any]:
        """Vocabularies whose values another stream may spell otherwise."""
        return [one for part in self.transformers.values() for one in part.vocabularies]

    def freeze(self) -> FrozenInputs:
        """Return the formulas of all columns.

        Raises:
            ConfigurationError: If there is none of some columns; the message has all reasons.
        """
        rows, columns, reasons = self.rows.freeze(), [], []
        for slot in self.layout.slots:
            try:
                columns.append(self._transformer(slot).freeze(slot, rows))
            except ConfigurationError as error:
                reasons.append(str(error))
        if any(SPARSE_BASE <= key < LAG_BASE for key in rows.by_key):
            reasons.append("it has numbered inputs (of libSVM files or sparse matrices)")
        if self._key_columns > MAX_ACTIVE:
            reasons.append(f"it has {self._key_columns} columns, more than {MAX_ACTIVE}")
        if reasons:
            raise ConfigurationError("; ".join(reasons))
        dropped = () if self.duplicates is None else self.duplicates.dropped
        return FrozenInputs(tuple(columns), rows.found, frozenset(dropped), self._clip)

    def plan_view(self) -> dict[int, Any]:
        """What a deep copy that only predicts takes instead of copies, by identity.

        Immutable values, and what is only ever appended to: the rows of later keys are unknown to
        it.
        """
        shared = [self._settings, self._fields, *self.layout.slots]
        for transformer in self.transformers.values():
            shared += transformer.shared
        return {id(self.rows): self.rows.view(), **{id(one): one for one in shared}}

    def export_state(self) -> dict[str, Any]:
        """Export what was learned; small arrays are copies, others are to be materialized."""
        state = {**self.statistics.export_state(), **self.rows.export_state()}
        for transformer in self.transformers.values():
            state |= transformer.export_state()
        if self.duplicates is not None:
            state |= self.duplicates.export_state()
        return state

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore an exported state."""
        for name, kind in state["fields"]:
            self.append(Field(name, Kind(kind)))
        self.statistics.restore_state(state)
        for transformer in self.transformers.values():
            transformer.restore_state(state)
        if self.duplicates is not None:
            self.duplicates.restore_state(state)
        self.rows.restore_state(state)

    def decode_rows(self) -> list[tuple[str, str | float | None] | None]:
        """Decode the field and value (None: missing) of each row.

        Hashed values, parts of dates and rows of no field are None.
        """
        slots = self.layout.slots
        found: list[tuple[str, str | float | None] | None] = []
        for key in self.rows.keys[: len(self.rows)].tolist():
            number, code = key >> FIELD_BITS, key & CODE_MASK
            found.append(self._decode(slots[number], code) if number < len(slots) else None)
        return found

    def inverse(self, encoded: Inputs) -> list[Sample]:
        """Decode samples: numbers and times in units, categories and tokens of texts by value.

        Several known tokens of a text are joined by blanks. Values without inputs are absent.
        """
        meanings = self.decode_rows()
        numbers = {}
        for slot in self.layout.slots:
            values = self._transformer(slot).decode_dense(slot, self._own(slot, encoded.dense))
            if values is not None:
                numbers[slot.field.name] = values
        joined = {
            slot.field.name for slot in self.layout.slots if self._transformer(slot).joins_values
        }
        samples: list[Sample] = []
        for i, (row, count) in enumerate(zip(encoded.row, encoded.count.tolist(), strict=True)):
            sample: dict[str, object] = {name: float(column[i]) for name, column in numbers.items()}
            active = [meanings[r] for r in row[: max(count - encoded.lags, 0)].tolist()]
            for field, value in filter(None, active):
                before = sample.get(field)
                joins = field in joined and isinstance(before, str)
                sample[field] = f"{before} {value}" if joins else value
            samples.append(sample)
        return samples

    def decode_reconstruction(self, restored: Reconstruction) -> list[Sample]:
        """Decode samples: numbers in units, times in seconds, the likeliest value of a category.

        Values that are more likely missing than not are None. Texts are absent, since the order of
        their words is unknown; so are categories without a value of their own yet.
        """
        found: dict[str, list[Any]] = {}
        keys = self.rows.keys[: restored.active.shape[1]]
        for number, slot in enumerate(self.layout.slots):
            own = np.flatnonzero(keys >> FIELD_BITS == number)
            values = self._transformer(slot).reconstruct(
                slot,
                self._own(slot, restored.dense),
                restored.active[:, own],
                keys[own] & CODE_MASK,
            )
            if values:
                found[slot.field.name] = values
        n = len(restored.dense)
        return [{name: values[i] for name, values in found.items()} for i in range(n)]

    def _transformer(self, slot: FieldSlot) -> Transformer:
        return self.transformers[TRANSFORMERS[slot.field.kind]]

    def _decode(self, slot: FieldSlot, code: int) -> tuple[str, str | float | None] | None:
        if code == MISSING:
            return slot.field.name, None
        value = self._transformer(slot).decode_code(slot, code)
        return None if value is None else (slot.field.name, value)

    def _own(self, slot: FieldSlot, dense: NDArray[Any]) -> NDArray[Any]:
        return dense[:, slot.dense : slot.dense + self._transformer(slot).dense_inputs]

    def _plan(self, schema: Schema) -> None:
        sources = {name: i for i, name in enumerate(schema.numbers)}
        sources |= {name: i for i, name in enumerate(schema.words)}
        slots = self.layout.slots
        measured = [
            (slot.dense, sources[slot.field.name])
            for slot in slots
            if slot.field.kind in NUMERIC
            and slot.field.name in sources
            and slot.dense < self._unscaled
        ]
        self._measured = [one[0] for one in measured], [one[1] for one in measured]
        used = {TRANSFORMERS[slot.field.kind] for slot in slots}
        self._key_columns, self._plain, self._weighted = 0, [], []
        for kind, transformer in self.transformers.items():
            width = transformer.plan(slots, sources, self._key_columns)
            self._key_columns += width
            if isinstance(transformer, WeightedTransformer):
                self._weighted += [transformer] if kind in used else []
            elif width or kind in used:
                self._plain.append(transformer)

    def _check_overrides(self, schema: Schema) -> None:
        """Check that settings of single fields are for fields of the right kind."""
        for transformer in self.transformers:
            named = getattr(self._settings, transformer.overrides, None) or {}
            for field in schema.fields:
                if field.name in named and field.kind not in transformer.kinds:
                    raise ConfigurationError(
                        f"{transformer.overrides} names {field.name!r}, but it is of kind "
                        f"{field.kind}, and must be {' or '.join(transformer.kinds)}"
                    )


@cache_small
def _no_entries(n: int) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32]]:
    """Rows, values and counts of samples without entries; not to be changed."""
    return np.zeros((n, 1), np.int32), np.zeros((n, 1), np.float32), np.zeros(n, np.int32)


def _write_sparse(
    sparse: SparseRows, keys: NDArray[np.int64], weights: NDArray[np.float64]
) -> None:
    """Write the indices of non-zero numbers as keys, -1 for others, and the numbers as weights."""
    used = np.arange(keys.shape[1]) < sparse.count[:, None]
    used &= (sparse.value != 0.0) & np.isfinite(sparse.value)
    keys[:] = np.where(used, SPARSE_BASE + (sparse.index & CODE_MASK), -1)
    weights[:] = sparse.value
