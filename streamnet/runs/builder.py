"""Builds the parts of a run from its settings and rejects contradictory ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamnet.durability.files import OutputPath, check_output_paths
from streamnet.errors import ConfigurationError
from streamnet.learning.label_delay import LabelDelay
from streamnet.modelfiles.formats import SUFFIXES
from streamnet.modelfiles.model import Model
from streamnet.objects import is_url
from streamnet.pipeline.parts import Part, list_parts
from streamnet.pipeline.state import State
from streamnet.runs.key_partitions import KeyPartition, SharedReading
from streamnet.runs.storage import Place, RunStorage
from streamnet.samples import Kind, Schema
from streamnet.selection.search import default_population
from streamnet.settings.brokers import BROKERS
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.daemon import ModelSettings
from streamnet.settings.fields import list_settings
from streamnet.settings.keywords import SearchKeywords
from streamnet.settings.learning import check_effort, expand_grid, parse_hidden
from streamnet.settings.run import ReadingSection, RunSettings, SourceSettings
from streamnet.settings.sinks import SENT_OUTPUTS, check_sinks, find_sink
from streamnet.sources import (
    Columns,
    GuardedSource,
    LimitedSource,
    RepeatedSource,
    RetryingSource,
    SchemaDrift,
    ShuffledSource,
    Source,
    SqlSource,
    open_files,
)
from streamnet.sources.brokers.registry import open_broker
from streamnet.sources.columns import format_names
from streamnet.sources.sql import is_database_url
from streamnet.sources.storage.raw import STANDARD_INPUT

CHANGEABLE_SOURCE_KEYS = {
    name for name, d in list_settings(SourceSettings).items() if d.setting.changeable
}
_CHANGEABLE_BROKER_KEYS = {
    broker: {name for name, d in list_settings(settings).items() if d.setting.changeable}
    for broker, settings in BROKERS.items()
}
FILE_TRIES = 5  # to read a file again
"""Keys of a source that may change when a run resumes, as long as the order of samples stays."""
_BROKER_KEYS = ("max_record_bytes", "follow", "on_gap")
_FORMAT_KEYS = (
    *("format", "encoding", "delimiter", "header", "max_record_bytes"),
    *("follow", "on_gap"),
)
_FILE_ONLY_KEYS = {
    "format": "it is a key of that table",
    "encoding": "it must not be given: messages are UTF-8",
    "delimiter": "it is a key of that table",
    "header": "it must not be given: messages have none",
    "shuffle_buffer": "it must be 0: messages may be gone when the order has to be reproduced",
}
"""Keys of a source that are for files, and what holds for messages."""
_SUFFIXES = {
    "model": tuple(SUFFIXES),
    "predictions": (".csv", ".jsonl"),
    "report": (".json", ".html"),
    "dead_letters": (),
}
_REPLACED_OUTPUTS = ("model", "report")


def build_candidates(settings: RunSettings | ModelSettings) -> list[CandidateSettings]:
    """The candidates of a run."""
    population = settings.population
    if population.candidate:
        given = [table.build() for table in population.candidate]
        count = population.candidates or len(given)
        return [given[i % len(given)] for i in range(count)]
    if values := population.grid:
        if "hidden" in values:
            values["hidden"] = tuple(parse_hidden(text) for text in values["hidden"])
        return expand_grid(population.candidates, **values)
    delayed = LabelDelay.build_all(**dict(settings.evaluation)) != [None]
    encoder = settings.encoder.to_kwargs()
    keyed = bool(settings.keys.key)
    return default_population(
        population.candidates,
        encoder=encoder,
        delayed=delayed,
        keyed=keyed,
        effort=population.effort,
    )


def encoder_arguments(settings: RunSettings | ModelSettings) -> dict[str, Any]:
    """The encoder's settings as an argument of a learner; none if the run file has none.

    >>> from streamnet.settings.run import parse
    >>> encoder_arguments(parse("")), encoder_arguments(parse("encoder.scaling = 'rank'"))
    ({}, {'encoder': {'scaling': 'rank'}})
    >>> encoder_arguments(parse("encoder.autoencoder.code = 8"))
    {'encoder': {'autoencoder': {'code': 8}}}
    """
    given = settings.encoder.to_kwargs()
    return {"encoder": given} if given else {}


def _has_candidates(settings: RunSettings | ModelSettings) -> bool:
    """Whether the candidates are given, instead of the default population."""
    population = settings.population
    return bool(population.start or population.candidate or population.grid)


def search_arguments(settings: RunSettings | ModelSettings) -> SearchKeywords:
    """Settings of the search for better candidates; by default none among given candidates.

    >>> from streamnet.settings.run import parse
    >>> search_arguments(parse("population.hidden = ['8', '16']"))
    {'every': 0}
    >>> search_arguments(parse("search.grace = 9"))
    {'grace': 9}
    """
    default: SearchKeywords = {"every": 0} if _has_candidates(settings) else {}
    given: Any = settings.search.to_kwargs()
    return SearchKeywords(**{**default, **given})


def learner_arguments(settings: RunSettings | ModelSettings) -> dict[str, Any]:
    """How a learner encodes, evaluates, selects and searches."""
    selection, given = settings.selection, _has_candidates(settings)
    effort = settings.population.effort
    trees = selection.trees_for(given=given, effort=effort)
    check_effort(effort, given=given, trees=trees)
    return {
        "evolution": search_arguments(settings),
        **settings.evaluation.to_kwargs(),
        **selection.to_kwargs(),
        "neighbors": selection.neighbors_for(given=given),
        "factors": selection.factors_for(given=given),
        "trees": trees,
        # States of runs with candidates of their own can be older than this setting.
        **({} if given else {"series": selection.series_for(given=False)}),
        **({} if effort == 1.0 else {"effort": effort}),
        **settings.keys.to_kwargs(),
        **encoder_arguments(settings),
    }


def network_arguments(settings: RunSettings | ModelSettings) -> dict[str, Any]:
    """The networks as arguments of `Pipeline`: candidates and their dtype, or a start.

    >>> from streamnet.settings.run import parse
    >>> sorted(network_arguments(parse("population.candidates = 3")))
    ['candidates', 'dtype']
    """
    population = settings.population
    if population.start is None:
        return {"candidates": build_candidates(settings), "dtype": population.dtype}
    for name in population.to_kwargs():
        if name != "start":
            raise ConfigurationError(
                f"population.{name} is given, but the model that population.start names has its own"
            )
    return {"start": Model.load(population.start)}


def pipeline_arguments(
    settings: RunSettings | ModelSettings, networks: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments of a `Pipeline` that determine what it learns, with those of its networks."""
    weight = settings.source.weight
    more: dict[str, Any] = {} if weight is None else {"weight": weight}
    if settings.source.id is not None:
        more["ids"] = settings.source.id
    if targets := settings.source.targets:
        more["targets"] = targets
    return {**settings.run.to_kwargs(), **learner_arguments(settings), **networks, **more}


