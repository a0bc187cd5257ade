"""The daemon's run file: `[serve]`, and a table `[model.NAME]` for each model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, final, get_args
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from pydantic import Field

from streamnet.errors import ConfigurationError
from streamnet.objects import is_url
from streamnet.settings.brokers import BROKERS
from streamnet.settings.fields import (
    Check,
    Count,
    Listed,
    Positive,
    Settings,
    Size,
    Text,
    Texts,
    declare,
    list_settings,
)
from streamnet.settings.inference import InferenceSettings
from streamnet.settings.replica import ReplicaSection
from streamnet.settings.run import (
    LearningTables,
    ReadingSection,
    ReadingSettings,
    Section,
    SentOutputSettings,
    validate_settings,
)
from streamnet.settings.sinks import SENT_OUTPUTS, WebAddressSettings, check_sinks, find_sink
from streamnet.settings.toml import parse_toml, read_text

READING_KEYS = tuple(list_settings(ReadingSettings))
"""Keys of a source that say what is read and how, not what the columns mean."""
_ALL_RECORDS = ("max_rejected", "rejected_window")  # of what comes over HTTP as well
SOURCE_FEED = "source"
"""Name of the feed that the source of a model itself is."""
STANDARD_INPUT = "-"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""Names of models: those of folders, and parts of URLs."""
_HOST_NAME = r"(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)"  # a name or an IP address, as in a URL
_PORT = r"(?::[0-9]{1,5})?"
_HOST = re.compile(_HOST_NAME + _PORT, re.IGNORECASE)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://" + _HOST_NAME + _PORT, re.IGNORECASE)
_DEFAULT_PORT = re.compile(r"http://.*:80|https://.*:443", re.IGNORECASE)  # omitted by browsers


DEFAULT_CHECKPOINT_BYTES = 32 << 20
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
        audit_file: File that gets a line of JSON for each operation of an administrator, each
            download of a model or of rejected records, and each request that is refused access.
        audit_bytes: Size at which the audit file is renamed, and a new one begins.
        audit_files: Audit files that are kept besides the current one.
        archive_days: Days for which the archives of resets are kept; by default the last three are
            kept for ever.
        telemetry: Whether traces of requests, and logs, are sent to an OpenTelemetry collector; the
            variables OTEL_EXPORTER_OTLP_ENDPOINT and others of its SDK say where and how.

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
    audit_file: Text | None = None
    audit_bytes: Count = 64 << 20
    audit_files: Size = 9
    archive_days: Positive | None = None
    telemetry: bool = False

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
        max_shadows: Models of others whose predictions are compared with what is served.
        segment_bytes: Approximate size of a segment of the journal.
        publish_seconds: Seconds between two published models to take home; requests are answered
            by what was learned from all blocks so far.
        dead_letters_bytes: Largest size of the file of rejected records; further ones are counted
            only.

    >>> IntakeSection(max_queued=10).to_kwargs()
    {'max_queued': 10}
    """

    max_queued: Count = 100_000
    max_pending: Count = 100_000
    max_age: Positive = 7 * 24 * 3600.0
    max_keys: Count = 100_000
    max_shadows: Count = 8
    segment_bytes: Annotated[int, Ge(1024)] = 64 << 20
    publish_seconds: Positive = 1.0
    dead_letters_bytes: Size = 64 << 20


@declare
class HostedOutputSettings(SentOutputSettings):
    """Where a model sends what it does, besides what HTTP tells.

    Args:
        predictions: URL of a stream or a web address to send every served prediction to, such as
            kafka://HOST:PORT/TOPIC. Each output needs one of its own.
        dead_letters: URL as for predictions to send rejected records to.
    """

    predictions: Text | None = None
    dead_letters: Text | None = None

    @property
    def urls(self) -> dict[str, str]:
        """The URLs that are given, by the names of the outputs."""
        given = {name: getattr(self, name) for name in SENT_OUTPUTS}
        return {name: url for name, url in given.items() if url is not None}

    def check_rules(self) -> None:
        """Check the URLs."""
        check_sinks(self.urls, SENT_OUTPUTS)
        if self.send_models and self.champions is None:
            raise ConfigurationError("send_models is true, but then champions must be given, too")


@final
class OidcSection(Section, frozen=True):
    """``[oidc]``: an identity provider whose bearer tokens are accepted as well.

    Args:
        issuer: Issuer of the tokens, an https address; its OpenID configuration says where its keys
            are.
        audience: Audience that a token must be for.
        scopes: Claim with the scopes, as words or a list: read, predict, learn and admin, perhaps
            behind a prefix that ends with a colon; others are ignored.
        models: Claim with a list of the models that a token is for; without it, tokens are for all.
        name: Claim with the name under which the use of a token is logged.
        leeway: Seconds by which clocks may differ.

    >>> OidcSection(issuer="https://login.example.org", audience="streamnet").scopes
    'scope'
    """

    issuer: Text
    audience: Text
    scopes: Text = "scope"
    models: Text | None = None
    name: Text = "sub"
    leeway: Annotated[float, Ge(0.0)] = 30.0

    def check_rules(self) -> None:
        """Check the address: keys that come over plain HTTP could be anybody's."""
        host = urlsplit(self.issuer).hostname
        is_local = self.issuer.startswith("http://") and host in ("localhost", "127.0.0.1")
        if not host or not (self.issuer.startswith("https://") or is_local):
            raise ConfigurationError(f"issuer is {self.issuer!r}, but must begin with https://")


