"""Samples as JSON lines: checked, counted, with or without target."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from msgspec import json

from streamnet.errors import ConfigurationError
from streamnet.errors import SampleError
from streamnet.sources.kinds import MISSING
from streamnet.sources.records import Rules
from streamnet.sources.records import find_records
from streamnet.sources.values import Reading

__all__ = ("Lines", "counted", "line_of", "lines_of")

LONGEST = 1 << 20
LONGEST_SAMPLE = LONGEST // 2  # where a target will be added
_RULES = Rules(longest=LONGEST)
_READING = Reading(frozenset(MISSING), typed=True)


class Lines(NamedTuple):
    """Samples as they go into a journal."""

    data: bytes  # each line with its end
    samples: int
    rejected: int  # those of them that are known to have no target


def counted(data: bytes) -> Lines:
    r"""JSON lines as they came; blank ones don't count.

    Raises:
        ConfigurationError: If a line is too long.

    >>> counted(b'{"x": 1}\n\n{"x": 2}')
    Lines(data=b'{"x": 1}\n\n{"x": 2}\n', samples=2, rejected=0)
    """
    if not data.endswith(b"\n"):
        data += b"\n"
    records = find_records(data, 0, True, _RULES, data.count(b"\n"))
    if records.overlong:
        raise ConfigurationError(
            f"line {records.lines + 1} has more than {LONGEST:,} bytes, which is the most"
        )
    return Lines(data, len(records.begin), 0)


def lines_of(samples: Sequence[Any], target: str) -> Lines:
    r"""Samples with their target as JSON lines; those that have none are counted, and in it, too.

    Whoever reads them rejects these as any other line, so that they are kept and told.

    Raises:
        SampleError: If one can't be written as JSON, or is too long.

    >>> lines_of([{"x": 1, "y": "a"}, {"x": 1}], "y")
    Lines(data=b'{"x":1,"y":"a"}\n{"x":1}\n', samples=2, rejected=1)
    """
    good = sum(
        isinstance(sample, Mapping) and not _READING.is_missing(sample.get(target))
        for sample in samples
    )
    data = b"".join(_encoded(number, sample) + b"\n" for number, sample in enumerate(samples))
    lines = counted(data) if data else Lines(b"", 0, 0)
    return lines._replace(rejected=len(samples) - good)


def line_of(number: int, sample: Any, target: str) -> str:
    """A sample without target as JSON, without line end.

    Raises:
        SampleError: If it can't be written as JSON, or is too long.

    >>> line_of(0, {"x": 1, "y": "a"}, "y")
    '{"x":1}'
    """
    if not isinstance(sample, Mapping):
        raise SampleError(number, f"it is {sample!r}, but must be names with values")
    line = _encoded(number, {name: v for name, v in sample.items() if name != target})
    if len(line) > LONGEST_SAMPLE:
        rule = f"must have <= {LONGEST_SAMPLE:,}"
        raise SampleError(number, f"it has {len(line):,} bytes, but {rule}")
    return line.decode()


def _encoded(number: int, sample: Any) -> bytes:
    try:
        return json.encode(sample)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise SampleError(number, f"it can't be written as JSON: {error}") from error
