"""Runs of a run file: replayed as a stream, and verified by learning the same files again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from reprlib import repr as shortened
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, NamedTuple, Unpack, final

import numpy as np
from anyio.from_thread import start_blocking_portal
from msgspec.structs import replace

from streamnet.durability.checkpoint import StateDict
from streamnet.durability.files import DISK, explain_write_errors, write_durably
from streamnet.durability.provenance import describe_differences
from streamnet.durability.state_directory import StateDirectory
from streamnet.errors import (
    ConfigurationError,
    DataError,
    NoCandidateError,
    StateError,
    StreamnetError,
)
from streamnet.learning.learner import Learner
from streamnet.metrics.formulas import format_number
from streamnet.modelfiles.columns import check_columns
from streamnet.modelfiles.model import Model
from streamnet.objects import is_url
from streamnet.page import build_view, render_single_file
from streamnet.pipeline.callbacks import Callback
from streamnet.pipeline.control_messages import list_part_trees
from streamnet.pipeline.outputs import Predictions, Sink
from streamnet.pipeline.pipeline import Pipeline
from streamnet.pipeline.reader import count_records
from streamnet.pipeline.rejections import Rejections
from streamnet.pipeline.state import State
from streamnet.progress import ProgressBar
from streamnet.reporting.builder import build_status
from streamnet.reporting.insight import RecentSamples, build_insight
from streamnet.reporting.report import Insight, Report
from streamnet.reporting.result import Result
from streamnet.runs.builder import (
    build_source,
    build_state,
    check_files,
    check_schema,
    network_arguments,
    pipeline_arguments,
)
from streamnet.runs.keys import hash_rows
from streamnet.runs.outputs import open_outputs
from streamnet.runs.storage import RunStorage
from streamnet.samples import Block, Change, Position, Schema, change_from_list
from streamnet.settings.candidate import CandidateSettings
from streamnet.settings.encoder import EncoderSettings
from streamnet.settings.execution import ExecutionSettings, FleetSettings
from streamnet.settings.fields import check_names, with_settings
from streamnet.settings.keywords import ReplayKeywords
from streamnet.settings.learning import Grid, LearningSettings, PopulationSettings, SearchSettings
from streamnet.settings.run import (
    OutputSettings,
    RunSettings,
    SourceSettings,
    StateSettings,
    apply_overrides,
    load,
)
from streamnet.sources import Source
from streamnet.sources.base import make_empty_block
from streamnet.sources.columns import format_names
from streamnet.sources.wrappers import SourceWrapper

INLINE_SECONDS_ALONE = 0.005  # seconds for which the event loop may block: nothing else runs in it
REFRESH_SECONDS = 0.2  # between two updates of a progress bar


@final
class Replay:
    r"""A run over files: its pipeline and its outputs.

    ``resume`` continues from the state directory if it holds a state; without it, an existing state
    is an error. ``pipeline`` reports the progress and can be stopped; ``result`` is None until the
    outputs are written. A ``stream`` is read in place of what the settings name.

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

    def __init__(
        self,
        settings: RunSettings,
        *,
        resume: bool = False,
        callbacks: Sequence[Callback] = (),
        guests: Mapping[str, Any] | None = None,
        stream: Source | None = None,
    ) -> None:
        self.settings: RunSettings = settings
        self.result: Result | None = None
        source = settings.source
        check_files(settings)
        if settings.fleet.owners:
            raise ConfigurationError(
                f"owners is {settings.fleet.owners}, but must be 0 for a run of this process alone"
            )
        self._files: list[Predictions] = []
        self._storage = RunStorage(settings, resume=resume)
        self.state: State | None = build_state(settings, self._storage.state, resume=resume)
        dead_letters, files = self._storage.dead_letters or (None, DISK)
        self.rejections: Rejections = Rejections(
            dead_letters,
            files=files,
            share=source.max_rejected,
            window=source.rejected_window,
            most_bytes=settings.output.dead_letters_bytes,
        )
        networks = network_arguments(settings)
        self._start: Model | None = networks.get("start")
        self.candidates: list[CandidateSettings] = (
            networks["candidates"]
            if self._start is None
            else [network.settings for network in self._start.networks]
        )
        self._recent: dict[str, RecentSamples] = {}  # by the name of the part
        self.pipeline: Pipeline = Pipeline(
            stream or build_source(settings, self._start),
            rejections=self.rejections,
            callbacks=callbacks,
            prepare=self._prepare,
            settings=settings.model_dump(mode="json", exclude_unset=True),
            state=self.state,
            inline_seconds=INLINE_SECONDS_ALONE,
            guests=guests,
            **pipeline_arguments(settings, networks),
        )

    def _prepare(self, learner: Learner, schema: Schema) -> Sequence[Sink]:
        if self._start is not None:
            check_columns(self._start.fields, schema)
        check_schema(self.settings, schema)
        runs = list(self.pipeline.parts.values())
        place = next(i for i, run in enumerate(runs) if run.learner is learner)
        outputs = open_outputs(self.settings, self._storage, runs[place], self.state, place)
        self._files += (output for output in outputs if isinstance(output, Predictions))
        recent = self._recent[runs[place].part.name] = RecentSamples()
        return (*outputs, recent)

    def change(self, settings: RunSettings) -> None:
        """Apply settings that may change in a run, from the next sample on."""
        given = settings.state.to_kwargs()
        given.pop("dir", None)
        if self.state is not None:
            self.state.change(**given)
        for run in self.pipeline.parts.values():
            run.rejections.limit.change(settings.source.max_rejected)
        self.settings = settings

    async def run(self) -> Result:
        """Learn the files and write the outputs; if the run fails, of what was learned before."""
        try:
            result = await self._learn()
        except StreamnetError:
            self._write_partial_result()
            raise
        else:
            self._write(result)
        finally:
            self._storage.close()
        return result

    async def _learn(self) -> Result:
        try:
            return self._complete(await self.pipeline.run())
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise StreamnetError(f"the run failed: {where}{error.strerror or error}") from error
        finally:
            with explain_write_errors(f"predictions {self.settings.output.predictions}"):
                for predictions in self._files:
                    predictions.close()
            with explain_write_errors("an output"):
                self._storage.store()

    def _complete(self, result: Result) -> Result:
        """The result with the last samples, and the files of predictions on this machine."""
        path = self.settings.output.predictions
        parts = {}
        for name, part in result.parts.items():
            about = self.pipeline.parts[name].part
            file = None if path is None or is_url(path) else Path(about.place(path))
            recent = self._recent[about.name]
            parts[name] = dataclasses.replace(part, predictions_file=file, recent=recent)
        return Result(parts)

    def _write_partial_result(self) -> None:
        try:
            self._write(self.pipeline.result())
        except NoCandidateError:
            if self.pipeline.learner is not None:
                self._write_reports()

    def _write(self, result: Result) -> None:
        path = self.settings.output.model
        try:
            for name, run in self.pipeline.parts.items() if path else ():
                result.parts[name].model.save(run.part.place(str(path)))
        finally:
            self._write_reports({name: part.model for name, part in result.parts.items()})
        self.result = result

    def _write_reports(self, models: Mapping[str, Model] = MappingProxyType({})) -> None:
        if self.settings.output.report is None:
            return
        for name, run in self.pipeline.parts.items():
            path, report = run.part.place(self.settings.output.report), run.build_report()
            insight = None
            recent, suffix = self._recent.get(run.part.name), Path(path).suffix
            if suffix == ".html" and recent is not None and run.learner is not None:
                labels = list(run.learner.encoder.labels)
                insight = build_insight(recent, models.get(name), report.task, labels)
            with explain_write_errors(f"report {path}"):
                write_durably(path, _encode_report(report, insight, suffix))


