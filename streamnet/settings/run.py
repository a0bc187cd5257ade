"""The run file: its tables, loaded, checked and overridden."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, final

from annotated_types import Ge, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from streamnet.errors import ConfigurationError
from streamnet.samples import Kind, Task
from streamnet.settings.brokers import (
    BROKERS,
    KafkaSettings,
    MqttSettings,
    NatsSettings,
    RedisSettings,
    is_broker_url,
    parse_broker_url,
)
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.encoder import AutoEncoderSettings, EncoderSettings
from streamnet.settings.execution import ExecutionSettings, FleetSettings
from streamnet.settings.fields import (
    Check,
    Converted,
    Count,
    Enumeration,
    Listed,
    Positive,
    Probability,
    Setting,
    Settings,
    Size,
    Text,
    Texts,
    declare,
    parse_arguments,
)
from streamnet.settings.learning import (
    GRID,
    EvaluationSettings,
    Grid,
    KeySettings,
    PopulationSettings,
    SearchSettings,
    SelectionSettings,
)
from streamnet.settings.toml import format_errors, parse_toml, read_text

TextFormat = Literal["csv", "tsv", "jsonl", "libsvm"]
Format = Literal[TextFormat, "parquet", "ipc", "excel", "avro", "orc"]


@declare
class SchemaDriftSettings(Settings):
    """What to do when columns change, see `streamnet.sources.SchemaDrift`.

    Args:
        new: A new column. By default JSON lines adapt, and later files of a table stop.
        missing: A JSON record without a column.
        changed: A value that is not of its column's kind.
    """

    new: Literal["adapt", "ignore", "reject", "stop"] | None = None
    missing: Literal["adapt", "reject", "stop"] | None = None
    changed: Literal["reject", "stop"] | None = None


def list_targets(given: Any) -> tuple[str, ...]:
    """The columns that a text or list names; a name with a comma is in quotes.

    >>> list_targets("a, b"), list_targets('"a,b"'), list_targets(["a,b", "c"])
    (('a', 'b'), ('a,b',), ('a,b', 'c'))

    Raises:
        ConfigurationError: If it is no text or list of texts, or names a column twice.
    """
    names = given
    if isinstance(given, str):
        names = next(csv.reader([given], skipinitialspace=True), []) if "," in given else [given]
        names = [name.strip() for name in names]
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) and n for n in names):
        raise ConfigurationError(
            f"target is {given!r}, but must be the name of a column, or a list of names"
        )
    if any("\ud800" <= character <= "\udfff" for name in names for character in name):
        raise ConfigurationError(f"target is {given!r}, but must be text in UTF-8")
    if not names or len(set(names)) < len(names):
        raise ConfigurationError(f"target is {given!r}, but must name each column once")
    return tuple(names)


def check_targets(given: Any) -> Any:
    """Check names of targets; a list becomes a tuple."""
    list_targets(given)
    return tuple(given) if isinstance(given, list) else given


Targets = Annotated[Text | tuple[Text, ...], Converted(check_targets), Check(check_targets)]
"""One target or several; a text may list them."""


_NAMES_FILES = Setting(files=True)  # such as passwords


@declare
class ReadingSettings(Settings):
    """Where samples come from, and how they are read.

    Args:
        files: Files in this order, glob patterns, zip or tar archives, or - for standard input;
            compressed with gzip, zstd, xz or bzip2, or not. Paths are relative to the working
            directory; s3://, gs://, az:// and https:// name objects. A single URL such as
            kafka://HOST:PORT/TOPIC names a stream of messages instead.
        query: A SELECT of the database whose URL stands in place of files, as
            postgresql+psycopg://host/db or sqlite:///shop.db; a password in it has to be ${NAME}, a
            variable of the environment.
        order_by: Column of the query that orders its rows, and differs in each.
        format: Format of the files, if neither name nor content tells; ipc is Arrow's.
        encoding: Encoding of text files, such as cp1252 or utf-16; by default found from their
            bytes.
        delimiter: Character between the fields of a CSV file; by default inferred.
        header: Whether the first record of a CSV file names its columns; by default inferred.
        max_record_bytes: Largest record of a text file in bytes; longer ones are rejected.
        shuffle_buffer: Samples in a buffer from which they come out in random order.
        epochs: Passes over the files; only the first is scored.
        limit: Most samples to read in each epoch; by default all.
        follow: Keep reading as the last file grows or is rotated, as files appear in the one folder
            that is given, or as messages arrive.
        on_gap: What to do where data was lost before it was read, as in a truncated file or a
            stream with deleted messages: stop, or go on.
        kafka: A partition of a Kafka topic, in place of files.
        redis: A Redis or Valkey stream, in place of files.
        nats: A NATS JetStream stream, in place of files.
        mqtt: Topics of an MQTT broker, in place of files.
        max_rejected: Largest fraction of rejected records among the last 1,000, from the 1,000th
            on. Above it the run ends. `rejected_window` sets another number than 1,000.
        rejected_window: Records that `max_rejected` looks at.
    """

    files: Annotated[Texts, Setting(files=True, changeable=True)] = ()
    query: Text | None = None
    order_by: Text | None = None
    format: Format | None = None
    encoding: Text | None = None
    delimiter: Annotated[str, MinLen(1), MaxLen(1)] | None = None
    header: bool | None = None
    max_record_bytes: Count = 1 << 20
    shuffle_buffer: Size = 0
    epochs: Count = 1
    limit: Annotated[Count | None, Setting(changeable=True)] = None
    follow: bool = False
    on_gap: Annotated[Literal["stop", "go_on"], Setting(changeable=True)] = "stop"
    kafka: Annotated[KafkaSettings | None, _NAMES_FILES] = None
    redis: Annotated[RedisSettings | None, _NAMES_FILES] = None
    nats: Annotated[NatsSettings | None, _NAMES_FILES] = None
    mqtt: Annotated[MqttSettings | None, _NAMES_FILES] = None
    max_rejected: Annotated[Probability, Setting(reloadable=True, changeable=True)] = 0.1
    rejected_window: Annotated[Count, Setting(changeable=True)] = 1000


@declare
class SourceSettings(ReadingSettings):
    r"""Where samples come from, and what their columns mean.

    Args:
        target: Column to predict; required for all formats but libSVM. Several columns, such as
            a,b,c, have a model each, which sees none of the others.
        weight: Column with the weights of samples, which is no feature. A weight of 2 counts like
            the sample twice, in learning and in scores; a sample of weight 0 is only predicted.
        id: Column with the ids of samples, which is no feature; predictions have them.
        task: What is predicted; auto infers it from the target's values.
        drop: Columns to leave out.
        kinds: Kind of a column whose values are misread: number, id (a whole number that is a
            category, too), category, time (dates, or seconds, milli-, micro- or nanoseconds since
            1970), day_first or month_first (dates such as 3/4/2026) or text; may be repeated.
        missing: Texts that stand for a missing value, like an empty one; by default ?, NA, N/A,
            n/a, NULL, null, None, \N.
        thousands: Separator of thousands in numbers; by default found where it is clear, as in
            $1,234.50. With a point, decimals are separated by a comma.
        most_fields: Most features that may appear by name; records with more are rejected.
        drift: What to do when columns change.
    """

    target: Targets | None = None
    weight: Text | None = None
    id: Text | None = None
    task: Annotated[Task, Enumeration()] | None = None
    drop: Texts | None = None
    kinds: Mapping[str, Annotated[Kind, Enumeration()]] | None = None
    missing: Annotated[tuple[str, ...], Listed()] | None = None
    thousands: Annotated[str, MinLen(1), MaxLen(1)] | None = None
    most_fields: Count = 4096
    drift: SchemaDriftSettings | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns to predict; none of libSVM, whose target has no name."""
        return () if self.target is None else list_targets(self.target)


