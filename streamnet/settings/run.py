"""The run file of a replay: read from TOML, validated, and combined with overrides.

Its tables are pydantic models of the declared settings: immutable, without unknown keys or silent
conversions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar, final

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from streamnet.errors import ConfigurationError
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.encoder import AutoEncoderSettings, EncoderSettings
from streamnet.settings.fields import Listed, Settings, parse_arguments
from streamnet.settings.learning import EvaluationSettings, SearchSettings, SelectionSettings
from streamnet.settings.messages import format_errors
from streamnet.settings.population import GRID, Grid, PopulationSettings
from streamnet.settings.sections import (
    ExecutionSettings,
    OutputSettings,
    SchemaDriftSettings,
    SourceSettings,
    StateSettings,
)
from streamnet.settings.toml import parse_toml, read_text

S = TypeVar("S", bound=BaseModel)


class Section(BaseModel, Settings, frozen=True):
    """A table of a run file: no unknown keys, no silent conversions, immutable.

    >>> EvaluationSection(window=500).to_kwargs()
    {'window': 500}
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, values: Any) -> Any:
        """Treat JSON's null like a key that is not given."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        self.check_rules()
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        made: dict[str, Any] = handler(schema)
        properties = handler.resolve_ref_schema(made).get("properties", {})
        for base in cls.__mro__:
            for name, doc in parse_arguments(base).items():
                if name in properties:
                    properties[name].setdefault("description", doc)
        return made

    def to_kwargs(self) -> dict[str, Any]:
        """What is given, as keyword arguments; defaults are left to the component."""
        return {
            name: value.to_kwargs() if isinstance(value, Section) else value
            for name, value in self
            if name in self.model_fields_set
        }


@final
class SchemaDriftSection(Section, SchemaDriftSettings, frozen=True):
    """``[source.drift]``."""


@final
class SourceSection(Section, SourceSettings, frozen=True):
    """``[source]``.

    >>> SourceSection(files="a.csv", target="label").files
    ('a.csv',)
    """

    drift: SchemaDriftSection | None = None


@final
class RunSection(Section, ExecutionSettings, frozen=True):
    """``[run]``."""


@final
class AutoEncoderSection(Section, AutoEncoderSettings, frozen=True):
    """``[encoder.autoencoder]``."""


@final
class EncoderSection(Section, EncoderSettings, frozen=True):
    """``[encoder]``."""

    autoencoder: AutoEncoderSection | None = None


@final
class CandidateTable(Section, CandidateSettings, frozen=True):
    """``[[population.candidate]]``.

    >>> CandidateTable(hidden=[20], learning_rate=0.1).build().describe()
    'tanh 20, rmsprop 0.1'
    """

    def build(self) -> CandidateSettings:
        """The candidate's settings."""
        return CandidateSettings(**self.to_kwargs())


@final
class PopulationSection(Section, PopulationSettings, Grid, frozen=True):
    """``[population]``: a start, candidates one by one, or a grid of values to try.

    >>> PopulationSection(hidden=20).hidden, PopulationSection(hidden=["20", "64-32"]).hidden
    (('20',), ('20', '64-32'))
    """

    candidate: Annotated[tuple[CandidateTable, ...], Listed()] = ()

    @property
    def grid(self) -> dict[str, tuple[Any, ...]]:
        """Values to try by name of the setting."""
        return {name: values for name in GRID if (values := getattr(self, name))}


@final
class EvaluationSection(Section, EvaluationSettings, frozen=True):
    """``[evaluation]``."""


@final
class SelectionSection(Section, SelectionSettings, frozen=True):
    """``[selection]``."""


@final
class SearchSection(Section, SearchSettings, frozen=True):
    """``[search]``."""


@final
class OutputSection(Section, OutputSettings, frozen=True):
    """``[output]``."""


@final
class StateSection(Section, StateSettings, frozen=True):
    """``[state]``."""


class LearningTables(Section, frozen=True):
    """The tables that a replay and a model of the daemon have in common."""

    source: SourceSection = SourceSection()
    run: RunSection = RunSection()
    encoder: EncoderSection = EncoderSection()
    population: PopulationSection = PopulationSection()
    evaluation: EvaluationSection = EvaluationSection()
    selection: SelectionSection = SelectionSection()
    search: SearchSection = SearchSection()
    state: StateSection = StateSection()


@final
class RunSettings(LearningTables, frozen=True):
    """A whole run file.

    >>> settings = parse("run.seed = 7")
    >>> settings.run.seed, settings.run.threads
    (7, 2)
    """

    output: OutputSection = OutputSection()


def load(path: str | Path) -> RunSettings:
    """Read a run file.

    Raises:
        ConfigurationError: If it cannot be read, is not TOML, or has wrong or unknown keys; the
            message has a line for each: file, line, key, value, rule.
    """
    return parse(read_text(path), str(path))


def parse(text: str, name: str = "run file") -> RunSettings:
    """Read the text of a run file; ``name`` begins each line of an error message.

    Raises:
        ConfigurationError: As for `load`.
    """
    values = parse_toml(text, name)
    if "serve" in values and "model" in values:
        raise ConfigurationError(f"{name} is a daemon's run file; use streamnet serve")
    return validate_settings(RunSettings, values, name=name, text=text)


def apply_overrides(
    settings: RunSettings,
    overrides: Mapping[str, object],
    name: str = "",
    called: Mapping[str, str] | None = None,
) -> RunSettings:
    """Settings with some values replaced, by dotted key; None replaces nothing.

    Args:
        settings: The settings to start from.
        overrides: Values by dotted key.
        name: Begins each line of an error message.
        called: Display names of keys in error messages, such as those of options.

    Raises:
        ConfigurationError: If keys are unknown or values break their rules; all are named.

    >>> apply_overrides(parse("run.seed = 7"), {"run.seed": 8, "run.threads": None}).run.seed
    8
    """
    values = settings.model_dump(exclude_unset=True)
    for key, value in overrides.items():
        if value is not None:
            _set_key(values, key, value, name)
    return validate_settings(RunSettings, values, name=name, called=called)


def _set_key(values: dict[str, Any], key: str, value: object, name: str) -> None:
    *tables, last = key.split(".")
    table: Any = values
    for part in tables:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            place = f"{name}: " if name else ""
            raise ConfigurationError(f"{place}{key} is not a known key; {part} is not a table")
    table[last] = value


def validate_settings(
    model: type[S],
    values: Mapping[str, Any],
    *,
    name: str = "",
    text: str = "",
    called: Mapping[str, str] | None = None,
) -> S:
    """Validate plain values as settings.

    Args:
        model: Class of the settings.
        values: Tables and keys, as in a run file.
        name: Begins each line of an error message.
        text: The TOML text the values were read from, for line numbers in error messages.
        called: Display names of keys in error messages.

    Raises:
        ConfigurationError: If keys are unknown or values break their rules; all are named.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(
            format_errors(error, model, values, name=name, text=text, called=called or {})
        ) from error
