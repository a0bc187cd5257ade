"""The daemon's run file: `[serve]`, and a table `[model.NAME]` for each model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, final

from annotated_types import Ge, Le
from pydantic import Field

from streamnet.errors import ConfigurationError
from streamnet.objects import is_url
from streamnet.settings.fields import Check, Count, Positive, Setting, Size, Text, Texts
from streamnet.settings.inference import InferenceSettings
from streamnet.settings.run import LearningTables, Section, validate_settings
from streamnet.settings.toml import parse_toml, read_text

FILE_KEYS = ("files", "format", "max_record_bytes", "follow", "epochs", "limit", "shuffle_buffer")
"""Keys of a source that say which files are read and how, not what the columns mean."""
STANDARD_INPUT = "-"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""Names of models: those of folders, and parts of URLs."""
_HOST_NAME = r"(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)"  # a name or an IP address, as in a URL
_PORT = r"(?::[0-9]{1,5})?"
_HOST = re.compile(_HOST_NAME + _PORT, re.IGNORECASE)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://" + _HOST_NAME + _PORT, re.IGNORECASE)
_DEFAULT_PORT = re.compile(r"http://.*:80|https://.*:443", re.IGNORECASE)  # omitted by browsers


DEFAULT_CHECKPOINT_BYTES = 64 << 20
ANY_HOST = "*"
IPNetwork = IPv4Network | IPv6Network


def parse_network(host: str) -> IPNetwork | None:
    """The network of an entry of ``hosts``; None if it is a name or an address.

    >>> parse_network("10.0.0.0/8"), parse_network("10.0.0.1")
    (IPv4Network('10.0.0.0/8'), None)
    """
    with suppress(ValueError):
        return ip_network(host) if "/" in host else None
    return None


def _check_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if host != ANY_HOST and not _HOST.fullmatch(host) and parse_network(host) is None:
            rule = (
                "must be a name or NAME:PORT, as in models.example.org, a network of IP addresses, "
                "as in 10.0.0.0/8, or *"
            )
            raise ConfigurationError(f"hosts has {host!r}, but each {rule}")
    return hosts


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if not _ORIGIN.fullmatch(origin) or _DEFAULT_PORT.fullmatch(origin):
            rule = (
                "must be as browsers send it: https://NAME or https://NAME:PORT, without a "
                "standard port and without / at the end"
            )
            raise ConfigurationError(f"origins has {origin!r}, but each {rule}")
    return origins


@final
class ServeSection(Section, frozen=True):
    """``[serve]``: where the daemon listens and keeps its state, and who has access.

    Args:
        dir: Directory with a folder for each model.
        host: Name or IP address of the interface.
        port: Port; 0 takes a free one.
        token_file: File of tokens and their scopes.
        token_env: Environment variable that holds a token; without a token file it is
            STREAMNET_TOKEN by default. Without any token the daemon listens to this machine alone.
        tls_certificate: PEM file of the certificate.
        tls_key: PEM file of the private key.
        hosts: Names by which clients call the daemon; also networks, as in 10.0.0.0/8, for clients
            that call it by an IP address, or * for any name, which needs a token.
        origins: Origins of other web pages that have access.
        max_body: Largest body of a request, in bytes.
        max_model: Largest uploaded model, in bytes.
        max_connections: Most connections.
        max_rate: Most requests a second.
        body_seconds: Longest pause within a body; with `min_body_rate` it also bounds the whole.
        min_body_rate: Least bytes a second of a body, unless it is lines to learn.
        drain_seconds: Longest time that requests have to finish after SIGTERM.
        checkpoint_bytes: Bytes of checkpoints that all models together write a minute, on average;
            what is not in a checkpoint is in a journal. The last ones at a stop do not count.

    >>> ServeSection(port=9000).to_kwargs()
    {'port': 9000}
    """

    dir: Text = "models"
    host: Text = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535)] = 8000
    token_file: Text | None = None
    token_env: Text | None = None
    tls_certificate: Text | None = None
    tls_key: Text | None = None
    hosts: Annotated[Texts, Check(_check_hosts)] = ()
    origins: Annotated[Texts, Check(_check_origins)] = ()
    max_body: Count = 1 << 20
    max_model: Count = 32 << 20
    max_connections: Count = 1000
    max_rate: Count = 20_000
    body_seconds: Positive = 15.0
    min_body_rate: Count = 500
    drain_seconds: Positive = 5.0
    checkpoint_bytes: Count = DEFAULT_CHECKPOINT_BYTES

    def check_rules(self) -> None:
        """Check that certificate and key are given together, and that the models are here."""
        if is_url(self.dir):
            raise ConfigurationError(f"dir is {self.dir!r}, but must be a folder of this machine")
        pair = ("tls_certificate", "tls_key")
        for name, other in (pair, pair[::-1]):
            if getattr(self, name) is not None and getattr(self, other) is None:
                rule = f"then {other} must be given, too"
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}, but {rule}")


