"""Category columns: a bounded vocabulary per field, with hashed buckets beyond the bound."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, MutableMapping, Sequence
from typing import Any, final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features.base import FieldSlot, InputArrays, Transformer, defer_copy
from streamnet.features.frozen import FrozenCategory, KnownRows
from streamnet.features.statistics import NumberStatistics
from streamnet.samples import Block, Kind
from streamnet.settings.encoder import EncoderSettings

HASH_BUCKETS = 256
MAX_VALUE_LENGTH = 256  # characters; longer values are shortened
BOOLEAN_SPELLINGS = {
    spelling: (word, word.title(), word.upper())
    for word in ("true", "false")
    for spelling in (word, word.title(), word.upper())
}
_INTEGER = re.compile(r"(0|-?[1-9][0-9]*)(?:\.0)?")


def escape_surrogates(value: str) -> str:
    """Escape lone surrogates, so that ``value`` can be encoded as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="backslashreplace").decode()
    return value


def match_spelling(value: str, known: Container[str | None]) -> str:
    """Return ``value``, or its known spelling if only another one is known.

    Writers spell truth values differently, and may write integers as floats.

    >>> match_spelling("true", {"False", "True"}), match_spelling("true", {"yes"})
    ('True', 'true')
    >>> [match_spelling(value, {"7", "8.0"}) for value in ("7.0", "8", "7.5")]
    ['7', '8.0', '7.5']
    """
    if value in known:
        return value
    return next((other for other in _spellings(value) if other in known), value)


def add_spellings(numbers: MutableMapping[str | None, int], names: Iterable[str]) -> None:
    """Add the other spellings of ``names``, with the numbers that `match_spelling` finds for them.

    >>> numbers = {"True": 0, "7.0": 1}
    >>> add_spellings(numbers, ["True", "7.0"])
    >>> numbers
    {'True': 0, '7.0': 1, '7': 1, 'TRUE': 0, 'true': 0}
    """
    others = {other for name in names for other in _spellings(name)} - numbers.keys()
    numbers.update({other: numbers[match_spelling(other, numbers)] for other in sorted(others)})


def _spellings(value: str) -> Sequence[str]:
    """Spellings of a truth value or an integer; none of other words."""
    if (whole := _INTEGER.fullmatch(value)) is not None:
        return whole[1], f"{whole[1]}.0"
    return BOOLEAN_SPELLINGS.get(value, ())


def _shorten_value(value: str) -> str:
    """Shorten a very long value to its beginning and a checksum."""
    if len(value) <= MAX_VALUE_LENGTH:
        return value
    return f"{value[: MAX_VALUE_LENGTH - 9]}~{crc32(value.encode()):08x}"


def _is_shortened(value: str) -> bool:
    return len(value) == MAX_VALUE_LENGTH and value[-9] == "~"


class NumberedNames(dict[str | None, int]):
    """Numbers of distinct names in order of appearance, up to a limit; ``missing`` is that of None.

    ``what`` says in messages what is named.
    """

    def __init__(self, *, first: int, missing: int, limit: int, what: str) -> None:
        super().__init__({None: missing})
        self._first = first
        self._limit = limit
        self._what = what
        self.names: list[str] = []  # append-only
        self.inherited: int = 0  # names learned from an earlier stream, known in each spelling

    @property
    def free(self) -> int:
        """How many more names can be added."""
        return self._limit - len(self.names)

    def add(self, name: str) -> int:
        """Append a new name and return its number."""
        self[name] = number = self._first + len(self.names)
        self.names.append(name)
        return number

    def find(self, value: str | None) -> int | None:
        """Number of a value in any spelling, without learning it; None if it is new."""
        found = self.get(value)
        if found is None and value is not None:
            found = self.get(match_spelling(value, self))
        return found

    def inherit(self) -> None:
        """Accept all names so far in the spellings of another stream."""
        self.inherited = len(self.names)
        add_spellings(self, self.names)

    def restore_state(self, names: Sequence[str], inherited: int = 0) -> None:
        """Restore learned names, of which the first ``inherited`` came from an earlier stream.

        Raises:
            ModelFileError: If there are too many names, or one is there twice.
        """
        if len(names) > self._limit:
            raise ModelFileError(f"{self._what}: {len(names)} names exceed the limit")
        for place, name in enumerate(names):
            if place == inherited:
                self.inherit()
            self._restore(name)
        if inherited >= len(names):
            self.inherit()
        if self.names != list(names):
            raise ModelFileError(f"{self._what}: the names are not distinct")

    def _restore(self, name: str) -> None:
        if name not in self:
            self.add(name)


