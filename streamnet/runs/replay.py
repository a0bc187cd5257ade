"""Replay: learns data files as a stream, from settings to written outputs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, final

import numpy as np
from anyio.from_thread import start_blocking_portal

from streamnet.durability.files import write_durably
from streamnet.errors import ConfigurationError, NoCandidateError, StreamnetError
from streamnet.learning.learner import Learner
from streamnet.modelfiles.model import Model, check_columns
from streamnet.page import build_view, render_single_file
from streamnet.pipeline.outputs import Predictions, Sink
from streamnet.pipeline.pipeline import Pipeline, Result
from streamnet.pipeline.rejections import MAX_DEAD_LETTER_BYTES, Rejections
from streamnet.reporting.report import Report
from streamnet.runs.builder import (
    build_source,
    build_state,
    check_encoder_columns,
    check_files,
    dead_letters_path,
    encoder_arguments,
    network_arguments,
    search_arguments,
)
from streamnet.samples import Schema
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.run import RunSettings, apply_overrides, load

__all__ = ("Replay", "replay")

INLINE_SECONDS_ALONE = 0.005  # seconds that the event loop may be held up: there is nobody else


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
    >>> from streamnet.settings.run import parse
    >>> path = pathlib.Path(tempfile.mkdtemp(), "turns.csv")
    >>> _ = path.write_text("x,y" + "".join(f"\n{i % 2},{'ab'[i % 2]}" for i in range(500)))
    >>> run = Replay(apply_overrides(parse("population.candidates = 2"), {
    ...     "source.files": [str(path)], "source.target": "y"}))
    >>> import anyio
    >>> anyio.run(run.run).report["learned"]
    500
    """

    def __init__(self, settings: RunSettings, *, resume: bool = False) -> None:
        self.settings = settings
        self.result: Result | None = None
        source, most_bytes = settings.source, settings.output.dead_letters_bytes
        check_files(settings)
        self._predictions: Predictions | None = None
        self.state = build_state(settings, resume=resume)
        self.rejections = Rejections(
            dead_letters_path(settings),
            share=source.max_rejected,
            window=source.rejected_window,
            most_bytes=MAX_DEAD_LETTER_BYTES if most_bytes is None else most_bytes,
        )
        networks = network_arguments(settings)
        self._start: Model | None = networks.get("start")
        self.candidates: list[CandidateSettings] = (
            networks["candidates"]
            if self._start is None
            else [network.settings for network in self._start.networks]
        )
        self.pipeline = Pipeline(
            build_source(settings, self._start),
            rejections=self.rejections,
            prepare=self._prepare,
            settings=settings.model_dump(mode="json", exclude_none=True),
            state=self.state,
            inline_seconds=INLINE_SECONDS_ALONE,
            **settings.run.given(),
            **settings.evaluation.given(),
            **settings.selection.given(),
            **encoder_arguments(settings),
            **networks,
            evolution=search_arguments(settings),
        )

    def _prepare(self, learner: Learner, schema: Schema) -> Sequence[Sink]:
        if self._start is not None:
            check_columns(self._start.fields, schema)
        check_encoder_columns(self.settings, schema)
        path = self.settings.output.predictions
        if path is None:
            return ()
        encoder = learner.encoder
        self._predictions = Predictions(
            path, task=learner.task, labels=encoder.labels, outliers=encoder.autoencoder
        )
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
        self.settings = settings

    async def run(self) -> Result:
        """Learn the files and write the outputs; also those of a run that breaks off.

        Raises:
            StreamnetError: If the run failed; what was learned before is written all the same.
        """
        try:
            result = await self._learn()
        except StreamnetError:
            self._write_what_there_is()
            raise
        self._write(result)
        return result

    async def _learn(self) -> Result:
        try:
            return await self.pipeline.run()
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise StreamnetError(f"the run broke off: {where}{error.strerror or error}") from error
        finally:
            if self._predictions is not None:
                with _explain_write_error(f"predictions {self.settings.output.predictions}"):
                    self._predictions.close()

    def _write_what_there_is(self) -> None:
        try:
            self._write(self.pipeline.result())
        except NoCandidateError:
            if self.pipeline.learner is not None:
                self._write_report(self.pipeline.build_report())

    def _write(self, result: Result) -> None:
        try:
            if self.settings.output.model:
                result.model.save(self.settings.output.model)
        finally:
            self._write_report(self.pipeline.build_report())
        self.result = result

    def _write_report(self, report: Report) -> None:
        path = self.settings.output.report
        if path is None:
            return
        with _explain_write_error(f"report {path}"):
            write_durably(path, _encode_report(report, Path(path).suffix))


def _encode_report(report: Report, suffix: str) -> bytes:
    """A report for programs, or as a page for people."""
    if suffix == ".html":
        return render_single_file(build_view(report))
    return json.dumps(report.as_dict(), indent=1, allow_nan=False).encode() + b"\n"


@contextmanager
def _explain_write_error(what: str) -> Iterator[None]:
    """Say which file it is that can't be written, as when a disk is full."""
    try:
        yield
    except OSError as error:
        raise StreamnetError(f"{what} can't be written: {error.strerror}") from error


def replay(
    *files: str | os.PathLike[str],
    target: str | None = None,
    config: str | os.PathLike[str] | None = None,
    state: str | os.PathLike[str] | None = None,
    resume: bool = False,
    **options: Any,
) -> Result:
    r"""Learn data files as a stream and return the report and the model.

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
    keys = _keyword_paths()
    _check_known(options, keys)
    given: dict[str, object] = {"source.files": list(map(_file_name, files)) or None}
    for name, value in {"target": target, "state": state, **options}.items():
        given[keys.get(name, name)] = _to_plain(value)
    settings = load(Path(config)) if config else RunSettings()
    called = {key: name for name, key in keys.items()}
    run = Replay(apply_overrides(settings, given, "replay()", called), resume=resume)
    with start_blocking_portal() as portal:
        result: Result = portal.call(run.run)
    return result


def _file_name(file: Any) -> str:
    if not isinstance(file, str | os.PathLike):
        raise ConfigurationError(
            f"files has {shortened(file)}, but must have names, each an argument of its own"
        )
    return os.fspath(file)


def _to_plain(value: Any) -> object:
    """A value as a run file would have it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple | set | frozenset) else value


def _check_known(options: Mapping[str, object], keys: Mapping[str, str]) -> None:
    """Refuse a keyword that is none of ours; a table of a run file, or what is in one, is."""
    known = sorted({*keys, "config", "resume"})
    for name in options:
        if name not in known and name.partition(".")[0] not in RunSettings.model_fields:
            close = get_close_matches(name, known, 1)
            meant = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise ConfigurationError(f"replay(): {name} is not a known key; {meant}")


def _keyword_paths() -> dict[str, str]:
    """The dotted key of a run file by the keyword that stands for it."""
    keys = {
        name: f"{section}.{name}"
        for section, field in RunSettings.model_fields.items()
        for name in type(field.default).model_fields
    }
    return {"state": keys.pop("dir"), **keys}
