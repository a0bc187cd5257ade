"""Numbers with marks are read where they have one reading, in columns and in the target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, DataError
from streamnet.samples import Block, Field, Kind, Schema, Task
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.iterable import IterableSource
from streamnet.sources.number_styles import STYLES, build_style, find_style, parse_marked_number
from streamnet.sources.rows import RowReader
from tests.sources.harness import (
    assert_cuts_agree,
    assert_resumes_everywhere,
    places,
    read,
    reasons,
    write,
)

GERMAN = str.maketrans(",.", ".,")
FORMS = (
    "{:,.2f}".format,
    "${:,.2f}".format,
    "{:,.2f} USD".format,
    lambda number: f"{number:,.2f} €".translate(GERMAN),
    lambda number: f"EUR {number:,.1f}".translate(GERMAN),
    lambda number: f"{number:,.2f}".replace(",", "\u202f"),
    lambda number: f"CHF {number:,.2f}".replace(",", "'"),
    lambda number: f"({number:,.2f})" if number > 1 else f"{number:.2f}",
)


@given(st.sampled_from(FORMS), st.lists(st.integers(10**5, 10**9), min_size=1))
def test_numbers_come_back_from_every_form_that_is_clear(form: Any, cents: list[int]) -> None:
    numbers = [number / 100 for number in cents]
    texts = [form(number) for number in numbers]
    style = find_style(texts)
    assert style is not None
    found = [float(style.normalize(text) or "nan") for text in texts]
    sign = -1.0 if texts[0].startswith("(") else 1.0
    digits = 1 if texts[0].startswith("EUR") else 2
    assert found == [sign * round(float(f"{number:.{digits}f}"), 2) for number in numbers]


@pytest.mark.parametrize(
    "texts",
    [
        ["1,234"],
        ["1,234", "1,234"],
        ["1.234 €", "12.500 €", "999 €"],
        ["1,234", "12,500", "1,999"],
        ["1,234", "12,500", "1,999", "1234"],  # 1234 would have a comma, too
        ["1,5", "2,5"],
        ["0,123"],
        ["12:30"],
        ["18.00.00"],
        ["a", "$5"],
        ["1,2,3"],
        ["-"],
        ["$"],
        [],
    ],
)
def test_texts_with_two_readings_or_none_have_no_style(texts: list[str]) -> None:
    assert find_style(texts) is None


@pytest.mark.parametrize(
    ("texts", "style"),
    [
        (["$1,234", "$12,500", "$1,999", "$999"], STYLES[0]),
        (["1,234", "12,500", "1,999", "12"], STYLES[0]),
        (["1,234,567"], STYLES[0]),
        (["1.234.567", "1.234"], STYLES[2]),
        (["12,50 €", "1 €"], STYLES[1]),
        (["12 %"], STYLES[0]),
        (["\u221212.5"], STYLES[0]),
        ([*["$5"] * 95, *["free"] * 5], STYLES[0]),
    ],
)
def test_texts_with_one_reading_have_its_style(texts: list[str], style: Any) -> None:
    assert find_style(texts) == style


def test_a_given_separator_removes_every_doubt() -> None:
    assert find_style(["1,234", "5"], thousands=",") == build_style(",")
    assert parse_marked_number("1.234,5", ".") == "1234.5"
    assert parse_marked_number("1\u00a0234", " ") == "1234"
    assert parse_marked_number("1.234", ".") == "1.234"  # a plain number is one


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_plain_numbers_are_themselves(number: float) -> None:
    assert parse_marked_number(repr(number)) == repr(number)


ROWS = 300
AMOUNTS = [1000.0 + 7.25 * i for i in range(ROWS)]
WHOLE = [50 * i + 7 for i in range(ROWS)]


def marked_file() -> str:
    lines = ["a;price;share;whole;y"]
    for i, (amount, whole) in enumerate(zip(AMOUNTS, WHOLE, strict=True)):
        lines.append(f"{i};${amount:,.2f};{i % 40} %;{whole:,};{-amount:,.2f}")
    return "\n".join(lines) + "\n"


def test_a_file_with_marks_is_read_as_the_same_file_without_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    marked = write(tmp_path, "marked.csv", marked_file())
    schema, blocks = read(open_files([marked], columns=Columns(target="y")))
    assert schema == Schema(
        tuple(Field(name, Kind.NUMBER) for name in ("a", "price", "share", "whole")),
        "y",
        Task.REGRESSION,
    )
    assert reasons(blocks) == []
    numbers = np.concatenate([block.numbers for block in blocks])
    assert numbers.T.tolist() == [list(range(ROWS)), AMOUNTS, [i % 40 for i in range(ROWS)], WHOLE]
    assert joined_targets(blocks) == [-amount for amount in AMOUNTS]
    assert caplog.messages == [
        f"{marked}: column 'price' has '$1,000.00', which is read as 1000.00"
    ]


def joined_targets(blocks: list[Block]) -> list[Any]:
    return [target for block in blocks if block.target is not None for target in block.target]


@pytest.mark.parametrize("decimal", [".", ","])
def test_reading_marks_depends_neither_on_cuts_nor_on_where_it_resumes(
    tmp_path: Path, decimal: str
) -> None:
    text = "".join(f"{i}\t{1e3 * i + 0.5:,.2f} €\t{-0.25 - 1e6 * i:,.2f}\n" for i in range(90))
    if decimal == ",":
        text = text.translate(GERMAN)
    path = write(tmp_path, "f.tsv", f"a\tx\ty\n{text}")

    def make(size: int = 1 << 20) -> Source:
        return open_files([path], columns=Columns(target="y", head=20), chunk_bytes=size)

    samples = assert_cuts_agree(make, (1, 100, 1000)).samples
    assert [row[5] for row in samples] == [repr(np.float64(-0.25 - 1e6 * i)) for i in range(90)]
    assert_resumes_everywhere(make, places(make))


def test_a_number_that_has_marks_only_later_is_read_where_it_is_clear(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", 'x,y\n1,a\n2,b\n"1,234,567",a\n"1,234",b\n$5,a\n')
    _, (block,) = read(open_files([path], columns=Columns(target="y", head=2)))
    assert block.numbers[:, 0].tolist() == [1.0, 2.0, 1234567.0, 5.0]
    assert reasons([block]) == [(5, "number")]
    _, (block,) = read(open_files([path], columns=Columns(target="y", head=2, thousands=",")))
    assert block.numbers[:, 0].tolist() == [1.0, 2.0, 1234567.0, 1234.0, 5.0]


def test_with_points_between_thousands_decimals_have_a_comma(tmp_path: Path) -> None:
    path = write(tmp_path, "f.tsv", "x\ty\n1.234\ta\n0,5\tb\n")
    _, (block,) = read(open_files([path], columns=Columns(target="y", thousands=".")))
    assert block.numbers[:, 0].tolist() == [1234.0, 0.5]


@pytest.mark.parametrize("form", ["csv", "jsonl", "rows"])
def test_a_target_of_numbers_with_two_readings_is_an_error_instead_of_labels(
    tmp_path: Path, form: str
) -> None:
    values = [f"{i},{i + 100}" for i in range(1, 60)]

    def make(**settings: Any) -> Source:
        columns = Columns(target="y", **settings)
        if form == "rows":
            return IterableSource([{"x": 1, "y": v} for v in values], columns=columns, name="rows")
        lines = [f'1,"{v}"' if form == "csv" else f'{{"x": 1, "y": "{v}"}}' for v in values]
        text = "\n".join(["x,y", *lines] if form == "csv" else lines) + "\n"
        return open_files([write(tmp_path, f"f.{form}", text)], columns=columns)

    with pytest.raises(DataError, match=r"the target 'y' of .* has '1,101', which may be the num"):
        read(make())
    assert read(make(task=Task.CLASSIFICATION))[0].task is Task.CLASSIFICATION
    settings = {"thousands": ","} | ({"task": Task.REGRESSION} if form == "jsonl" else {})
    schema, blocks = read(make(**settings))
    assert schema.task is Task.REGRESSION
    assert joined_targets(blocks) == [1001 * i + 100 for i in range(1, 60)]


def test_few_whole_numbers_with_marks_are_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", "x,y\n1,5 %\n2,10 %\n3,5 %\n")
    schema, blocks = read(open_files([path], columns=Columns(target="y")))
    assert schema.task is Task.CLASSIFICATION
    assert joined_targets(blocks) == ["5 %", "10 %", "5 %"]


def test_dicts_and_given_kinds_read_marks_too() -> None:
    reader = RowReader(Columns(kinds={"z": Kind.NUMBER}, thousands=None))
    block = reader.read([{"x": "$1,234.50", "z": "12 %", "w": "1,234"}])
    assert block.numbers.tolist() == [[1234.5, 12.0]]
    assert block.words[0].tolist() == ["1,234"]
    block = RowReader(Columns(thousands=",")).read([{"w": "1,234"}])
    assert block.numbers.tolist() == [[1234.0]]


def test_targets_of_an_iterable_are_read_in_the_style_of_the_first_ones() -> None:
    values = [f"${1000 * i + 7:,}" for i in range(1, 1500)]
    source = IterableSource([({"x": 1}, "$1.50"), *(({"x": 1}, value) for value in values)])
    schema, blocks = read(source)
    assert (schema.task, reasons(blocks)) == (Task.REGRESSION, [])
    assert joined_targets(blocks) == [1.5, *(1000.0 * i + 7 for i in range(1, 1500))]
    state = source.export_state(blocks[0].end)
    again = IterableSource([({"x": 1}, value) for value in values], target="target")
    again.restore_state(state)
    assert joined_targets(read(again)[1]) == [1000.0 * i + 7 for i in range(1, 1500)]


def test_a_number_with_two_readings_is_rejected_with_the_option_that_decides() -> None:
    reader = RowReader(Columns())
    block = reader.read([{"x": 1.5}, {"x": "1,234"}])
    assert block.rejected[0].detail == (
        "column 'x' has '1,234', which has two readings as a number: --thousands (or "
        "source.thousands), the separator of thousands, tells which is meant"
    )


def test_a_separator_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="thousands is 'x', but must be a comma, a point"):
        Columns(thousands="x")
