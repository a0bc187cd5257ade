"""Class labels, numbered in order of first appearance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.categories import add_spellings
from streamnet.features.categories import as_spelled
from streamnet.features.categories import printable
from streamnet.repeated import repeated
from streamnet.samples import Block
from streamnet.samples import DeadLetter

__all__ = ("TOO_MANY_CLASSES", "ClassLabels", "Numbered")

TOO_MANY_CLASSES = "too-many-classes"  # why a record is rejected; of it only the label is kept
RAW_LENGTH = 4096


@final
class Numbered(Struct, frozen=True, eq=False, gc=False):
    """Class numbers of consecutive samples."""

    label: NDArray[np.int32]  # shape=(n,), -1 without a target; not to be changed
    known: NDArray[np.int32]  # shape=(n,), classes known before the sample; not to be changed
    refused: tuple[int, ...]  # samples whose label was one too many


@final
class ClassLabels:
    """The classes of a stream.

    >>> labels = ClassLabels(max_classes=1000)
    >>> numbered = labels.number(np.array(["ham", "spam", "ham", None], object))
    >>> numbered.label.tolist(), numbered.known.tolist(), labels.names
    ([0, 1, 0, -1], [0, 1, 2, 2], ['ham', 'spam'])
    """

    def __init__(self, *, max_classes: int) -> None:
        self._max_classes = max_classes
        self._numbers: dict[str | None, int] = {None: -1}
        self.names: list[str] = []  # append-only
        self.inherited = 0  # names that an earlier stream brought, known in each spelling

    def number(self, target: NDArray[Any]) -> Numbered:
        """Number the labels of a block in order, learning new ones."""
        n, numbers = len(target), self._numbers
        try:
            if n == 1:  # the short way for one sample at a time
                label = repeated(1, numbers[target.item()], np.int32)
            else:
                label = np.fromiter(map(numbers.__getitem__, target.tolist()), np.int32, n)
        except KeyError:
            return self._number_new(target)
        return Numbered(label, repeated(n, len(self.names), np.int32), ())

    def look_up(self, target: NDArray[Any]) -> NDArray[np.int32]:
        """Numbers of labels without learning any: -1 for new ones, as without a target."""
        return np.array([self._known(label) for label in target.tolist()], np.int32)

    def fitting(self, target: NDArray[Any]) -> int:
        """How many of the first samples have a label for which there is a place."""
        refused = self.refused(target)
        return refused[0] if refused else len(target)

    def refused(self, target: NDArray[Any]) -> list[int]:
        """The samples that `number` would refuse; nothing is learned."""
        room = self._max_classes - len(self.names)
        if len(target) <= room:
            return []
        labels = target.tolist()
        if len(set(labels) - self._numbers.keys()) <= room:
            return []
        new: set[str] = set()
        refused = []
        for i, label in enumerate(labels):
            if label in self._numbers:
                continue
            name = printable(label)
            if name in self._numbers or name in new:
                continue
            if len(new) < room:
                new.add(name)
            else:
                refused.append(i)
        return refused

    def without_refused(self, numbered: Numbered, block: Block) -> tuple[Numbered, Block]:
        """A block that was numbered, of which those that were refused are rejected records now."""
        kept = np.delete(np.arange(len(block)), numbered.refused)
        letters = (*block.rejected, *(self.refusal(block, i) for i in numbered.refused))
        rejected = sorted(letters, key=lambda letter: letter.offset)
        rest = Numbered(numbered.label[kept], numbered.known[kept], ())
        return rest, replace(block.take(kept), rejected=tuple(rejected))

    def refusal(self, block: Block, i: int) -> DeadLetter:
        """The rejected record of a block's sample whose label is one too many."""
        label = block.target[i]  # type: ignore[index]  # it has one
        offset, _, line = block.marks[i].tolist()
        rule = f"is new, but all {self._max_classes} classes (max_classes) are taken"
        return DeadLetter(
            source=block.source,
            offset=offset,
            line=line or None,
            reason=TOO_MANY_CLASSES,
            detail=f"label {label[:80]!r} {rule}",
            raw=label[:RAW_LENGTH],
        )

    def inherit(self) -> None:
        """Learn labels as those of so far that another stream spells otherwise."""
        self.inherited = len(self.names)
        add_spellings(self._numbers, self.names)

    def restore_state(self, names: Sequence[str], inherited: int = 0) -> None:
        """Take over the classes.

        Args:
            names: In order of appearance.
            inherited: How many of them an earlier stream brought.
        """
        if len(names) > self._max_classes:
            raise ModelFileError(f"the model has {len(names)} classes, more than its cap")
        for name in names[:inherited]:
            self._learn(name)
        self.inherit()
        for name in names[inherited:]:
            self._learn(name)
        if self.names != list(names):
            raise ModelFileError("the model's class labels are not distinct")

    def _number_new(self, target: NDArray[Any]) -> Numbered:
        label = np.empty(len(target), np.int32)
        known = np.empty(len(target), np.int32)
        refused = []
        for i, name in enumerate(target.tolist()):
            known[i] = len(self.names)
            number = self._numbers.get(name)
            if number is None:
                number = self._learn(name)
                if number < 0:
                    refused.append(i)
            label[i] = number
        return Numbered(label, known, tuple(refused))

    def _known(self, label: str | None) -> int:
        found = self._numbers.get(label)
        if found is None:
            found = self._numbers.get(as_spelled(printable(label or ""), self._numbers), -1)
        return found

    def _learn(self, label: str) -> int:
        name = printable(label)
        if name in self._numbers:
            return self._numbers[name]
        if len(self.names) == self._max_classes:
            return -1
        self._numbers[name] = len(self.names)
        self.names.append(name)
        return self._numbers[name]
