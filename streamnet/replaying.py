"""Replay: data files as a stream, from settings to written outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import final

from anyio.from_thread import start_blocking_portal

from streamnet.errors import ConfigurationError
from streamnet.errors import NoCandidateError
from streamnet.errors import StreamnetError
from streamnet.learning.grid import grid
from streamnet.learning.grid import hidden_of
from streamnet.learning.learner import Learner
from streamnet.learning.search import default_population
from streamnet.modelfiles.model import SUFFIXES
from streamnet.networks.candidate import CandidateSettings
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.pipeline import Result
from streamnet.pipeline.predictions import Predictions
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.sinks import Sink
from streamnet.pipeline.state import State
from streamnet.samples import Block
from streamnet.samples import Position
from streamnet.samples import Schema
from streamnet.settings import RunSettings
from streamnet.settings import load
from streamnet.settings import merged
from streamnet.sources import Columns
from streamnet.sources import Limited
from streamnet.sources import Repeated
from streamnet.sources import Shuffled
from streamnet.sources import Source
from streamnet.sources import open_files

__all__ = (
    "DEAD_LETTERS",
    "STATE_DEAD_LETTERS",
    "Replay",
    "candidates_of",
    "replay",
    "source_of",
    "state_of",
)

DEAD_LETTERS = "rejected.jsonl"
STATE_DEAD_LETTERS = "dead-letters.jsonl"
_MAY_CHANGE = {"files", "limit", "max_rejected", "rejected_window"}
STANDARD_INPUT = "-"
_GRID = ("hidden", "activation", "optimiser", "learning_rate", "rehearsal")
_SUFFIXES = {
    "model": tuple(SUFFIXES),
    "predictions": (".csv", ".jsonl"),
    "report": (".json",),
    "dead_letters": (),
}


@final
class Replay:
    r"""A run over files: its pipeline, and the files that it leaves.

    Args:
        settings: What a run file holds.
        resume: Go on from the state directory, if there is a state in it; otherwise that is
            refused.

    Attributes:
        pipeline: What learns; it tells where the run stands, and can be stopped.
        result: What was written, None before that.

    Raises:
        ConfigurationError: If a setting is absent or breaks its rule.
        DataError: If no file matches.

    >>> import pathlib, tempfile
    >>> from streamnet.settings import parse
    >>> path = pathlib.Path(tempfile.mkdtemp(), "turns.csv")
    >>> _ = path.write_text("x,y" + "".join(f"\n{i % 2},{'ab'[i % 2]}" for i in range(500)))
    >>> run = Replay(merged(parse("population.candidates = 2"), {
    ...     "source.files": [str(path)], "source.target": "y"}))
    >>> import anyio
    >>> anyio.run(run.run).report["learned"]
    500
    """

    def __init__(self, settings: RunSettings, *, resume: bool = False) -> None:
        self.settings = settings
        self.result: Result | None = None
        source, output = settings.source, settings.output
        _check_source(settings)
        _check_outputs(settings)
        self._predictions: Predictions | None = None
        self.state = state_of(settings, resume=resume)
        self.rejections = Rejections(
            output.dead_letters or _dead_letters_of(settings),
            share=source.max_rejected,
            window=source.rejected_window,
        )
        self.candidates = candidates_of(settings)
        self.pipeline = Pipeline(
            source_of(settings),
            candidates=self.candidates,
            rejections=self.rejections,
            prepare=self._prepare,
            settings=settings.model_dump(mode="json", exclude_none=True),
            state=self.state,
            **settings.run.given(),
            **settings.evaluation.given(),
            **settings.selection.given(),
            dtype=settings.population.dtype or "float32",
        )

    def _prepare(self, learner: Learner, _: Schema) -> Sequence[Sink]:
        path = self.settings.output.predictions
        if path is None:
            return ()
        self._predictions = Predictions(path, task=learner.task, labels=learner.encoder.labels)
        return (self._predictions,)

    def change(self, settings: RunSettings) -> None:
        """Use what may change in a run, from the next sample on: limits, and how state is kept.

        Raises:
            ConfigurationError: If a value breaks its rule.
        """
        given = settings.state.given()
        given.pop("dir", None)
        if self.state is not None:
            self.state.change(**given)
        self.rejections.limit.change(settings.source.max_rejected)

    async def run(self) -> Result:
        """Learn the files and write the outputs; also those of a run that breaks off.

        Raises:
            StreamnetError: If the run failed; what was learned before is written all the same.
        """
        try:
            result = await self.pipeline.run()
        except StreamnetError:
            self._write_what_there_is()
            raise
        finally:
            if self._predictions is not None:
                self._predictions.close()
        self._write(result)
        return result

    def _write_what_there_is(self) -> None:
        try:
            self._write(self.pipeline.result())
        except NoCandidateError:
            if self.pipeline.learner is not None:
                self._write_report(self.pipeline.report())

    def _write(self, result: Result) -> None:
        if self.settings.output.model:
            result.model.save(self.settings.output.model)
        self._write_report(result.report)
        self.result = result

    def _write_report(self, report: dict[str, Any]) -> None:
        path = self.settings.output.report
        if path is None:
            return
        text = json.dumps(report, indent=1, allow_nan=False) + "\n"
        try:
            Path(path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"report {path}: {error.strerror}") from error


def replay(
    *files: str | os.PathLike[str],
    target: str | None = None,
    config: str | os.PathLike[str] | None = None,
    state: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **options: Any,
) -> Result:
    r"""Learn data files as a stream and return the report and the champion.

    It waits for the end, in a thread with an event loop of its own: it may be called where another
    loop runs, as in a notebook. Records that can't be read go to ``dead_letters``, by default a
    file ``rejected.jsonl``, which is made at the first one.

    Args:
        files: In this order; glob patterns are expanded, ``-`` is standard input.
        target: Column to predict.
        config: A run file; what is given here goes first.
        state: Folder for checkpoints and emitted models, from which a run can be gone on with.
        resume: Go on with the run whose state is there; otherwise a state there is refused.
        options: Keys of a run file by their own name: task, drop, kinds, seed, candidates, hidden,
            epochs, limit, model, predictions, report, ...

    Raises:
        ConfigurationError: If a setting is unknown or breaks its rule.
        DataError: If the files can't be read, hold nothing to learn, or have too many records that
            can't be read.
        StateError: If the state can't be gone on from, or another process is at it.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "numbers.csv")
    >>> rows = "".join(f"{i % 9},{i % 9 * 2}\n" for i in range(2000))
    >>> _ = path.write_text("x,y\n" + rows)
    >>> result = replay(path, target="y", task="regression", candidates=2)
    >>> result.report["learned"], round(result.model.predict({"x": 4})[0])
    (2000, 8)
    """
    keys = _keys()
    given: dict[str, object] = {"source.files": [os.fspath(file) for file in files] or None}
    for name, value in {"target": target, "state": state, **options}.items():
        plain = os.fspath(value) if isinstance(value, os.PathLike) else value
        given[keys.get(name, name)] = list(plain) if isinstance(plain, tuple) else plain
    settings = load(Path(config)) if config else RunSettings()
    called = {key: name for name, key in keys.items()}
    run = Replay(merged(settings, given, "replay()", called), resume=resume)
    with start_blocking_portal() as portal:
        result: Result = portal.call(run.run)
    return result


def _keys() -> dict[str, str]:
    """The dotted key of a run file by the keyword that stands for it."""
    keys = {
        name: f"{section}.{name}"
        for section, field in RunSettings.model_fields.items()
        for name in type(field.default).model_fields
    }
    return {"state": keys.pop("dir"), **keys}


def state_of(settings: RunSettings, *, resume: bool) -> State | None:
    """The state directory that a run file asks for.

    Raises:
        ConfigurationError: If it can't be made.
    """
    given = settings.state.given()
    folder = given.pop("dir", None)
    if folder is None:
        if resume or given:
            raise ConfigurationError("state is not given, but there must be one to go on from")
        return None
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"state is {folder!r}, but: {error.strerror}") from error
    source = settings.source.model_dump(mode="json", exclude=_MAY_CHANGE)
    # It may be another one, but what a source under a limit remembers is of another kind.
    source["limit"] = None if settings.source.limit is None else "given"
    return State(folder, resume=resume, identity={"source": source}, **given)


def _dead_letters_of(settings: RunSettings) -> str:
    folder = settings.state.dir
    return DEAD_LETTERS if folder is None else str(Path(folder, STATE_DEAD_LETTERS))


def candidates_of(settings: RunSettings) -> list[CandidateSettings]:
    """The candidates that a run file asks for.

    Raises:
        ConfigurationError: If there are too many.
    """
    population = settings.population
    if population.candidate:
        given = [table.candidate() for table in population.candidate]
        count = population.candidates or len(given)
        return [given[i % len(given)] for i in range(count)]
    values = {name: getattr(population, name) for name in _GRID if getattr(population, name)}
    if values:
        if "hidden" in values:
            values["hidden"] = [hidden_of(text) for text in values["hidden"]]
        return grid(population.candidates, **values)
    return default_population(population.candidates or 16)


def source_of(settings: RunSettings) -> Source:
    """The source that a run file asks for.

    Raises:
        ConfigurationError: If its settings contradict each other.
        DataError: If no file matches.
    """
    section = settings.source
    columns = _columns_of(settings)
    shape = {
        name: value
        for name in ("format", "delimiter", "header")
        if (value := getattr(section, name)) is not None
    }

    def make() -> Source:
        source: Source = _Targeted(open_files(section.files, columns=columns, **shape))
        if section.limit:
            source = Limited(source, section.limit)
        if section.shuffle_buffer:
            source = Shuffled(source, section.shuffle_buffer, settings.run.seed or 0)
        return source

    epochs = section.epochs or 1
    return Repeated(make, epochs) if epochs > 1 else make()


def _columns_of(settings: RunSettings) -> Columns:
    section = settings.source
    columns = Columns(
        target=section.target,
        task=section.task,
        drop=section.drop or (),
        kinds=section.kinds or {},
    )
    return columns if section.missing is None else replace(columns, missing=section.missing)


@final
class _Targeted(Source):
    """A source that must have a target, and says what could be one if none is named."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def open(self, after: Position | None = None) -> Schema:
        schema = await self._source.open(after)
        if schema.target is None:
            names = ", ".join(repr(field.name) for field in schema.fields[:40])
            raise ConfigurationError(f"target is not given, but must be one of the columns {names}")
        return schema

    async def receive(self) -> Block | None:
        return await self._source.receive()

    async def aclose(self) -> None:
        await self._source.aclose()

    def progress(self) -> float | None:
        return self._source.progress()


def _check_source(settings: RunSettings) -> None:
    source = settings.source
    if not source.files:
        raise ConfigurationError("no file is given, but there must be one to learn from")
    if STANDARD_INPUT in source.files and (source.epochs or 1) > 1:
        raise ConfigurationError(
            f"epochs is {source.epochs}, but must be 1, since standard input can't be read again"
        )


def _check_outputs(settings: RunSettings) -> None:
    """Refuse an output before hours of learning, not after."""
    taken = {Path(file).absolute(): "a file to learn from" for file in settings.source.files}
    for name, suffixes in _SUFFIXES.items():
        given = getattr(settings.output, name)
        if given is None:
            continue
        path = Path(given).absolute()
        shown = f"{name} is {given!r}, but"
        if suffixes and path.suffix not in suffixes:
            raise ConfigurationError(f"{shown} must end in {' or '.join(suffixes)}")
        if path in taken:
            raise ConfigurationError(f"{shown} that is {taken[path]}")
        if path.is_dir():
            raise ConfigurationError(f"{shown} that is a folder")
        if not path.parent.is_dir():
            raise ConfigurationError(f"{shown} its folder does not exist")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ConfigurationError(f"{shown} that must not be written: permission denied")
        taken[path] = f"where {name} goes"
