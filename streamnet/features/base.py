"""Transformers of columns into network inputs: the interface, its registry and what they share.

Subclassing `Transformer` with the ``kinds`` of its columns registers it in `TRANSFORMERS`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from operator import getitem
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError
from streamnet.features.frozen import FrozenColumn, KnownRows
from streamnet.features.statistics import NumberStatistics, standardize
from streamnet.samples import Block, Field, Kind
from streamnet.settings.encoder import EncoderSettings

FIELD_BITS = 40  # a key is the number of its field << 40 | the code of its value
CODE_MASK = (1 << FIELD_BITS) - 1
SPARSE_BASE = 1 << (FIELD_BITS + 22)  # keys of numbered inputs, beyond those of any field
LAG_BASE = SPARSE_BASE + (1 << (FIELD_BITS + 21))  # keys of earlier targets, beyond both

TRANSFORMERS: dict[Kind, type[Transformer]] = {}
"""Transformers by the kind of their columns."""


class FieldSlot(NamedTuple):
    """A known field, and where its inputs start."""

    field: Field
    base: int  # first key
    statistic: int  # row of the shared `NumberStatistics`
    dense: int
    nth: int  # number of earlier fields with the same transformer


@final
class InputArrays(Struct, frozen=True, eq=False, gc=False):
    """The numbers of a block, and the arrays that transformers fill, for n samples."""

    numbers: NDArray[np.float64]  # ``Block.numbers`` as kernels read them
    dense: NDArray[np.floating]  # shape=(n, dense inputs)
    keys: NDArray[np.int64]  # shape=(n, key columns), -1 for none
    splined: NDArray[np.int32]  # shape=(n, statistics), dense inputs of more than two values, -1


class LagEntries(NamedTuple):
    """Keys and values of the rows of earlier targets."""

    keys: NDArray[np.int64]  # shape=(n, lags)
    values: NDArray[np.float64]  # shape=(n, lags)
    missing: NDArray[np.int64]  # shape=(lags,): key of a missing target


NO_LAGS = LagEntries(np.empty((0, 0), np.int64), np.empty((0, 0)), np.empty(0, np.int64))


def defer_copy(entries: Any) -> Callable[[], Any]:
    """Return a function that copies the present entries of a list that is only ever appended to."""
    return partial(getitem, entries, slice(len(entries)))


class Transformer(abc.ABC):
    """Turns all columns of some kinds into network inputs, learning online.

    Learning and transforming are one pass, since a sample is transformed by statistics that
    include it; without ``learn`` nothing changes, and new values have no input. The statistics of
    standardized inputs are shared by all transformers.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ()
    dense_inputs: ClassVar[int] = 0  # of a column
    standardized: ClassVar[int] = 0  # rows of the shared statistics, of a column
    overrides: ClassVar[str] = ""  # setting that maps names of columns, if there is one
    joins_values: ClassVar[bool] = False  # whether several active values are words of one text

    def __init_subclass__(cls, kinds: Iterable[Kind] = ()) -> None:
        super().__init_subclass__()
        if kinds:
            cls.kinds = tuple(kinds)
            TRANSFORMERS.update(dict.fromkeys(cls.kinds, cls))

    def __init__(self, settings: EncoderSettings, statistics: NumberStatistics) -> None:
        self.settings = settings
        self.statistics = statistics
        self._clip = float(settings.clip)

    def _standardize(
        self, values: NDArray[np.float64], plan: NDArray[np.int64], arrays: InputArrays, learn: bool
    ) -> int:
        known = self.statistics
        tables = known.moments, known.tables, known.limit
        written = arrays.dense, arrays.keys, arrays.splined
        return int(standardize(values, plan, *tables, self._clip, learn, *written))

    @abc.abstractmethod
    def append(self, slot: FieldSlot) -> None:
        """Add a new column after all others."""

    @abc.abstractmethod
    def plan(self, slots: Sequence[FieldSlot], sources: Mapping[str, int], first_key: int) -> int:
        """Prepare for blocks of a schema, and return the number of key columns used.

        Args:
            slots: All known fields.
            sources: Columns in ``Block.numbers`` or ``Block.words`` by name; missing fields have
                none.
            first_key: First free column of `InputArrays.keys`.
        """

    @abc.abstractmethod
    def transform(self, block: Block, arrays: InputArrays, learn: bool) -> int:
        """Write the inputs of a block, and return a bound of the number of keys (0: none)."""

    def collect(self, block: Block) -> None:  # noqa: B027  # most decide nothing
        """Collect values for decisions that are made once, without learning them."""

    def settle(self) -> None:  # noqa: B027
        """Make decisions by the collected values."""

    @property
    def vocabularies(self) -> Sequence[Any]:
        """Vocabularies whose values another stream may spell otherwise, by column."""
        return ()

    @property
    def shared(self) -> Sequence[Any]:
        """What a copy that only predicts may share: it is only ever appended to."""
        return self.vocabularies

    def export_state(self) -> dict[str, Any]:
        """Export copies of what was learned, as plain values and arrays, or functions of none.

        Functions return later what was learned by now, see `defer_copy`.
        """
        return {}

    def restore_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027  # may have no state
        """Restore an exported state of as many columns.

        Raises:
            ModelFileError: If the state is inconsistent.
        """

    def freeze(self, slot: FieldSlot, rows: KnownRows) -> FrozenColumn:
        """Return the formula of a column, for exports to other formats.

        Raises:
            ConfigurationError: If there is none; the message is the reason.
        """
        raise ConfigurationError(f"column {slot.field.name!r} is a {slot.field.kind}")

    def describe(self, slot: FieldSlot) -> dict[str, Any]:
        """Statistics of a column, by the name of the `EncoderStatistics` that list it."""
        return {}

    def decode_dense(self, slot: FieldSlot, dense: NDArray[Any]) -> NDArray[np.float64] | None:
        """Invert the dense inputs of a column: float64 (n,), or None if they hold no value."""
        return None

    def decode_code(self, slot: FieldSlot, code: int) -> str | float | None:
        """Return the value of a code other than `MISSING`, or None for a hashed one."""
        return None

    def reconstruct(
        self,
        slot: FieldSlot,
        dense: NDArray[Any],
        active: NDArray[np.floating],
        codes: NDArray[np.int64],
    ) -> list[Any]:
        """Decode an auto-encoder's reconstruction to a value per sample; empty if that cannot be.

        Args:
            slot: The column.
            dense: Its dense inputs, shape=(n, dense inputs).
            active: Scores of its rows, shape=(n, rows); above 0 for likely ones.
            codes: Codes of these rows.
        """
        return []


class Prepared(NamedTuple):
    """A block prepared by a `WeightedTransformer`."""

    data: Any  # for `WeightedTransformer.write`
    width: int  # key columns needed
    truncated: int  # entries left out, since a sample has too many


class WeightedTransformer(Transformer):
    """A transformer whose columns have any number of keys, each with a weight."""

    @abc.abstractmethod
    def prepare(self, block: Block, *, learn: bool) -> Prepared:
        """Compute the keys of a block before the arrays for them are allocated."""

    @abc.abstractmethod
    def write(
        self,
        data: Any,
        arrays: InputArrays,
        keys: NDArray[np.int64],
        weights: NDArray[np.float64],
        *,
        learn: bool,
    ) -> None:
        """Write the inputs of a prepared block, with its keys and weights (n, width)."""

    @final
    def transform(self, block: Block, arrays: InputArrays, learn: bool) -> int:
        """Not used: see `prepare` and `write`."""
        raise NotImplementedError
