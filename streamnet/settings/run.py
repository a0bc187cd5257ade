"""The run file of a replay: read from TOML, validated, and combined with overrides.

A run file never has to be complete: what it leaves out stays None, and the component concerned
uses its own default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, final

from pydantic import BaseModel, ValidationError

from streamnet.errors import ConfigurationError
from streamnet.settings.messages import format_errors
from streamnet.settings.population import CandidateTable, PopulationSection
from streamnet.settings.sections import (
    AutoEncoderSection,
    DriftSection,
    EncoderSection,
    EvaluationSection,
    OutputSection,
    RunSection,
    SearchSection,
    Section,
    SelectionSection,
    SourceSection,
    StateSection,
)
from streamnet.settings.toml import KeyPath, format_syntax_error

__all__ = (
    "LEARNING_TABLES",
    "RunSettings",
    "apply_overrides",
    "load",
    "parse",
    "parse_toml",
    "read_text",
    "validate_settings",
)

S = TypeVar("S", bound=BaseModel)


@final
class RunSettings(Section):
    """A whole run file.

    >>> settings = parse("run.seed = 7")
    >>> settings.run.seed, settings.run.threads
    (7, None)
    """

    source: SourceSection = SourceSection()
    run: RunSection = RunSection()
    encoder: EncoderSection = EncoderSection()
    population: PopulationSection = PopulationSection()
    evaluation: EvaluationSection = EvaluationSection()
    selection: SelectionSection = SelectionSection()
    search: SearchSection = SearchSection()
    output: OutputSection = OutputSection()
    state: StateSection = StateSection()


def load(path: str | Path) -> RunSettings:
    """Read a run file.

    Raises:
        ConfigurationError: If it can't be read, is not TOML, or has wrong or unknown keys. All of
            them are named, one a line: file, line, key, value, rule.
    """
    return parse(read_text(path), str(path))


def parse(text: str, name: str = "run file") -> RunSettings:
    """Read the text of a run file; ``name`` stands in front of each line of an error.

    Raises:
        ConfigurationError: As for `load`.
    """
    values = parse_toml(text, name)
    if "serve" in values and "model" in values:
        raise ConfigurationError(
            f"{name} is a daemon's run file, for which there is streamnet serve"
        )
    return validate_settings(RunSettings, values, _RUN_TABLES, name=name, text=text)


def read_text(path: str | Path) -> str:
    """The text of a run file.

    Raises:
        ConfigurationError: If it can't be read or is no text.
    """
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: byte {error.start} is not UTF-8 text") from error


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """The tables of a run file as plain values.

    Raises:
        ConfigurationError: If it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigurationError(f"{name}: lists or tables are nested too deeply") from error
    except ValueError as error:
        raise ConfigurationError(f"{name}:{format_syntax_error(text, str(error))}") from error


def apply_overrides(
    settings: RunSettings,
    overrides: Mapping[str, object],
    name: str = "",
    called: Mapping[str, str] | None = None,
) -> RunSettings:
    """The settings with some replaced, by dotted key; None replaces nothing.

    Args:
        settings: What holds where nothing replaces it.
        overrides: Values by dotted key.
        name: Stands in front of each line of an error.
        called: What keys are called where the overrides come from, for errors.

    Raises:
        ConfigurationError: If a key is unknown or a value breaks its rule; all are named.

    >>> apply_overrides(parse("run.seed = 7"), {"run.seed": 8, "run.threads": None}).run.seed
    8
    """
    values = settings.model_dump(exclude_unset=True)
    for key, value in overrides.items():
        if value is not None:
            _set_key(values, key, value, name)
    return validate_settings(RunSettings, values, _RUN_TABLES, name=name, called=called)


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
    shape: type[S],
    values: Mapping[str, Any],
    tables: dict[KeyPath, type[BaseModel]],
    *,
    name: str = "",
    text: str = "",
    called: Mapping[str, str] | None = None,
) -> S:
    """Plain values as settings of some shape.

    Args:
        shape: Of the settings.
        values: As a run file's tables hold them.
        tables: The shape of each table, for errors.
        name: Stands in front of each line of an error.
        text: Where the values were read, so that errors tell the lines.
        called: What keys are called where the values come from.

    Raises:
        ConfigurationError: If a key is unknown or a value breaks its rule; all are named.
    """
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(format_errors(error, name, text, tables, called or {})) from error


LEARNING_TABLES: dict[KeyPath, type[BaseModel]] = {
    ("source",): SourceSection,
    ("source", "drift"): DriftSection,
    ("run",): RunSection,
    ("encoder",): EncoderSection,
    ("population",): PopulationSection,
    ("population", "candidate"): CandidateTable,
    ("encoder", "autoencoder"): AutoEncoderSection,  # behind the likelier place of its keys
    ("evaluation",): EvaluationSection,
    ("selection",): SelectionSection,
    ("search",): SearchSection,
    ("state",): StateSection,
}
"""Tables of whatever learns, a replay or a model of a daemon."""
_RUN_TABLES: dict[KeyPath, type[BaseModel]] = {
    (): RunSettings,
    **LEARNING_TABLES,
    ("output",): OutputSection,
}
