"""The daemon's run file: `[serve]`, and a table `[model.NAME]` for each model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, final

from pydantic import BaseModel, Field, field_validator, model_validator

from streamnet.errors import ConfigurationError
from streamnet.settings.population import PopulationSection
from streamnet.settings.run import LEARNING_TABLES, parse_toml, read_text, validate_settings
from streamnet.settings.sections import (
    Count,
    EncoderSection,
    EvaluationSection,
    RunSection,
    SearchSection,
    Section,
    SelectionSection,
    SourceSection,
    StateSection,
    Text,
    Texts,
)
from streamnet.settings.toml import KeyPath

__all__ = (
    "FILE_KEYS",
    "MODEL_NAME",
    "DaemonSettings",
    "IntakeSection",
    "ModelSettings",
    "ServeSection",
    "check_model_name",
    "load",
    "parse",
    "parse_model",
)

FILE_KEYS = (
    "files",
    "format",
    "max_record_bytes",
    "follow",
    "epochs",
    "limit",
    "shuffle_buffer",
)
"""Keys of a source that say which files are read and how, not what the columns mean."""
STANDARD_INPUT = "-"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""Names of models: those of folders, and parts of addresses."""
_HOST_NAME = r"(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)"  # a name or number, as it stands in an address
_PORT = r"(?::[0-9]{1,5})?"
_HOST = re.compile(_HOST_NAME + _PORT, re.IGNORECASE)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://" + _HOST_NAME + _PORT, re.IGNORECASE)
_DEFAULT_PORT = re.compile(
    r"http://.*:80|https://.*:443", re.IGNORECASE
)  # which browsers leave out
Seconds = Annotated[float, Field(gt=0)]


@final
class ServeSection(Section):
    """Where the daemon listens and keeps its state, and who may ask it what.

    ``dir`` holds a folder for each model. ``token_file`` names a file of tokens, ``token_env`` an
    environment variable that holds one, which is STREAMNET_TOKEN where neither is given; without a
    token it listens to this machine alone.
    ``hosts`` are the names by which clients call it, ``origins`` the pages of others that may ask
    it. ``tls_certificate`` and ``tls_key`` are PEM files. A body may pause for ``body_seconds``;
    with these on top it must come at ``min_body_rate`` bytes a second, unless it is lines to learn.

    >>> ServeSection(port=9000).given()
    {'dir': 'models', 'port': 9000}
    """

    dir: Text = "models"
    host: Text | None = None
    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    token_file: Text | None = None
    token_env: Text | None = None
    tls_certificate: Text | None = None
    tls_key: Text | None = None
    hosts: Texts | None = None
    origins: Texts | None = None
    max_body: Count | None = None
    max_model: Count | None = None
    max_connections: Count | None = None
    max_rate: Count | None = None
    body_seconds: Seconds | None = None
    min_body_rate: Count | None = None
    drain_seconds: Seconds | None = None

    @field_validator("hosts")
    @classmethod
    def _check_hosts(cls, hosts: Texts | None) -> Texts | None:
        for host in hosts or ():
            if not _HOST.fullmatch(host):
                rule = "must be a name or NAME:PORT, as in models.example.org"
                raise ValueError(f"hosts has {host!r}, but each {rule}")
        return hosts

    @field_validator("origins")
    @classmethod
    def _check_origins(cls, origins: Texts | None) -> Texts | None:
        for origin in origins or ():
            if not _ORIGIN.fullmatch(origin) or _DEFAULT_PORT.fullmatch(origin):
                rule = (
                    "must be as browsers tell it: https://NAME or https://NAME:PORT, without a "
                    "standard port and without / at the end"
                )
                raise ValueError(f"origins has {origin!r}, but each {rule}")
        return origins

    @model_validator(mode="after")
    def _check_tls_pair(self) -> Self:
        pair = ("tls_certificate", "tls_key")
        for name, other in (pair, pair[::-1]):
            if getattr(self, name) is not None and getattr(self, other) is None:
                rule = f"then {other} must be given, too"
                raise ValueError(f"{name} is {getattr(self, name)!r}, but {rule}")
        return self


