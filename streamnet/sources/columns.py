"""Columns: which columns of a source are used, and as what."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from difflib import get_close_matches
from typing import final

from streamnet.checked import whole
from streamnet.errors import ConfigurationError
from streamnet.errors import SchemaError
from streamnet.samples import Field
from streamnet.samples import Kind
from streamnet.samples import Schema
from streamnet.samples import Task
from streamnet.sources.drift import Drift
from streamnet.sources.kinds import MISSING
from streamnet.sources.values import Reading

__all__ = ("LAST", "Columns", "columns_named", "missing_column", "missing_target")

LAST = ("last", "-1")
"""What stands for the last column where a target is named."""

NAMES_SHOWN = 40
MOST_FIELDS = 4096
BY_ITSELF = Drift()
OPTIONS = {"target": "--target", "drop": "--drop", "kinds": "--kind"}


@final
@dataclass(frozen=True)
class Columns:
    """Which columns of a source are used, and as what; the same settings for every format.

    >>> columns = Columns(target="income", drop=("id",), kinds={"zip": Kind.CATEGORY})
    >>> kinds = {"age": Kind.NUMBER, "zip": Kind.NUMBER}
    >>> columns.schema_of("f.csv", ("id", "age", "zip", "income"), kinds.__getitem__).words
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
    drift: Drift = BY_ITSELF  # what to do when columns change
    most_fields: int = MOST_FIELDS  # features that may come up by name, as in JSON lines and dicts

    def __post_init__(self) -> None:
        for name in ("head", "most_fields"):
            if (value := whole(name, getattr(self, name))) < 1:
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

    def reading(self, *, typed: bool = False) -> Reading:
        """How single values are read."""
        return Reading(frozenset(self.missing), typed)

    def reading_of(self, name: str, reading: Reading) -> Reading:
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

    def schema_of(
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
                    raise missing_column(file, name, setting, names)
        if self.schema is None:
            unused = {target, *self.drop}
            fields = [Field(n, Kind(self.kind_for(n) or kind(n))) for n in names if n not in unused]
        else:
            fields = [f for f in self.schema.fields if f.name not in self.drop]
            if lacked and set(lacked).isdisjoint(names):
                raise SchemaError(
                    f"{file} has only {columns_named(names)}: no column is one that the model "
                    f"knows: {columns_named(sorted(lacked))}"
                )
            for name, _ in fields:
                if name not in there:
                    raise missing_column(file, name, "which the model asks for", names)
        if target is None:
            return Schema(tuple(fields))
        return Schema(tuple(fields), target, self.task or task())

    def _checked_target(self, file: str, names: Sequence[str]) -> str | None:
        if self.target is None or self.target in names:
            return self.target
        if self.target_optional:
            return None
        raise missing_column(file, self.target, "target", names)


def missing_column(file: str, name: str, setting: str, names: Sequence[str]) -> SchemaError:
    """The error that says which column is missing, which exist, and which may be meant.

    Args:
        file: Name of the source.
        name: The column that is missing.
        setting: The setting of `Columns` that names it, or else who needs it.
        names: Columns that exist.
    """
    if setting in OPTIONS:
        setting = f"asked for by {OPTIONS[setting]} or source.{setting}"
    return SchemaError(
        f"{file} has no column {name!r} ({setting}), but only {columns_named(names)}."
        f"{_hint(name, names)}"
    )


def missing_target(source: str, target: str, where: str, names: Sequence[str]) -> SchemaError:
    """The error that says that samples have no target of that name, and which may be meant.

    Args:
        source: Its name.
        target: The name that none of the samples has.
        where: Which samples, with " in " before it, unless it is all.
        names: Those that they have.
    """
    return SchemaError(
        f"{source} has no target {target!r}{where}, only {columns_named(names)}."
        f"{_hint(target, names)}"
    )


def _hint(name: str, names: Sequence[str]) -> str:
    alike = {other.casefold(): other for other in reversed(names)}
    close = get_close_matches(name.casefold(), alike, n=1)
    return f" Did you mean {alike[close[0]]!r}?" if close else ""


def columns_named(names: Sequence[str]) -> str:
    """Names of columns as a list for a sentence, cut to a readable length."""
    more = len(names) - NAMES_SHOWN
    listed = ", ".join(repr(name) for name in names[:NAMES_SHOWN]) or "none"
    return f"{listed} and {more} more" if more > 0 else listed
