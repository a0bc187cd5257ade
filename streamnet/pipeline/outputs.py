"""What leaves a pipeline: champions, to followers and to disk, and predictions to files."""

from __future__ import annotations

import csv
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from math import inf, isfinite
from pathlib import Path
from typing import Any, NamedTuple, final

import msgspec
import numpy as np
from anyio import Event

from streamnet.durability.files import DISK, FileSystem
from streamnet.durability.safe_file import AppendedFile
from streamnet.durability.state_directory import ModelPublisher
from streamnet.errors import ConfigurationError
from streamnet.features.encoder import Encoded
from streamnet.learning.learner import build_model
from streamnet.learning.serving import BY_REQUEST, Served
from streamnet.learning.trainer import Snapshot
from streamnet.modelfiles import safetensors_format
from streamnet.modelfiles.document import Document, build_document
from streamnet.modelfiles.model import Model
from streamnet.samples import Prediction, Task
from streamnet.settings.candidate import CandidateSettings


class ResumableSink(ABC):
    """A sink that is part of checkpoints.

    The recording stage calls it with every served block, and `export_state` at a barrier; before
    the checkpoint is written, another thread calls `sync`. What can't be made or reopened is a
    ConfigurationError, a file that is not as it was left a StateError.
    """

    name: str  # unique among the outputs of a run

    @abstractmethod
    def __call__(self, served: Served) -> None:
        """Receive a served block."""

    @abstractmethod
    def begin(self) -> None:
        """Prepare for a new run."""

    def begin_unsaved(self) -> None:
        """Prepare for a resumed run whose state does not mention this output.

        It must have no content, which would be lost.
        """
        self.begin()

    @abstractmethod
    def export_state(self) -> dict[str, Any]:
        """Flush everything to the operating system, and return what is needed to resume."""

    @abstractmethod
    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state; what was written later is truncated."""

    @abstractmethod
    def sync(self) -> None:
        """Sync to disk what was flushed."""


Sink = Callable[[Served], None]
"""Receives every served block, in order, in a worker thread; its errors end the run."""


COLUMNS = ("sample", "source", "position", "answer", "probabilities", "truth", "candidate")
ANSWER, PROBABILITIES = 3, 4  # their places
INTERVAL_COLUMNS = {Task.CLASSIFICATION: ("set",), Task.REGRESSION: ("lower", "upper")}


@final
class PredictionRows:
    """The served predictions as rows, each next to its true value.

    Columns: number of the sample; name of its file or stream; its line, or record where there are
    no lines; the prediction; the probability of each label (None for numbers); the true value, None
    if unknown; the candidate (-1 is the first baseline, -2 the ensemble, -3 what a caller got on
    request, see `Block.requested`); with ``intervals``, lower and upper bound of a number (None at
    first), or the set of labels; with an auto-encoder, the outlier score; with ``ids``, the id.

    Args:
        task: What is predicted.
        labels: Names of the classes by number, which may grow.
        outliers: Whether there is an auto-encoder.
        intervals: Whether there are prediction intervals or sets.
        ids: Whether samples have ids.
    """

    def __init__(
        self,
        *,
        task: Task,
        labels: list[str],
        outliers: bool = False,
        intervals: bool = False,
        ids: bool = False,
    ) -> None:
        self.task = task
        self.labels = labels
        self._has_outliers, self._has_intervals, self._has_ids = outliers, intervals, ids
        self.columns: tuple[str, ...] = (
            *COLUMNS,
            *(INTERVAL_COLUMNS[task] if intervals else ()),
            *(("outlier",) if outliers else ()),
            *(("id",) if ids else ()),
        )

    def list_rows(self, served: Served) -> Iterator[tuple[Any, ...]]:
        """The rows of a block, in the order of the columns; none if nothing was served."""
        if not len(served.serials):
            return iter(())
        rows = self._labels(served) if self.task is Task.CLASSIFICATION else self._numbers(served)
        if self._has_intervals:
            pairs = zip(rows, self._intervals(served), strict=True)
            rows = ((*row, *interval) for row, interval in pairs)
        block = served.predicted.encoded.block
        if block.requested is not None:
            rows = map(self._replace_answer, rows, block.requested.tolist())
        if self._has_outliers:
            scores = served.predicted.encoded.outlier.tolist()
            rows = ((*row, float(f"{s:.6g}")) for row, s in zip(rows, scores, strict=True))
        if self._has_ids:
            ids = [None] * len(block) if block.ids is None else block.ids.tolist()
            rows = ((*row, one) for row, one in zip(rows, ids, strict=True))
        return rows

    def _replace_answer(self, row: tuple[Any, ...], given: Prediction) -> tuple[Any, ...]:
        """The row of a sample that a caller got a prediction for, so far without outlier and id."""
        row = (*row[:ANSWER], given.value, given.probabilities, *row[PROBABILITIES + 1 :])
        row = (*row[: len(COLUMNS) - 1], BY_REQUEST)
        if not self._has_intervals:
            return row
        if self.task is Task.REGRESSION:
            return (*row, *(given.interval or (None, None)))
        return (*row, given.interval)

    def _places(self, served: Served) -> Iterator[tuple[int, str, int, int]]:
        block = served.predicted.encoded.block
        marks = block.marks[:-1]
        places = np.where(marks[:, 2] > 0, marks[:, 2], marks[:, 1]).tolist()
        for i, (place, serial) in enumerate(zip(places, served.serials.tolist(), strict=True)):
            yield served.predicted.first + i, block.source, place, serial

    def _labels(self, served: Served) -> Iterator[tuple[Any, ...]]:
        encoded = served.predicted.encoded
        best = served.predicted_classes.tolist()
        probabilities = served.answers.tolist()
        known = encoded.known[encoded.new].tolist()
        truth = self._true_labels(encoded)
        for i, (sample, source, place, serial) in enumerate(self._places(served)):
            names = self.labels[: known[i]]
            answer = self.labels[best[i]] if names else None
            named = dict(zip(names, probabilities[i], strict=False))
            yield sample, source, place, answer, named, truth[i], serial

    def _true_labels(self, encoded: Encoded) -> list[str | None]:
        """True labels of the samples, also of those that arrive later."""
        if encoded.timeline is None:
            return [None if k < 0 else self.labels[k] for k in encoded.label.tolist()]
        target = encoded.block.target
        return [None] * len(encoded.block) if target is None else target.tolist()

    def _numbers(self, served: Served) -> Iterator[tuple[Any, ...]]:
        block = served.predicted.encoded.block
        truth = np.full(len(block), np.nan) if block.target is None else block.target.tolist()
        answers = served.answers.tolist()
        for i, (sample, source, place, serial) in enumerate(self._places(served)):
            number = truth[i] if isfinite(truth[i]) else None
            yield sample, source, place, answers[i], None, number, serial

    def _intervals(self, served: Served) -> Iterator[tuple[Any, ...]]:
        """The cells of each row's interval or set."""
        assert served.intervals is not None
        rows = served.intervals.tolist()
        if self.task is Task.REGRESSION:
            return ((low, high) if isfinite(low) else (None, None) for low, high in rows)
        sets = ([*compress(self.labels, row)] for row in rows)
        return ((one,) for one in sets)