@declare
class SentOutputSettings(Settings):
    """Outputs that are sent to streams and web addresses.

    Args:
        champions: URL as for predictions to send every emitted model to: the name of its file in
            the state directory, and its checksum.
        send_models: Whether champions have the models themselves, in base64; always so without a
            state directory.
        events: URL as for predictions to send changes of champion, drifts, quarantines and changes
            of classes to.
    """

    champions: Text | None = None
    send_models: bool = False
    events: Text | None = None


@declare
class OutputSettings(SentOutputSettings):
    """Files to write, relative to the working directory, or their URLs in a bucket.

    Args:
        model: Write the model: .safetensors or .json.
        predictions: Write every served prediction: .csv or .jsonl, or the URL of a stream or a web
            address to send them to, such as kafka://HOST:PORT/TOPIC.
        report: Write all metrics and settings: .json, or .html to look at.
        dead_letters: File of rejected records, or URL as for predictions; by default
            rejected.jsonl, or dead-letters.jsonl in the state directory.
        dead_letters_bytes: Largest size of the file of rejected records; further ones are counted
            only.
    """

    model: Text | None = None
    predictions: Text | None = None
    report: Text | None = None
    dead_letters: Text | None = None
    dead_letters_bytes: Size = 1 << 30


@declare
class StateSettings(Settings):
    """The state directory, from which a run can resume, and how often it is written.

    Args:
        dir: Directory for checkpoints and emitted models, from which a run can resume; or its URL
            in a bucket.
        every_samples: Samples after which a checkpoint is written; by default none.
        every_seconds: Seconds after which a checkpoint is written.
        generations: Checkpoints to keep.
        models: Emitted models to keep.
    """

    dir: Text | None = None
    every_samples: Annotated[Count | None, Setting(reloadable=True)] = None
    every_seconds: Annotated[Positive, Setting(reloadable=True)] = 10.0
    generations: Annotated[int, Ge(3), Setting(reloadable=True)] = 3
    models: Annotated[Count, Setting(reloadable=True)] = 8


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
class KafkaSection(Section, KafkaSettings, frozen=True):
    """``[source.kafka]``."""


