from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.samples import Field, Kind, Schema, Task
from streamnet.sources import Columns, open_files
from streamnet.sources.inference import MISSING, parse_seconds
from streamnet.sources.text.records import Head, RecordRules
from streamnet.sources.text.schema import (
    DATE_ORDERS,
    DELIMITERS,
    has_header,
    rank_delimiters,
    split_head,
    warn_of_misread_columns,
)
from tests.sources.harness import read, write

QUOTED = RecordRules(quote=ord('"'))


def delimiter_of(text: str) -> str:
    return rank_delimiters(Head("f", text.encode(), 0, True), QUOTED, DELIMITERS, 100)[0].delimiter


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_the_delimiter_gives_all_records_the_same_number_of_fields(delimiter: str) -> None:
    rows = [["a", "b", "c"], ["1,5", "x; y", "2|3"], ["1,2,3", "", "z"]]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    assert delimiter_of(out.getvalue()) == delimiter


def test_text_with_commas_does_not_hide_tabs() -> None:
    assert delimiter_of("ham\tGo until, jurong\nham\tOk lar\nspam\tFree, entry, in\n") == "\t"


def test_a_header_distinguishes_semicolons_from_decimal_commas() -> None:
    assert delimiter_of("a;b\n1,5;2,5\n3,5;4,5\n") == ";"


def test_a_single_column_is_delimited_by_commas() -> None:
    assert delimiter_of("a\n1\n2\n") == ","


cells = st.text('ab1 ,"\n', max_size=5).filter(lambda cell: cell == cell.strip())


@given(st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=5))
def test_fields_are_those_of_the_csv_module(rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    head = Head("f", out.getvalue().encode(), 0, True)
    assert split_head(head, QUOTED._replace(delimiter=ord(",")), 100).rows == rows


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("a,b\n1,2\n", True),
        ("1,2\n3,4\n", False),
        ("0,1,target\n1.5,2.5,1\n", True),
        ("x,R\n1,M\n", True),
        ("0.1,R\n0.2,M\n", False),
        ("label,text\nham,Ok lar joking wif\nspam,Free entry in 2\n", True),
        ("ham,Go until jurong point\nham,Ok lar\nspam,Free entry\n", False),
        ("red,small\nblue,small\nred,large\nred,small\n", False),
        ("colour,size\nblue,small\nred,large\nred,small\n", True),
        ("a,a\nx,y\nx,z\n", False),
        ("when,y\n2020-01-01,a\n2020-01-02,b\n", True),
        ("a,b\n?,x\n1,x\n", True),
        ("only,names\n", True),
        ("NA,1\n2,3\n", False),
        ("nan,1\n2,3\n", False),
        ("What's your gender?,Do you smoke? (yes/no),Happy & well?\nmale,no,yes\n", True),
        (f"{'Do you agree that this is so? ' * 9},y\nagree,no\nagree,yes\n", True),
        ("2020-01-01,10:30,$5\n2020-01-02,10:31,$6\n", False),
        (",colour,size\n0,red,small\n1,blue,large\n", True),
        (",red,small\n7,blue,large\n9,green,small\n", False),
        (",0,1\n0,0,p\n1,1,q\n", True),
        (",0,1\na,1,0\nb,2,3\n", True),
        ("0,1,2\n0.5,7,a\n0.1,7,b\n", True),
        ("1,2\n0.5,0.1\n", True),
        ("0,1,2\n5,1,1\n7,2,0\n", True),
    ],
)
def test_a_header_is_detected_by_the_records_below(text: str, header: bool) -> None:
    rows = [line.split(",") for line in text.splitlines()]
    assert has_header(rows, ()) is header


def test_a_requested_name_makes_a_header() -> None:
    rows = [["0", "1"], ["1", "2"]]
    assert not has_header(rows, ("y",))
    assert has_header(rows, ("1",))


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3\n4,5,6\n",
        "1,2,3\n2,3,4\n",
        "0,1\n1,1\n2,0\n",
        "0,1,2\n2,1,0\n0,1,2\n",
        "2,3,4\n0.5,7,a\n",
        "0,1,2\n",
        ",1,2\n,5,7\n3,0,1\n",
        f"{'9' * 5000},1\n2,3\n",
    ],
)
def test_a_sample_that_happens_to_count_is_not_a_header(text: str) -> None:
    assert not has_header([line.split(",") for line in text.splitlines()], ())


def test_texts_are_samples_if_generated_names_are_requested() -> None:
    rows = [["Do you like it?", "so"], ["Yes, I do", "la"]]
    assert has_header(rows, ())
    assert not has_header(rows, ("f0", "f1"))
    assert has_header([["a", "b"], ["1", "u"]], ("f0",))