@final
class Predictions(ResumableSink):
    """A sink that writes every served prediction as .csv or .jsonl, see `PredictionRows`.

    In .csv, probabilities and sets of labels are JSON, and what is None is empty.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "answers.csv")
    >>> predictions = Predictions(path, task=Task.REGRESSION, labels=[])
    >>> predictions.begin()
    >>> predictions.close()
    >>> path.read_text().strip()
    'sample,source,position,answer,probabilities,truth,candidate'
    """

    name = "predictions"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        task: Task,
        labels: list[str],
        outliers: bool = False,
        intervals: bool = False,
        ids: bool = False,
        files: FileSystem = DISK,
    ) -> None:
        path = Path(path)
        if path.suffix not in (".csv", ".jsonl"):
            raise ConfigurationError(
                f"predictions is {str(path)!r}, but must end in .csv or .jsonl"
            )
        self._rows = PredictionRows(
            task=task, labels=labels, outliers=outliers, intervals=intervals, ids=ids
        )
        self._json_cells: tuple[int, ...] = (PROBABILITIES,)
        if intervals and task is Task.CLASSIFICATION:
            self._json_cells = (PROBABILITIES, len(COLUMNS))
        self._file = AppendedFile(path, "predictions", files=files)
        self._csv = path.suffix == ".csv"
        self._writer = csv.writer(self._file.text, lineterminator="\n")

    def begin(self) -> None:
        """Create the file, unless it is open already."""
        if not self._file.is_open:
            self._file.start()
            if self._csv:
                self._writer.writerow(self._rows.columns)

    def begin_unsaved(self) -> None:
        """Create the file, which must be absent or empty."""
        self._file.check_empty()
        self.begin()

    def __call__(self, served: Served) -> None:
        """Write a block's rows; an OutputError if they can't be, and too many wait already."""
        self.begin()
        if len(served.serials):
            self._write(served)
            self._file.settle()

    def _write(self, served: Served) -> None:
        rows = self._rows.list_rows(served)
        if self._csv:
            self._writer.writerows(map(self._flatten, rows))
        else:
            for row in rows:
                line = msgspec.json.encode(dict(zip(self._rows.columns, row, strict=True)))
                self._file.text.write(line.decode() + "\n")

    def _flatten(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """A row of a .csv file."""
        for place in self._json_cells:
            cell = row[place]
            flat = cell if cell is None else msgspec.json.encode(cell).decode()
            row = (*row[:place], flat, *row[place + 1 :])
        return row

    def export_state(self) -> dict[str, Any]:
        """Flush the file and return its length."""
        self.begin()
        return self._file.export_state()

    def restore_state(self, state: dict[str, Any]) -> None:
        """Reopen the file, truncated to its length in the state."""
        self._file.restore_state(state)

    def sync(self) -> None:
        """Sync to disk what was flushed."""
        self._file.sync()

    def close(self) -> None:
        """Flush and close the file, if it was opened."""
        self._file.close()


_BACKLOG = 16


@final
@dataclass(frozen=True)
class Champion:
    """The best network at one moment.

    Attributes:
        candidate: Number of the candidate, unique in its run.
        settings: Settings of its network.
        number: The sample before which its weights were copied: the start of the second round after
            the one in which it became champion, or the end of the stream.
        about: JSON metadata on the run, for `model`.
        snapshot: Weights and encoder at that moment, from which `model` is built on demand.
        part: Name of the part of the run that it belongs to; empty if there is no other.
        classes: Labels as an estimator learned them, of any type; None if they are texts.

    >>> import anyio
    >>> from streamnet.pipeline.pipeline import Pipeline
    >>> from streamnet.sources import IterableSource
    >>> rows = [{"x": i % 2, "y": "ab"[i % 2]} for i in range(300)]
    >>> async def main():
    ...     async with Pipeline(IterableSource(rows, target="y")) as pipeline:
    ...         return [champion async for champion in pipeline.champions()]
    >>> (champion,) = anyio.run(main)
    >>> champion.number, champion.model.predict({"x": 1}).tolist()
    (300, ['b'])
    """

    candidate: int
    settings: CandidateSettings
    number: int
    about: dict[str, Any]
    snapshot: Snapshot = field(repr=False)
    part: str = ""
    classes: tuple[Any, ...] | None = field(default=None, repr=False)

    @cached_property
    def model(self) -> Model:
        """The network with its encoder and labels, ready to predict and to be saved."""
        model = build_model(self.snapshot, self.about)
        return model if self.classes is None else model.with_classes(self.classes)

    def document(self, **about: Any) -> Document:
        """The document of `model`, with more metadata, without building the model."""
        return build_document(**self.snapshot.contents(), about={**self.about, **about})


@final
class ChampionBroadcast:
    """Broadcasts champions to any number of followers; the pipeline never waits for them.

    The latest 16 are kept for followers that are slow or start late.

    >>> import anyio
    >>> async def main():
    ...     champions = ChampionBroadcast()
    ...     champions.close()
    ...     return [champion async for champion in champions.follow()]
    >>> anyio.run(main)
    []
    """

    def __init__(self) -> None:
        self.kept: deque[Champion] = deque(maxlen=_BACKLOG)
        self.published: int = 0
        self.closed: bool = False
        self.changed: Event = Event()

    def keep(self, count: int) -> None:
        """Keep so many champions instead."""
        self.kept = deque(self.kept, maxlen=count)

    def publish(self, champion: Champion) -> None:
        """Add a champion."""
        self.kept.append(champion)
        self.published += 1
        self._wake()

    def close(self) -> None:
        """End the stream of champions."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self.changed = self.changed, Event()
        changed.set()

    def follow(self) -> AsyncIterator[Champion]:
        """Iterate over the champions until the stream ends."""
        return _Follower(self)


@final
class _Follower(AsyncIterator[Champion]):
    """Not a generator, which a caller that leaves its loop early would have to close."""

    def __init__(self, champions: ChampionBroadcast) -> None:
        self._champions = champions
        self._seen = 0

    async def __anext__(self) -> Champion:
        champions = self._champions
        while not (missed := min(champions.published - self._seen, len(champions.kept))):
            if champions.closed:
                raise StopAsyncIteration
            await champions.changed.wait()
        self._seen = champions.published - missed + 1
        return champions.kept[-missed]


# Seconds between two writes of emitted models. A checkpoint writes them as well, so with one
# checkpoint per second there are no other writes.
PUBLISH_SECONDS = 1.5


class EmittedModel(NamedTuple):
    """An emitted champion that is to be written."""

    generation: int
    champion: Champion


@final
class ModelQueue:
    """Numbers the emitted champions of one part of a run, and writes those that wait together."""

    def __init__(self, publisher: ModelPublisher, clock: Callable[[], float]) -> None:
        self.publisher = publisher
        self.emitted: int = 0  # models so far
        self._clock = clock
        self.waiting: deque[EmittedModel] = deque()
        self._publish_next = -inf

    def __len__(self) -> int:
        return len(self.waiting)

    def emit(self, champion: Champion) -> EmittedModel:
        """Number an emitted champion."""
        self.emitted += 1
        return EmittedModel(self.emitted, champion)

    def add(self, emission: EmittedModel) -> None:
        """Queue an emitted model, which is written together with others that follow shortly.

        It is skipped if enough newer ones wait, since it would be removed again at once.
        """
        self.waiting.append(emission)
        while len(self.waiting) > self.publisher.keep:
            self.waiting.popleft()

    def seconds_left(self) -> float:
        """Seconds until queued models are to be written; infinite if there are none."""
        return self._publish_next - self._clock() if self.waiting else inf

    def write(self, lineage: Any) -> None:
        """Write the queued models.

        Raises:
            OSError: If that fails.
        """
        self._publish_next = self._clock() + PUBLISH_SECONDS
        for number, emission in enumerate(self.waiting, start=1):
            about = {"generation": emission.generation, "lineage": lineage}
            champion = emission.champion
            data = safetensors_format.encode_parts(champion.document(**about))
            self.publisher.publish(
                data,
                emission.generation,
                lineage,
                champion.number,
                point=number == len(self.waiting),
            )
        self.waiting.clear()
