"""`TextFormat`: the interface of formats that turn the records of a text into samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import DataError
from streamnet.samples import Block, DeadLetter, Schema, SparseRows
from streamnet.sources.rejection import Rejection, drop_rejected
from streamnet.sources.text.records import RecordRules, Records, find_records

__all__ = ("MAX_RECORD_BYTES", "Chunk", "Head", "TextFormat")

MAX_RECORD_BYTES = 1 << 20  # unless another length is given


class Head(NamedTuple):
    """The beginning of a file."""

    file: str  # name for messages
    data: bytes
    start: int  # where its first record may begin: behind a byte order mark
    final: bool  # it is all of the file

    def records(self, rules: RecordRules, most: int) -> Records:
        """Its first complete records."""
        return find_records(self.data, self.start, self.final, rules, most)

    def empty(self, rules: RecordRules) -> DataError:
        """The error that says why it has no first record."""
        if self.records(rules, 1).overlong:
            return self.overlong(rules)
        return DataError(f"{self.file} holds no samples")

    def overlong(self, rules: RecordRules) -> DataError:
        """The error that says that its first record is too long to tell anything from it."""
        return DataError(
            f"{self.file} has a first record of more than {rules.longest} bytes:"
            " it may be no text, or max_record_bytes is too small"
        )


@final
@dataclass(frozen=True)
class Chunk:
    """Complete records of a file."""

    source: str
    data: bytes
    records: Records
    marks: NDArray[np.int64]  # shape=(n + 1, 3), as those of a block
    letters: dict[int, DeadLetter]  # records that are no samples whatever they say

    def __len__(self) -> int:
        return len(self.records.begin)

    def first(self, count: int) -> Chunk:
        """The first ``count`` of these records."""
        letters = {row: letter for row, letter in self.letters.items() if row < count}
        records = self.records.first(count)
        return replace(self, records=records, marks=self.marks[: count + 1], letters=letters)

    def raw(self, row: int) -> bytes:
        """The bytes of a record."""
        return self.data[self.records.begin[row] : self.records.end[row]]

    def good(self) -> NDArray[np.bool_]:
        """True for the records that may be samples, shape=(n,)."""
        good = np.ones(len(self), np.bool_)
        good[list(self.letters)] = False
        return good

    def letter(self, row: int, problem: Rejection) -> DeadLetter:
        """The dead letter of a record."""
        return problem.letter(self.source, self.marks[row], self.raw(row))

    def block(
        self,
        schema: Schema,
        numbers: NDArray[np.float64],
        words: tuple[NDArray[np.object_], ...],
        target: NDArray[Any] | None,
        problems: dict[int, Rejection],
        sparse: SparseRows | None = None,
    ) -> Block:
        """The block of all records but those in ``letters`` and ``problems``."""
        letters = dict(self.letters)
        for row, problem in problems.items():
            letters.setdefault(row, self.letter(row, problem))
        block = Block(schema, self.source, numbers, words, target, self.marks, sparse)
        return drop_rejected(block, letters)


class TextFormat(ABC):
    """What makes samples of the records of a text. A `TextSource` calls it, one file at a time."""

    @property
    @abstractmethod
    def rules(self) -> RecordRules:
        """What separates the records of the file that was started."""

    def head_rules(self) -> Sequence[RecordRules]:
        """Rules under each of which the head of the first file has to be complete."""
        return (self.rules,)

    @property
    def fewest(self) -> int:
        """Records that the head of a live stream has at least."""
        return 1

    @abstractmethod
    def begin(self, head: Head) -> Schema:
        """Tell from the head of the first file what its columns are.

        Raises:
            DataError: if there are no samples in it.
            SchemaError: if a column that was asked for does not exist.
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the format."""

    def export_state(self) -> dict[str, Any]:
        """What the head of the first file has told, but for the schema, as plain values."""
        return {}

    @abstractmethod
    def restore_state(self, state: Mapping[str, Any], schema: Schema) -> None:
        """Take over what another format has told, in place of `begin`."""

    def start(self, head: Head, *, again: bool = False) -> Records:
        """Start a file: the records at its top that are no samples, such as a header.

        Args:
            head: Its beginning.
            again: The file may be one that began anew, and then lack what stood at its top.
        """
        del again
        return head.records(self.rules, 0)

    @abstractmethod
    def read(self, chunk: Chunk) -> tuple[Block, int]:
        """The samples of a chunk and the number of records that were used, at least one.

        Fewer than all are used where the schema grows: that sample begins the next block.
        """