@final
class RedisSection(Section, RedisSettings, frozen=True):
    """``[source.redis]``."""


@final
class NatsSection(Section, NatsSettings, frozen=True):
    """``[source.nats]``."""


@final
class MqttSection(Section, MqttSettings, frozen=True):
    """``[source.mqtt]``."""


class ReadingSection(Section, ReadingSettings, frozen=True):
    """Files to read, or a stream of messages in place of them.

    >>> ReadingSection(files="kafka://localhost:9092/events").kafka.topic
    'events'
    """

    kafka: Annotated[KafkaSection | None, _NAMES_FILES] = None
    redis: Annotated[RedisSection | None, _NAMES_FILES] = None
    nats: Annotated[NatsSection | None, _NAMES_FILES] = None
    mqtt: Annotated[MqttSection | None, _NAMES_FILES] = None

    @model_validator(mode="before")
    @classmethod
    def _parse_url(cls, values: Any) -> Any:
        """Replace the URL of a stream by the settings that it stands for."""
        files = values.get("files") if isinstance(values, dict) else None
        urls = [files] if isinstance(files, str) else files
        if not isinstance(urls, list | tuple):
            return values
        if not any(isinstance(url, str) and is_broker_url(url) for url in urls):
            return values
        if len(urls) > 1:
            raise ConfigurationError(
                f"files is {list(urls)!r}, but a stream of messages must be the only source"
            )
        broker, found = parse_broker_url(urls[0])
        rest = {name: value for name, value in values.items() if name not in ("files", *BROKERS)}
        return {**rest, broker: found}

    @property
    def broker(self) -> str | None:
        """Name of the broker whose messages are the samples; None for files."""
        return next((name for name in BROKERS if getattr(self, name) is not None), None)


@final
class SourceSection(ReadingSection, SourceSettings, frozen=True):
    """``[source]``.

    >>> SourceSection(files="a.csv", target="label").files
    ('a.csv',)
    """

    drift: SchemaDriftSection | None = None


@final
class RunSection(Section, ExecutionSettings, frozen=True):
    """``[run]``."""


@final
class FleetSection(Section, FleetSettings, frozen=True):
    """``[fleet]``."""


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
class KeySection(Section, KeySettings, frozen=True):
    """``[keys]``."""


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
    keys: KeySection = KeySection()
    search: SearchSection = SearchSection()
    state: StateSection = StateSection()


@final
class RunSettings(LearningTables, frozen=True):
    """A whole run file.

    >>> settings = parse("run.seed = 7")
    >>> settings.run.seed, settings.run.threads
    (7, 2)
    """

    fleet: FleetSection = FleetSection()
    output: OutputSection = OutputSection()


def load(path: str | Path) -> RunSettings:
    """Read a run file; an error has a line for each mistake: file, line, key, value, rule."""
    return parse(read_text(path), str(path))


def parse(text: str, name: str = "run file") -> RunSettings:
    """Read the text of a run file; ``name`` begins each line of an error message."""
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

    In error messages ``name`` begins each line, and ``called`` has display names of keys, such as
    those of options.

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
    """Validate plain values as settings; see `format_errors` for the other arguments."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(
            format_errors(error, model, values, name=name, text=text, called=called or {})
        ) from error