@final
class IntakeSection(Section, InferenceSettings, frozen=True):
    """``[model.NAME.intake]``: limits on samples to learn and predictions that await labels.

    Args:
        max_queued: Samples that are accepted before being learned.
        max_pending: Predictions that may await their labels, and labels that came before theirs.
        max_age: Seconds that each may wait.
        max_keys: Idempotency keys that are remembered.
        segment_bytes: Approximate size of a segment of the journal.
        publish_seconds: Seconds between two published models.
        dead_letters_bytes: Largest size of the file of rejected records; further ones are counted
            only.

    >>> IntakeSection(max_queued=10).to_kwargs()
    {'max_queued': 10}
    """

    max_queued: Count = 100_000
    max_pending: Count = 100_000
    max_age: Positive = 7 * 24 * 3600.0
    max_keys: Count = 100_000
    segment_bytes: Annotated[int, Ge(1024)] = 64 << 20
    publish_seconds: Positive = 1.0
    dead_letters_bytes: Size = 64 << 20


@final
class ModelSettings(LearningTables, frozen=True):
    """``[model.NAME]``: one model of the daemon, with the tables of a run file but no outputs.

    It learns what comes over HTTP, and also ``source.files``. Only a run file may name files:
    `parse_model` rejects them.

    >>> parse_model({"source": {"target": "y"}}).source.target
    'y'
    """

    intake: IntakeSection = IntakeSection()

    def check_rules(self) -> None:
        """Check that source and state suit a daemon."""
        source = self.source
        if source.target is None:
            raise ConfigurationError("source.target is not given, but a model needs one")
        if len(source.targets) > 1:
            raise ConfigurationError(
                f"source.target is {source.target!r}, but must be one column: host a model for each"
            )
        if self.evaluation.horizon is not None:
            raise ConfigurationError(
                f"evaluation.horizon is {self.evaluation.horizon!r}, but a hosted model predicts "
                "the target of each sample, and waits for its label: send as label what came later"
            )
        if STANDARD_INPUT in source.files:
            raise ConfigurationError(
                f"source.files has {STANDARD_INPUT!r}, but a daemon has no such input"
            )
        if source.format == "libsvm":
            raise ConfigurationError(
                "source.format is 'libsvm', whose inputs have no names for HTTP"
            )
        for name in FILE_KEYS[1:]:
            if name in source.model_fields_set and getattr(source, name) and not source.files:
                raise ConfigurationError(f"source.{name} is given, but there are no source.files")
        if source.broker is not None:
            raise ConfigurationError(
                f"source.{source.broker} is given, but a daemon learns files and what comes over "
                "HTTP: streamnet run reads streams of messages"
            )
        if self.state.dir is not None:
            raise ConfigurationError("state.dir is given, but state is kept in serve.dir")


@final
class DaemonSettings(Section, frozen=True):
    """The whole run file of a daemon.

    >>> parse("model.spam.source.target = 'y'").model["spam"].source.target
    'y'
    """

    serve: ServeSection = ServeSection()
    model: dict[str, ModelSettings] = Field(default_factory=dict)

    def check_rules(self) -> None:
        """Check the names of the models."""
        for name in self.model:
            check_model_name(name)


def check_model_name(name: str) -> None:
    """Reject a name that cannot be that of a folder and part of a URL.

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
    """Read a daemon's run file."""
    return parse(read_text(path), str(path))


def parse(text: str, name: str = "run file") -> DaemonSettings:
    """Read the text of a daemon's run file; ``name`` begins each line of an error message."""
    return validate_settings(DaemonSettings, parse_toml(text, name), name=name, text=text)


def parse_model(values: Mapping[str, Any]) -> ModelSettings:
    """Validate the settings of one model as they come over HTTP, which may not name files."""
    settings = validate_settings(ModelSettings, values)
    for table, section in settings:
        for name, field in type(section).model_fields.items():
            names_files = any(isinstance(m, Setting) and m.files for m in field.metadata)
            if names_files and getattr(section, name):
                raise ConfigurationError(
                    f"{table}.{name} is given, but files cannot be named over HTTP"
                )
    return settings
