"""Class labels: numbered in order of appearance, merged and retired by an operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features.columns.category import (
    NumberedNames,
    add_spellings,
    escape_surrogates,
    match_spelling,
)
from streamnet.samples import Block, ClassChange, DeadLetter, constant_column
from streamnet.sources.columns import format_names, suggest_column

RETIRED = -1  # in place of the number of a class


class MovedClass(NamedTuple):
    """Numbers of a class and of the one that it was merged into, or `RETIRED`."""

    number: int
    into: int


@final
class ClassRedirects:
    """Where the probability of merged and retired classes goes; immutable.

    That of a merged class is added to the other one's, that of retired ones is divided among all
    others in proportion to theirs.

    Args:
        targets: Number of the class that each class stands for: its own, another one's, or
            `RETIRED`; shape=(classes,).

    >>> redirects = ClassRedirects(np.array([0, 0, RETIRED, 3]))
    >>> redirects.apply(np.array([[0.1, 0.2, 0.5, 0.2]]), np.array([4])).round(2).tolist()
    [[0.6, 0.0, 0.0, 0.4]]
    """

    def __init__(self, targets: NDArray[np.integer]) -> None:
        self.targets: NDArray[np.int32] = targets.astype(np.int32)
        numbers = np.arange(len(targets))
        self.changed: NDArray[np.intp] = np.flatnonzero(self.targets != numbers)
        self._merged = [int(c) for c in self.changed if self.targets[c] != RETIRED]
        self._retires = len(self._merged) < len(self.changed)

    def apply(self, probabilities: NDArray[Any], known: NDArray[np.integer]) -> NDArray[Any]:
        """Redirect probabilities.

        Args:
            probabilities: shape=(..., n, C), of which the classes that are known count.
            known: Number of classes known before each sample, shape=(n,).

        Returns:
            A copy; of a retired class that alone was probable, all others share the probability.
        """
        width = probabilities.shape[-1]
        out = probabilities.copy()
        for number in self._merged:
            if number < width:
                out[..., self.targets[number]] += out[..., number]
        out[..., self.changed[self.changed < width]] = 0.0
        if not self._retires:
            return out
        # Unlike `sum`, this adds one by one, so that it does not matter how wide the array is.
        total = np.cumsum(out, axis=-1)[..., -1:]
        empty = total <= 0.0  # but not NaN
        active = np.arange(width) < known[:, None]
        active[:, self.changed[self.changed < width]] = False
        share = active / np.maximum(active.sum(axis=1, keepdims=True), 1)
        with np.errstate(invalid="ignore", over="ignore"):  # of unavailable candidates
            scaled = np.where(empty, share, out / np.where(empty, 1.0, total))
        return scaled.astype(out.dtype)

    def exclude(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """A copy in which no bound is low enough for a merged or retired class to be in a set."""
        out = probabilities.copy()
        out[..., self.changed[self.changed < out.shape[-1]]] = -1.0
        return out


# Reasons of rejected records, of which only the label is kept.
TOO_MANY_CLASSES, UNKNOWN_CLASS, RETIRED_CLASS, CLASS_CHANGE = CLASS_REASONS = (
    "too-many-classes",
    "unknown-class",
    "retired-class",
    "class-change",
)
RAW_LENGTH = 4096


@final
class EncodedLabels(Struct, frozen=True, eq=False, gc=False):
    """Class numbers of consecutive samples."""

    label: NDArray[np.int32]  # shape=(n,), -1 without a target; not to be changed
    known: NDArray[np.int32]  # shape=(n,), classes known before the sample; not to be changed
    refused: tuple[int, ...]  # samples whose label exceeds the limit


@final
class LabelEncoder(NumberedNames):
    """Numbers the classes of a stream in order of appearance; beyond the limit it rejects them.

    Classes that are ``declared`` are known from the start, and all others are rejected. One that is
    merged or retired keeps its number.

    >>> labels = LabelEncoder(max_classes=1000)
    >>> numbered = labels.number(np.array(["ham", "spam", "ham", None], object))
    >>> numbered.label.tolist(), numbered.known.tolist(), labels.names
    ([0, 1, 0, -1], [0, 1, 2, 2], ['ham', 'spam'])
    """

    def __init__(self, *, max_classes: int, declared: Sequence[str] = ()) -> None:
        limit = len(declared) or max_classes
        if limit > max_classes:
            raise ConfigurationError(
                f"classes has {limit} labels, but must have at most max_classes, {max_classes}"
            )
        super().__init__(first=0, missing=-1, limit=limit, what="class labels of the model")
        self._is_declared = bool(declared)
        self.redirects: ClassRedirects | None = None  # None: no class was merged or retired
        self._retired: set[str | None] = set()  # labels of retired classes, in every spelling
        for label in declared:
            self.add(escape_surrogates(label))

    def number(self, target: NDArray[Any]) -> EncodedLabels:
        """Number the labels of a block in order, learning new ones."""
        n = len(target)
        try:
            if n == 1:  # fast path for single samples
                label = constant_column(1, self[target.item()], np.int32)
            else:
                label = np.fromiter(map(self.__getitem__, target.tolist()), np.int32, n)
        except KeyError:
            return self._number_new(target)
        return EncodedLabels(label, constant_column(n, len(self.names), np.int32), ())

    def look_up(self, target: NDArray[Any]) -> NDArray[np.int32]:
        """Numbers of labels without learning: -1 for new ones, as without a target."""
        return np.array([self._known(label) for label in target.tolist()], np.int32)

    def refused(self, target: NDArray[Any]) -> list[int]:
        """Samples that `number` would reject; nothing is learned."""
        free = self.free
        if len(target) <= free and not self._retired:
            return []
        labels = target.tolist()
        unknown = set(labels) - self.keys()
        if len(unknown) <= free and not any(map(self._is_retired, unknown)):
            return []
        new: set[str] = set()
        refused = []
        for i, label in enumerate(labels):
            if label in self or (name := escape_surrogates(label)) in self or name in new:
                continue
            if len(new) < free and not self._is_retired(name):
                new.add(name)
            else:
                refused.append(i)
        return refused

    def drop_refused(self, numbered: EncodedLabels, block: Block) -> tuple[EncodedLabels, Block]:
        """Move the rejected samples of a numbered block to its rejected records."""
        kept = np.delete(np.arange(len(block)), numbered.refused)
        rest = EncodedLabels(numbered.label[kept], numbered.known[kept], ())
        return rest, self.reject(block, numbered.refused)

    def reject(self, block: Block, refused: Sequence[int]) -> Block:
        """Move samples of a block to its rejected records."""
        kept = np.delete(np.arange(len(block)), refused)
        records = (*block.rejected, *(self.refusal(block, i) for i in refused))
        rejected = sorted(records, key=lambda record: record.offset)
        return replace(block.take(kept), rejected=tuple(rejected))

    def refusal(self, block: Block, i: int) -> DeadLetter:
        """Build the rejected record of a sample whose label cannot be learned."""
        assert block.target is not None
        return self.refuse_label(block.target[i], block.source, block.marks[i])

    def refuse_label(self, label: str, source: str, mark: NDArray[np.int64]) -> DeadLetter:
        """Build the rejected record of a label that cannot be learned, see `Block.marks`."""
        reason, rule = (
            TOO_MANY_CLASSES,
            f"is new, but all {self._limit} classes (max_classes) are taken",
        )
        if self._is_retired(escape_surrogates(label)):
            reason, rule = RETIRED_CLASS, "is that of a class that is retired"
        elif self._is_declared:
            rule = f"is none of the declared classes {format_names(self.active)}."
            reason, rule = UNKNOWN_CLASS, f"{rule}{suggest_column(label, self.active)}".rstrip(".")
        return _build_letter(reason, f"label {label[:80]!r} {rule}", label, source, mark)

    def order_probabilities(self, given: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        """Probabilities by label as rows, shape=(n, labels); of unknown labels they are lost."""
        rows = np.zeros((len(given), len(self.names)))
        for row, probabilities in zip(rows, given, strict=True):
            for label, probability in probabilities.items():
                if (number := self._known(label)) >= 0:
                    row[number] += probability
        return rows

    def order_sets(self, given: Sequence[Iterable[str] | None]) -> NDArray[np.float64]:
        """Sets of labels as rows, shape=(n, labels): 1 in the set, 0 not, NaN without a set."""
        rows = np.zeros((len(given), len(self.names)))
        for row, labels in zip(rows, given, strict=True):
            if labels is None:
                row[:] = np.nan
                continue
            for label in labels:
                if (number := self._known(label)) >= 0:
                    row[number] = 1.0
        return rows

    def _number_new(self, target: NDArray[Any]) -> EncodedLabels:
        label = np.empty(len(target), np.int32)
        known = np.empty(len(target), np.int32)
        refused = []
        for i, name in enumerate(target.tolist()):
            known[i] = len(self.names)
            number = self.get(name)
            if number is None:
                number = self._learn(name)
                if number < 0:
                    refused.append(i)
            label[i] = number
        return EncodedLabels(label, known, tuple(refused))

    def _known(self, label: str | None) -> int:
        found = self.get(label)
        if found is None:
            found = self.find(escape_surrogates(label or ""))
        return -1 if found is None else found

    def _learn(self, label: str) -> int:
        name = escape_surrogates(label)
        if name in self:
            return self[name]
        return self.add(name) if self.free and not self._is_retired(name) else -1

    def _is_retired(self, label: str | None) -> bool:
        if not self._retired or label is None:
            return False
        return match_spelling(label, self._retired if self.inherited else ()) in self._retired

    # ------------------------------------------------------------------ changes

    @property
    def active(self) -> list[str]:
        """Labels of the classes that are neither merged nor retired."""
        if self.redirects is None:
            return self.names
        changed = {*self.redirects.changed.tolist()}
        return [name for number, name in enumerate(self.names) if number not in changed]

    @property
    def changes(self) -> dict[str, str | None]:
        """What each merged class is read as, and None for each retired one."""
        if self.redirects is None:
            return {}
        targets = self.redirects.targets.tolist()
        return {
            self.names[number]: None if targets[number] == RETIRED else self.names[targets[number]]
            for number in self.redirects.changed.tolist()
        }

    def check_change(self, change: ClassChange) -> MovedClass:
        """Check a change of the classes; return the numbers of what it moves.

        Raises:
            ConfigurationError: If a label is not that of a class, or its class was changed before
                so that the change is impossible.
        """
        number = self._find_class("label", change.label)
        before = self.changes.get(self.names[number], self.names[number])
        if before not in (self.names[number], None):
            raise ConfigurationError(
                f"label is {change.label!r}, but that class is merged into {before!r}"
            )
        if change.into is None:
            if before is None:
                raise ConfigurationError(
                    f"label is {change.label!r}, but that class is retired already"
                )
            if len(self.active) == 1:
                raise ConfigurationError(
                    f"label is {change.label!r}, but that is the last class, which must stay"
                )
            return MovedClass(number, RETIRED)
        into = self._find_class("into", change.into)
        if self.redirects is not None and into < len(self.redirects.targets):
            into = int(self.redirects.targets[into])
        if into == RETIRED:
            raise ConfigurationError(f"into is {change.into!r}, but that class is retired")
        if into == number:
            raise ConfigurationError(f"into is {change.into!r}, but must be another class")
        return MovedClass(number, into)

    def is_done(self, change: ClassChange) -> bool:
        """Whether a change has been made before."""
        changes = self.changes
        into = change.into if change.into is None else changes.get(change.into, change.into)
        return change.label in changes and changes[change.label] == into

    def change(self, change: ClassChange) -> MovedClass:
        """Merge or retire a class; raises the errors of `check_change`."""
        moved = self.check_change(change)
        targets = np.arange(len(self.names), dtype=np.int32)
        if self.redirects is not None:
            targets[: len(self.redirects.targets)] = self.redirects.targets
        targets[(targets == moved.number) | (np.arange(len(targets)) == moved.number)] = moved.into
        self.restore_redirects(targets)
        return moved

    def refuse_change(
        self, change: ClassChange, problem: str, source: str, mark: NDArray[np.int64]
    ) -> DeadLetter:
        """Build the rejected record of a change that is impossible."""
        return _build_letter(CLASS_CHANGE, problem, change.label, source, mark)

    def inherit(self) -> None:
        """Accept the labels so far in the spellings of another stream, unless they are retired."""
        self.inherited: int = len(self.names)
        add_spellings(self, [name for name in self.names if name in self])

    def restore_redirects(self, targets: NDArray[np.integer]) -> None:
        """Restore the classes that labels are read as, see `ClassRedirects`.

        Raises:
            ModelFileError: If they do not fit the labels.
        """
        targets = np.asarray(targets)
        classes = len(targets)
        if (
            targets.ndim != 1
            or classes > len(self.names)
            or not ((targets >= RETIRED) & (targets < classes)).all()
            # What a class stands for must stand for itself.
            or any(into != RETIRED and targets[into] != into for into in targets.tolist())
        ):
            raise ModelFileError(f"{self._what}: the merged and retired ones do not fit")
        self.redirects = ClassRedirects(targets)
        for label, number in list(self.items()):
            if label is None or number >= classes or targets[number] == number:
                continue
            if targets[number] == RETIRED:
                del self[label]
                self._retired.add(label)
            else:
                self[label] = int(targets[number])
        for number in self.redirects.changed.tolist():  # retired ones that were merged since
            if (into := int(targets[number])) != RETIRED and self.names[number] not in self:
                self[self.names[number]] = into
                self._retired.discard(self.names[number])

    def _find_class(self, argument: str, label: str) -> int:
        """The number of the class that had a label at first."""
        name = escape_surrogates(label)
        if name not in self.names:
            name = match_spelling(name, self.names)
        if name not in self.names:
            raise ConfigurationError(
                f"{argument} is {label!r}, but must be a class of the model: "
                f"{format_names(self.active)}.{suggest_column(label, self.active)}".rstrip(".")
            )
        return self.names.index(name)


def _build_letter(
    reason: str, detail: str, label: str, source: str, mark: NDArray[np.int64]
) -> DeadLetter:
    offset, _, line = mark.tolist()
    return DeadLetter(source, offset, line or None, reason, detail, label[:RAW_LENGTH])