PRICES = [f"${n}.00" for n in range(50)]


def told(
    caplog: pytest.LogCaptureFixture,
    values: Mapping[str, list[str]],
    task: Task = Task.CLASSIFICATION,
    kind: Kind = Kind.CATEGORY,
) -> list[str]:
    """What is said of the target y, or of columns of a kind."""
    fields = tuple(Field(name, kind) for name in values if name != "y")
    warn_of_misread_columns("f.csv", Schema(fields, "y", task), values)
    return [record.getMessage() for record in caplog.records]


def test_labels_that_are_formatted_numbers_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = told(caplog, {"y": PRICES})
    assert line == (
        "f.csv: target 'y' is taken as labels, such as '$0.00': 50 different ones in 50 values; "
        "numbers are written like 0.00"
    )


def test_labels_that_are_nearly_all_distinct_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert told(caplog, {"y": [f"name {n}" for n in range(20)]}) == [
        "f.csv: target 'y' is taken as labels, such as 'name 0': 20 different ones in 20 values"
    ]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("12%", "12"),
        ("1,234.5", "1234.5"),
        ("0,123", "0.123"),
        ("1.234,5", "1234.5"),
        ("-5 €", "-5"),
        ("1 234 567", "1234567"),
        ("1\u202f234,5", "1234.5"),
        ("1\u00a0234.5\u00a0€", "1234.5"),
        ("45\u2019296.72", "45296.72"),
        ("(12.50)", "-12.50"),
        ("\u221212.50", "-12.50"),
        ("15.00 EUR", "15.00"),
        ("CHF 1'500", "1500"),
    ],
)
def test_words_that_are_formatted_numbers_are_reported(
    caplog: pytest.LogCaptureFixture, value: str, number: str
) -> None:
    assert told(caplog, {"x": [value, value]}) == [
        f"f.csv: column 'x' is taken as words, such as '{value}'; numbers are written like {number}"
    ]


def test_dots_between_thousands_are_parsed_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shares, revenues = [n / 100 for n in range(11, 99)], [n * 7 + 990 for n in range(11, 99)]
    text = "share;revenue;plain\n"
    for share, revenue in zip(shares, revenues, strict=True):
        text += f"{share};{revenue:,};1,381.48\n".translate(str.maketrans(",.", ".,"))
    path = write(tmp_path, "f.csv", text)
    expected = {"share": shares, "revenue": revenues, "plain": [1381.48] * len(shares)}
    for columns in (Columns(target="revenue"), Columns(kinds={"revenue": Kind.NUMBER})):
        caplog.clear()
        schema, (block,) = read(open_files([path], columns=columns))
        for name, column in zip(schema.numbers, block.numbers.T, strict=True):
            assert column.tolist() == expected[name]
        assert block.target is None or block.target.tolist() == revenues
        (line,) = caplog.messages
        assert line.endswith(
            "f.csv: column 'revenue' has '1.067', which is read as 1067: "
            "numbers have decimal commas there"
        )


