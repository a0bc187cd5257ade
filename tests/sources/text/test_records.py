from __future__ import annotations

import csv
import re
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.samples import Kind
from streamnet.sources import Columns, Source, open_files
from streamnet.sources.text.records import QUOTE, RecordRules, Records, find_records
from tests.sources.harness import content, places, read, reasons, resumed, write

CSV = RecordRules(delimiter=ord(","), quote=ord('"'))
Found = list[tuple[bytes, int, int, bool]]  # text, line, fields, bad quote

texts = st.lists(
    st.sampled_from([b"a", b"1", b",", b'"', b'""', b"\n", b"\r\n", b" ", b'",', b',"', b"\t"]),
    max_size=30,
).map(b"".join)

CLOSED = re.compile(rb'"((?:[^"]|"")*+)"[ \t\r]*(?=,|\n|\Z)')
OPEN = re.compile(rb'(?!")[^,\n]*')


def naive_records(data: bytes, arity: int = 0) -> Found:
    """What `find_records` should find, with regular expressions and no limit."""
    found: Found = []
    at = 0
    while at < len(data):
        end = data.find(b"\n", at) % (len(data) + 1)
        if not data[at:end].strip(b" \r"):
            at = end + 1
            continue
        begin, fields, spanning = at, 0, []
        bad = False
        while True:
            fields += 1
            match = CLOSED.match(data, at) if data[at : at + 1] == b'"' else OPEN.match(data, at)
            if match is None:
                bad = True
                spanning.append(at)
                break
            if match.re is CLOSED and b"\n" in match[1]:
                spanning.append(at)
            at = match.end()
            if data[at : at + 1] != b",":
                break
            at += 1
        bad = bad or bool(spanning and arity and fields != arity)
        if bad:
            at = data.find(b"\n", spanning[0]) % (len(data) + 1)
        line = data.count(b"\n", 0, begin)
        found.append((data[begin:at].removesuffix(b"\r"), line, fields, bad))
        at += 1
    return found


def listed(data: bytes, records: Records) -> Found:
    return [
        (data[begin:end], line, fields, state == QUOTE)
        for begin, end, line, fields, state in zip(
            records.begin.tolist(),
            records.end.tolist(),
            records.line.tolist(),
            records.fields.tolist(),
            records.state.tolist(),
            strict=True,
        )
    ]


def without_fields_of_bad_ones(found: Found) -> Found:
    return [(text, line, -1 if bad else fields, bad) for text, line, fields, bad in found]


@given(texts, st.sampled_from([0, 2, 3]))
def test_records_are_those_of_a_naive_reader(data: bytes, arity: int) -> None:
    records = find_records(data, 0, True, CSV._replace(fields=arity), 100)
    expected = without_fields_of_bad_ones(naive_records(data, arity))
    assert without_fields_of_bad_ones(listed(data, records)) == expected
    assert records.behind == len(data)
    assert records.lines == data.count(b"\n")


@given(texts, st.sampled_from([0, 2]), st.integers(1, 12), st.integers(0, 60))
def test_records_do_not_depend_on_where_the_text_is_cut(
    data: bytes, arity: int, longest: int, cut: int
) -> None:
    rules = CSV._replace(fields=arity, longest=longest)
    whole = find_records(data, 0, True, rules, 100)
    part = find_records(data[:cut], 0, False, rules, 100)
    early = listed(data, part)
    assert early == listed(data, whole)[: len(early)]
    rest = find_records(data, part.behind, True, rules, 100)
    if cut < len(data):
        assert part.overlong <= rest.overlong
        assert len(early) + len(rest.begin) == len(whole.begin)
        assert rest.overlong == whole.overlong
        assert rest.behind == whole.behind


def test_a_bad_quote_costs_exactly_one_record() -> None:
    data = b'1,"x\n2,"y"\n3,"z\nz"\n'
    records = find_records(data, 0, True, CSV._replace(fields=2), 10)
    assert listed(data, records) == [
        (b'1,"x', 0, 2, True),
        (b'2,"y"', 1, 2, False),
        (b'3,"z\nz"', 2, 2, False),
    ]


def test_a_quote_that_is_closed_by_accident_costs_one_line_too() -> None:
    data = b'1,"x,5\n2,",",8\n3,y,9\n'
    found = listed(data, find_records(data, 0, True, CSV._replace(fields=3), 10))
    assert [(text, bad) for text, _, _, bad in found] == [
        (b'1,"x,5', True),
        (b'2,",",8', False),
        (b"3,y,9", False),
    ]


def test_a_quoted_field_may_be_as_long_as_a_record() -> None:
    for length, bad in ((10, False), (11, True)):
        data = b'"' + b"\n" * (length - 2) + b'"\n'
        records = find_records(data, 0, True, CSV._replace(longest=10), 100)
        assert records.overlong == bad or listed(data, records)[0][3] == bad


def test_a_line_that_is_too_long_stops_the_search() -> None:
    records = find_records(b"ab\nabcdef\nab\n", 0, True, CSV._replace(longest=5), 10)
    assert len(records.begin) == 1
    assert records.behind == 3
    assert records.overlong


def test_comments_are_not_records() -> None:
    data = b"# a\n1\n  # b\n2 # c\n"
    records = find_records(data, 0, True, RecordRules(comment=ord("#")), 10)
    assert [text for text, *_ in listed(data, records)] == [b"1", b"2 # c"]
    assert records.line.tolist() == [1, 3]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_no_more_records_are_found_than_wanted(most: int) -> None:
    records = find_records(b"a\nb\n", 0, True, CSV, most)
    assert (len(records.begin), records.behind) == (most, 2 * most)


def test_the_first_of_some_records_end_where_the_next_begins() -> None:
    records = find_records(b"a\n\nb\nc\n", 0, True, CSV, 10).first(1)
    assert (records.begin.tolist(), records.behind, records.lines) == ([0], 3, 2)


COLUMNS = Columns(target="y", kinds={"a": Kind.TEXT, "b": Kind.TEXT}, head=1)
TOP = "a,b,y\nu,v,w\n"
# Texts of one to three lines, any of which may look like a record or a part of one.
line_texts = st.lists(st.sampled_from(["t", "t,t", "t,t,t", 't""', ""]), min_size=1, max_size=3)
fields = line_texts.map("\n".join).map(lambda text: f"x{text}x")
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


def test_a_multiline_record_is_merged_wherever_the_text_is_cut(tmp_path: Path) -> None:
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


def test_lines_joined_by_stray_quotes_stay_records(tmp_path: Path) -> None:
    good = "2,b,c\n" * 20
    for lines, kept in ((good, 22), (good + "broken\n", 22), ("2,b,c\n" * 2, 4)):
        path = write(tmp_path, "f.csv", f'{TOP}1,b,"c\n{lines}3,b",c\n')
        _, blocks = read(source_of(path))
        assert reasons(blocks)[0] == (3, "quote")
        assert sum(map(len, blocks)) == kept


def test_many_multiline_records_are_merged_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", TOP + '1,"a\nb",c,d\n2,b,c\n' * 500)
    _, blocks = read(source_of(path))
    assert sum(map(len, blocks)) == 501
    assert sum(len(block.rejected) for block in blocks) == 500
    assert len(blocks) <= 3