def check_schema(settings: RunSettings, schema: Schema) -> None:
    """Reject settings of columns that the source does not have."""
    names = [field.name for field in schema.fields]
    for name in settings.keys.key:
        if name not in names:
            raise ConfigurationError(
                f"key names {name!r}, but must name some of the columns {format_names(names)}"
            )
    for setting in ("scalings", "texts"):
        for name in getattr(settings.encoder, setting) or ():
            if name not in names:
                raise ConfigurationError(
                    f"encoder.{setting} names {name!r}, but must name one of the columns "
                    f"{format_names(names)}"
                )


def build_source(settings: RunSettings, start: Model | None = None) -> Source:
    """The source of a run over files; ``start`` is the model that continues to learn."""
    if (number := settings.fleet.partition) is not None:
        return KeyPartition(share_reading(settings, (number,), start), number)
    return open_source(settings.source, build_columns(settings, start), settings.run.seed)


def share_reading(
    settings: RunSettings, numbers: Iterable[int], start: Model | None = None
) -> SharedReading:
    """The stream of a run, to be read once for several partitions of its keys."""
    columns = build_columns(settings, start)

    def make() -> Source:
        return open_source(settings.source, columns, settings.run.seed)

    return SharedReading(make, settings.keys.key, settings.fleet.partitions, numbers)


def open_source(section: ReadingSection, columns: Columns, seed: int) -> Source:
    """The source of files, of a query or of a stream of messages, with some columns.

    Args:
        section: What to read, and how.
        columns: Which columns are used, and as what.
        seed: Seed of a random order.
    """
    given = section.to_kwargs()

    def read() -> Source:
        if section.broker is not None:
            shape = {name: given[name] for name in _BROKER_KEYS if name in given}
            return open_broker(section.broker, given[section.broker], columns=columns, **shape)
        if section.query is not None and section.order_by is not None:
            shape = {name: given[name] for name in ("follow", "on_gap") if name in given}
            found = SqlSource(
                section.files[0], section.query, order_by=section.order_by, columns=columns, **shape
            )
            stops = columns.drift.stops
            return GuardedSource(found, stops) if stops else found
        shape = {name: given[name] for name in _FORMAT_KEYS if name in given}
        return open_files(section.files, columns=columns, **shape)

    def make(epoch: int = 1) -> Source:
        if STANDARD_INPUT in section.files:
            source: Source = read()
        else:
            # A broker that is followed may be away for long: it is waited for.
            waits = section.broker is not None and section.follow
            source = RetryingSource(read, tries=None if waits else FILE_TRIES)
        if section.limit:
            source = LimitedSource(source, section.limit)
        if section.shuffle_buffer:
            source = ShuffledSource(source, section.shuffle_buffer, seed, epoch=epoch)
        return source

    return RepeatedSource(make, section.epochs) if section.epochs > 1 else make()