def test_numbers_with_a_point_are_rejected_among_decimal_commas(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", "x;y\n0,5;a\n1,25;b\n2.5;a\n1,5;a\n")
    _, blocks = read(open_files([path], columns=Columns(target="y")))
    (letter,) = (letter for block in blocks for letter in block.rejected)
    assert letter.detail == "column 'x' has '2.5', which is not a number with a decimal comma"


def test_pairs_do_not_change_the_decimal_separator_of_other_columns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "".join(f"{n}.21\t{n % 4},5\tu\n" for n in range(50))
    path = write(tmp_path, "f.tsv", f"price\titems\ty\n{text}")
    schema, blocks = read(open_files([path], columns=Columns(target="y")))
    assert schema.fields == (Field("price", Kind.NUMBER), Field("items", Kind.CATEGORY))
    assert blocks[0].numbers[:, 0].tolist() == pl.read_csv(path, separator="\t")["price"].to_list()
    assert "column 'items' is taken as words, such as '0,5'" in caplog.messages[-1]


@pytest.mark.parametrize("day", ["3/4/2023", "03-04-2023 23:59", "12/31/2023", "31/12/2023"])
def test_ambiguous_dates_are_reported(caplog: pytest.LogCaptureFixture, day: str) -> None:
    (line,) = told(caplog, {"t": [day, day]})
    assert line.startswith(f"f.csv: column 't' is taken as words, such as '{day}'; dates are read ")
    orders = [kind for kind in DATE_ORDERS if parse_seconds(day, kind) is not None]
    said = " or ".join(f"t={kind}" for kind in orders)
    assert line.endswith(f" like 2023-12-31, or with --kind {said}")


@pytest.mark.parametrize(
    "days",
    [
        ["04.13.2023", "04.01.2023"],
        ["5 Mai 2024"],
        ["2023.1.5"],
        ["2023/12/31 23:59 CET"],
        ["1/2/24"],
        ["31.12.24 23:59"],
        ["31/12/2023", "12/31/2023"],
    ],
)
def test_dates_that_no_kind_parses_are_reported(
    caplog: pytest.LogCaptureFixture, days: list[str]
) -> None:
    assert told(caplog, {"t": days}) == [
        f"f.csv: column 't' is taken as words, such as '{days[0]}'; dates are read like 2023-12-31"
    ]


def test_a_warning_shows_an_ambiguous_date(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = told(caplog, {"t": ["tbd", *(f"{day}/1/2023" for day in range(1, 31))]})
    assert "such as '1/1/2023'; dates are read like" in line
    caplog.clear()
    assert told(caplog, {"t": [f"{day}.1.2023" for day in range(1, 31)]}) == []


@pytest.mark.parametrize("stray", ["TBD", "-", "0000-00-00"])
def test_a_word_among_dates_is_reported_with_advice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, stray: str
) -> None:
    days = [date(2023, 1, 1) + timedelta(n) for n in range(499)]
    text = "".join(f"{day},a\n" for day in days)
    path = write(tmp_path, "f.csv", f"day,y\n{text}{stray},b\n")
    schema, _ = read(open_files([path], columns=Columns(target="y")))
    assert schema.fields == (Field("day", Kind.CATEGORY),)
    line = caplog.messages[-1]
    assert line.endswith(
        f"column 'day' is taken as words, but 499 of its first 500 values are dates: all but such "
        f"as '{stray}' (--missing='?,NA,N/A,n/a,NULL,null,None,\\N,{stray}' reads it as missing, "
        "--kind day=time rejects such records)"
    )
    columns = Columns(target="y", missing=(*MISSING, stray))
    _, blocks = read(open_files([path], columns=columns))
    seconds = [datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() for day in days]
    assert blocks[0].numbers[:-1, 0].tolist() == seconds


def test_columns_with_the_same_warning_share_a_line(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = told(caplog, {"u": ["5%"], "v": ["$7"]})
    assert line.startswith("f.csv: 'u', 'v' are taken as words, such as '5%'; ")


def test_strays_among_numbers_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    values = [*map(str, range(50)), "bad"]
    (line,) = told(caplog, {"x": values}, kind=Kind.NUMBER)
    assert line.startswith(
        "f.csv: column 'x' is taken as numbers, but 1 of its first 51 values are not, such as "
        "'bad': such records are rejected"
    )
    assert "--kind x=category" in line
    caplog.clear()
    (line,) = told(caplog, {"y": values}, task=Task.REGRESSION)
    assert "--task classification" in line


def test_advice_for_another_missing_text_keeps_the_present_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    schema = Schema((Field("x", Kind.NUMBER),))
    for word, missing, advice in (
        ("-", ("", "NA"), "(--missing=NA,- reads"),
        ("not known", ("", "NA", "?"), "(--missing='NA,?,not known' reads"),
        ("none, yet", ("", "NA"), '(source.missing = ["","NA","none, yet"] reads'),
    ):
        warn_of_misread_columns("f.csv", schema, {"x": [*map(str, range(50)), word]}, missing)
        assert advice in caplog.messages[-1]


def test_ordinary_columns_cause_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    words = {"x": ["red", "12%"], "w": [], "v": ["1.2.3", "10.0.2000.1"], "u": ["12 MAR", "(a)"]}
    plain = {**words, "y": ["0", "1", "2"]}
    assert told(caplog, plain) == []
    assert told(caplog, {"x": ["1", "nan"]}, kind=Kind.NUMBER) == []


@pytest.mark.parametrize(
    ("value", "many"), [("20240131", 1), ("20241231235959", 1), ("1706659200", 0)]
)
def test_times_that_are_dates_without_hyphens_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, value: str, many: int
) -> None:
    path = write(tmp_path, "f.csv", f"t,y\n{value},a\n{value},b\n")
    read(open_files([path], columns=Columns(target="y", kinds={"t": Kind.TIME})))
    lines = [record.getMessage() for record in caplog.records]
    told = f"column 't' is read as seconds since 1970, but has '{value}': dates are read like 2024-"
    assert [told in line for line in lines] == [True] * many
