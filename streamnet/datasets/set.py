"""`Set`: labeled vectors held in memory, saved as CSV, libSVM or JSON."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Self, final, overload

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamnet.datasets.loader import Header, Rejected, read_vectors
from streamnet.durability.files import explain_write_errors, write_durably
from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Block, DeadLetter, Field, Kind, Schema, Task, make_marks
from streamnet.sources.inference import WHITESPACE
from streamnet.sources.text.schema import has_header


@final
@dataclass(frozen=True, slots=True, eq=False, init=False)
class Sample:
    """An immutable observation of a `Set`.

    Samples are equal, and have equal hashes, if they have the same vector, label and value.

    Args:
        vector: The inputs, shape=(d,) with d >= 1; a read-only float64 copy is kept.
        label: The class, for classification.
        value: The number to predict, for regression.

    Raises:
        ConfigurationError: If the vector is empty, has another shape, or a number is not finite.

    >>> Sample([1, 0.5], label="rock") == Sample([1.0, 0.5], label="rock")
    True
    >>> Sample([float("nan")], value=1.0)
    Traceback (most recent call last):
        ...
    streamnet.errors.ConfigurationError: vector has nan as number 0, but must be finite
    """

    vector: NDArray[np.float64]
    label: str | None
    value: float | None

    def __init__(
        self, vector: ArrayLike, label: str | None = None, value: float | None = None
    ) -> None:
        if label is not None:
            check_text("label", label)
        try:
            finite = value is None or isfinite(value)
        except (TypeError, OverflowError):
            raise ConfigurationError(f"value is {value!r:.80}, but must be a number") from None
        if not finite:
            raise ConfigurationError(f"value is {value}, but must be finite")
        # The fields of a frozen class can only be set this way.
        object.__setattr__(self, "vector", _check_vector(vector))
        object.__setattr__(self, "label", label)
        object.__setattr__(self, "value", None if value is None else float(value))

    def __reduce__(self) -> tuple[Any, ...]:
        # Through `__init__`, because pickle restores arrays as writeable ones.
        return Sample, (self.vector, self.label, self.value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sample):
            return NotImplemented
        same = self.label == other.label and self.value == other.value
        return same and np.array_equal(self.vector, other.vector)

    def __hash__(self) -> int:
        return hash((self.vector.tobytes(), self.label, self.value))


def check_text(what: str, text: object) -> None:
    """Refuse a name that is no text, or has lone surrogates, which can't be written as UTF-8."""
    if not isinstance(text, str):
        raise ConfigurationError(f"{what} is {text!r}, but must be a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{what} is {text!r}, but must be valid Unicode") from error


def _check_vector(given: ArrayLike) -> NDArray[np.float64]:
    try:
        vector = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"vector is {given!r}, but must be numbers") from error
    if vector.ndim != 1 or not vector.size:
        raise ConfigurationError(f"vector has shape {vector.shape}, but must have one axis of >= 1")
    if not np.isfinite(vector).all():
        at = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise ConfigurationError(f"vector has {vector[at]} as number {at}, but must be finite")
    vector += 0.0  # turns -0.0 to 0.0, so that equal vectors have equal bytes
    vector.flags.writeable = False
    return vector


VERSION = 1


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """A sample in a document."""

    vector: list[float]
    label: str | None = None
    value: float | None = None


class Document(msgspec.Struct, forbid_unknown_fields=True, tag_field="format", tag="streamnet set"):
    """A whole set, as in its JSON file."""

    task: Task
    target: str
    columns: list[str]
    labels: list[str]
    samples: list[Row]
    version: int = VERSION


def encode_csv(columns: Sequence[str], target: str, samples: Iterable[Sample]) -> bytes:
    """Encode samples as CSV with a header and the target last.

    Refuses a name or label that would be read differently, and a header that would be read as a
    sample.
    """
    for name in (*columns, target):
        _check_representable("column", name, "CSV", name.strip(WHITESPACE) == name)
    rows = [(*columns, target)]
    for sample in samples:
        truth = _format_target(sample)
        _check_representable("label", truth, "CSV", truth.strip(WHITESPACE) == truth)
        rows.append((*map(repr, sample.vector.tolist()), truth))
    if not has_header(rows, ()):
        raise ConfigurationError(
            f"columns are {columns}, which CSV would take for a sample: save the set as .json"
        )
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode()