def _encode_report(report: Report, insight: Insight | None, suffix: str) -> bytes:
    """A report as JSON, or as an HTML page with the insight."""
    if suffix == ".html":
        return render_single_file(build_view(report, insight))
    return json.dumps(report.as_dict(), indent=1, allow_nan=False).encode() + b"\n"


@with_settings(
    SourceSettings,
    ExecutionSettings,
    FleetSettings,
    EncoderSettings,
    PopulationSettings,
    Grid,
    LearningSettings,
    SearchSettings,
    OutputSettings,
    StateSettings,
    without=["files", "dir", "owners", "owner_executor"],
)
def replay(
    *files: str | os.PathLike[str],
    target: str | Sequence[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    state: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    guests: Mapping[str, Any] | None = None,
    **settings: Unpack[ReplayKeywords],
) -> Result:
    r"""Learn data files as a stream and return the report and the model.

    Blocks until the end, in a thread with its own event loop, so that it can be called where
    another loop runs, as in a notebook. Records that cannot be read go to ``dead_letters``, by
    default a file ``rejected.jsonl``, which is created with the first one.

    Args:
        files: Files in this order; glob patterns are expanded, ``-`` is standard input.
        target: Column to predict, or columns; each has a model of its own.
        config: A run file, whose values the other arguments override.
        state: Directory for checkpoints and emitted models, from which a run can resume.
        resume: Resume the run whose state is there; without it, an existing state is an error.
        callbacks: Follow the run, see `Callback`.
        progress: Whether to show a progress bar, in a terminal or a notebook; it needs tqdm (extra
            ``progress``).
        guests: Models of River, scikit-learn or your own by name, which are candidates beside the
            networks, see `Guest`.

    Raises:
        ConfigurationError: If a setting is unknown or breaks its rule.
        DataError: If the files cannot be read, hold nothing to learn, or have too many records that
            cannot be read.
        StateError: If the state cannot be resumed, or another process uses it.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp(), "numbers.csv")
    >>> rows = "".join(f"{i % 9},{i % 9 * 2}\n" for i in range(2000))
    >>> _ = path.write_text("x,y\n" + rows)
    >>> result = replay(path, target="y", task="regression", candidates=2)
    >>> result.report["learned"], round(result.model.predict({"x": 4})[0])
    (2000, 8)
    """
    given = {"target": target, "state": state, **settings}
    others = ["config", "resume", "callbacks", "progress", "guests"]
    merged = merge_settings(files, config, given, "replay()", others)
    with ProgressBar(progress) as bar:
        run = Replay(merged, resume=resume, callbacks=callbacks, guests=guests)
        return run_in_thread(run, bar)


def run_in_thread(replay: Replay, bar: ProgressBar | None = None) -> Result:
    """Run a replay in a thread with its own event loop, and wait for its end.

    Args:
        replay: The replay.
        bar: Shows its progress, in the caller's thread.
    """
    pipeline = replay.pipeline
    with start_blocking_portal() as portal:
        running: Future[Result] = portal.start_task_soon(replay.run)
        if bar is not None and bar.shown:
            while not wait((running,), REFRESH_SECONDS).done:
                bar.show(*portal.call(_read_progress, pipeline))
        result = running.result()
    if bar is not None:
        bar.show(*_read_progress(pipeline))
    return result


def _read_progress(pipeline: Pipeline) -> tuple[int, int | None, str]:
    """Records so far, how many there are by the part of the files that was read, and the score."""
    if (learner := pipeline.learner) is None:
        return 0, None, ""
    now, status = pipeline.statistics(), build_status(learner)
    done = now.samples + now.rejected
    score = None if status.sliding is None else status.sliding.served
    note = "" if score is None else f"{status.metric} {format_number(score)}"
    return done, round(done / now.progress) if now.progress else None, note


def merge_settings(
    files: Sequence[str | os.PathLike[str]],
    config: str | os.PathLike[str] | None,
    given: Mapping[str, object],
    owner: str,
    others: Iterable[str] = (),
) -> RunSettings:
    """The settings of a run file, overridden by keyword arguments.

    Args:
        files: Files to learn; without any, those of the run file.
        config: The run file, if there is one.
        given: Values by the name of a setting, or by its dotted key in a run file.
        owner: What has these arguments, in error messages.
        others: Its other arguments, which an unknown name may have meant.

    Raises:
        ConfigurationError: If a setting is unknown or breaks its rule.
    """
    paths = list_keyword_paths()
    names = (name for name in given if name.partition(".")[0] not in RunSettings.model_fields)
    check_names(names, [*paths, *others], owner)
    overrides: dict[str, object] = {"source.files": list(map(_file_name, files)) or None}
    overrides |= {paths.get(name, name): _to_plain(value) for name, value in given.items()}
    start = load(Path(config)) if config else RunSettings()
    return apply_overrides(start, overrides, owner, {path: name for name, path in paths.items()})


def _file_name(file: Any) -> str:
    if not isinstance(file, str | os.PathLike):
        raise ConfigurationError(
            f"files has {shortened(file)}, but must have names, each an argument of its own"
        )
    return os.fspath(file)


def _to_plain(value: Any) -> object:
    """A value as it would be in a run file."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple | set | frozenset) else value


def list_keyword_paths() -> dict[str, str]:
    """The dotted keys of a run file by their keyword arguments."""
    paths = {
        name: f"{section}.{name}"
        for section, field in RunSettings.model_fields.items()
        for name in type(field.default).model_fields
    }
    del paths["files"]
    return {"state": paths.pop("dir"), **paths}


_COMPARED = ("learner", "ledger", "limit", "emitted")


class Verification(NamedTuple):
    """The outcome of a verification."""

    generation: int
    samples: int
    differences: tuple[str, ...]  # names of values that are not the same, to the bit
    versions: tuple[str, ...] = ()  # phrases on what bits depend on and has changed


async def verify(path: Path, generation: int | None = None) -> Verification:
    """Learn again what a generation had learned, from the same files, and compare."""
    generations = StateDirectory(path).generations
    numbers = generations.numbers()
    if not numbers:
        raise StateError(f"{path} holds no state")
    number = numbers[-1] if generation is None else generation
    kept = generations.load(number)
    if "intake" in kept["settings"]:
        raise StateError(f"{path} was written by a daemon, whose samples can't be read again")
    if not kept["settings"].get("source"):
        raise StateError(f"{path} was not written by a run over files")
    if guests := kept["identity"].get("guests"):
        raise StateError(
            f"{path} is of a run with the guests {format_names(list(guests))}, which only the "
            "program that gave them has"
        )
    again = await _relearn(kept)
    hash_rows(kept, generations.rows)
    parts, others = list_part_trees(kept), list_part_trees(again)
    found = [
        difference
        for part, tree in parts.items()
        for name in _COMPARED
        for difference in _find_differences(
            tree[name], others[part][name], f"{part}: {name}" if part else name
        )
    ]
    versions = tuple(describe_differences(kept["numerics"], again["numerics"]))
    return Verification(number, kept["reading"]["number"], tuple(found), versions)


async def _relearn(kept: StateDict) -> StateDict:
    settings = RunSettings.model_validate(kept["settings"], strict=False)
    networks, reading = network_arguments(settings), kept["reading"]
    source = build_source(settings, networks.get("start"))
    changes = [(number, change_from_list(values)) for number, *values in reading.get("changed", ())]
    source = _SourcePrefix(source, reading["number"], reading["records"], changes)
    with TemporaryDirectory() as folder:
        state = State(folder, every_seconds=None)
        pipeline = Pipeline(
            source,
            rejections=Rejections(share=1.0, window=settings.source.rejected_window),
            state=state,
            **pipeline_arguments(settings, networks),
        )
        try:
            async with pipeline:
                async for _ in pipeline.champions():
                    pass
        except DataError:
            # To a run, having nothing to learn is an error; the state before it is there.
            if reading["number"]:
                raise
        newest = state.folder.generations.newest()
        assert newest is not None
        return hash_rows(newest.tree, state.folder.generations.rows)


@final
class _SourcePrefix(SourceWrapper):
    """The first samples of a source, with what was rejected and changed before and between them.

    Each change comes with the number of samples before it.
    """

    def __init__(
        self, source: Source, samples: int, records: int, changes: Sequence[tuple[int, Change]]
    ) -> None:
        super().__init__(source)
        self._number = 0
        self._samples = samples
        self._records = records
        self._changes = deque(changes)
        self._rest: Block | None = None  # of a block that was cut at a change
        self._last: Block | None = None

    async def receive(self) -> Block | None:
        if self._records <= 0:
            return None
        if self._changes and self._changes[0][0] == self._number:
            self._records -= 1
            return self._change(self._changes.popleft()[1])
        block, self._rest = self._rest, None
        block = block or await self._source.receive()
        if block is None:
            return None
        stop = self._samples if not self._changes else self._changes[0][0]
        if len(block) > stop - self._number:
            stop -= self._number
            if self._changes:
                self._rest = block.part(stop, len(block))
            block = block.part(0, stop)
        self._last = block
        self._number += len(block)
        self._records -= count_records(block)
        return block

    def _change(self, change: Change) -> Block:
        if self._last is None:
            return replace(make_empty_block(Schema(()), Position()), change=change)
        return replace(make_empty_block(self._last.schema, self._last.end), change=change)


def _find_differences(before: Any, now: Any, name: str) -> Iterator[str]:
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        before, now = dict(enumerate(before)), dict(enumerate(now))
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            yield from _find_differences(before.get(key), now.get(key), f"{name}.{key}")
    elif isinstance(before, np.ndarray) and isinstance(now, np.ndarray):
        same = before.dtype == now.dtype and before.shape == now.shape
        if not same or before.tobytes() != now.tobytes():
            yield name
    elif repr(before) != repr(now):  # as text, so that NaN is like NaN, and -0.0 unlike 0.0
        yield name