@declare
class AlertSettings(Settings):
    """Bounds beyond which a model is in trouble.

    Args:
        rejected: Largest share of the recent records that are rejected.
        score: Worst main score over the `window` of last samples: accuracy of labels, of which less
            is worse, or MAE of numbers, of which more is. Without it, only that of a baseline.
    """

    rejected: Annotated[float, Ge(0.0), Le(1.0)] = 0.5
    score: Annotated[float, Ge(0.0)] | None = None


@final
class AlertsSection(Section, AlertSettings, frozen=True):
    """``[model.NAME.alerts]``: a trouble is shown, and sent to the webhooks.

    >>> AlertsSection(score=0.9).to_kwargs()
    {'score': 0.9}
    """


WebhookEvent = Literal[
    "champion",
    "drift",
    "failed",
    "disk",
    "queue",
    "target",
    "feed",
    "output",
    "checkpoint",
    "rejected",
    "score",
    "replica",
]


@final
class WebhookSection(Section, WebAddressSettings, frozen=True):
    """``[webhook.NAME]``: a web address that events of the models are posted to.

    Args:
        models: Models whose events are sent; by default all.
        events: Events that are sent: champion for a change of the champion, drift, failed for a
            model that fails, and the other troubles, as they begin and end.
        max_queued: Events that may wait for the address; of more, the oldest are dropped.
        max_age: Seconds after which an event that could not be delivered is dropped.

    >>> WebhookSection(url="https://example.org/hook", models="spam").models
    ('spam',)
    """

    models: Texts = ()
    events: Annotated[tuple[WebhookEvent, ...], Listed()] = get_args(WebhookEvent)
    max_queued: Count = 1000
    max_age: Positive = 3 * 24 * 3600.0

    def check_rules(self) -> None:
        """Check the address."""
        super().check_rules()
        if find_sink(self.url) != "webhook":
            raise ConfigurationError(
                f"url is {self.url!r}, but must begin with http:// or https://"
            )


@declare
class FeedSettings(ReadingSettings):
    """A feed of a model: files, or a stream of messages, with samples or with labels alone.

    Args:
        id: Column that says to which prediction a label belongs, by the id that it was made with.
            It makes this a feed of labels alone, in any order: one that comes before its prediction
            waits for it.
        label: Column of a feed of labels that holds them; by default that of the model's target.
    """

    id: Text | None = None
    label: Text | None = None


def check_readable(section: ReadingSection) -> None:
    """Check that a daemon can read files, or a stream of messages."""
    if STANDARD_INPUT in section.files:
        raise ConfigurationError(f"files has {STANDARD_INPUT!r}, but a daemon has no such input")
    if section.format == "libsvm":
        raise ConfigurationError("format is 'libsvm', whose inputs have no names for HTTP")


@final
class FeedSection(ReadingSection, FeedSettings, frozen=True):
    """``[model.NAME.feed.NAME]``.

    >>> FeedSection(files="nats://localhost/outcomes", id="order").reads_labels
    True
    """

    @property
    def reads_labels(self) -> bool:
        """Whether it has labels alone."""
        return self.id is not None

    def check_rules(self) -> None:
        """Check that there is something to read, and what a feed of labels must be."""
        if not self.files and self.broker is None:
            raise ConfigurationError(
                "files is not given, but a feed must name files or a stream of messages"
            )
        check_readable(self)
        if self.id is None:
            if self.label is not None:
                raise ConfigurationError(
                    f"label is {self.label!r}, but then id must be given, too: a column that says "
                    "to which prediction a label belongs"
                )
        elif self.id == self.label:
            raise ConfigurationError(f"label is {self.label!r}, but that is the column of the id")
        elif self.epochs > 1:
            raise ConfigurationError(f"epochs is {self.epochs}, but labels are read once")


@final
class HostedOutputSection(Section, HostedOutputSettings, frozen=True):
    """``[model.NAME.output]``."""


