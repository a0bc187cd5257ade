"""Sinks, which receive served blocks, and the one that writes predictions to a file."""

from __future__ import annotations

import csv
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any, final

import msgspec
import numpy as np

from streamnet.durability.appended_file import AppendedFile
from streamnet.durability.files import DISK, FileSystem
from streamnet.errors import ConfigurationError
from streamnet.learning.evaluator import get_target_numbers
from streamnet.learning.serving import Served
from streamnet.samples import Task


class ResumableSink(ABC):
    """A sink that is part of checkpoints.

    The recording stage calls it with every served block, and `export_state` at a barrier; before
    the checkpoint is written, another thread calls `sync`.
    """

    name: str  # unique among the outputs of a run

    @abstractmethod
    def __call__(self, served: Served) -> None:
        """Receive a served block."""

    @abstractmethod
    def begin(self) -> None:
        """Prepare for a new run.

        Raises:
            ConfigurationError: If the file can't be made.
        """

    def begin_unsaved(self) -> None:
        """Prepare for a resumed run whose state does not mention this output.

        Raises:
            StateError: If the file has content, which would be lost.
            ConfigurationError: If it can't be created.
        """
        self.begin()

    @abstractmethod
    def export_state(self) -> dict[str, Any]:
        """Flush everything to the operating system, and return what is needed to resume.

        Raises:
            OSError: If something can't be written.
        """

    @abstractmethod
    def restore_state(self, state: dict[str, Any]) -> None:
        """Resume from an exported state; what was written later is truncated.

        Raises:
            StateError: If the file was replaced.
            ConfigurationError: If it can't be written.
        """

    @abstractmethod
    def sync(self) -> None:
        """Sync to disk what was flushed.

        Raises:
            OSError: If that fails.
        """


Sink = Callable[[Served], None]
"""Receives every served block, in order, in a worker thread; its errors end the run."""


COLUMNS = ("sample", "source", "position", "answer", "probabilities", "truth", "candidate")


@final
class Predictions(ResumableSink):
    """A sink that writes every served prediction next to its true value.

    Columns: number of the sample; name of its file; its line, or record where there are no lines;
    the prediction; the probability of each label (a JSON object, empty for numbers); the true
    value, empty if unknown; the candidate (-1 is the first baseline, -2 the ensemble); with an
    auto-encoder, the outlier score.

    Args:
        path: A file name that ends in .csv or .jsonl.
        task: Classification or regression.
        labels: Names of the classes by number; may grow.
        outliers: Whether there is an auto-encoder.
        files: The file system.

    Raises:
        ConfigurationError: If the suffix is unknown.

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
        files: FileSystem = DISK,
    ) -> None:
        path = Path(path)
        if path.suffix not in (".csv", ".jsonl"):
            raise ConfigurationError(
                f"predictions is {str(path)!r}, but must end in .csv or .jsonl"
            )
        self.task = task
        self.labels = labels
        self.columns: tuple[str, ...] = (*COLUMNS, "outlier") if outliers else COLUMNS
        self._file = AppendedFile(path, "predictions", files=files)
        self._begun = False
        self._csv = path.suffix == ".csv"
        self._writer = csv.writer(self._file.text, lineterminator="\n")

    def begin(self) -> None:
        """Create the file, unless it is open already.

        Raises:
            ConfigurationError: If it can't be created.
        """
        if self._begun:
            return
        self._file.start()
        self._begun = True
        if self._csv:
            self._writer.writerow(self.columns)

    def begin_unsaved(self) -> None:
        """Create the file, which must be absent or empty.

        Raises:
            StateError: If it has content.
            ConfigurationError: If it can't be created.
        """
        self._file.check_empty()
        self.begin()

    def __call__(self, served: Served) -> None:
        """Write a block's rows.

        Raises:
            OutputError: If they can't be written, and too many wait already.
        """
        self.begin()
        if len(served.serials):
            self._write(served)
            self._file.settle()

    def _write(self, served: Served) -> None:
        rows = self._labels(served) if self.task is Task.CLASSIFICATION else self._numbers(served)
        if len(self.columns) > len(COLUMNS):
            scores = served.predicted.encoded.outlier.tolist()
            rows = ((*row, float(f"{s:.6g}")) for row, s in zip(rows, scores, strict=True))
        if self._csv:
            self._writer.writerows(
                (*row[:4], row[4] and msgspec.json.encode(row[4]).decode(), *row[5:])
                for row in rows
            )
        else:
            for row in rows:
                line = msgspec.json.encode(dict(zip(self.columns, row, strict=True)))
                self._file.text.write(line.decode() + "\n")

    def _places(self, served: Served) -> Iterator[tuple[int, str, int, int]]:
        block = served.predicted.encoded.block
        marks = block.marks[:-1]
        places = np.where(marks[:, 2] > 0, marks[:, 2], marks[:, 1]).tolist()
        for i, (place, serial) in enumerate(zip(places, served.serials.tolist(), strict=True)):
            yield served.predicted.first + i, block.source, place, serial

    def _labels(self, served: Served) -> Iterator[tuple[Any, ...]]:
        encoded = served.predicted.encoded
        best = served.answers.argmax(axis=1).tolist()
        probabilities = served.answers.tolist()
        known, truth = encoded.known.tolist(), encoded.label.tolist()
        for i, (sample, source, place, serial) in enumerate(self._places(served)):
            names = self.labels[: known[i]]
            answer = self.labels[best[i]] if names else None
            named = {
                name: float(f"{value:.6g}")
                for name, value in zip(names, probabilities[i], strict=False)
            }
            label = None if truth[i] < 0 else self.labels[truth[i]]
            yield sample, source, place, answer, named, label, serial

    def _numbers(self, served: Served) -> Iterator[tuple[Any, ...]]:
        truth = get_target_numbers(served.predicted.encoded).tolist()
        answers = served.answers.tolist()
        for i, (sample, source, place, serial) in enumerate(self._places(served)):
            number = truth[i] if isfinite(truth[i]) else None
            yield sample, source, place, answers[i], None, number, serial

    def export_state(self) -> dict[str, Any]:
        """Flush the file and return its length."""
        self.begin()
        return self._file.export_state()

    def restore_state(self, state: dict[str, Any]) -> None:
        """Reopen the file, truncated to its length in the state."""
        self._file.restore_state(state)
        self._begun = True

    def sync(self) -> None:
        """Sync to disk what was flushed."""
        self._file.sync()

    def close(self) -> None:
        """Flush and close the file, if it was opened.

        Raises:
            OutputError: If something can't be written.
        """
        self._file.close()
