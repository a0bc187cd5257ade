"""Which columns of a source are used, and how their values are parsed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from functools import partial
from typing import Literal, NamedTuple, final, get_args

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.samples import QUANTITIES, TIMES, Field, Kind, Schema, Task
from streamnet.sources.base import Reason
from streamnet.sources.inference import (
    MISSING,
    WHITESPACE,
    infer_task,
    is_not_finite,
    is_number,
    is_numeric,
    number_to_seconds,
    parse_seconds,
    to_float,
    to_seconds,
)
from streamnet.sources.number_styles import SEPARATORS, parse_marked_number
from streamnet.validation import check_integer

# ---------------------------------------------------------------- single values

NumberParser = Callable[[object, "ParseOptions"], "float | Reason"]

# Tuples, since a union in a call is built again by each call, which takes longer than the call.
FLOATS = (float, np.floating)
BOOLS = (bool, np.bool_)

FIRST_SECOND, END_SECOND = -62_135_596_800, 253_402_300_800  # seconds of the years 1 and 10000

UNORDERED = (*FLOATS, date, np.datetime64)
"""Types with a value that is not equal to itself: NaN and NaT."""

WORD_TYPES = (*BOOLS, date, np.datetime64)
"""Types that can be words or times, but are not numbers."""


class ParseOptions(NamedTuple):
    """How values are parsed."""

    missing: frozenset[str]  # texts that stand for a missing value
    typed: bool  # the format distinguishes numbers from texts: a text is never a number
    thousands: str | None = None  # separator of thousands in numbers; None: where it is clear

    def is_missing(self, value: object) -> bool:
        """Whether ``value`` stands for a missing one. NaN does."""
        if isinstance(value, str):
            return value.strip(WHITESPACE) in self.missing
        if isinstance(value, UNORDERED):
            return bool(value != value)
        if isinstance(value, Decimal):
            return value.is_nan()  # a signaling NaN can't be compared
        return value is None or type(value).__name__ == "NAType"  # of pandas


def parse_number(value: object, options: ParseOptions) -> float | Reason:
    """Parse a number: NaN if it is missing, or the reason why it is invalid."""
    if options.is_missing(value):
        return math.nan
    if isinstance(value, str):
        text = value.strip(WHITESPACE)
        if is_not_finite(text):
            return Reason.NOT_FINITE
        number = None if options.typed else parse_marked_number(text, options.thousands)
        return Reason.NUMBER if number is None else _to_finite(number)
    if is_numeric(value) and not isinstance(value, bool):
        return _to_finite(value)
    return Reason.NUMBER if isinstance(value, WORD_TYPES) else Reason.TYPE


def parse_time(value: object, options: ParseOptions, kind: Kind = Kind.TIME) -> float | Reason:
    """Parse a time, a date, a text or a timestamp as seconds since 1970 UTC.

    See `parse_seconds` for texts and kinds of times, and `number_to_seconds` for numbers.
    """
    if options.is_missing(value):
        return math.nan
    if isinstance(value, str):
        text = value.strip(WHITESPACE)
        seconds = parse_seconds(text, kind)
        if seconds is not None:
            return seconds
        if options.typed or not is_number(text):
            return Reason.TIME
        return _parse_timestamp(text)
    if isinstance(value, np.datetime64):
        whole = int(value.astype("M8[s]").astype(np.int64))
        # Outside the years 1 to 9999 there is no `date`, and microseconds would overflow.
        if not FIRST_SECOND <= whole < END_SECOND:
            return float(whole)
        value = value.astype("M8[us]").item()
    if isinstance(value, date):
        return to_seconds(value)
    if is_numeric(value) and not isinstance(value, bool):
        return _parse_timestamp(value)
    return Reason.TIME if isinstance(value, BOOLS) else Reason.TYPE


def parse_target_number(value: object, options: ParseOptions) -> float | Reason:
    """Parse a regression target: NaN if it is missing, or the reason why it is invalid."""
    number = parse_number(value, options)
    return Reason.TARGET_NUMBER if isinstance(number, Reason) else number


def parse_word(value: object, options: ParseOptions) -> str | Reason | None:
    """Parse a word or text: None if it is missing, or the reason why it is invalid.

    A whole number is the same word whatever its type, because a single missing value turns a column
    of integers into floats.
    """
    if isinstance(value, str):
        text = str(value.strip(WHITESPACE))
        return None if text in options.missing else text
    if type(value) is int:  # the fast path for most labels: none is missing
        return _format_number(value)
    if options.is_missing(value):
        return None
    if isinstance(value, BOOLS):
        return "true" if value else "false"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, np.datetime64):
        return str(value)
    return _format_number(value) if is_numeric(value) else Reason.TYPE


def choose_parser(kind: Kind) -> NumberParser:
    """The parser for values of a numeric kind."""
    return partial(parse_time, kind=kind) if kind in TIMES else parse_number


def make_object_column(words: Sequence[object]) -> NDArray[np.object_]:
    """Words as a column, shape=(n,), without copying or converting them."""
    column = np.empty(len(words), np.object_)
    column[:] = words
    return column


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


# -------------------------------------------------------------------- settings

LAST_COLUMN = ("last", "-1")
"""Names that stand for the last column where a target is expected."""

MAX_NAMES_SHOWN = 40
MAX_FIELDS = 4096
OPTION_NAMES = {
    "target": "--target",
    "weight": "--weight",
    "id": "--id",
    "drop": "--drop",
    "kinds": "--kind",
}

NewPolicy = Literal["adapt", "ignore", "reject", "stop"]
MissingPolicy = Literal["adapt", "reject", "stop"]
ChangedPolicy = Literal["reject", "stop"]

_POLICIES = {"new": NewPolicy, "missing": MissingPolicy, "changed": ChangedPolicy}
_REASONS = {
    "new": (Reason.NEW_COLUMN,),
    "missing": (Reason.MISSING_COLUMN,),
    "changed": (Reason.NUMBER, Reason.TIME, Reason.TYPE),
}


@final
@dataclass(frozen=True)
class SchemaDrift:
    """What to do when columns change. None is the default of the format.

    Where every record names its values, as in JSON Lines and dicts, a new column is learned from
    its first sample on, and an absent one is a missing value (adapt). A table (CSV, Parquet, Arrow)
    has the same columns in the whole file; a later file that lacks a column of the first, or has
    another one, stops the run unless new="ignore". `open_files` applies "stop" itself; wrap any
    other source in `GuardedSource`. The first sample of dicts defines the schema and never drifts.

    Args:
        new: What to do with a column that is not in the schema.
        missing: What to do with a record without a column of the schema.
        changed: What to do with a value that does not fit the kind of its column.

    Raises:
        ConfigurationError: If a policy is not one of those that the setting allows.

    >>> SchemaDrift(new="ignore", changed="stop").stops
    ('number', 'time', 'type')
    """

    new: NewPolicy | None = None
    missing: MissingPolicy | None = None
    changed: ChangedPolicy | None = None

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            allowed = get_args(_POLICIES[setting.name])
            if value is not None and value not in allowed:
                rule = " or ".join(map(repr, allowed))
                raise ConfigurationError(f"drift.{setting.name} is {value!r}, but must be {rule}")

    @property
    def stops(self) -> tuple[str, ...]:
        """Codes of rejected records after which nothing more is read."""
        names = [name for name in _POLICIES if getattr(self, name) == "stop"]
        return tuple(str(reason) for name in names for reason in _REASONS[name])


@final
@dataclass(frozen=True)
class Columns:
    """Which columns of a source are used, and as what; the same settings for every format.

    Args:
        target: Name of the target; None if there is nothing to learn from, only to predict.
        task: What is predicted; None infers it from the target's first values.
        drop: Columns that are not used.
        kinds: Kinds of columns by name, in place of the inferred ones.
        known: Kinds that a model has learned. They override inference too, but unlike ``kinds``
            none of these columns has to exist.
        missing: Texts that stand for a missing value.
        thousands: Separator of thousands in numbers; None finds it where it is clear.
        target_optional: Whether the target column may be absent.
        labels_required: Whether a sample without a target is rejected, as for an evaluation;
            otherwise it is read as one whose target is unknown.
        schema: Schema of an earlier run or a model; nothing is inferred then.
        head: Number of records of the first file from which columns are inferred.
        drift: What to do when columns change.
        most_fields: Maximum number of features that may appear by name, as in JSON Lines and dicts.
        weight: Name of the column with the weights of samples; `WeightedSource` takes it out of the
            blocks.
        id: Name of the column with the ids of samples; `IdentifiedSource` takes it out likewise.
        more_targets: Further columns that are targets. They are read like the others, but whole
            numbers that may be codes are labels, as of ``target``.
        check: Is called with the names of all columns of a file, and that of the file, if there is
            a ``schema``.

    Raises:
        ConfigurationError: If a setting is invalid or contradicts another one.

    >>> columns = Columns(target="income", drop=("id",), kinds={"zip": Kind.CATEGORY})
    >>> kinds = {"age": Kind.NUMBER, "zip": Kind.NUMBER}
    >>> columns.build_schema("f.csv", ("id", "age", "zip", "income"), kinds.__getitem__).words
    ('zip',)
    """

    target: str | None = None
    task: Task | None = None
    drop: tuple[str, ...] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    known: Mapping[str, Kind] = field(default_factory=dict)
    missing: tuple[str, ...] = MISSING
    thousands: str | None = None
    target_optional: bool = False
    labels_required: bool = False
    schema: Schema | None = None
    head: int = 1000
    drift: SchemaDrift = SchemaDrift()
    most_fields: int = MAX_FIELDS
    weight: str | None = None
    id: str | None = None
    more_targets: tuple[str, ...] = ()
    check: Callable[[Sequence[str], str], object] | None = None

    def __post_init__(self) -> None:
        for name in ("head", "most_fields"):
            if (value := check_integer(name, getattr(self, name))) < 1:
                raise ConfigurationError(f"{name} is {value}, but must be >= 1")
            object.__setattr__(self, name, value)
        if self.thousands is not None and self.thousands not in SEPARATORS:
            raise ConfigurationError(
                f"thousands is {self.thousands!r}, but must be a comma, a point, a space or a quote"
            )
        if self.schema is not None:
            target = self.schema.target if self.target is None else self.target
            object.__setattr__(self, "target", target)
            object.__setattr__(self, "task", self.task or self.schema.task)
        if self.task is not None:
            object.__setattr__(self, "task", Task(self.task))
        self._check_roles()
        if not isinstance(self.kinds, Mapping):
            raise ConfigurationError(f"kinds is {self.kinds!r}, but must be a dict by column")
        if not isinstance(self.target, str | None):
            raise ConfigurationError(f"target is {self.target!r}, but must be the name of a column")
        if self.schema is not None and self.target in [f.name for f in self.schema.fields]:
            # Each column of a file is parsed once, as an input or as the target.
            why = "that is an input of the model"
            raise ConfigurationError(f"target is {self.target!r}, but {why}")
        self._check_kinds()

    def _check_kinds(self) -> None:
        for name, kind in self.kinds.items():
            if name in self.drop or name in (self.target, self.weight, self.id):
                roles = {self.target: "the target", self.weight: "the weight", self.id: "the id"}
                role = roles.get(name, "dropped")
                raise ConfigurationError(f"kinds has {name!r}, but that is {role}")
            if kind not in list(Kind):
                raise ConfigurationError(
                    f"kinds has {str(kind)!r} for {name!r}, but must be one of {', '.join(Kind)}"
                )

    def _check_roles(self) -> None:
        """Refuse a column that is to be two things."""
        taken: dict[str, str] = {}
        for role, name in (("target", self.target), ("weight", self.weight), ("id", self.id)):
            if name is None:
                continue
            if name in self.drop:
                raise ConfigurationError(f"drop has {name!r}, but that is the {role}")
            if name in taken:
                raise ConfigurationError(f"{role} is {name!r}, but that is the {taken[name]}")
            taken[name] = role

    def parse_options(self, *, typed: bool = False) -> ParseOptions:
        """How single values are parsed; see `ParseOptions` for ``typed``."""
        return ParseOptions(frozenset(self.missing), typed, self.thousands)

    def parse_options_for(self, name: str, options: ParseOptions) -> ParseOptions:
        """How the values of one column are parsed.

        Even where the format distinguishes numbers from texts, a text may be a number if the kind
        of the column was given by the user, a model or the task.
        """
        given = self.task is not None if name == self.target else self.kind_for(name) is not None
        if options.typed and (given or self.schema is not None):
            return options._replace(typed=False)
        return options

    def kind_for(self, name: str) -> Kind | None:
        """The kind given for the column of this name; None if it has to be inferred."""
        if name == self.weight:
            return Kind.NUMBER
        if name == self.id:
            return Kind.CATEGORY  # compared as texts, even if all are numbers
        if name in self.more_targets and self.task is not None:
            return Kind.NUMBER if self.task is Task.REGRESSION else Kind.CATEGORY
        return self.kinds.get(name) or self.known.get(name)

    def refine_kind(self, name: str, kind: Kind | None, values: Sequence[object]) -> Kind | None:
        """The kind of a column whose values are of a kind: of codes, if it is a further target."""
        if name not in self.more_targets or kind not in QUANTITIES:
            return kind
        codes = infer_task(values) is Task.CLASSIFICATION
        return Kind.CATEGORY if codes else Kind.NUMBER

    @property
    def grows(self) -> bool:
        """Whether new columns extend the schema: not if it was given."""
        return self.schema is None and self.drift.new != "ignore"

    @property
    def named(self) -> tuple[str, ...]:
        """All column names in these settings."""
        roles = self.target, self.weight, self.id
        target = tuple(name for name in roles if name is not None)
        known = () if self.schema is None else tuple(f.name for f in self.schema.fields)
        return (*target, *self.drop, *self.kinds, *known)

    def with_target(self, target: str | None) -> Columns:
        """These settings with the target's own name in place of its number or 'last'."""
        return self if target == self.target else replace(self, target=target)

    def build_schema(
        self,
        file: str,
        names: Sequence[str],
        kind: Callable[[str], Kind | None],
        task: Callable[[], Task | None] = lambda: Task.CLASSIFICATION,
        *,
        sparse: bool = False,
    ) -> Schema:
        """Build the schema of a source, called ``file`` in messages, with columns of these names.

        ``kind`` and ``task`` infer what no setting gives. A column whose kind is unknown, since it
        has no value yet, is left out; a target without a value is an error. If a sample may lack a
        name (``sparse``), one column of a given schema is enough.
        """
        target = self._checked_target(file, names)
        lacked = () if self.schema is None or not sparse else [f.name for f in self.schema.fields]
        there = frozenset((*names, *lacked))
        given = (
            ("weight", () if self.weight is None else (self.weight,)),
            ("id", () if self.id is None else (self.id,)),
            ("drop", self.drop),
            ("kinds", tuple(self.kinds)),
        )
        for setting, wanted in given:
            for name in wanted:
                if name not in there:
                    raise make_missing_column_error(file, name, setting, names)
        if self.schema is None:
            unused = {target, *self.drop}
            kinds = {n: self.kind_for(n) or kind(n) for n in names if n not in unused}
            fields = [Field(n, Kind(found)) for n, found in kinds.items() if found is not None]
        else:
            fields = [f for f in self.schema.fields if f.name not in self.drop]
            if lacked and set(lacked).isdisjoint(names):
                raise SchemaError(
                    f"{file} has only {format_names(names)}: no column is one that the model "
                    f"knows: {format_names(sorted(lacked))}"
                )
            for name, _ in fields:
                if name not in there:
                    raise make_missing_column_error(file, name, "which the model needs", names)
            if self.check is not None:
                self.check(names, file)
        if target is None:
            return Schema(tuple(fields))
        if (known := self.task or task()) is None:
            raise UnknownTaskError(
                f"{file} has no value of the target {target!r} in its first records, so that the "
                "task is unknown: --task classification or --task regression states it"
            )
        return Schema(tuple(fields), target, known)

    def _checked_target(self, file: str, names: Sequence[str]) -> str | None:
        if self.target is None or self.target in names:
            return self.target
        if self.target_optional:
            return None
        raise make_missing_column_error(file, self.target, "target", names)


