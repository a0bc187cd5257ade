"""Settings of columns, and single values of every type as numbers, times and words."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import anyio
import numpy as np
import polars as pl
import pytest

from streamnet.errors import ConfigurationError, SchemaError
from streamnet.samples import Field, Kind, Schema, Task
from streamnet.sources import open_files
from streamnet.sources.base import Reason, to_text
from streamnet.sources.columns import Columns, ParseOptions, parse_number, parse_time, parse_word


def schema(columns: Columns, *names: str) -> Schema:
    return columns.build_schema("f.csv", names, lambda _: Kind.NUMBER)


def test_every_column_but_the_target_is_a_feature_unless_dropped() -> None:
    found = schema(Columns(target="y", drop=("b",), kinds={"c": Kind.CATEGORY}), *"abcy")
    assert found.fields == (Field("a", Kind.NUMBER), Field("c", Kind.CATEGORY))
    assert (found.target, found.task) == ("y", Task.CLASSIFICATION)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_codes_of_a_further_target_are_labels_and_its_numbers_are_no_ids(
    tmp_path: Path, suffix: str
) -> None:
    draw = Random(1)
    ids = [draw.randrange(10**6) for _ in range(100)]
    columns = {
        "a": [i / 2 for i in range(600)],
        "b": [i % 3 for i in range(600)],
        "c": draw.choices(ids, k=600),
        "d": [i % 3 for i in range(600)],
    }
    frame, path = pl.DataFrame(columns), tmp_path / f"f.{suffix}"
    if suffix == "csv":
        frame.write_csv(path)
    elif suffix == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    kinds = {}
    for further in ((), ("b", "c")):
        source = open_files([str(path)], columns=Columns(target="a", more_targets=further))
        kinds[further] = dict(anyio.run(source.open).fields)
        anyio.run(source.aclose)
    assert kinds[()] == {"b": Kind.NUMBER, "c": Kind.ID, "d": Kind.NUMBER}
    assert kinds["b", "c"] == {"b": Kind.CATEGORY, "c": Kind.NUMBER, "d": Kind.NUMBER}
    for task, kind in ((Task.REGRESSION, Kind.NUMBER), (Task.CLASSIFICATION, Kind.CATEGORY)):
        given = Columns(target="a", task=task, more_targets=("b", "c"))
        assert {given.kind_for(name) for name in "bc"} == {kind}


@pytest.mark.parametrize(
    ("columns", "asked"),
    [
        (Columns(target="ag"), "--target or source.target"),
        (Columns(drop=("ag",)), "--drop or source.drop"),
        (Columns(kinds={"ag": Kind.TEXT}), "--kind or source.kinds"),
    ],
)
def test_an_unknown_column_is_named_with_those_that_exist(columns: Columns, asked: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schema(columns, "age", "job")
    message = str(caught.value)
    assert message == (
        f"f.csv has no column 'ag' (requested by {asked}), but only 'age', 'job'. "
        "Did you mean 'age'?"
    )


def test_a_name_that_differs_in_capitals_is_suggested() -> None:
    with pytest.raises(SchemaError, match=r"Did you mean 'y'\?"):
        schema(Columns(target="Y"), "a", "y")
    with pytest.raises(SchemaError, match=r"Did you mean 'INCOME'\?"):
        schema(Columns(target="incom"), "age", "INCOME")


def test_an_optional_target_may_be_absent() -> None:
    assert schema(Columns(target="y", target_optional=True), "a").target is None
    assert schema(Columns(target="y", target_optional=True), "a", "y").target == "y"
    assert schema(Columns(), "a", "y").target is None


def test_a_known_schema_overrides_the_values() -> None:
    known = Schema((Field("b", Kind.CATEGORY), Field("a", Kind.TEXT)), "y", Task.REGRESSION)
    columns = Columns(schema=known, target_optional=True)
    assert schema(columns, "a", "b", "c", "y") == known
    assert schema(columns, "a", "b").fields == known.fields
    with pytest.raises(SchemaError, match="no column 'b'"):
        schema(columns, "a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": 0}, "head is 0, but must be >= 1"),
        ({"most_fields": 0}, "most_fields is 0, but must be >= 1"),
        ({"target": "y", "drop": ("y",)}, "drop has 'y', but that is the target"),
        ({"target": "y", "kinds": {"y": Kind.TEXT}}, "kinds has 'y', but that is the target"),
        ({"drop": ("a",), "kinds": {"a": Kind.TEXT}}, "kinds has 'a', but that is dropped"),
        ({"task": "zz"}, "task is 'zz', but must be one of classification, regression"),
        ({"kinds": {"a": "color"}}, "kinds has 'color' for 'a', but must be one of"),
    ],
)
def test_an_invalid_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Columns(**settings)


@pytest.mark.parametrize("target", ["b", "last"])
def test_an_input_of_a_model_can_not_be_its_target(target: str) -> None:
    known = Schema((Field("a", Kind.NUMBER), Field("b", Kind.CATEGORY)), target, Task.REGRESSION)
    with pytest.raises(ConfigurationError, match="target is 'b', but that is an input of the mod"):
        Columns(schema=known).with_target("b")


def test_a_task_may_be_given_as_text() -> None:
    text: Any = "regression"
    assert Columns(task=text).task is Task.REGRESSION


def test_many_columns_are_not_all_listed() -> None:
    with pytest.raises(SchemaError, match="and 60 more"):
        schema(Columns(target="y"), *(f"c{n}" for n in range(100)))


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


def test_a_text_is_not_a_number_in_a_typed_format() -> None:
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
