"""Which columns of a source are used, and how their single values are parsed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, SchemaError
from streamnet.samples import TIMES, Field, Kind, Schema, Task
from streamnet.sources.dates import number_to_seconds, parse_seconds, to_seconds
from streamnet.sources.inference import (
    MISSING,
    WHITESPACE,
    is_not_finite,
    is_number,
    is_numeric,
    to_float,
)
from streamnet.sources.rejection import Reason
from streamnet.sources.wrappers.schema_drift import SchemaDrift
from streamnet.validation import check_integer

__all__ = (
    "LAST_COLUMN",
    "Columns",
    "ParseOptions",
    "choose_parser",
    "format_names",
    "make_missing_column_error",
    "make_missing_target_error",
    "make_object_column",
    "parse_number",
    "parse_target_number",
    "parse_time",
    "parse_word",
)


NumberParser = Callable[[object, "ParseOptions"], "float | Reason"]

# Tuples, since a union in a call is made anew at each, which takes longer than the call.
FLOATS = (float, np.floating)
BOOLS = (bool, np.bool_)

FIRST_SECOND, END_SECOND = -62_135_596_800, 253_402_300_800  # seconds of the years 1 and 10000

UNORDERED = (*FLOATS, date, np.datetime64)
"""Types with a value that is not equal to itself: NaN and NaT."""

WORD_TYPES = (*BOOLS, date, np.datetime64)
"""Types that can be words or times, but are no numbers."""


class ParseOptions(NamedTuple):
    """How values are read."""

    missing: frozenset[str]  # texts that stand for a missing value
    typed: bool  # the format tells numbers from texts: a text is never a number

    def is_missing(self, value: object) -> bool:
        """Whether ``value`` stands for a missing one. NaN does."""
        if isinstance(value, str):
            return value.strip(WHITESPACE) in self.missing
        if isinstance(value, UNORDERED):
            return bool(value != value)
        if isinstance(value, Decimal):
            return value.is_nan()  # a signalling one can't be compared
        return value is None or type(value).__name__ == "NAType"  # that of pandas


def parse_number(value: object, reading: ParseOptions) -> float | Reason:
    """A number, NaN for a missing one, or the reason why it is none."""
    if reading.is_missing(value):
        return math.nan
    if isinstance(value, str):
        return _parse_number_text(value.strip(WHITESPACE), reading)
    if is_numeric(value) and not isinstance(value, bool):
        return _to_finite(value)
    return Reason.NUMBER if isinstance(value, WORD_TYPES) else Reason.TYPE


def parse_time(value: object, reading: ParseOptions, kind: Kind = Kind.TIME) -> float | Reason:
    """Seconds since 1970 UTC of a time, a date, a text, or a number of seconds or parts of it.

    See `parse_seconds` for texts and kinds of times, and `number_to_seconds` for numbers.
    """
    if reading.is_missing(value):
        return math.nan
    if isinstance(value, str):
        text = value.strip(WHITESPACE)
        seconds = parse_seconds(text, kind)
        if seconds is not None:
            return seconds
        if reading.typed or not is_number(text):
            return Reason.TIME
        return _parse_timestamp(text)
    if isinstance(value, np.datetime64):
        whole = int(value.astype("M8[s]").astype(np.int64))
        # Beyond the years 1 to 9999 there is no `date`, and microseconds would overflow.
        if not FIRST_SECOND <= whole < END_SECOND:
            return float(whole)
        value = value.astype("M8[us]").item()
    if isinstance(value, date):
        return to_seconds(value)
    if is_numeric(value) and not isinstance(value, bool):
        return _parse_timestamp(value)
    return Reason.TIME if isinstance(value, BOOLS) else Reason.TYPE


def parse_target_number(value: object, reading: ParseOptions) -> float | Reason:
    """The target of a regression, NaN for a missing one, or the reason why it is none."""
    number = parse_number(value, reading)
    return Reason.TARGET_NUMBER if isinstance(number, Reason) else number


def parse_word(value: object, reading: ParseOptions) -> str | Reason | None:
    """A word or text, None for a missing one, or the reason why it is none.

    A whole number is the same word whichever type it has: one gap makes floats of a whole column.
    """
    if isinstance(value, str):
        text = str(value.strip(WHITESPACE))
        return None if text in reading.missing else text
    if type(value) is int:  # the short way for most labels: none is missing
        return _format_number(value)
    if reading.is_missing(value):
        return None
    if isinstance(value, BOOLS):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, np.datetime64):
        return str(value)
    return _format_number(value) if is_numeric(value) else Reason.TYPE


def make_object_column(words: Sequence[object]) -> NDArray[np.object_]:
    """Words as a column, shape=(n,), each of them the object that it was."""
    column = np.empty(len(words), np.object_)
    column[:] = words
    return column


def choose_parser(kind: Kind) -> NumberParser:
    """What reads the values of a numeric kind."""
    return partial(parse_time, kind=kind) if kind in TIMES else parse_number


def _parse_number_text(text: str, reading: ParseOptions) -> float | Reason:
    if is_not_finite(text):
        return Reason.NOT_FINITE
    if reading.typed or not is_number(text):
        return Reason.NUMBER
    return _to_finite(text)


def _parse_timestamp(value: object) -> float | Reason:
    number = _to_finite(value)
    return number if isinstance(number, Reason) else number_to_seconds(number)


def _format_number(number: object) -> str | Reason:
    whole = isinstance(number, FLOATS) and number.is_integer()
    try:
        return str(int(number) if whole else number)  # type: ignore[call-overload]  # a float
    except ValueError:  # more digits than Python writes
        return Reason.NOT_FINITE


def _to_finite(value: object) -> float | Reason:
    number = to_float(value)
    return number if math.isfinite(number) else Reason.NOT_FINITE


LAST_COLUMN = ("last", "-1")
"""What stands for the last column where a target is named."""

MAX_NAMES_SHOWN = 40
MAX_FIELDS = 4096
DEFAULT_SCHEMA_DRIFT = SchemaDrift()
OPTION_NAMES = {"target": "--target", "drop": "--drop", "kinds": "--kind"}


@final
@dataclass(frozen=True)
class Columns:
    """Which columns of a source are used, and as what; the same settings for every format.

    >>> columns = Columns(target="income", drop=("id",), kinds={"zip": Kind.CATEGORY})
    >>> kinds = {"age": Kind.NUMBER, "zip": Kind.NUMBER}
    >>> columns.build_schema("f.csv", ("id", "age", "zip", "income"), kinds.__getitem__).words
    ('zip',)
    """

    target: str | None = None  # None: nothing to learn from, only to predict
    task: Task | None = None  # None: told by the target's first values
    drop: tuple[str, ...] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)  # overrides what the values suggest
    # So does how a model reads what it knows, but none of these columns has to be there.
    known: Mapping[str, Kind] = field(default_factory=dict)
    missing: tuple[str, ...] = MISSING  # texts that stand for a missing value
    target_optional: bool = False  # the target column and any target may be absent
    schema: Schema | None = None  # of an earlier run or a model: nothing is guessed then
    head: int = 1000  # records of the first file that are looked at to tell what is what
    drift: SchemaDrift = DEFAULT_SCHEMA_DRIFT  # what to do when columns change
    most_fields: int = MAX_FIELDS  # features that may come up by name, as in JSON lines and dicts

    def __post_init__(self) -> None:
        for name in ("head", "most_fields"):
            if (value := check_integer(name, getattr(self, name))) < 1:
                raise ConfigurationError(f"{name} is {value}, but must be >= 1")
            object.__setattr__(self, name, value)
        if self.schema is not None:
            target = self.schema.target if self.target is None else self.target
            object.__setattr__(self, "target", target)
            object.__setattr__(self, "task", self.task or self.schema.task)
        if self.task is not None:
            object.__setattr__(self, "task", Task(self.task))
        if self.target is not None and self.target in self.drop:
            raise ConfigurationError(f"drop has {self.target!r}, but that is the target")
        if not isinstance(self.kinds, Mapping):
            raise ConfigurationError(f"kinds is {self.kinds!r}, but must be a dict by column")
        if not isinstance(self.target, str | None):
            raise ConfigurationError(f"target is {self.target!r}, but must be the name of a column")
        if self.schema is not None and self.target in [f.name for f in self.schema.fields]:
            # Each column of a file is read once, as an input or as the truth.
            why = "that is an input of the model"
            raise ConfigurationError(f"target is {self.target!r}, but {why}")
        for name, kind in self.kinds.items():
            if name in self.drop or name == self.target:
                role = "the target" if name == self.target else "dropped"
                raise ConfigurationError(f"kinds has {name!r}, but that is {role}")
            if kind not in list(Kind):
                raise ConfigurationError(
                    f"kinds has {str(kind)!r} for {name!r}, but must be one of {', '.join(Kind)}"
                )

    def reading(self, *, typed: bool = False) -> ParseOptions:
        """How single values are read."""
        return ParseOptions(frozenset(self.missing), typed)

    def parse_options_for(self, name: str, reading: ParseOptions) -> ParseOptions:
        """How the values of one column are read, where the format tells numbers from texts.

        Where somebody said what it is (the user, a model, the task), a text may be a number too.
        """
        told = self.task is not None if name == self.target else self.kind_for(name) is not None
        if reading.typed and (told or self.schema is not None):
            return reading._replace(typed=False)
        return reading

    def kind_for(self, name: str) -> Kind | None:
        """As what a column of this name is to be read; None if its values tell."""
        return self.kinds.get(name) or self.known.get(name)

    @property
    def grows(self) -> bool:
        """Whether columns that come up later are looked at: not where the schema was given."""
        return self.schema is None and self.drift.new != "ignore"

    @property
    def named(self) -> tuple[str, ...]:
        """All names that these settings mention."""
        target = () if self.target is None else (self.target,)
        known = () if self.schema is None else tuple(f.name for f in self.schema.fields)
        return (*target, *self.drop, *self.kinds, *known)

    def with_target(self, target: str | None) -> Columns:
        """These settings with the target's own name in place of its number or 'last'."""
        return self if target == self.target else replace(self, target=target)

    def build_schema(
        self,
        file: str,
        names: Sequence[str],
        kind: Callable[[str], Kind],
        task: Callable[[], Task] = lambda: Task.CLASSIFICATION,
        *,
        sparse: bool = False,
    ) -> Schema:
        """The schema of a source whose columns have these names.

        Args:
            file: Name of the source, for messages.
            names: Its columns in order.
            kind: Tells the kind of the column of a name by its values.
            task: Tells the task by the target's values.
            sparse: Whether a sample may lack a name: one of those of a given schema is enough.

        Raises:
            SchemaError: if a column that is asked for does not exist.
        """
        target = self._checked_target(file, names)
        lacked = () if self.schema is None or not sparse else [f.name for f in self.schema.fields]
        there = frozenset((*names, *lacked))
        for setting, wanted in (("drop", self.drop), ("kinds", tuple(self.kinds))):
            for name in wanted:
                if name not in there:
                    raise make_missing_column_error(file, name, setting, names)
        if self.schema is None:
            unused = {target, *self.drop}
            fields = [Field(n, Kind(self.kind_for(n) or kind(n))) for n in names if n not in unused]
        else:
            fields = [f for f in self.schema.fields if f.name not in self.drop]
            if lacked and set(lacked).isdisjoint(names):
                raise SchemaError(
                    f"{file} has only {format_names(names)}: no column is one that the model "
                    f"knows: {format_names(sorted(lacked))}"
                )
            for name, _ in fields:
                if name not in there:
                    raise make_missing_column_error(file, name, "which the model asks for", names)
        if target is None:
            return Schema(tuple(fields))
        return Schema(tuple(fields), target, self.task or task())

    def _checked_target(self, file: str, names: Sequence[str]) -> str | None:
        if self.target is None or self.target in names:
            return self.target
        if self.target_optional:
            return None
        raise make_missing_column_error(file, self.target, "target", names)


