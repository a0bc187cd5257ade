"""Keyword arguments of settings, for type checkers and editors.

A test compares them with the declarations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypedDict

from streamnet.samples import Kind, Task
from streamnet.settings.brokers import MessageFormat, SaslMechanism
from streamnet.settings.candidate import Activation, Optimizer, TargetTransform
from streamnet.settings.encoder import AutoEncoderActivation, ScalingName, TextModeName
from streamnet.settings.fields import DType
from streamnet.settings.learning import Criterion, DriftMethod, Serving
from streamnet.settings.run import Format


class CodingKeywords(TypedDict, total=False):
    """Keyword arguments of `AutoEncoderSettings` that are not for candidates."""

    hidden: Sequence[int] | int
    noise: float
    activation: AutoEncoderActivation
    optimizer: Literal["adagrad", "rmsprop"]
    learning_rate: float
    negatives: int
    fading: float
    dtype: DType
    seed: int


class AutoEncoderKeywords(CodingKeywords, total=False):
    """Keyword arguments of `AutoEncoderSettings`."""

    code: int
    inputs: Literal["add", "replace"]


class EncoderKeywords(TypedDict, total=False):
    """Keyword arguments of `EncoderSettings`."""

    scaling: ScalingName
    scalings: Mapping[str, ScalingName] | None
    text: TextModeName
    texts: Mapping[str, TextModeName] | None
    duplicates: Literal["keep", "drop"]
    target_scaling: Literal["standard", "none"]
    clip: float
    max_rows: int
    category_limit: int
    max_categories: int
    text_buckets: int
    max_words: int
    text_digits: int
    max_classes: int
    classes: Sequence[str] | str
    autoencoder: AutoEncoderKeywords | None


class SearchKeywords(TypedDict, total=False):
    """Keyword arguments of `SearchSettings`."""

    every: int
    grace: int
    budget: float | None


class LearningKeywords(TypedDict, total=False):
    """Keyword arguments of `LearningSettings`."""

    serve: Serving
    criterion: Criterion | None
    margin: float
    alpha: float
    neighbors: int | None
    factors: int | None
    trees: int | None
    series: int | None
    window: int
    fading: float
    drift: DriftMethod
    label_delay: str | int
    time: str | None
    label_time: str | None
    interval: float | None
    horizon: Sequence[str | int] | str | int | None
    season: int | None
    key: Sequence[str] | str
    resident_keys: int
    effort: float


class EngineKeywords(TypedDict, total=False):
    """Keyword arguments of `EngineSettings`."""

    hidden: Sequence[int] | int
    criterion: Criterion
    tries: int
    epochs: int
    training_split: float
    learning_rate: float
    decay: float
    regression_threshold: float
    iterations: int | None
    batch_size: int
    order: Literal["random", "file"]
    ordered: bool
    protocol: Literal["holdout", "gopher"]
    ensemble: int | None
    refit: bool | None
    half_life: float
    seed: int
    threads: int
    dtype: DType
    network: Mapping[str, Any]
    encoder: EncoderKeywords


class MessageKeywords(TypedDict, total=False):
    """Keyword arguments of `MessageSettings`."""

    format: MessageFormat
    key: str | None
    timestamp: str | None
    headers: Mapping[str, str] | None
    tombstones: Literal["skip", "reject", "forget"]
    names: Sequence[str] | str | None
    delimiter: str
    schema_file: str | None
    message: str | None
    framed: bool
    registry: str | None
    registry_ca: str | None
    registry_user: str | None
    registry_password_file: str | None
    registry_password_env: str | None


class LoginKeywords(TypedDict, total=False):
    """Keyword arguments of `LoginSettings`."""

    tls: bool
    ca: str | None
    certificate: str | None
    private_key: str | None
    user: str | None
    password_file: str | None
    password_env: str | None


class KafkaKeywords(MessageKeywords, LoginKeywords, total=False):
    """Keyword arguments of `KafkaSettings`."""

    servers: Sequence[str] | str
    topic: str | None
    partition: int | None
    group: str | None
    subscribe: bool
    session_seconds: float
    mechanism: SaslMechanism | None
    token_file: str | None
    token_env: str | None


class RedisKeywords(MessageKeywords, LoginKeywords, total=False):
    """Keyword arguments of `RedisSettings`."""

    server: str | None
    stream: str | None
    database: int
    value_field: str | None
    key_field: str | None
    group: str | None


class NatsKeywords(MessageKeywords, LoginKeywords, total=False):
    """Keyword arguments of `NatsSettings`."""

    servers: Sequence[str] | str
    stream: str | None
    subject: str | None
    credentials_file: str | None
    nkey_file: str | None
    token_file: str | None
    token_env: str | None


class MqttKeywords(MessageKeywords, LoginKeywords, total=False):
    """Keyword arguments of `MqttSettings`."""

    server: str | None
    topic: str | None
    client_id: str
    spool: str | None
    spool_bytes: int
    distinct: bool


class SweepKeywords(TypedDict, total=False):
    """Keyword arguments of `SweepSettings`."""

    results: str
    seeds: Sequence[int]
    vary: Mapping[str, Sequence[Any]] | None
    workers: int
    executor: Literal["in_process", "processes", "ray"] | None


class ReplayKeywords(EncoderKeywords, LearningKeywords, SearchKeywords, total=False):
    """Keyword arguments of `streamnet.replay`: the keys of a run file."""

    query: str | None
    order_by: str | None
    format: Format | None
    encoding: str | None
    delimiter: str | None
    header: bool | None
    missing: Sequence[str] | str | None
    thousands: str | None
    max_record_bytes: int
    weight: str | None
    id: str | None
    task: Task | str | None
    drop: Sequence[str] | str | None
    kinds: Mapping[str, Kind | str] | None
    shuffle_buffer: int
    epochs: int
    limit: int | None
    follow: bool
    on_gap: Literal["stop", "go_on"]
    kafka: KafkaKeywords | None
    redis: RedisKeywords | None
    nats: NatsKeywords | None
    mqtt: MqttKeywords | None
    most_fields: int
    max_rejected: float
    rejected_window: int
    seed: int
    block_size: int
    threads: int
    shards: int
    shard_executor: Literal["processes", "ray"]
    round_size: int
    partitions: int
    partition: int | None
    candidate: Sequence[Mapping[str, Any]] | Mapping[str, Any]
    start: str | PathLike[str] | None
    candidates: int | None
    dtype: DType
    hidden: Sequence[str] | str | None
    activation: Sequence[Activation] | Activation | None
    optimizer: Sequence[Optimizer] | Optimizer | None
    learning_rate: Sequence[float] | float | None
    rehearsal: Sequence[int] | int | None
    knots: Sequence[int] | int | None
    class_weight: Sequence[float] | float | None
    target_transform: Sequence[TargetTransform] | TargetTransform | None
    model: str | PathLike[str] | None
    predictions: str | PathLike[str] | None
    report: str | PathLike[str] | None
    dead_letters: str | PathLike[str] | None
    dead_letters_bytes: int
    champions: str | None
    send_models: bool
    events: str | None
    every_samples: int | None
    every_seconds: float
    generations: int
    models: int


class FleetKeywords(ReplayKeywords, total=False):
    """Keyword arguments of `streamnet.replay_fleet`."""

    owners: int
    owner_executor: Literal["processes", "ray"]


class ManyKeywords(ReplayKeywords, SweepKeywords, total=False):
    """Keyword arguments of `streamnet.replay_many`."""