@final
class ModelSettings(LearningTables, frozen=True):
    """``[model.NAME]``: one model of the daemon, with the tables of a run file.

    It learns what comes over HTTP, and also what its source and its feeds name. Only a run file may
    name them, and where outputs go: `parse_model` rejects them.

    >>> parse_model({"source": {"target": "y"}}).source.target
    'y'
    """

    intake: IntakeSection = IntakeSection()
    alerts: AlertsSection = AlertsSection()
    feed: dict[str, FeedSection] = Field(default_factory=dict)
    output: HostedOutputSection = HostedOutputSection()

    @property
    def feeds(self) -> dict[str, ReadingSection]:
        """All that is read, by the names of the feeds; streams of messages without end."""
        source = self.source
        found: dict[str, ReadingSection] = {}
        if source.files or source.broker is not None:
            found[SOURCE_FEED] = source
        found |= self.feed
        return {name: _follow_messages(section) for name, section in found.items()}

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
        try:
            check_readable(source)
        except ConfigurationError as error:
            raise ConfigurationError(f"source.{error}") from None
        unused = set() if SOURCE_FEED in self.feeds else set(READING_KEYS) - set(_ALL_RECORDS)
        for name in sorted(unused & source.model_fields_set):
            if getattr(source, name):
                raise ConfigurationError(f"source.{name} is given, but there are no source.files")
        self._check_feeds()
        if self.keys.key and self.population.start is not None:
            raise ConfigurationError(
                f"population.start is {self.population.start!r}, but cannot be combined with "
                "keys.key: a model file has a shared model, but those of no keys"
            )
        if self.state.dir is not None:
            raise ConfigurationError("state.dir is given, but state is kept in serve.dir")

    def _check_feeds(self) -> None:
        """Check the names of the feeds, and their columns."""
        for name, section in self.feed.items():
            if not MODEL_NAME.fullmatch(name) or name == SOURCE_FEED:
                raise ConfigurationError(
                    f"feed is {name!r}, but must be lower-case letters, digits, - and _, at most "
                    f"64, begin with a letter or digit, and not be {SOURCE_FEED!r}"
                )
            if section.id == self.source.target and section.label is None:
                raise ConfigurationError(
                    f"feed.{name}.id is {section.id!r}, but that is the target: label names "
                    "another column"
                )


R = TypeVar("R", bound=ReadingSection)


def _follow_messages(section: R) -> R:
    """A feed that reads messages on and on, unless ``follow`` says that it ends."""
    if section.broker is None or "follow" in section.model_fields_set:
        return section
    return section.model_copy(update={"follow": True})


@final
class DaemonSettings(Section, frozen=True):
    """The whole run file of a daemon.

    >>> parse("model.spam.source.target = 'y'").model["spam"].source.target
    'y'
    """

    serve: ServeSection = ServeSection()
    model: dict[str, ModelSettings] = Field(default_factory=dict)
    webhook: dict[str, WebhookSection] = Field(default_factory=dict)
    oidc: OidcSection | None = None
    replica: ReplicaSection | None = None

    def check_rules(self) -> None:
        """Check the names, and that each output of a model has its own place."""
        if self.replica is not None and self.model:
            raise ConfigurationError(
                f"model.{next(iter(self.model))} is given, but a daemon with [replica] has the "
                "models that it follows, and learns none of its own"
            )
        taken: dict[str, str] = {}
        for name, settings in self.model.items():
            check_model_name(name)
            for output, url in settings.output.urls.items():
                key = f"model.{name}.output.{output}"
                if url in taken:
                    raise ConfigurationError(f"{key} is {url!r}, but that is {taken[url]}")
                taken[url] = key
        for name in self.webhook:
            if not MODEL_NAME.fullmatch(name):
                raise ConfigurationError(
                    f"webhook is {name!r}, but must be lower-case letters, digits, - and _, at "
                    "most 64, and begin with a letter or digit"
                )


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


def load_or_follow(path: Path | None, replica_of: str | None) -> DaemonSettings:
    """Read a daemon's run file, or what stands for it where a read replica needs none.

    Args:
        path: The run file.
        replica_of: What a read replica follows, instead of `replica.of`.

    Raises:
        ConfigurationError: If both are None, or contradict each other.
    """
    if path is None and replica_of is None:
        raise ConfigurationError("a run file must be given, unless --replica-of is")
    settings = DaemonSettings() if path is None else load(path)
    if replica_of is None:
        return settings
    given = {} if settings.replica is None else settings.replica.to_kwargs()
    replica = validate_settings(ReplicaSection, {**given, "of": replica_of}, name="--replica-of")
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    return DaemonSettings.model_validate({**values, "replica": replica})


def parse(text: str, name: str = "run file") -> DaemonSettings:
    """Read the text of a daemon's run file; ``name`` begins each line of an error message."""
    return validate_settings(DaemonSettings, parse_toml(text, name), name=name, text=text)


def parse_model(values: Mapping[str, Any]) -> ModelSettings:
    """Validate the settings of one model as they come over HTTP, which may not name files."""
    settings = validate_settings(ModelSettings, values)
    if settings.feed:
        raise ConfigurationError("feed is given, but feeds cannot be named over HTTP")
    if settings.output.model_fields_set:
        raise ConfigurationError("output is given, but streams cannot be named over HTTP")
    for table, section in settings:
        declared = list_settings(type(section)) if isinstance(section, Settings) else {}
        for name, declaration in declared.items():
            if declaration.setting.files and getattr(section, name):
                what = "streams" if name in BROKERS else "files"
                raise ConfigurationError(
                    f"{table}.{name} is given, but {what} cannot be named over HTTP"
                )
    return settings