@final
class Vocabulary(NumberedNames):
    """Keys of the values of one column, numbered in order of appearance.

    Looking up a new value with ``vocabulary[value]`` appends it; beyond ``limit`` values, new ones
    share 256 hashed keys. `key` does not append, and identifies true with True and 7.0 with 7, see
    `match_spelling`; learning tells them apart, except for inherited values. None is the missing
    value, with the key ``base``.

    >>> jobs = Vocabulary(base=1 << 40, limit=1000)
    >>> [jobs[job] - (1 << 40) for job in ("cook", None, "smith", "cook")]
    [1, 0, 2, 1]
    >>> jobs.key("pilot"), jobs.names
    (-1, ['cook', 'smith'])
    """

    def __init__(self, *, base: int, limit: int) -> None:
        super().__init__(first=base + 1, missing=base, limit=limit, what="categories of a column")
        self._base = base

    def __missing__(self, value: str) -> int:
        known = self._known(value)
        return known if known >= 0 else self.add(_shorten_value(escape_surrogates(value)))

    def key(self, value: str | None) -> int:
        """Key of ``value`` without learning it; -1 if it is new and could be appended."""
        found = self.get(value)
        if found is not None:  # fast path
            return found
        found = self.find(value)
        return self._known(str(value)) if found is None else found

    def learn(self, column: Sequence[str | None]) -> Iterable[int]:
        """Keys of ``column`` in order, appending new values."""
        return map(self.__getitem__, column)

    def look_up(self, column: Sequence[str | None]) -> Iterable[int]:
        """Keys of ``column`` in order, -1 for new values."""
        return map(self.key, column)

    def _restore(self, name: str) -> None:
        self[name]

    def _known(self, value: str) -> int:
        name = _shorten_value(escape_surrogates(value))
        found = self.get(name)
        if found is not None:
            return found
        if len(self.names) < self._limit:
            return -1
        return self._base + self._limit + 1 + crc32(name.encode()) % HASH_BUCKETS


@final
class CategoryColumns(Transformer, kinds=[Kind.CATEGORY]):
    """Encodes each category as an active row."""

    def __init__(self, settings: EncoderSettings, statistics: NumberStatistics) -> None:
        super().__init__(settings, statistics)
        self._vocabularies: list[Vocabulary] = []
        self._plan: list[tuple[int, int, Vocabulary]] = []  # source, key column, vocabulary

    @property
    def vocabularies(self) -> Sequence[Vocabulary]:
        """Vocabularies by column."""
        return self._vocabularies

    def append(self, slot: FieldSlot) -> None:
        """Add a category column."""
        self._vocabularies.append(Vocabulary(base=slot.base, limit=self.settings.max_categories))

    def plan(self, slots: Sequence[FieldSlot], sources: Mapping[str, int], first_key: int) -> int:
        """Plan a key column for each column."""
        own = [slot for slot in slots if slot.field.kind in self.kinds]
        self._plan = [
            (sources.get(slot.field.name, -1), first_key + i, self._vocabularies[slot.nth])
            for i, slot in enumerate(own)
        ]
        return len(own)

    def transform(self, block: Block, arrays: InputArrays, learn: bool) -> int:
        """Write the key of each category."""
        for source, key, vocabulary in self._plan:
            if source < 0:
                arrays.keys[:, key] = vocabulary[None]
                continue
            values = block.words[source].tolist()
            found = vocabulary.learn(values) if learn else vocabulary.look_up(values)
            arrays.keys[:, key] = np.fromiter(found, np.int64, len(values))
        return len(self._plan)

    def export_state(self) -> dict[str, Any]:
        """Export the values of all vocabularies."""
        return {"vocabularies": [defer_copy(one.names) for one in self._vocabularies]}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore the values of all vocabularies."""
        inherited = state["inherited"][1:]  # the first number is that of the labels
        columns = zip(self._vocabularies, state["vocabularies"], inherited, strict=True)
        for vocabulary, values, count in columns:
            vocabulary.restore_state(values, count)

    def freeze(self, slot: FieldSlot, rows: KnownRows) -> FrozenCategory:
        """Return the rows of a column by value."""
        vocabulary = self._vocabularies[slot.nth]
        if any(map(_is_shortened, vocabulary.names)):
            raise ConfigurationError(
                f"column {slot.field.name!r} has values of more than {MAX_VALUE_LENGTH} characters"
            )
        spellings = {s for name in vocabulary.names for s in (name, *_spellings(name))}
        found = {s: vocabulary.key(s) for s in sorted(spellings)}
        first = slot.base + len(vocabulary.names) + 1
        full = not vocabulary.free
        return FrozenCategory(
            slot.field,
            rows.find(slot.base),
            {s: rows.find(key) for s, key in found.items()},
            tuple(rows.find(first + i) for i in range(HASH_BUCKETS)) if full else (),
        )

    def describe(self, slot: FieldSlot) -> dict[str, Any]:
        """Count the distinct values."""
        return {"categories": len(self._vocabularies[slot.nth].names)}

    def decode_code(self, slot: FieldSlot, code: int) -> str | None:
        """Return the value of a code that is not hashed."""
        names = self._vocabularies[slot.nth].names
        return names[code - 1] if code <= len(names) else None

    def reconstruct(
        self,
        slot: FieldSlot,
        dense: NDArray[Any],
        active: NDArray[np.floating],
        codes: NDArray[np.int64],
    ) -> list[str | None]:
        """Return the likeliest values; values that share a hashed code cannot be told apart."""
        names = self._vocabularies[slot.nth].names
        named = codes <= len(names)
        if not named.any():
            return []
        values = [None, *names]
        best = codes[named][active[:, named].argmax(axis=1)]
        return [values[code] for code in best.tolist()]