def encode_libsvm(samples: Iterable[Sample]) -> bytes:
    """Encode samples as lines ``label index:value ...``, with indices from 1, without zeros.

    Refuses a label that would be read differently.
    """
    lines = []
    for sample in samples:
        truth = _format_target(sample)
        plain = not any(c.isspace() or c in ":#,\0" for c in truth)
        _check_representable("label", truth, "libSVM", plain)
        pairs = [f"{i}:{x!r}" for i, x in enumerate(sample.vector.tolist(), 1) if x]
        lines.append(" ".join((truth, *pairs)) + "\n")
    return "".join(lines).encode()


def _format_target(sample: Sample) -> str:
    return repr(sample.value) if sample.label is None else sample.label


def _check_representable(what: str, text: str, format_name: str, kept: bool) -> None:
    if not (kept and text):
        raise ConfigurationError(
            f"{what} is {text!r}, which {format_name} would not keep: save the set as .json"
        )


@final
class Set:
    """Labeled samples of one task, in order, whose vectors have the same length.

    Classes are numbered in the order of first occurrence. Classes are only added: neither a second
    file nor a slice renumbers them.

    Args:
        task: Whether samples have labels or values.
        columns: Names of the inputs; f0, f1 and so on by default.
        target: Name of the target.
        labels: Classes that are known from the start.

    Attributes:
        rejected: Records that `load` collected instead of raising.

    Raises:
        ConfigurationError: If a name is duplicate or not a valid text, or labels are given for a
            regression.

    >>> train = Set("classification")
    >>> train.extend([Sample([0, 1], label="rock"), Sample([1, 1], label="mine")])
    >>> train.labels, train.class_numbers().tolist(), train.outputs().tolist()
    (('rock', 'mine'), [0, 1], [[1.0, 0.0], [0.0, 1.0]])
    >>> Sample([0, 1], label="rock") in train, train[1:].labels
    (True, ('rock', 'mine'))
    """

    __hash__: ClassVar[None]  # type: ignore[assignment]  # mutable

    def __init__(
        self,
        task: Task | str,
        *,
        columns: Sequence[str] = (),
        target: str = "target",
        labels: Iterable[str] = (),
    ) -> None:
        if task not in list(Task):
            raise ConfigurationError(f"task is {task!r}, but must be one of {', '.join(Task)}")
        for name, times in Counter((*columns, target)).items():
            check_text("column", name)
            if times > 1:
                raise ConfigurationError(f"columns and target have {name!r} twice")
        self.task: Task = Task(task)
        self.target = target
        self.rejected: tuple[DeadLetter, ...] = ()
        self._columns = tuple(columns)
        self._samples: list[Sample] = []
        self._distinct: set[Sample] = set()
        self._numbers: dict[str, int] = {}
        for label in labels:
            self.add_class(label)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the inputs; empty before the first sample unless they were given."""
        return self._columns

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels by class number."""
        return tuple(self._numbers)

    def class_number(self, label: str) -> int:
        """The class number of a label.

        Raises:
            ConfigurationError: If the label is unknown.
        """
        if label not in self._numbers:
            known = ", ".join(map(repr, self._numbers)) or "none"
            raise ConfigurationError(f"label is {label!r}, but must be one of: {known}")
        return self._numbers[label]

    def add_class(self, label: str) -> int:
        """Add a class unless it is known, and return its number.

        Raises:
            ConfigurationError: If the task is a regression, or the label is not a valid text.
        """
        if self.task is Task.REGRESSION:
            raise ConfigurationError(f"label is {label!r}, but a regression has no classes")
        check_text("label", label)
        return self._numbers.setdefault(label, len(self._numbers))

    def counts(self) -> dict[str, int]:
        """Number of samples of each class, by class number; empty for a regression."""
        found = Counter(sample.label for sample in self._samples)
        return {label: found[label] for label in self._numbers}

    def add(self, sample: Sample) -> None:
        """Append a sample.

        Raises:
            ConfigurationError: If it is not a sample, lacks a label or value, or its vector has
                another length. The set is unchanged then.
        """
        if not isinstance(sample, Sample):
            raise ConfigurationError(f"sample is {sample!r:.80}, but must be a Sample")
        needed = "label" if self.task is Task.CLASSIFICATION else "value"
        if getattr(sample, needed) is None:
            raise ConfigurationError(f"{needed} is None, but a {self.task} needs one")
        size = len(self._columns)
        if size and len(sample.vector) != size:
            raise ConfigurationError(
                f"vector has length {len(sample.vector)}, but must have {size} as the others"
            )
        if not size:
            self._columns = tuple(f"f{number}" for number in range(len(sample.vector)))
        if self.task is Task.CLASSIFICATION and sample.label is not None:
            self._numbers.setdefault(sample.label, len(self._numbers))
        self._samples.append(sample)
        self._distinct.add(sample)

    def extend(self, samples: Iterable[Sample]) -> None:
        """Append samples, such as those of another set; stop at one that `add` refuses."""
        for sample in list(samples):  # a copy, since it may be this set
            self.add(sample)

    def vectors(self) -> NDArray[np.float64]:
        """All inputs, shape=(n, d); a copy."""
        if not self._samples:
            return np.empty((0, len(self._columns)))
        return np.stack([sample.vector for sample in self._samples])

    def class_numbers(self) -> NDArray[np.int64]:
        """The class numbers, shape=(n,).

        Raises:
            ConfigurationError: If the task is a regression.
        """
        if self.task is Task.REGRESSION:
            raise ConfigurationError("task is regression, but only a classification has classes")
        return np.array([self._numbers[str(s.label)] for s in self._samples], np.int64)

    def outputs(self) -> NDArray[np.float64]:
        """Target outputs of a network: one-hot, shape=(n, C), or values, shape=(n, 1)."""
        if self.task is Task.REGRESSION:
            return self.targets()[:, None]
        return np.eye(len(self._numbers))[self.class_numbers()]

    def targets(self) -> NDArray[Any]:
        """The labels as an array of objects, or the values as float64; shape=(n,)."""
        if self.task is Task.REGRESSION:
            return np.array([sample.value for sample in self._samples], np.float64)
        labels = np.empty(len(self), np.object_)
        labels[:] = [sample.label for sample in self._samples]
        return labels

    def block(self, source: str = "set") -> Block:
        """Convert all samples to a block, for encoders and pipelines.

        Args:
            source: Name of the set in positions.
        """
        fields = tuple(Field(name, Kind.NUMBER) for name in self._columns)
        schema = Schema(fields, self.target, self.task)
        marks = make_marks(0, len(self))
        return Block(schema, source, self.vectors(), (), self.targets(), marks)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        task: Task | str | None = None,
        target: str | None = None,
        header: Header = "auto",
        format: str | None = None,  # noqa: A002 - as in open_files
        rejected: Rejected = "raise",
        inputs: int | None = None,
        first_index: int | None = None,
    ) -> Self:
        r"""Load the samples of a file in order.

        Any file that `streamnet.open_files` reads can be loaded, compressed or not, if all columns
        except the target are numbers or times, without missing values. Labels are the texts in the
        file without outer space. A ``.json`` file is one written by `save` unless a format is
        given.

        Args:
            path: The file. It can't be a pipe, since it is read twice.
            task: What is predicted; None infers it from the target's values.
            target: Name of the target column, or without a header its number from 0; the last
                column by default.
            header: Whether delimited text has a header.
            format: As for `streamnet.open_files`; None infers it from name or content.
            rejected: Whether invalid records are raised or collected in `rejected`.
            inputs: For libSVM, the length of vectors; the highest index by default.
            first_index: For libSVM, 0 or 1; by default 1 unless there is an index 0.

        Raises:
            DataError: If the file can't be read, has no samples, or an invalid record is raised,
                with file, line and reason.
            SchemaError: If a requested column does not exist.
            ConfigurationError: If a setting is invalid.

        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "rocks.csv")
        >>> _ = path.write_text("0.5,1,R\n0.25,2,M\n0.75,0,R\n")
        >>> rocks = Set.load(path)
        >>> rocks.labels, rocks.counts(), rocks.vectors().shape
        (('R', 'M'), {'R': 2, 'M': 1}, (3, 2))
        """
        if task is not None and task not in list(Task):
            raise ConfigurationError(f"task is {task!r}, but must be one of {', '.join(Task)}")
        if Path(path).suffix == ".json" and format is None:
            return cls._load_document(os.fspath(path))
        found = read_vectors(
            path,
            task=None if task is None else Task(task),
            target=target,
            header=header,
            format=format,
            rejected=rejected,
            inputs=inputs,
            first_index=first_index,
        )
        schema = found.schema
        made = cls(
            schema.task or Task.CLASSIFICATION,
            columns=[field.name for field in schema.fields],
            target=schema.target or "target",
        )
        name = "value" if made.task is Task.REGRESSION else "label"
        for vector, truth in zip(found.vectors, found.targets, strict=True):
            made.add(Sample(vector, **{name: truth}))
        made.rejected = found.rejected
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the set to a file atomically.

        ``.json`` keeps everything but `rejected`. ``.csv``, with a header and the target last, does
        not keep classes without samples. ``.libsvm`` and ``.svm`` do not keep names either, and
        `load` needs the number of inputs if the last ones are zero in all samples.

        Args:
            path: The file. Its suffix determines the format.

        Raises:
            ConfigurationError: If the suffix is unknown, or the format can't represent a label or
                the names of columns.
            StreamnetError: If the file can't be written.
        """
        suffix = Path(path).suffix
        if suffix == ".csv":
            data = encode_csv(self._columns, self.target, self._samples)
        elif suffix in (".libsvm", ".svm"):
            data = encode_libsvm(self._samples)
        elif suffix == ".json":
            rows = [Row(s.vector.tolist(), s.label, s.value) for s in self._samples]
            names = list(self._columns), list(self.labels)
            data = msgspec.json.encode(Document(self.task, self.target, *names, rows)) + b"\n"
        else:
            raise ConfigurationError(
                f"path is {os.fspath(path)!r}, but must end in .csv, .json, .libsvm or .svm"
            )
        with explain_write_errors(f"set {path}"):
            write_durably(path, data)

    @classmethod
    def _load_document(cls, path: str) -> Self:
        try:
            document = msgspec.json.decode(Path(path).read_bytes(), type=Document)
        except OSError as error:
            raise DataError(f"{path} can't be read: {error.strerror}") from error
        except (msgspec.DecodeError, RecursionError) as error:
            raise DataError(f"{path} is not a saved set: {error}") from error
        if document.version != VERSION:
            raise DataError(f"{path} has version {document.version}, but must have {VERSION}")
        try:
            made = cls(
                document.task,
                columns=document.columns,
                target=document.target,
                labels=document.labels,
            )
            made.extend(Sample(np.array(r.vector), r.label, r.value) for r in document.samples)
        except ConfigurationError as error:
            raise DataError(f"{path} is damaged: {error}") from error
        return made

    def __contains__(self, sample: object) -> bool:
        return sample in self._distinct

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    @overload
    def __getitem__(self, index: int | np.integer) -> Sample: ...

    @overload
    def __getitem__(self, index: slice | Sequence[int] | NDArray[Any]) -> Set: ...

    def __getitem__(
        self, index: int | np.integer | slice | Sequence[int] | NDArray[Any]
    ) -> Sample | Set:
        """A sample by its index; for a slice, indices or a mask, a set that knows all labels."""
        if isinstance(index, int | np.integer):
            return self._samples[index]
        numbers = (
            range(len(self))[index] if isinstance(index, slice) else self._resolve_indices(index)
        )
        part = Set(self.task, columns=self._columns, target=self.target, labels=self._numbers)
        part.extend(self._samples[number] for number in numbers)
        return part

    def __copy__(self) -> Set:
        # The default would share lists, so that samples added to one set would be in both.
        part = self[:]
        part.rejected = self.rejected
        return part

    def _resolve_indices(self, index: Sequence[int] | NDArray[Any]) -> Iterable[int]:
        """The indices, or those of the samples that a mask selects."""
        mask = np.asarray(index)
        if mask.dtype != np.bool_:
            return index
        if mask.shape != (len(self),):
            raise ConfigurationError(
                f"index is a mask of shape {mask.shape}, but must have one entry for each of "
                f"{len(self)} samples"
            )
        return np.flatnonzero(mask).tolist()

    def __eq__(self, other: object) -> bool:
        """Whether samples, classes, names and task are equal."""
        if not isinstance(other, Set):
            return NotImplemented
        compared = attrgetter("task", "target", "columns", "labels", "_samples")
        return bool(compared(self) == compared(other))

    def __repr__(self) -> str:
        return f"<Set of {len(self)} samples, {self.task}, {len(self._columns)} inputs>"