class UnknownTaskError(DataError):
    """The task is unknown, since the target has no value among the records looked at."""


def check_same_columns(
    file: str, names: Sequence[str], first: Sequence[str], used: Sequence[str], columns: Columns
) -> None:
    """Refuse a later file that lacks a ``used`` column of the first one, or has a new one."""
    there, known = frozenset(names), frozenset(first)
    for name in used:
        if name not in there:
            raise make_missing_column_error(file, name, "which the first file has", names)
    other = [name for name in names if name not in known]
    if other and columns.grows:
        raise SchemaError(
            f"{file} has {format_names(other)}, but the first file has only "
            f"{format_names(first)} (drift.new 'ignore' would leave them out)"
        )


def make_missing_column_error(
    file: str, name: str, setting: str, names: Sequence[str]
) -> SchemaError:
    """The error for a column that does not exist, with the existing ones and a suggestion.

    ``setting`` is the setting of `Columns` that names it, or a clause that says who needs it.
    """
    if setting in OPTION_NAMES:
        setting = f"requested by {OPTION_NAMES[setting]} or source.{setting}"
    return SchemaError(
        f"{file} has no column {name!r} ({setting}), but only {format_names(names)}."
        f"{suggest_column(name, names)}"
    )


def make_missing_target_error(
    source: str, target: str, where: str, names: Sequence[str]
) -> SchemaError:
    """The error for samples without the target; ``where`` says which, starting with " in "."""
    return SchemaError(
        f"{source} has no target {target!r}{where}, only {format_names(names)}."
        f"{suggest_column(target, names)}"
    )


def suggest_column(name: str, names: Sequence[str]) -> str:
    """A question after the column that may have been meant, beginning with a blank; or nothing."""
    alike = {other.casefold(): other for other in reversed(names)}
    close = get_close_matches(name.casefold(), alike, n=1)
    return f" Did you mean {alike[close[0]]!r}?" if close else ""


def format_names(names: Sequence[str]) -> str:
    """List names of columns in a message, cut to a readable length."""
    more = len(names) - MAX_NAMES_SHOWN
    listed = ", ".join(repr(name) for name in names[:MAX_NAMES_SHOWN]) or "none"
    return f"{listed} and {more} more" if more > 0 else listed
