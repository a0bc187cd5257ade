"""Replay: data files as a stream, from settings to written outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import final

import anyio

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
from streamnet.pipeline.stages import Sink
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

__all__ = ("DEAD_LETTERS", "Replay", "replay")

DEAD_LETTERS = "rejected.jsonl"
_GRID = ("hidden", "activation", "optimiser", "learning_rate", "rehearsal")


@final
class Replay:
    """A run over files: its pipeline, and the files that it leaves.

    Args:
        settings: What a run file holds.

    Raises:
        ConfigurationError: If a setting is absent or breaks its rule.
        DataError: If no file matches.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        source, output = settings.source, settings.output
        if not source.files:
            raise ConfigurationError("source.files is empty, but must name a file")
        _check_outputs(settings)
        self._predictions: Predictions | None = None
        self.rejections = Rejections(
            output.dead_letters or DEAD_LETTERS,
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
            **settings.run.given(),
            **settings.evaluation.given(),
            **settings.selection.given(),
            dtype=settings.population.dtype or "float32",
        )

    def _prepare(self, learner: Learner, schema: Schema) -> Sequence[Sink]:
        if self.settings.output.predictions is None:
            return ()
        self._predictions = Predictions(
            self.settings.output.predictions, task=learner.task, labels=learner.encoder.labels
        )
        return (self._predictions,)

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
        self.write(result)
        return result

    def _write_what_there_is(self) -> None:
        try:
            result = self.pipeline.result()
        except NoCandidateError:
            return
        self.write(result)

    def write(self, result: Result) -> None:
        """Write model and report where the settings say.

        Raises:
            ModelFileError: If the model can't be written.
            ConfigurationError: If the report can't be written.
        """
        output = self.settings.output
        if output.model:
            result.model.save(output.model)
        if output.report:
            text = json.dumps(result.report, indent=1, allow_nan=False) + "\n"
            try:
                Path(output.report).write_text(text, encoding="utf-8")
            except OSError as error:
                raise ConfigurationError(f"report {output.report}: {error.strerror}") from error


def replay(
    *files: str | os.PathLike[str],
    target: str | None = None,
    config: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Result:
    """Learn data files as a stream and return the report and the champion.

    Args:
        files: In this order; glob patterns are expanded.
        target: Column to predict.
        config: A run file; what is given here goes first.
        options: Keys of a run file by their own name (task, drop, kinds, seed, candidates, model,
            report, ...).

    Raises:
        ConfigurationError: If a setting is unknown or breaks its rule.
        DataError: If the files can't be read or hold nothing to learn.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "numbers.csv")
    >>> rows = "".join(f"{i % 9},{i % 9 * 2}\\n" for i in range(2000))
    >>> _ = path.write_text("x,y\\n" + rows)
    >>> result = replay(path, target="y", task="regression", candidates=2)
    >>> result.report["learned"]
    2000
    """
    given = {"source.files": tuple(os.fspath(file) for file in files) or None}
    given |= {_key_of(name): value for name, value in {"target": target, **options}.items()}
    settings = merged(load(Path(config)) if config else RunSettings(), given, "replay()")
    return anyio.run(Replay(settings).run)


def _key_of(name: str) -> str:
    """The dotted key of a run file that a keyword stands for."""
    for section, field in RunSettings.model_fields.items():
        assert isinstance(field.annotation, type)
        if name in getattr(field.annotation, "model_fields", {}):
            return f"{section}.{name}"
    return name


def candidates_of(settings: RunSettings) -> list[CandidateSettings]:
    """The candidates that a run file asks for."""
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
    """The source that a run file asks for."""
    section = settings.source
    seed = settings.run.seed or 0
    columns = Columns(
        target=section.target,
        task=section.task,
        drop=section.drop or (),
        kinds=section.kinds or {},
        **({} if section.missing is None else {"missing": section.missing}),
    )
    shape = {
        name: value
        for name in ("delimiter", "header")
        if (value := getattr(section, name)) is not None
    }

    def make() -> Source:
        source = open_files(section.files, format=section.format, columns=columns, **shape)
        return Limited(source, section.limit) if section.limit else source

    source = Repeated(make, section.epochs) if (section.epochs or 1) > 1 else make()
    return Shuffled(source, section.shuffle_buffer, seed) if section.shuffle_buffer else source


def _check_outputs(settings: RunSettings) -> None:
    """Refuse an output before hours of learning, not after."""
    output = settings.output
    for name, suffixes in (
        ("model", tuple(SUFFIXES)),
        ("predictions", (".csv", ".jsonl")),
        ("report", (".json",)),
    ):
        path = getattr(output, name)
        if path is None:
            continue
        if Path(path).suffix not in suffixes:
            raise ConfigurationError(f"{name} is {path!r}, but must end in {' or '.join(suffixes)}")
        if not Path(path).absolute().parent.is_dir():
            raise ConfigurationError(f"{name} is {path!r}, but its folder does not exist")
