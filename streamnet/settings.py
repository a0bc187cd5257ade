"""A TOML run file as checked, frozen values; what its messages say can be mended at once.

A run file never has to be complete: what it leaves out stays None, and the part concerned uses
its own default. So defaults are written once, at the parts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import TypeVar
from typing import final

from pydantic import BaseModel
from pydantic import ValidationError

from streamnet.errors import ConfigurationError
from streamnet.settings_errors import messages
from streamnet.settings_population import CandidateTable
from streamnet.settings_population import PopulationSection
from streamnet.settings_sections import AutoEncoderSection
from streamnet.settings_sections import DriftSection
from streamnet.settings_sections import EncoderSection
from streamnet.settings_sections import EvaluationSection
from streamnet.settings_sections import OutputSection
from streamnet.settings_sections import RunSection
from streamnet.settings_sections import SearchSection
from streamnet.settings_sections import Section
from streamnet.settings_sections import SelectionSection
from streamnet.settings_sections import SourceSection
from streamnet.settings_sections import StateSection
from streamnet.toml_lines import KeyPath
from streamnet.toml_lines import syntax_message

__all__ = (
    "LEARNING_TABLES",
    "RunSettings",
    "checked",
    "load",
    "merged",
    "parse",
    "read_text",
    "toml_values",
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
    values = toml_values(text, name)
    if "serve" in values and "model" in values:
        raise ConfigurationError(
            f"{name} is a daemon's run file, for which there is streamnet serve"
        )
    return checked(RunSettings, values, _TABLES, name=name, text=text)


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


def toml_values(text: str, name: str) -> dict[str, Any]:
    """The tables of a run file as plain values.

    Raises:
        ConfigurationError: If it is not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigurationError(f"{name}: lists or tables are nested too deeply") from error
    except ValueError as error:
        raise ConfigurationError(f"{name}:{syntax_message(text, str(error))}") from error


def merged(
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

    >>> merged(parse("run.seed = 7"), {"run.seed": 8, "run.threads": None}).run.seed
    8
    """
    values = settings.model_dump(exclude_unset=True)
    for key, value in overrides.items():
        if value is not None:
            _put(values, key, value, name)
    return checked(RunSettings, values, _TABLES, name=name, called=called)


def _put(values: dict[str, Any], key: str, value: object, name: str) -> None:
    *tables, last = key.split(".")
    table: Any = values
    for part in tables:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            place = f"{name}: " if name else ""
            raise ConfigurationError(f"{place}{key} is not a known key; {part} is not a table")
    table[last] = value


def checked(
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
        raise ConfigurationError(messages(error, name, text, tables, called or {})) from error


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
_TABLES: dict[KeyPath, type[BaseModel]] = {
    (): RunSettings,
    **LEARNING_TABLES,
    ("output",): OutputSection,
}