def build_state(settings: RunSettings, place: Place | None, *, resume: bool) -> State | None:
    """The state of a run, whose directory is at a place; None without one."""
    given = settings.state.to_kwargs()
    folder = given.pop("dir", None)
    if place is None:
        if resume:
            raise ConfigurationError("state is not given, but there must be one to resume from")
        if given:
            name = next(iter(given))
            raise ConfigurationError(f"{name} is given, but state is not, so nothing is kept")
        return None
    path, files = place
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"state is {folder!r}, but: {error.strerror}") from error
    changeable: dict[str, Any] = {**dict.fromkeys(CHANGEABLE_SOURCE_KEYS, True)}
    changeable |= _CHANGEABLE_BROKER_KEYS
    source = settings.source.model_dump(mode="json", exclude=changeable) | {"limit": None}
    # At the limit and after the last file the shuffle buffer was emptied, or the next epoch begun,
    # so that neither may change. Otherwise they may, but a source with a limit has another state.
    fixed = settings.source.shuffle_buffer or settings.source.epochs > 1
    if fixed:
        source["files"] = settings.source.files
    if settings.source.limit is not None:
        source["limit"] = settings.source.limit if fixed else "given"
    identity: dict[str, Any] = {"source": source}
    if settings.fleet.partition is not None:
        identity["partition"] = [settings.fleet.partition, settings.fleet.partitions]
    return State(path, resume=resume, identity=identity, files=files, **given)


def build_columns(settings: RunSettings | ModelSettings, start: Model | None = None) -> Columns:
    """The columns of a run: target, task, kinds and the handling of changes.

    A ``start`` model continues with its task, and its columns as it learned them.
    """
    section, task, known = settings.source, settings.source.task, dict[str, Kind]()
    if start is not None:
        task, known = task or start.task, dict(start.fields)
    kinds = section.kinds or {}
    # Keys are compared as texts, even if all are numbers.
    known |= dict.fromkeys(settings.keys.key, Kind.CATEGORY)
    columns = Columns(
        target=next(iter(section.targets), None),
        more_targets=section.targets[1:],
        task=task,
        drop=section.drop or (),
        kinds={name: kind for name, kind in kinds.items() if kind != known.get(name)},
        known=known,
        thousands=section.thousands,
    )
    given: dict[str, Any] = {
        "most_fields": section.most_fields,
        "weight": section.weight,
        "id": section.id,
    }
    if section.missing is not None:
        given["missing"] = section.missing
    if section.drift is not None:
        given["drift"] = SchemaDrift(**section.drift.to_kwargs())
    return replace(columns, **given)


def check_files(settings: RunSettings) -> None:
    """Check the files to read and to write, before hours of learning rather than after."""
    check_source(settings.source, keys=settings.keys.key)
    if settings.fleet.partition is not None or settings.fleet.owners:
        _check_partitions(settings)
    else:
        for name, value in settings.fleet.model_dump(exclude_defaults=True).items():
            raise ConfigurationError(
                f"{name} is {value!r}, but then owners or partition must be given, too"
            )
    if settings.source.mqtt is not None and settings.state.dir is None:
        raise ConfigurationError(
            "state.dir is not given, but source.mqtt needs it: messages leave the spool when they "
            "are part of a checkpoint"
        )
    _check_outputs(settings)


def _check_partitions(settings: RunSettings) -> None:
    """Check settings of a run that divides its keys."""
    fleet, source = settings.fleet, settings.source
    name, value = ("owners", fleet.owners) if fleet.owners else ("partition", fleet.partition)
    if not settings.keys.key:
        raise ConfigurationError(f"{name} is {value}, but then key must name columns, too")
    if source.shuffle_buffer:
        raise ConfigurationError(
            f"shuffle_buffer is {source.shuffle_buffer}, but must be 0 with {name}: the samples "
            "of a key are learned in their order"
        )
    if source.on_gap != "stop":
        raise ConfigurationError(
            f"on_gap is {source.on_gap!r}, but must be 'stop' with {name}: partitions count the "
            "records of the stream, so that none may be gone"
        )
    for delay in LabelDelay.build_all(**settings.evaluation.to_kwargs()):
        if delay is not None and delay.in_samples and delay.samples:
            raise ConfigurationError(
                f"label_delay is {delay.samples}, but must be a duration with {name}: a partition "
                "does not count the samples of the others"
            )
    subscribes = source.kafka is not None and source.kafka.subscribe
    for broker in () if subscribes else (source.kafka, source.redis):
        if broker is not None and broker.group is not None:
            raise ConfigurationError(
                f"group is {broker.group!r}, but must not be given with {name}: each partition of "
                "the keys has a position of its own, which a group cannot follow"
            )
    if source.mqtt is not None or STANDARD_INPUT in source.files:
        given = "standard input" if source.mqtt is None else "source.mqtt"
        raise ConfigurationError(
            f"{name} is {value}, but then {given} must not be read: what was read can't be read "
            "again for another partition"
        )


