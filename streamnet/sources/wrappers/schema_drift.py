"""What to do when the columns of a stream change, and the source that stops then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, final

from msgspec.structs import replace

from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Block, DeadLetter, Position, Schema
from streamnet.sources.base import Source
from streamnet.sources.rejection import Reason

__all__ = ("GuardedSource", "SchemaDrift")

POLICIES = {
    "new": ("adapt", "ignore", "reject", "stop"),
    "missing": ("adapt", "reject", "stop"),
    "changed": ("reject", "stop"),
}
REASONS = {
    "new": (Reason.NEW_COLUMN,),
    "missing": (Reason.MISSING_COLUMN,),
    "changed": (Reason.NUMBER, Reason.TIME, Reason.TYPE),
}


@final
@dataclass(frozen=True)
class SchemaDrift:
    """What to do when columns change. None is what the format does by itself.

    With a name in every record, as in JSON lines and dicts, a new column is learned from its sample
    on, and one that is missing is a missing value (adapt). A table (CSV, Parquet, Arrow) has its
    columns by file; a later one that lacks a column of the first, or has another one, stops the
    run, but for new="ignore". `open_files` sees to it that "stop" stops; around another source,
    put `GuardedSource`. The first sample of dicts is where they begin, and never drift.

    >>> SchemaDrift(new="ignore", changed="stop").stops
    ('number', 'time', 'type')
    """

    new: Literal["adapt", "ignore", "reject", "stop"] | None = None
    missing: Literal["adapt", "reject", "stop"] | None = None
    changed: Literal["reject", "stop"] | None = None  # a value that is not of its column's kind

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            allowed = POLICIES[field.name]
            if value is not None and value not in allowed:
                rule = " or ".join(map(repr, allowed))
                raise ConfigurationError(f"drift.{field.name} is {value!r}, but must be {rule}")

    @property
    def stops(self) -> tuple[str, ...]:
        """Codes of the rejected records behind which nothing is read."""
        names = [name for name in POLICIES if getattr(self, name) == "stop"]
        return tuple(str(reason) for name in names for reason in REASONS[name])


@final
class GuardedSource(Source):
    """A source that breaks off at the first record that is rejected for one of some reasons.

    Args:
        source: The source.
        stops: Codes of `DeadLetter.reason`, such as `Drift.stops`.

    >>> import anyio
    >>> from streamnet.sources.iterable import IterableSource
    >>> async def main():
    ...     source = GuardedSource(IterableSource([{"x": 1.0}, {"x": "a"}, {"x": 2.0}]), ("number",))
    ...     await source.open()
    ...     first = await source.receive()
    ...     try:
    ...         await source.receive()
    ...     except DataError as error:
    ...         return len(first), str(error)
    >>> anyio.run(main)
    (1, "iterable, record at 1: column 'x' has 'a', which is not a number (source.drift says stop)")
    """

    def __init__(self, source: Source, stops: tuple[str, ...]) -> None:
        self._source = source
        self._stops = stops
        self._error: DataError | None = None

    async def open(self, after: Position | None = None) -> Schema:
        """Open the source."""
        return await self._source.open(after)

    async def receive(self) -> Block | None:
        """The next samples before such a record; the error that tells it behind them."""
        if self._error is not None:
            raise self._error
        block = await self._source.receive()
        if block is None:
            return None
        for number, letter in enumerate(block.rejected):
            if letter.reason in self._stops:
                self._error = _make_error(letter)
                return _cut_before(block, number)
        return block

    def export_state(self, after: Position | None) -> dict[str, Any]:
        """The state of the source."""
        return self._source.export_state(after)

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Hand the state to the source."""
        self._source.restore_state(state)

    async def aclose(self) -> None:
        """Close the source."""
        await self._source.aclose()

    def progress(self) -> float | None:
        """Share of the source that was given."""
        return self._source.progress()


def _cut_before(block: Block, number: int) -> Block:
    """What comes before a rejected record; it ends where that starts, not where the next does."""
    places = block.places()
    place = int(places[number])
    part = block.part(0, place)
    marks = part.marks.copy()
    letter = block.rejected[number]
    rest = int((places[number:] == place).sum())  # rejected records up to the next sample
    marks[-1] = letter.offset, marks[-1, 1] - rest, letter.line or 0
    return replace(part, marks=marks, rejected=block.rejected[:number])


def _make_error(letter: DeadLetter) -> DataError:
    return DataError(f"{letter.place}: {letter.detail} (source.drift says stop)")
