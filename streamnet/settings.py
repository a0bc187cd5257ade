"""A TOML run file as checked, frozen values; what its messages say can be mended at once.

A run file never has to be complete: what it leaves out stays None, and the part concerned uses
its own default. So defaults are written once, at the parts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Annotated
from typing import Any
from typing import Literal
from typing import Self
from typing import final

from pydantic import BaseModel
from pydantic import BeforeValidator
from pydantic import ConfigDict
from pydantic import Field
from pydantic import ValidationError
from pydantic import field_validator
from pydantic import model_validator

from streamnet.errors import ConfigurationError
from streamnet.samples import Kind
from streamnet.samples import Task
from streamnet.settings_errors import messages
from streamnet.toml_lines import KeyPath
from streamnet.toml_lines import syntax_message

if TYPE_CHECKING:
    from streamnet.networks.candidate import CandidateSettings

__all__ = (
    "CandidateTable",
    "EvaluationSection",
    "Format",
    "OutputSection",
    "PopulationSection",
    "RunSection",
    "RunSettings",
    "Section",
    "SelectionSection",
    "SourceSection",
    "load",
    "merged",
    "parse",
)


def _as_tuple(value: object) -> object:
    """TOML's list as a tuple; one text, table or number may stand for a list of one."""
    if isinstance(value, list):
        return tuple(value)
    return (value,) if isinstance(value, str | dict | int | float) else value


Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_as_tuple)]
AnyTexts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Counts = Annotated[tuple[int, ...], BeforeValidator(_as_tuple)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_as_tuple)]
AnyKind = Annotated[Kind, Field(strict=False)]
AnyTask = Annotated[Task, Field(strict=False)]
Format = Literal["csv", "tsv", "jsonl", "libsvm", "parquet", "ipc"]


class Section(BaseModel):
    """A table of the run file: no unknown keys, no silent conversions, never changed.

    >>> EvaluationSection(window=500).given()
    {'window': 500}
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def given(self) -> dict[str, Any]:
        """What was set, as keyword arguments for the part that it is meant for."""
        return {name: value for name, value in self if value is not None}


@final
class SourceSection(Section):
    """Where samples come from, and what their columns mean.

    ``files`` are names, glob patterns or ``-``, relative to the working directory; ``target``,
    ``task``, ``drop``, ``kinds`` describe columns; ``format``, ``delimiter``, ``header`` and
    ``missing`` override what is found out from the content. ``max_rejected`` is the largest share
    of bad records among the last ``rejected_window``; above it the run ends.

    >>> SourceSection(files="a.csv", target="label").files
    ('a.csv',)
    """

    files: Texts = ()
    format: Format | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    header: bool | None = None
    missing: AnyTexts | None = None
    target: Text | None = None
    task: AnyTask | None = None
    drop: Texts | None = None
    kinds: dict[str, AnyKind] | None = None
    shuffle_buffer: Size | None = None
    epochs: Count | None = None
    limit: Count | None = None
    max_rejected: Share = 0.10
    rejected_window: Count = 1000


@final
class RunSection(Section):
    """How the run goes about it; only ``seed`` and ``round_size`` may change a result.

    >>> RunSection(seed=7).given()
    {'seed': 7}
    """

    seed: Seed | None = None
    block_size: Count | None = None
    threads: Count | None = None
    round_size: Count | None = None


def _candidate(given: dict[str, Any]) -> CandidateSettings:
    # Imported late: it brings numba with it, for which a run file's errors should not wait.
    from streamnet.networks.candidate import CandidateSettings

    return CandidateSettings(**given)


def _layers(text: str) -> tuple[int, ...]:
    from streamnet.learning.grid import hidden_of

    return hidden_of(text)


@final
class CandidateTable(Section):
    """One candidate; keys and rules are those of `CandidateSettings`.

    >>> CandidateTable(hidden=[20], learning_rate=0.1).candidate().describe()
    'tanh 20, rmsprop 0.1'
    """

    hidden: Counts | None = None
    activation: Texts | None = None
    output: str | None = None
    loss: str | None = None
    huber_delta: float | None = None
    optimiser: str | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    decay: float | None = None
    decay_steps: int | None = None
    momentum: float | None = None
    second_momentum: float | None = None
    epsilon: float | None = None
    weight_decay: float | None = None
    clip: float | None = None
    rehearsal: int | None = None
    memory: int | None = None
    bias: bool | None = None
    lags: bool | None = None

    def candidate(self) -> CandidateSettings:
        """The candidate's settings, with the defaults of `CandidateSettings`."""
        return _candidate(self.given())

    def given(self) -> dict[str, Any]:
        """What was set; an activation alone is one for all layers."""
        given = super().given()
        if self.activation is not None and len(self.activation) == 1:
            given["activation"] = self.activation[0]
        return given

    @field_validator("*")
    @classmethod
    def _obeys_the_rule_of_its_key(cls, value: Any, info: Any) -> Any:
        # One by one, so that all keys that are wrong are named at once.
        alone = {info.field_name: value}
        if info.field_name == "activation" and value is not None:
            alone["hidden"] = (1,) * len(value)
        if value is not None:
            _candidate(alone)
        return value

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        self.candidate()
        return self


