"""Builds the parts of a run from its settings and rejects contradictory ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from streamnet.durability.files import OutputPath, check_output_paths
from streamnet.errors import ConfigurationError
from streamnet.modelfiles.formats import SUFFIXES
from streamnet.modelfiles.model import Model
from streamnet.pipeline.dead_letters import STATE_DEAD_LETTERS
from streamnet.pipeline.state import State
from streamnet.samples import Kind, Schema
from streamnet.selection.search.default_population import default_population
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.daemon import ModelSettings
from streamnet.settings.grid import expand_grid, parse_hidden
from streamnet.settings.run import RunSettings
from streamnet.sources import (
    Columns,
    LimitedSource,
    RepeatedSource,
    RetryingSource,
    SchemaDrift,
    ShuffledSource,
    Source,
    open_files,
)
from streamnet.sources.columns import format_names
from streamnet.sources.files.byte_stream import STANDARD_INPUT

__all__ = (
    "CHANGEABLE_SOURCE_KEYS",
    "DEAD_LETTERS",
    "STATE_DEAD_LETTERS",
    "build_candidates",
    "build_columns",
    "build_source",
    "build_state",
    "check_encoder_columns",
    "check_files",
    "check_source",
    "dead_letters_path",
    "encoder_arguments",
    "network_arguments",
    "search_arguments",
)

DEAD_LETTERS = "rejected.jsonl"
CHANGEABLE_SOURCE_KEYS = {"files", "limit", "max_rejected", "on_gap", "rejected_window"}
"""Keys of a source that a run may go on with otherwise, if the order of samples stays."""
_FORMAT_KEYS = ("format", "delimiter", "header", "max_record_bytes", "follow", "on_gap")
_GRID_KEYS = (
    "hidden",
    "activation",
    "optimizer",
    "learning_rate",
    "rehearsal",
    "knots",
    "class_weight",
    "target_transform",
)
_SUFFIXES = {
    "model": tuple(SUFFIXES),
    "predictions": (".csv", ".jsonl"),
    "report": (".json", ".html"),
    "dead_letters": (),
}
_REPLACED_OUTPUTS = ("model", "report")


def build_candidates(settings: RunSettings | ModelSettings) -> list[CandidateSettings]:
    """The candidates that a run file asks for.

    Raises:
        ConfigurationError: If there are too many.
    """
    population = settings.population
    if population.candidate:
        given = [table.candidate() for table in population.candidate]
        count = population.candidates or len(given)
        return [given[i % len(given)] for i in range(count)]
    values = {name: getattr(population, name) for name in _GRID_KEYS if getattr(population, name)}
    if values:
        if "hidden" in values:
            values["hidden"] = [parse_hidden(text) for text in values["hidden"]]
        return expand_grid(population.candidates, **values)
    return default_population(population.candidates, encoder=settings.encoder.given())


def encoder_arguments(settings: RunSettings | ModelSettings) -> dict[str, Any]:
    """What a learner is told about its encoder: nothing where a run file says nothing.

    >>> from streamnet.settings.run import parse
    >>> encoder_arguments(parse("")), encoder_arguments(parse("encoder.scaling = 'rank'"))
    ({}, {'encoder': {'scaling': 'rank'}})
    >>> encoder_arguments(parse("encoder.autoencoder.code = 8"))
    {'encoder': {'autoencoder': {'code': 8}}}
    """
    given = settings.encoder.given()
    if settings.encoder.autoencoder is not None:
        given["autoencoder"] = settings.encoder.autoencoder.given()
    return {"encoder": given} if given else {}


def search_arguments(settings: RunSettings | ModelSettings) -> dict[str, Any]:
    """Settings of the search for better candidates; there is none among candidates of one's own.

    >>> from streamnet.settings.run import parse
    >>> search_arguments(parse("population.hidden = ['8', '16']")), search_arguments(parse("search.grace = 9"))
    ({'every': 0}, {'grace': 9})
    """
    population = settings.population
    own = (
        population.start
        or population.candidate
        or any(getattr(population, name) for name in _GRID_KEYS)
    )
    return ({"every": 0} if own else {}) | settings.search.given()


def network_arguments(settings: RunSettings | ModelSettings) -> dict[str, Any]:
    """Who learns, as arguments of `Pipeline`: candidates and their dtype, or a start.

    Raises:
        ConfigurationError: If there are too many candidates, or a start beside them.
        ModelFileError: If the start can't be read.

    >>> from streamnet.settings.run import parse
    >>> sorted(network_arguments(parse("population.candidates = 3")))
    ['candidates', 'dtype']
    """
    population = settings.population
    if population.start is None:
        return {"candidates": build_candidates(settings), "dtype": population.dtype or "float32"}
    for name in ("candidate", "candidates", "dtype", *_GRID_KEYS):
        if getattr(population, name):
            raise ConfigurationError(
                f"population.{name} is given, but the model that population.start names has its own"
            )
    return {"start": Model.load(population.start)}


def check_encoder_columns(settings: RunSettings, schema: Schema) -> None:
    """Refuse ways to encode columns that the source doesn't have.

    Raises:
        ConfigurationError: If there is one.
    """
    names = [field.name for field in schema.fields]
    for setting in ("scalings", "texts"):
        for name in getattr(settings.encoder, setting) or ():
            if name not in names:
                raise ConfigurationError(
                    f"encoder.{setting} names {name!r}, but must name one of the columns "
                    f"{format_names(names)}"
                )


def build_source(settings: RunSettings | ModelSettings, start: Model | None = None) -> Source:
    """The source that a run file asks for.

    Args:
        settings: What it says.
        start: The model that is gone on with.

    Raises:
        ConfigurationError: If its settings contradict each other.
        DataError: If no file matches.
    """
    section = settings.source
    columns = build_columns(settings, start)
    shape = {name: value for name in _FORMAT_KEYS if (value := getattr(section, name)) is not None}

    def files() -> Source:
        return open_files(section.files, columns=columns, **shape)

    def make(epoch: int = 1) -> Source:
        source: Source = files() if STANDARD_INPUT in section.files else RetryingSource(files)
        if section.limit:
            source = LimitedSource(source, section.limit)
        if section.shuffle_buffer:
            source = ShuffledSource(
                source, section.shuffle_buffer, settings.run.seed or 0, epoch=epoch
            )
        return source

    epochs = section.epochs or 1
    return RepeatedSource(make, epochs) if epochs > 1 else make()


def build_state(settings: RunSettings, *, resume: bool) -> State | None:
    """The state directory that a run file asks for.

    Raises:
        ConfigurationError: If it can't be made.
    """
    given = settings.state.given()
    folder = given.pop("dir", None)
    if folder is None:
        if resume:
            raise ConfigurationError("state is not given, but there must be one to go on from")
        if given:
            name = next(iter(given))
            raise ConfigurationError(f"{name} is given, but state is not, so nothing is kept")
        return None
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"state is {folder!r}, but: {error.strerror}") from error
    source = settings.source.model_dump(mode="json", exclude=CHANGEABLE_SOURCE_KEYS) | {
        "limit": None
    }
    # Behind the limit and the last file a shuffle buffer has emptied itself, and the next epoch has
    # begun. Else they may be others, but what a source under a limit remembers is of another kind.
    fixed = settings.source.shuffle_buffer or (settings.source.epochs or 1) > 1
    if fixed:
        source["files"] = settings.source.files
    if settings.source.limit is not None:
        source["limit"] = settings.source.limit if fixed else "given"
    return State(folder, resume=resume, identity={"source": source}, **given)


def dead_letters_path(settings: RunSettings) -> str:
    """The file that rejected records go to."""
    if settings.output.dead_letters:
        return settings.output.dead_letters
    folder = settings.state.dir
    return DEAD_LETTERS if folder is None else str(Path(folder, STATE_DEAD_LETTERS))


def build_columns(settings: RunSettings | ModelSettings, start: Model | None = None) -> Columns:
    """Which columns a run file asks for, and as what.

    Args:
        settings: What it says.
        start: The model that is gone on with: its task, and its columns as it has learned them.

    Raises:
        ConfigurationError: If settings contradict each other.
    """
    section, task, known = settings.source, settings.source.task, dict[str, Kind]()
    if start is not None:
        task, known = task or start.task, dict(start.fields)
    kinds = section.kinds or {}
    columns = Columns(
        target=section.target,
        task=task,
        drop=section.drop or (),
        kinds={name: kind for name, kind in kinds.items() if kind != known.get(name)},
        known=known,
    )
    given: dict[str, Any] = {
        name: value
        for name in ("missing", "most_fields")
        if (value := getattr(section, name)) is not None
    }
    if section.drift is not None:
        given["drift"] = SchemaDrift(**section.drift.given())
    return replace(columns, **given)


def check_files(settings: RunSettings) -> None:
    """Refuse files to read or to write before hours of learning, not after.

    Raises:
        ConfigurationError: If there is nothing to read, or an output can't be written.
    """
    check_source(settings)
    _check_outputs(settings)


def check_source(settings: RunSettings | ModelSettings) -> None:
    """Refuse settings of a source of files that contradict each other.

    Raises:
        ConfigurationError: If they do, or there is no file.
    """
    source = settings.source
    if not source.files:
        raise ConfigurationError("no file is given, but there must be one to learn from")
    if STANDARD_INPUT in source.files and (source.epochs or 1) > 1:
        raise ConfigurationError(
            f"epochs is {source.epochs}, but must be 1, since standard input can't be read again"
        )
    if source.follow and (source.epochs or 1) > 1:
        raise ConfigurationError(
            f"epochs is {source.epochs}, but must be 1 with follow, since that has no end"
        )
    if source.follow and source.shuffle_buffer:
        raise ConfigurationError(
            f"shuffle_buffer is {source.shuffle_buffer}, but must be 0 with follow, since what is "
            "followed may be gone when its order is to be made again"
        )


def _check_outputs(settings: RunSettings) -> None:
    paths = settings.output.given()
    if settings.state.dir is None:  # whose folder is made when it is opened
        paths = {"dead_letters": DEAD_LETTERS, **paths}
    check_output_paths(
        [
            OutputPath(name, paths[name], suffixes, replaced=name in _REPLACED_OUTPUTS)
            for name, suffixes in _SUFFIXES.items()
            if name in paths
        ],
        dict.fromkeys(settings.source.files, "a file to learn from"),
    )