@final
class IntakeSection(Section):
    """Bounds of what may wait: samples for being learned, predictions for their labels.

    ``max_queued`` samples are accepted before they are learned; ``max_pending`` predictions wait,
    at most ``max_age`` seconds; ``max_keys`` idempotency keys are remembered. A segment of the
    journal has about ``segment_bytes``; a model is published every ``publish_seconds``. The file of
    rejected records may grow to ``dead_letters_bytes``; those beyond are counted alone.

    >>> IntakeSection(max_queued=10).given()
    {'max_queued': 10}
    """

    max_queued: Count | None = None
    max_pending: Count | None = None
    max_age: Seconds | None = None
    max_keys: Count | None = None
    segment_bytes: Annotated[int, Field(ge=1024)] | None = None
    publish_seconds: Seconds | None = None
    dead_letters_bytes: Annotated[int, Field(ge=0)] | None = None


@final
class ModelSettings(Section):
    """One model of the daemon: the tables of a run file, without files to write.

    It learns what comes over HTTP, and ``source.files`` besides. Only a run file may name files:
    `parse_model` refuses them.

    >>> parse_model({"source": {"target": "y"}}).source.target
    'y'
    """

    source: SourceSection = SourceSection()
    run: RunSection = RunSection()
    encoder: EncoderSection = EncoderSection()
    population: PopulationSection = PopulationSection()
    evaluation: EvaluationSection = EvaluationSection()
    selection: SelectionSection = SelectionSection()
    search: SearchSection = SearchSection()
    state: StateSection = StateSection()
    intake: IntakeSection = IntakeSection()

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        source = self.source
        if source.target is None:
            raise ValueError("source.target is not given, but a model needs one")
        if STANDARD_INPUT in source.files:
            raise ValueError(f"source.files has {STANDARD_INPUT!r}, but a daemon has no such input")
        if source.format == "libsvm":
            raise ValueError("source.format is 'libsvm', whose inputs have no names for HTTP")
        for name in FILE_KEYS[1:]:
            if getattr(source, name) and not source.files:
                raise ValueError(f"source.{name} is given, but there are no source.files")
        if self.state.dir is not None:
            raise ValueError("state.dir is given, but state is kept in serve.dir")
        return self


@final
class DaemonSettings(Section):
    """The whole run file of a daemon.

    >>> parse("model.spam.source.target = 'y'").model["spam"].source.target
    'y'
    """

    serve: ServeSection = ServeSection()
    model: dict[str, ModelSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_model_names(self) -> Self:
        for name in self.model:
            check_model_name(name)
        return self


def check_model_name(name: str) -> None:
    """Refuse a model's name that can't be that of a folder and a part of an address.

    Raises:
        ConfigurationError: If it is one.

    >>> check_model_name("../x")
    Traceback (most recent call last):
    streamnet.errors.ConfigurationError: model is '../x', but must be lower-case letters, digits,
    - and _, at most 64, and begin with a letter or digit
    """
    if not MODEL_NAME.fullmatch(name):
        raise ConfigurationError(
            f"model is {name!r}, but must be lower-case letters, digits, - and _, at most 64, and "
            "begin with a letter or digit"
        )


def load(path: str | Path) -> DaemonSettings:
    """Read a daemon's run file.

    Raises:
        ConfigurationError: If it can't be read, is not TOML, or has wrong or unknown keys. All of
            them are named, one a line: file, line, key, value, rule.
    """
    return parse(read_text(path), str(path))


def parse(text: str, name: str = "run file") -> DaemonSettings:
    """Read the text of a daemon's run file; ``name`` stands in front of each line of an error.

    Raises:
        ConfigurationError: As for `load`.
    """
    return validate_settings(
        DaemonSettings, parse_toml(text, name), _DAEMON_TABLES, name=name, text=text
    )


def parse_model(values: Mapping[str, Any]) -> ModelSettings:
    """The settings of one model from plain values, as they come over HTTP: no file is read for it.

    Raises:
        ConfigurationError: If there are wrong or unknown keys, all of which are named, or files.
    """
    settings = validate_settings(ModelSettings, values, _MODEL_TABLES)
    for key, given in (
        ("source.files", settings.source.files),
        ("population.start", settings.population.start),
    ):
        if given:
            raise ConfigurationError(f"{key} is given, but files are not read for who asks")
    return settings


_MODEL_TABLES: dict[KeyPath, type[BaseModel]] = {
    (): ModelSettings,
    **LEARNING_TABLES,
    ("intake",): IntakeSection,
}
_DAEMON_TABLES: dict[KeyPath, type[BaseModel]] = {
    (): DaemonSettings,
    ("serve",): ServeSection,
    **{("model", "*", *path): model for path, model in _MODEL_TABLES.items()},
}
