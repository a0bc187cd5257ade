from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.samples import Kind
from streamnet.sources import Columns, Source, open_files
from tests.sources.harness import content, places, read, reasons, resumed, write

COLUMNS = Columns(target="y", kinds={"a": Kind.TEXT, "b": Kind.TEXT}, head=1)
TOP = "a,b,y\nu,v,w\n"
# Texts of one to three lines, any of which may look like a record or a part of one.
texts = st.lists(st.sampled_from(["t", "t,t", "t,t,t", 't""', ""]), min_size=1, max_size=3)
fields = texts.map("\n".join).map(lambda text: f"x{text}x")
records = st.lists(st.lists(fields, min_size=2, max_size=4), max_size=6)


def source_of(path: str, chunk_bytes: int = 1 << 20) -> Source:
    return open_files([path], columns=COLUMNS, chunk_bytes=chunk_bytes)


@given(records, st.integers(1, 40))
def test_records_that_span_lines_are_those_of_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], chunk_bytes: int
) -> None:
    text = StringIO(TOP)
    text.seek(0, 2)
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        row for row in rows if sum(field.count("\n") for field in row) < 3
    )
    path = write(tmp_path_factory.mktemp("spanning"), "f.csv", text.getvalue())
    expected = list(csv.reader(StringIO(text.getvalue())))[1:]
    _, blocks = read(source_of(path, chunk_bytes))
    given = [
        [*(column[i] for column in block.words), block.target[i]]
        for block in blocks
        if block.target is not None
        for i in range(len(block))
    ]
    assert given == [row for row in expected if len(row) == 3]
    assert sum(len(block.rejected) for block in blocks) == len(expected) - len(given)


MISSHAPEN = '1,"one\nf,f,f\nend",q,more\n2,b,c\n\n3,"u\nv,w,z"\n4,b,c\n"a\nb","c\nd"\n5,b,c'


def test_a_record_that_spans_lines_is_passed_over_wherever_it_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", TOP + MISSHAPEN)
    whole = content(read(source_of(path))[1])
    assert [sample[4][0] for sample in whole.samples] == ["u", "2", "4", "5"]
    assert [letter.line for letter in whole.letters] == [3, 8, 11]
    assert whole.letters[0].raw == '1,"one\nf,f,f\nend",q,more'
    assert whole.letters[0].detail == "the record has 4 fields, but there are 3 columns"
    for chunk_bytes in range(1, 20):
        assert content(read(source_of(path, chunk_bytes))[1]) == whole
    for place in places(lambda: source_of(path, 5)):
        assert resumed(source_of(path), place) == place.rest


def test_lines_that_stray_quotes_have_joined_stay_records(tmp_path: Path) -> None:
    good = "2,b,c\n" * 20
    for lines, kept in ((good, 22), (good + "broken\n", 22), ("2,b,c\n" * 2, 4)):
        path = write(tmp_path, "f.csv", f'{TOP}1,b,"c\n{lines}3,b",c\n')
        _, blocks = read(source_of(path))
        assert reasons(blocks)[0] == (3, "quote")
        assert sum(map(len, blocks)) == kept


def test_many_of_them_are_read_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", TOP + '1,"a\nb",c,d\n2,b,c\n' * 500)
    _, blocks = read(source_of(path))
    assert sum(map(len, blocks)) == 501
    assert sum(len(block.rejected) for block in blocks) == 500
    assert len(blocks) <= 3
