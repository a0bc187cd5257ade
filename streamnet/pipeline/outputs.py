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

__all__ = ("COLUMNS", "Predictions", "ResumableSink", "Sink")


class ResumableSink(ABC):
    """A sink that knows how much it has written.

    The recording stage calls it with every served block, and `export_state` at a cut; the state's
    thread then calls `sync`, before the checkpoint is written that says how long the file is.
    """

    name: str  # unique among the outputs of a run

    @abstractmethod
    def __call__(self, served: Served) -> None:
        """Take a served block."""

    @abstractmethod
    def begin(self) -> None:
        """Make ready for a run that begins anew.

        Raises:
            ConfigurationError: If the file can't be made.
        """

    def begin_unsaved(self) -> None:
        """Make ready for a run that goes on, but whose state knows nothing of this output.

        Raises:
            StateError: If the file holds something, which would be lost.
            ConfigurationError: If it can't be made.
        """
        self.begin()

    @abstractmethod
    def export_state(self) -> dict[str, Any]:
        """Hand all that was taken to the operating system, and say what is needed to go on.

        Raises:
            OSError: If something can't be written.
        """

    @abstractmethod
    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on as the output did whose state this is; what it wrote later is cut off.

        Raises:
            StateError: If the file is not the same any more.
            ConfigurationError: If it can't be written.
        """

    @abstractmethod
    def sync(self) -> None:
        """Put on the disk what was handed to the operating system.

        Raises:
            OSError: If that fails.
        """


Sink = Callable[[Served], None]
"""Takes every served block in order, in a worker thread; what it raises ends the run."""


COLUMNS = ("sample", "source", "position", "answer", "probabilities", "truth", "candidate")


@final
class Predictions(ResumableSink):
    """A sink that writes a row for each sample that was scored.

    Columns: number of the sample; name of its file; its line, or record where there are no lines;
    the answer; the share of each label (a JSON object, empty for numbers); the truth, empty if
    there is none; the candidate that answered (-1 is the first baseline, -2 the ensemble of all);
    with an auto-encoder, how unusual the sample is.

    Args:
        path: A file that ends in .csv or .jsonl.
        task: Classification or regression.
        labels: Names of the classes by number; may grow.
        outliers: Whether there is an auto-encoder.
        files: The file system.

    Raises:
        ConfigurationError: If the suffix is another.

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
        self.columns = (*COLUMNS, "outlier") if outliers else COLUMNS
        self._file = AppendedFile(path, "predictions", files=files)
        self._begun = False
        self._csv = path.suffix == ".csv"
        self._writer = csv.writer(self._file.text, lineterminator="\n")

    def begin(self) -> None:
        """Make the file, unless it was begun before or gone on with.

        Raises:
            ConfigurationError: If it can't be made.
        """
        if self._begun:
            return
        self._file.start()
        self._begun = True
        if self._csv:
            self._writer.writerow(self.columns)

    def begin_unsaved(self) -> None:
        """Make the file, which must not hold anything.

        Raises:
            StateError: If it does.
            ConfigurationError: If it can't be made.
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
        shares = served.answers.tolist()
        known, truth = encoded.known.tolist(), encoded.label.tolist()
        for i, (sample, source, place, serial) in enumerate(self._places(served)):
            names = self.labels[: known[i]]
            answer = self.labels[best[i]] if names else None
            named = {
                name: float(f"{share:.6g}") for name, share in zip(names, shares[i], strict=False)
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
        """Write out what there is, and say how much it is."""
        self.begin()
        return self._file.export_state()

    def restore_state(self, state: dict[str, Any]) -> None:
        """Go on with the file, of which what was written later is cut off."""
        self._file.restore_state(state)
        self._begun = True

    def sync(self) -> None:
        """Put on the disk what was written out."""
        self._file.sync()

    def close(self) -> None:
        """Write out and close the file; one that was never begun is left alone.

        Raises:
            OutputError: If something can't be written.
        """
        self._file.close()
