from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.sources.text.records import Head, RecordRules
from streamnet.sources.text.schema import DELIMITERS, rank_delimiters, split_head

QUOTED = RecordRules(quote=ord('"'))


def delimiter_of(text: str) -> str:
    return rank_delimiters(Head("f", text.encode(), 0, True), QUOTED, DELIMITERS, 100)[0].delimiter


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_the_delimiter_is_the_one_that_gives_all_records_the_same_fields(delimiter: str) -> None:
    rows = [["a", "b", "c"], ["1,5", "x; y", "2|3"], ["1,2,3", "", "z"]]
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    assert delimiter_of(out.getvalue()) == delimiter


def test_text_with_commas_does_not_hide_tabs() -> None:
    assert delimiter_of("ham\tGo until, jurong\nham\tOk lar\nspam\tFree, entry, in\n") == "\t"


def test_a_header_tells_semicolons_from_decimal_commas() -> None:
    assert delimiter_of("a;b\n1,5;2,5\n3,5;4,5\n") == ";"


def test_one_column_has_a_comma_as_good_as_any() -> None:
    assert delimiter_of("a\n1\n2\n") == ","


cells = st.text('ab1 ,"\n', max_size=5).filter(lambda cell: cell == cell.strip())


@given(st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=5))
def test_fields_are_those_of_the_csv_module(rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    head = Head("f", out.getvalue().encode(), 0, True)
    assert split_head(head, QUOTED._replace(delimiter=ord(",")), 100).rows == rows