def check_source(
    source: ReadingSection, table: str = "source", *, keys: Sequence[str] = ()
) -> None:
    """Check the settings of a source, which are in a table of that name.

    ``keys`` are the columns that tell entities apart.
    """
    if source.broker is not None:
        _check_broker(source, source.broker, table, keys)
    elif not source.files:
        raise ConfigurationError("no file is given, but there must be one to learn from")
    _check_query(source)
    if source.broker is not None and source.epochs > 1:
        raise ConfigurationError(
            f"epochs is {source.epochs}, but must be 1, since a stream is read once"
        )
    if STANDARD_INPUT in source.files and source.epochs > 1:
        raise ConfigurationError(
            f"epochs is {source.epochs}, but must be 1, since standard input cannot be read twice"
        )
    if source.follow and source.epochs > 1:
        raise ConfigurationError(
            f"epochs is {source.epochs}, but must be 1 with follow, which never ends"
        )
    if source.follow and source.shuffle_buffer:
        raise ConfigurationError(
            f"shuffle_buffer is {source.shuffle_buffer}, but must be 0 with follow: the "
            "data may be gone when the order has to be reproduced"
        )


def _check_broker(source: ReadingSection, broker: str, table: str, keys: Sequence[str]) -> None:
    """Check settings that are about files, where a stream of messages is read."""
    others = [name for name in BROKERS if name != broker and getattr(source, name) is not None]
    if source.files or others:
        raise ConfigurationError(
            f"{table}.{broker} is given, so {table}.{others[0] if others else 'files'} must not be"
        )
    given = getattr(source, broker)
    if given.tombstones == "forget" and tuple(keys) != (given.key,):
        raise ConfigurationError(
            f"tombstones is 'forget', but then key must be {given.key!r}, the column of the "
            "messages' keys"
        )
    for name, why in _FILE_ONLY_KEYS.items():
        if name in source.model_fields_set and getattr(source, name):
            value = getattr(source, name)
            raise ConfigurationError(f"{name} is {value!r}, but with {table}.{broker} {why}")


def _check_query(source: ReadingSection) -> None:
    """Check the settings of a query of a database."""
    databases = [name for name in source.files if is_database_url(name) and not is_url(name)]
    for name, other in (("query", "order_by"), ("order_by", "query")):
        value = getattr(source, name)
        if value is not None and getattr(source, other) is None:
            raise ConfigurationError(f"{name} is {value!r}, but then {other} must be given, too")
        if value is not None and (len(source.files) != 1 or not databases):
            raise ConfigurationError(
                f"{name} is {value!r}, but then one URL of a database must stand in place of "
                "files, such as sqlite:///shop.db"
            )
    if databases and source.query is None:
        raise ConfigurationError(
            f"{databases[0]} is no file, and no URL of objects (s3://, gs://, az://, https://); "
            "of a database, query and order_by say what to read"
        )


def _list_places(name: str, path: str, parts: Sequence[Part]) -> list[str]:
    """The files of all parts of a run."""
    places = [part.place(path) for part in parts]
    return [path, *places[1:]] if name == "dead_letters" else places


def _is_sink(name: str, path: str) -> bool:
    """Whether an output is sent to a sink."""
    if find_sink(path) is None:
        return False
    if name in _REPLACED_OUTPUTS:
        raise ConfigurationError(f"{name} is {path!r}, but must be a file")
    return True


def _check_outputs(settings: RunSettings) -> None:
    check_sinks(
        {name: getattr(settings.output, name) for name in SENT_OUTPUTS}, ("champions", "events")
    )
    paths = settings.output.to_kwargs()
    if settings.state.dir is None:  # whose folder is created when it is opened
        paths = {"dead_letters": RunStorage.DEAD_LETTERS, **paths}
    parts = list_parts(settings.source.targets, settings.evaluation.horizon)
    check_output_paths(
        [
            OutputPath(name, path, suffixes, replaced=name in _REPLACED_OUTPUTS)
            for name, suffixes in _SUFFIXES.items()
            if name in paths and not _is_sink(name, paths[name])
            for path in _list_places(name, paths[name], parts)
        ],
        dict.fromkeys(settings.source.files, "a file to learn from"),
    )