def make_missing_column_error(
    file: str, name: str, setting: str, names: Sequence[str]
) -> SchemaError:
    """The error that says which column is missing, which exist, and which may be meant.

    Args:
        file: Name of the source.
        name: The column that is missing.
        setting: The setting of `Columns` that names it, or else who needs it.
        names: Columns that exist.
    """
    if setting in OPTION_NAMES:
        setting = f"asked for by {OPTION_NAMES[setting]} or source.{setting}"
    return SchemaError(
        f"{file} has no column {name!r} ({setting}), but only {format_names(names)}."
        f"{_suggest_name(name, names)}"
    )


def make_missing_target_error(
    source: str, target: str, where: str, names: Sequence[str]
) -> SchemaError:
    """The error that says that samples have no target of that name, and which may be meant.

    Args:
        source: Its name.
        target: The name that none of the samples has.
        where: Which samples, with " in " before it, unless it is all.
        names: Those that they have.
    """
    return SchemaError(
        f"{source} has no target {target!r}{where}, only {format_names(names)}."
        f"{_suggest_name(target, names)}"
    )


def _suggest_name(name: str, names: Sequence[str]) -> str:
    alike = {other.casefold(): other for other in reversed(names)}
    close = get_close_matches(name.casefold(), alike, n=1)
    return f" Did you mean {alike[close[0]]!r}?" if close else ""


def format_names(names: Sequence[str]) -> str:
    """Names of columns as a list for a sentence, cut to a readable length."""
    more = len(names) - MAX_NAMES_SHOWN
    listed = ", ".join(repr(name) for name in names[:MAX_NAMES_SHOWN]) or "none"
    return f"{listed} and {more} more" if more > 0 else listed
