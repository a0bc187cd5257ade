"""Category columns: a bounded vocabulary per field, with hashed buckets beyond the bound."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, MutableMapping, Sequence
from typing import final
from zlib import crc32

from streamnet.errors import ModelFileError

__all__ = ("Vocabulary", "add_spellings", "escape_surrogates", "match_spelling")

HASH_BUCKETS = 256
MAX_VALUE_LENGTH = 256  # characters of a value that are kept
BOOLEAN_SPELLINGS = {
    spelling: (word, word.title(), word.upper())
    for word in ("true", "false")
    for spelling in (word, word.title(), word.upper())
}
_INTEGER = re.compile(r"(0|-?[1-9][0-9]*)(?:\.0)?")


def escape_surrogates(value: str) -> str:
    """``value`` such that it can be written as UTF-8: lone surrogates become escapes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="backslashreplace").decode()
    return value


def match_spelling(value: str, known: Container[str | None]) -> str:
    """``value``, or if it is known in another spelling only, that one.

    Delimited text has truth values as its writer spells them, all else has true and false; whole
    numbers may have been floats when they were written. What was learned of the one is to be known
    of the other.

    Args:
        value: A word as it was read.
        known: The words that were learned.

    >>> match_spelling("true", {"False", "True"}), match_spelling("true", {"yes"})
    ('True', 'true')
    >>> match_spelling("7.0", {"7", "8"}), match_spelling("7", {"7.0"}), match_spelling("7.5", {"7"})
    ('7', '7.0', '7.5')
    """
    if value in known:
        return value
    return next((other for other in _spellings(value) if other in known), value)


def add_spellings(numbers: MutableMapping[str | None, int], names: Iterable[str]) -> None:
    """Give words that are spelled otherwise the numbers that `match_spelling` finds for them.

    Args:
        numbers: Numbers of words that are known, which stay as they are.
        names: Those of them whose other spellings are to be known, too.

    >>> numbers = {"True": 0, "7.0": 1}
    >>> add_spellings(numbers, ["True", "7.0"])
    >>> numbers
    {'True': 0, '7.0': 1, '7': 1, 'TRUE': 0, 'true': 0}
    """
    others = {other for name in names for other in _spellings(name)} - numbers.keys()
    numbers.update({other: numbers[match_spelling(other, numbers)] for other in sorted(others)})


def _spellings(value: str) -> Sequence[str]:
    """How a truth value or a whole number is spelled; of all other words nothing."""
    if (whole := _INTEGER.fullmatch(value)) is not None:
        return whole[1], f"{whole[1]}.0"
    return BOOLEAN_SPELLINGS.get(value, ())


def _shorten_value(value: str) -> str:
    """``value``, or for a very long one its beginning and a checksum."""
    if len(value) <= MAX_VALUE_LENGTH:
        return value
    return f"{value[: MAX_VALUE_LENGTH - 9]}~{crc32(value.encode()):08x}"


@final
class Vocabulary(dict[str | None, int]):
    """Keys of the values of one field, numbered in order of appearance.

    Looking up a new value with ``vocabulary[value]`` appends it; beyond ``limit`` values, new ones
    share 256 hashed keys. `key` looks up only, and knows true as True and 7.0 as 7, see
    `match_spelling`; who learns tells them apart, but for what was inherited. ``None`` is the
    missing value.

    >>> jobs = Vocabulary(base=1 << 40, limit=1000)
    >>> [jobs[job] - (1 << 40) for job in ("cook", None, "smith", "cook")]
    [1, 0, 2, 1]
    >>> jobs.key("pilot"), jobs.values_seen
    (-1, ['cook', 'smith'])
    """

    def __init__(self, *, base: int, limit: int) -> None:
        super().__init__()
        self._base = base
        self._limit = limit
        self.values_seen: list[str] = []
        self.inherited = 0  # values that an earlier stream brought, known in each spelling
        self[None] = base

    def __missing__(self, value: str) -> int:
        known = self._known(value)
        if known >= 0:
            return known
        self.values_seen.append(name := _shorten_value(escape_surrogates(value)))
        self[name] = key = self._base + len(self.values_seen)
        return key

    def key(self, value: str | None) -> int:
        """Key of ``value`` without learning it; -1 if it is new and could still be learned."""
        if value is None:
            return self._base
        found = self.get(value)
        if found is None:
            found = self.get(match_spelling(value, self))
        return self._known(value) if found is None else found

    def learn(self, column: Sequence[str | None]) -> Iterable[int]:
        """Keys of ``column`` in order, new values appended."""
        return map(self.__getitem__, column)

    def look_up(self, column: Sequence[str | None]) -> Iterable[int]:
        """Keys of ``column`` in order, -1 for new values."""
        return map(self.key, column)

    def inherit(self) -> None:
        """Learn values as those of so far that another stream spells otherwise."""
        self.inherited = len(self.values_seen)
        add_spellings(self, self.values_seen)

    def restore_state(self, values: Sequence[str], inherited: int = 0) -> None:
        """Take over what was learned.

        Args:
            values: That were seen, in order of appearance.
            inherited: How many of them an earlier stream brought.
        """
        if len(values) > self._limit:
            raise ModelFileError(f"a field has {len(values)} categories, more than its cap")
        for value in values[:inherited]:
            self[value]
        self.inherit()
        for value in values[inherited:]:
            self[value]
        if self.values_seen != list(values):
            raise ModelFileError("the categories of a field are not distinct")

    def _known(self, value: str) -> int:
        name = _shorten_value(escape_surrogates(value))
        found = self.get(name)
        if found is not None:
            return found
        if len(self.values_seen) < self._limit:
            return -1
        return self._base + self._limit + 1 + crc32(name.encode()) % HASH_BUCKETS
