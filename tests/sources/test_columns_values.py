"""Single values of every type as a number, a time and a word."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest

from streamnet.sources.columns import Columns, ParseOptions, parse_number, parse_time, parse_word
from streamnet.sources.rejection import Reason, to_text

READING = ParseOptions(frozenset({"", "?"}), typed=False)
NAN = math.nan
DAY = datetime(2024, 2, 29, tzinfo=UTC).timestamp()

# A value as a number, as a time, and as a word; a reason where it can't be one.
VALUES: list[tuple[object, float | Reason, float | Reason, str | Reason | None]] = [
    (None, NAN, NAN, None),
    (" ? ", NAN, NAN, None),
    (" 1.5 ", 1.5, 1.5, "1.5"),
    ("1e999", Reason.NOT_FINITE, Reason.NOT_FINITE, "1e999"),
    ("1709164800123", 1709164800123.0, DAY + 0.123, "1709164800123"),
    (1709164800123, 1709164800123.0, DAY + 0.123, "1709164800123"),
    ("one", Reason.NUMBER, Reason.TIME, "one"),
    ("inf", Reason.NOT_FINITE, Reason.TIME, "inf"),
    ("2024-02-29", Reason.NUMBER, DAY, "2024-02-29"),
    (3, 3.0, 3.0, "3"),
    (10**400, Reason.NOT_FINITE, Reason.NOT_FINITE, str(10**400)),
    (10**5000, Reason.NOT_FINITE, Reason.NOT_FINITE, Reason.NOT_FINITE),
    (2.5, 2.5, 2.5, "2.5"),
    (3.0, 3.0, 3.0, "3"),
    (-0.0, 0.0, 0.0, "0"),
    (1e22, 1e22, 1e13, "10000000000000000000000"),
    (np.float16(3), 3.0, 3.0, "3"),
    (NAN, NAN, NAN, None),
    (math.inf, Reason.NOT_FINITE, Reason.NOT_FINITE, "inf"),
    (Decimal("2.50"), 2.5, 2.5, "2.50"),
    (Decimal("NaN"), NAN, NAN, None),
    (Decimal("sNaN"), NAN, NAN, None),
    (Decimal("-Infinity"), Reason.NOT_FINITE, Reason.NOT_FINITE, "-Infinity"),
    (np.float32(0.5), 0.5, 0.5, "0.5"),
    (np.int8(-7), -7.0, -7.0, "-7"),
    (True, Reason.NUMBER, Reason.TIME, "true"),
    (np.False_, Reason.NUMBER, Reason.TIME, "false"),
    (date(2024, 2, 29), Reason.NUMBER, DAY, "2024-02-29"),
    (datetime(2024, 2, 29, 1, tzinfo=UTC), Reason.NUMBER, DAY + 3600, "2024-02-29T01:00:00+00:00"),
    (np.datetime64("2024-02-29"), Reason.NUMBER, DAY, "2024-02-29"),
    (np.datetime64("2024-02-29T00:00:00.5"), Reason.NUMBER, DAY + 0.5, "2024-02-29T00:00:00.500"),
    # No `date` has these years: their microseconds were taken for nanoseconds, for 1978 and 1963.
    (np.datetime64("10000-01-01"), Reason.NUMBER, 253_402_300_800.0, "10000-01-01"),
    (np.datetime64("-5000-01-01"), Reason.NUMBER, -219_951_936_000.0, "-5000-01-01"),
    (np.datetime64("300000000-01-01"), Reason.NUMBER, 9_467_023_432_780_800.0, "300000000-01-01"),
    (np.datetime64("NaT", "s"), NAN, NAN, None),
    (np.timedelta64(5, "s"), Reason.TYPE, Reason.TYPE, Reason.TYPE),
    ([1], Reason.TYPE, Reason.TYPE, Reason.TYPE),
    (b"1", Reason.TYPE, Reason.TYPE, Reason.TYPE),
    ({}, Reason.TYPE, Reason.TYPE, Reason.TYPE),
]


@pytest.mark.parametrize(
    ("value", "number", "time", "word"), VALUES, ids=[to_text(row[0])[:40] for row in VALUES]
)
def test_a_value_is_read_as_each_kind(
    value: object, number: float | Reason, time: float | Reason, word: str | Reason | None
) -> None:
    assert parse_number(value, READING) == pytest.approx(number, nan_ok=True)
    assert parse_time(value, READING) == pytest.approx(time, nan_ok=True)
    assert parse_word(value, READING) == word


def test_a_text_is_no_number_where_the_format_tells_them_apart() -> None:
    typed = READING._replace(typed=True)
    assert parse_number("1.5", typed) is Reason.NUMBER
    assert parse_number(1.5, typed) == 1.5
    assert parse_time("1.5", typed) is Reason.TIME
    assert parse_time(1.5, typed) == 1.5


def test_the_missing_value_of_pandas_is_missing() -> None:
    class NAType:
        """Like that of pandas, which has no truth."""

        def __bool__(self) -> bool:
            raise TypeError("boolean value of NA is ambiguous")

    reading = Columns().parse_options()
    assert reading.is_missing(NAType())
    assert np.isnan(parse_number(NAType(), reading))
    assert parse_word(NAType(), reading) is None