@final
class PopulationSection(Section):
    """How many candidates there are, and which.

    ``[[population.candidate]]`` names them one by one. Or ``hidden``, ``activation``,
    ``optimiser``, ``learning_rate`` and ``rehearsal`` list values to try in every combination.

    >>> PopulationSection(candidates=16, hidden=["20", "64-32"]).hidden
    ('20', '64-32')
    """

    candidates: Count | None = None
    dtype: Literal["float32", "float64"] | None = None
    hidden: Texts | None = None
    activation: Texts | None = None
    optimiser: Texts | None = None
    learning_rate: Numbers | None = None
    rehearsal: Counts | None = None
    candidate: Annotated[tuple[CandidateTable, ...], BeforeValidator(_as_tuple)] | None = None

    @field_validator("hidden", "activation", "optimiser", "learning_rate", "rehearsal")
    @classmethod
    def _obey_the_rule_of_the_key(cls, values: Any, info: Any) -> Any:
        for value in values or ():
            _candidate({info.field_name: _layers(value) if info.field_name == "hidden" else value})
        return values


@final
class EvaluationSection(Section):
    """Horizons of the scores: the last ``window`` samples, and weights faded by ``fading`` each.

    >>> EvaluationSection(fading=0.99).given()
    {'fading': 0.99}
    """

    window: Count | None = None
    fading: Annotated[float, Field(gt=0, le=1)] | None = None


@final
class SelectionSection(Section):
    """The share by which a challenger's loss has to be below the champion's.

    >>> SelectionSection(margin=0.05).given()
    {'margin': 0.05}
    """

    margin: Share | None = None


@final
class OutputSection(Section):
    """Files to write, relative to the working directory.

    >>> OutputSection(model="best.json").given()
    {'model': 'best.json'}
    """

    model: Text | None = None
    predictions: Text | None = None
    report: Text | None = None
    dead_letters: Text | None = None


@final
class RunSettings(Section):
    """A whole run file.

    >>> settings = parse("run.seed = 7")
    >>> settings.run.seed, settings.run.threads
    (7, None)
    """

    source: SourceSection = SourceSection()
    run: RunSection = RunSection()
    population: PopulationSection = PopulationSection()
    evaluation: EvaluationSection = EvaluationSection()
    selection: SelectionSection = SelectionSection()
    output: OutputSection = OutputSection()


def load(path: str | Path) -> RunSettings:
    """Read a run file.

    Raises:
        ConfigurationError: If it can't be read, is not TOML, or has wrong or unknown keys. All of
            them are named, one a line: file, line, key, value, rule.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: byte {error.start} is not UTF-8 text") from error
    return parse(text, str(path))


def parse(text: str, name: str = "run file") -> RunSettings:
    """Read the text of a run file; ``name`` stands in front of each line of an error.

    Raises:
        ConfigurationError: As for `load`.
    """
    try:
        values = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigurationError(f"{name}: lists or tables are nested too deeply") from error
    except ValueError as error:
        raise ConfigurationError(f"{name}:{syntax_message(text, str(error))}") from error
    return _checked(values, name, text)


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
    return _checked(values, name, called=called)


def _put(values: dict[str, Any], key: str, value: object, name: str) -> None:
    *tables, last = key.split(".")
    table: Any = values
    for part in tables:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            place = f"{name}: " if name else ""
            raise ConfigurationError(f"{place}{key} is not a known key; {part} is not a table")
    table[last] = value


def _checked(
    values: dict[str, Any], name: str, text: str = "", called: Mapping[str, str] | None = None
) -> RunSettings:
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(messages(error, name, text, _TABLES, called or {})) from error


_TABLES: dict[KeyPath, type[BaseModel]] = {
    (): RunSettings,
    ("source",): SourceSection,
    ("run",): RunSection,
    ("population",): PopulationSection,
    ("population", "candidate"): CandidateTable,
    ("evaluation",): EvaluationSection,
    ("selection",): SelectionSection,
    ("output",): OutputSection,
}
