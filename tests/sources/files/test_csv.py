from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.samples import Block, Field, Kind, Schema, Task
from streamnet.sources import Columns, Source, open_files
from tests.sources.harness import (
    assert_cuts_agree,
    assert_resumes_everywhere,
    content,
    numbers,
    places,
    read,
    reasons,
    resumed,
    write,
)


def blocks_of(
    folder: Path, text: str | bytes, columns: Columns | None = None, **options: Any
) -> tuple[Schema, list[Block]]:
    path = write(folder, "f.csv", text)
    return read(open_files([path], columns=columns, **options))


def test_columns_become_numbers_times_words_and_a_target(tmp_path: Path) -> None:
    text = (
        "age,when,job,note,y\n"
        '39,1970-01-02,clerk,"one two three, four",yes\n'
        '?,,NA,"a ""b"" c d",no\n'
    )
    schema, (block,) = blocks_of(tmp_path, text, Columns(target="y"))
    assert schema == Schema(
        (
            Field("age", Kind.NUMBER),
            Field("when", Kind.TIME),
            Field("job", Kind.CATEGORY),
            Field("note", Kind.TEXT),
        ),
        "y",
        Task.CLASSIFICATION,
    )
    assert block.numbers[0].tolist() == [39.0, 86400.0]
    assert all(map(math.isnan, block.numbers[1]))
    assert [column.tolist() for column in block.words] == [
        ["clerk", None],
        ["one two three, four", 'a "b" c d'],
    ]
    assert block.target is not None
    assert block.target.tolist() == ["yes", "no"]
    starts = [text.index("39"), text.index("?"), len(text)]
    assert block.marks.tolist() == [[start, n, n + 2] for n, start in enumerate(starts)]


def test_every_fault_has_its_reason(tmp_path: Path) -> None:
    faults = [
        ("1,2020-01-01,a", "arity"),
        ("1,2020-01-01,a,0.5,9", "arity"),
        ("x,2020-01-01,a,0.5", "number"),
        ("0x10,2020-01-01,a,0.5", "number"),
        ("1_000,2020-01-01,a,0.5", "number"),
        ('"1,5",2020-01-01,a,0.5', "number"),
        ("nan,2020-01-01,a,0.5", "not-finite"),
        ("1e999,2020-01-01,a,0.5", "not-finite"),
        ("1,2020-13-01,a,0.5", "time"),
        ('1,2020-01-01,"a,0.5', "quote"),
        ('1,2020-01-01,"a"b,0.5', "quote"),
        ("1,2020-01-01,a,", "target-missing"),
        ("1,2020-01-01,a,much", "target-number"),
        ("1,2020-01-01,a,inf", "target-number"),
        ("1,2020-01-01," + "a" * 300 + ",0.5", "too-long"),
        ("1,2020-01-01,\udcff,0.5", "encoding"),
    ]
    good = "1,2020-01-01,a,0.5\n"
    text = "x,t,w,y\n" + good + "".join(f"{line}\n{good}" for line, _ in faults)
    data = text.encode("utf-8", "surrogateescape")
    columns = Columns(target="y", head=1, labels_required=True)
    _, blocks = blocks_of(tmp_path, data, columns, max_record_bytes=200)
    assert sum(map(len, blocks)) == 1 + len(faults)
    assert reasons(blocks) == [(3 + 2 * n, reason) for n, (_, reason) in enumerate(faults)]
    letters = [letter for block in blocks for letter in block.rejected]
    for letter, (line, _) in zip(letters, faults, strict=True):
        assert letter.raw == line.replace("\udcff", "\N{REPLACEMENT CHARACTER}")[:200]
        assert data[letter.offset :].startswith(line.encode("utf-8", "surrogateescape"))
    assert letters[2].detail == "column 'x' has 'x', which is not a number"


def test_the_first_of_several_faults_is_reported(tmp_path: Path) -> None:
    good = "1,2020-01-01,1,0\n" * 3
    text = "a,t,b,y\n" + good + "1,soon,x,\nz,soon,x,\n1,2020-01-01,1,\n"
    _, blocks = blocks_of(tmp_path, text, Columns(target="y", head=3, labels_required=True))
    assert [reason for _, reason in reasons(blocks)] == ["time", "number", "target-missing"]


words = st.text(st.sampled_from('ab"é,;\n \r'), max_size=6).map(str.strip)


@given(st.lists(st.tuples(st.integers(-99, 99), words, words), min_size=1, max_size=20))
def test_output_of_the_csv_module_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, str]]
) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["n", "a", "b"])
    writer.writerows(rows)
    folder = tmp_path_factory.mktemp("written")
    columns = Columns(kinds={"a": Kind.CATEGORY, "b": Kind.TEXT}, missing=("",))
    _, blocks = blocks_of(folder, out.getvalue(), columns, delimiter=",")
    assert reasons(blocks) == []
    assert numbers(blocks) == [n for n, _, _ in rows]
    found = [pair for block in blocks for pair in zip(*block.words, strict=True)]
    assert found == [(a or None, b or None) for _, a, b in rows]


lines = st.lists(st.text(st.sampled_from('1a,"é\r ') | st.just("\udcff"), max_size=8), max_size=12)


@given(lines)
def test_every_record_is_accepted_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    text = "x,y\n1,a\n" + "\n".join(lines)
    data = text.encode("utf-8", "surrogateescape")
    folder = tmp_path_factory.mktemp("any")
    _, blocks = blocks_of(folder, data, Columns(target="y", head=1), header=True, delimiter=",")
    accepted, letters = content(blocks)
    assert len(accepted) + len(letters) == blocks[-1].end.record
    assert not data[blocks[-1].end.offset :].strip()
    records = sum(bool(line.strip(" \r")) for line in lines)
    assert '"' in text or len(accepted) + len(letters) == 1 + records


def test_a_number_column_may_be_read_as_words(tmp_path: Path) -> None:
    columns = Columns(target="y", kinds={"zip": Kind.CATEGORY})
    _, (block,) = blocks_of(tmp_path, "zip,y\n01234,1.0\n02345,2\n", columns)
    assert block.words[0].tolist() == ["01234", "02345"]
    assert block.target is not None
    assert block.target.tolist() == ["1.0", "2"]


def test_words_do_not_depend_on_how_many_are_distinct(tmp_path: Path) -> None:
    numbers = [n % 5000 for n in range(20_000)]  # of few in a block each is looked at once
    ids, states = [f"n{n}" for n in numbers], [["on", "off", "?"][n % 3] for n in numbers]
    lines = [f"{one}, {two} ,{two}{one}\n" for one, two in zip(ids, states, strict=True)]
    kinds = {"id": Kind.CATEGORY, "state": Kind.CATEGORY}
    columns = Columns(target="y", kinds=kinds)
    _, blocks = blocks_of(tmp_path, "id,state,y\n" + "".join(lines), columns)
    found = [np.concatenate([block.words[at] for block in blocks]).tolist() for at in range(2)]
    assert found == [ids, [None if state == "?" else state for state in states]]
    targets = np.concatenate([block.target for block in blocks if block.target is not None])
    assert targets.tolist() == [two + one for one, two in zip(ids, states, strict=True)]


def test_kinds_are_inferred_from_the_head_alone(tmp_path: Path) -> None:
    text = "x,y\n" + "1,a\n" * 1000 + "word,a\n"
    schema, blocks = blocks_of(tmp_path, text, Columns(target="y"))
    assert schema.fields == (Field("x", Kind.NUMBER),)
    assert reasons(blocks) == [(1002, "number")]
    schema, _ = blocks_of(tmp_path, "x,y\nword,a\n" + text[4:], Columns(target="y"))
    assert schema.fields == (Field("x", Kind.CATEGORY),)


def test_a_stray_word_among_numbers_is_rejected_anywhere(tmp_path: Path) -> None:
    lines = [f"{n / 2},a" for n in range(40)]
    text = "\n".join(["x,y", "bad,a", *lines, "bad,a", ""])
    schema, blocks = blocks_of(tmp_path, text, Columns(target="y", head=30))
    assert schema.fields == (Field("x", Kind.NUMBER),)
    assert reasons(blocks) == [(2, "number"), (43, "number")]


@pytest.mark.parametrize("marker", ["NULL", "n/a", "none", "\\N", "na"])
def test_other_markers_of_missing_numbers_are_known(tmp_path: Path, marker: str) -> None:
    schema, (block,) = blocks_of(tmp_path, f"x,y\n1,a\n{marker},b\n", Columns(target="y"))
    assert schema.fields == (Field("x", Kind.NUMBER),)
    assert math.isnan(block.numbers[1, 0])


def test_a_word_in_other_capitals_than_a_marker_stays_a_word(tmp_path: Path) -> None:
    columns = Columns(target="y", labels_required=True)
    _, (block,) = blocks_of(tmp_path, "x,y\nNa,none\nK,NULL\nNA,mild\n", columns)
    assert block.words[0].tolist() == ["Na", None]
    assert block.target is not None
    assert block.target.tolist() == ["none", "mild"]


SEMICOLONS = "a;w;z\n1,5;u;0,25\n2;v;1,125\n"


def test_decimal_commas_are_parsed_unless_commas_separate_fields(tmp_path: Path) -> None:
    schema, (block,) = blocks_of(tmp_path, SEMICOLONS, Columns(target="z"))
    assert (schema.numbers, schema.task) == (("a",), Task.REGRESSION)
    assert block.numbers[:, 0].tolist() == [1.5, 2.0]
    assert block.target is not None
    assert block.target.tolist() == [0.25, 1.125]
    _, (block,) = blocks_of(tmp_path, SEMICOLONS, Columns(schema=schema, target_optional=True))
    assert block.numbers[:, 0].tolist() == [1.5, 2.0]


def test_a_resumed_source_knows_decimal_commas(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", SEMICOLONS)
    for place in places(lambda: open_files([path], columns=Columns(target="z"))):
        assert resumed(open_files([path], columns=Columns(target="z")), place) == place.rest


@pytest.mark.parametrize("text", ["a;y\n1,500;u\n12,250;v\n", 'a,y\n"1,5",u\n'])
def test_commas_that_may_separate_thousands_make_words(tmp_path: Path, text: str) -> None:
    schema, _ = blocks_of(tmp_path, text, Columns(target="y"))
    assert schema.fields == (Field("a", Kind.CATEGORY),)


@pytest.mark.parametrize("text", ["", "\n \r\n", "a,y\n", "a,y"])
def test_a_file_without_samples_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"f\.csv holds no samples"):
        blocks_of(tmp_path, text, Columns(target="y"))


@pytest.mark.parametrize("records", [3, 100_000], ids=["small", "larger-than-the-head"])
def test_a_first_record_that_is_too_long_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: int
) -> None:
    monkeypatch.setattr("streamnet.sources.files.text_source.HEAD_BYTES", 1000)
    text = "a,w,y\n0," + 200 * "x" + ",yes\n" + records * "1,x,no\n"
    with pytest.raises(DataError, match=r"f\.csv has a first record of more than 100 bytes"):
        blocks_of(tmp_path, text, Columns(target="y"), max_record_bytes=100)


def test_a_stray_quote_that_is_closed_lines_below_is_reported(tmp_path: Path) -> None:
    text = 'a,w\n1,x\n2,"y\n3,x\n4,x\nz",extra\n5,x\n'
    _, blocks = blocks_of(tmp_path, text, Columns(kinds={"a": Kind.CATEGORY}))
    (letter,) = blocks[0].rejected[:1]
    assert letter.line == 3
    assert "it spans lines and the number of fields is wrong" in letter.detail


def test_a_file_of_bad_records_only_is_read_to_its_end(tmp_path: Path) -> None:
    _, blocks = blocks_of(tmp_path, 'a,y\n1,"x\n', Columns(target="y"))
    assert reasons(blocks) == [(2, "quote")]
    with pytest.raises(DataError, match="bad quote in each of its first records"):
        blocks_of(tmp_path, '"a,y\n', Columns(target="y"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,a,y\n1,2,3\n", "has 'a' twice"),
        ("a,b,y\n1,2\n3,4\n", "3 columns by its header"),
        ("a,b\n1,2\n", "no column 'y' .requested by --target"),
    ],
)
def test_invalid_columns_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        blocks_of(tmp_path, text, Columns(target="y"), header=True)


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path: Path) -> None:
    schema, (block,) = blocks_of(tmp_path, b"\xef\xbb\xbfa,y\n1,2\n", Columns(target="y"))
    assert schema.numbers == ("a",)
    assert block.marks[0].tolist() == [7, 0, 2]


def test_dropped_columns_and_their_faults_do_not_matter(tmp_path: Path) -> None:
    text = "a,b,y\n" + "1,1,x\n" * 5 + "1,word,x\n"
    schema, blocks = blocks_of(tmp_path, text, Columns(target="y", drop=("b",), head=5))
    assert schema.numbers == ("a",)
    assert reasons(blocks) == []


def test_later_files_may_have_their_columns_in_another_order(tmp_path: Path) -> None:
    first = write(tmp_path, "1.csv", "a,b,y\n1,2,u\n")
    second = write(tmp_path, "2.csv", "y,b,a\nv,4,3\n")
    empty = write(tmp_path, "3.csv", "a,b,y\n")
    columns = Columns(target="y")
    _, blocks = read(open_files([first, second, empty], columns=columns))
    assert [block.source for block in blocks] == [first, second]
    assert numbers(blocks) == [1.0, 3.0]
    assert numbers(blocks, 1) == [2.0, 4.0]


@pytest.mark.parametrize(
    ("header", "message"), [("a,y", "no column 'b'"), ("a,b,c,y", "has 'c', but the first")]
)
def test_later_files_must_have_the_same_columns(tmp_path: Path, header: str, message: str) -> None:
    first = write(tmp_path, "1.csv", "a,b,y\n1,2,u\n")
    second = write(tmp_path, "2.csv", f"{header}\n")
    with pytest.raises(SchemaError, match=rf"2\.csv.*{message}"):
        read(open_files([first, second], columns=Columns(target="y")))


def test_a_missing_target_is_fine_where_none_is_needed(tmp_path: Path) -> None:
    columns = Columns(target="y", task=Task.REGRESSION, target_optional=True)
    _, (block,) = blocks_of(tmp_path, "a,y\n1,2\n3,\n", columns)
    assert block.target is not None
    assert block.target[0] == 2.0
    assert math.isnan(block.target[1])
    _, (block,) = blocks_of(tmp_path, "a,b\n1,2\n3,\n", columns)
    assert block.target is None


def test_a_model_reads_its_own_columns_of_any_file(tmp_path: Path) -> None:
    known = Schema((Field("b", Kind.CATEGORY), Field("a", Kind.NUMBER)), "y", Task.CLASSIFICATION)
    columns = Columns(schema=known, target_optional=True)
    schema, (block,) = blocks_of(tmp_path, "id,a,b\n9,1,2\n", columns)
    assert schema.fields == known.fields
    assert (block.numbers.tolist(), block.words[0].tolist()) == ([[1.0]], ["2"])


def test_quotes_may_mean_nothing(tmp_path: Path) -> None:
    text = 'w\ty\n"a\tx\nb"\tx\n'
    _, (block,) = blocks_of(tmp_path, text, Columns(target="y"), delimiter="\t", quote=None)
    assert block.words[0].tolist() == ['"a', 'b"']


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": ",,"}, "delimiter is ',,'"),
        ({"delimiter": "\n"}, "delimiter is"),
        ({"quote": "é"}, "quote is 'é'"),
        ({"quote": ","}, "delimiter"),
    ],
)
def test_a_bad_setting_is_refused(tmp_path: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        blocks_of(tmp_path, "a,y\n1,2\n", **({"delimiter": ","} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "target", "rows", "features"),
    [
        ("electricity", "class", 45312, 8),
        ("adult", "income", 32561, 14),
        ("sms_spam", "label", 5574, 1),
        ("occupancy", "Occupancy", 20560, 6),
    ],
)
def test_real_streams_are_read_whole(
    shared_data: Path, name: str, target: str, rows: int, features: int
) -> None:
    source = open_files([shared_data / f"{name}.csv.gz"], columns=Columns(target=target))
    schema, blocks = read(source)
    assert (sum(map(len, blocks)), len(schema.fields)) == (rows, features)
    assert reasons(blocks) == []


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoted", [csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
def test_a_file_whose_records_all_start_with_a_quote_is_read(
    tmp_path: Path, delimiter: str, quoted: Any
) -> None:
    """As R writes it: under any other delimiter, each record has a bad quote."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=quoted)
    writer.writerows([["", "x", "y"], ["1", 5.1, "a"], ["2", 4.9, "b"], ["3", 4.7, "b"]])
    schema, blocks = blocks_of(tmp_path, text.getvalue(), Columns(target="y"))
    assert "x" in schema.numbers
    (block,) = blocks
    assert block.target is not None
    assert block.target.tolist() == ["a", "b", "b"]


@pytest.mark.parametrize("target", ["f2", "2", "-1", "last"])
def test_the_target_of_a_file_without_header_has_a_number(tmp_path: Path, target: str) -> None:
    schema, (block,) = blocks_of(tmp_path, "1,2,R\n3,4,M\n", Columns(target=target))
    assert (schema.numbers, schema.target) == (("f0", "f1"), "f2")
    assert block.target is not None
    assert block.target.tolist() == ["R", "M"]


def test_a_target_number_in_the_first_record_does_not_make_a_header(tmp_path: Path) -> None:
    schema, blocks = blocks_of(tmp_path, "5,1,2\n6,7,2\n", Columns(target="2"))
    assert schema.target == "f2"
    assert sum(map(len, blocks)) == 2


@pytest.mark.parametrize(
    ("text", "target", "labels"),
    [
        (",0,1\n0,5,p\n1,7,q\n", "1", ["p", "q"]),
        ("0,1,2\n0.5,7,p\n0.1,8,q\n", "2", ["p", "q"]),
        ("2020,2021\n0.5,p\n0.1,q\n", "2021", ["p", "q"]),
    ],
)
def test_a_target_may_be_the_name_of_a_column_that_is_a_number(
    tmp_path: Path, text: str, target: str, labels: list[str]
) -> None:
    schema, (block,) = blocks_of(tmp_path, text, Columns(target=target))
    assert schema.target == target
    assert block.target is not None
    assert block.target.tolist() == labels


def test_a_target_taken_as_a_column_number_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocks_of(tmp_path, "1,2,R\n3,4,M\n", Columns(target="2"))
    assert [record.getMessage().partition("f.csv ")[2] for record in caplog.records] == [
        "has no header: target 2 is column 'f2', counted from 0"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "# made by x\n# on a day\na,b,y\n1,2,u\n2,3,v\n",
            "'f2'. Line 3 has 'y': nothing may precede the header.",
        ),
        ("1,2,3\n4,5,6\n", "'f2'. (its first record, '1,2,3', was not taken as a header)"),
        ("a,b\n1,2\n", "but only 'a', 'b'."),
    ],
)
def test_if_a_column_is_missing_a_misplaced_header_is_reported(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SchemaError, match="has no column 'y'") as caught:
        blocks_of(tmp_path, text, Columns(target="y"))
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize("line", ["sep=;\n", '"sep=^"\r\n'])
def test_a_sep_line_is_not_a_record(tmp_path: Path, line: str) -> None:
    text = line + "a,y\n1,u\n2,v\n".replace(",", line.strip('"\r\n')[-1])
    schema, (block,) = blocks_of(tmp_path, text, Columns(target="y"))
    assert schema.numbers == ("a",)
    assert [tuple(mark) for mark in block.marks[:, 1:].tolist()] == [(0, 3), (1, 4), (2, 5)]
    assert block.marks[0, 0] == text.index("1")


def test_a_header_that_is_not_utf_8_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"f\.csv is not UTF-8: byte 5 is 0xff"):
        blocks_of(tmp_path, b"a,caf\xffx,y\n1,2,u\n", Columns(target="y"))


def test_an_empty_name_is_replaced_by_a_free_one(tmp_path: Path) -> None:
    schema, _ = blocks_of(tmp_path, ",f0,c,y\n1,2,3,u\n", Columns(target="y"))
    assert schema.numbers == ("f1", "f0", "c")
    schema, _ = blocks_of(tmp_path, ",\n1,2\n", header=True)
    assert schema.numbers == ("f0", "f1")


def test_a_later_file_with_another_delimiter_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path, "1.csv", "a,b,y\n1,2,u\n")
    second = write(tmp_path, "2.csv", "y;a;b\nu;0;0\nv;1;2\n")
    with pytest.raises(SchemaError, match=r"2\.csv is delimited by ';', but the first file by ','"):
        read(open_files([first, second], columns=Columns(target="y")))


def test_a_later_file_without_a_header_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path, "1.csv", "a,b,y\n1,2,u\n")
    second = write(tmp_path, "2.csv", "0,0,u\n1,2,v\n")
    with pytest.raises(SchemaError, match=r"2\.csv has no header, but the first file has"):
        read(open_files([first, second], columns=Columns(target="y")))


@pytest.mark.parametrize(("drop", "header"), [(("q",), None), ((), True)])
def test_a_value_equal_to_a_requested_name_is_not_mistaken_for_a_header(
    tmp_path: Path, drop: tuple[str, ...], header: bool | None
) -> None:
    path = write(tmp_path, "f.csv", "x,y,t\n1,q,p\n2,p,q\n")
    columns = Columns(target="t" if drop else "q", drop=drop)
    with pytest.raises(SchemaError, match="has no column 'q'") as error:
        read(open_files([path], columns=columns, header=header))
    assert "above the header" not in str(error.value)


def test_a_title_above_the_header_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", "Report,of,May\nx,y,t\n1,q,p\n2,p,q\n")
    with pytest.raises(SchemaError, match="Line 2 has 't': nothing may precede the header"):
        read(open_files([path], columns=Columns(target="t", drop=("x",))))


@pytest.mark.timeout(30)  # it takes one second, and took a minute when names were looked for
def test_the_time_for_a_wide_table_is_not_quadratic_in_its_columns(tmp_path: Path) -> None:
    names = [f"column{number}" for number in range(40_000)]
    rows = (names, ["0.5"] * len(names), ["1.5"] * len(names))
    text = "".join(",".join(row) + "\n" for row in rows)
    schema, (block,) = blocks_of(tmp_path, text, Columns(target="column39999"))
    assert len(schema.numbers) == 39_999
    assert block.numbers[:, -1].tolist() == [0.5, 1.5]


LATE = 60  # records before the first value


def late_columns(count: int = 150) -> str:
    """A file whose columns get their first values after the head; one never does."""
    words, days = ["red", "green"], ["2023-04-05", "2023-04-06"]
    lines = ["a,x,w,t,u,never,y"]
    for i in range(count):
        x = f"{i / 8}" if i >= LATE else "NA"
        w = words[i % 2] if i >= LATE + 7 else ""
        t = days[i % 2] if i >= LATE + 7 else "nan"
        u = "" if i < LATE + 30 else "some words of a text" if i == LATE + 40 else "7"
        lines.append(f"{i},{x},{w},{t},{u},,{2 * i}")
    return "\n".join(lines) + "\n"


def test_a_column_gets_its_kind_from_its_first_value_however_late_it_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, "late.csv", late_columns())
    schema, blocks = read(open_files([path], columns=Columns(target="y", head=50)))
    assert schema.fields == (Field("a", Kind.NUMBER),)
    later = Field("w", Kind.CATEGORY), Field("t", Kind.TIME)
    assert blocks[-1].schema.fields == (
        *(Field(name, Kind.NUMBER) for name in "ax"),
        *later,
        Field("u", Kind.NUMBER),
    )
    starts = {field.name: int(b.marks[0, 1]) for b in blocks[::-1] for field in b.schema.fields}
    assert starts == {"a": 0, "x": LATE, "w": LATE + 7, "t": LATE + 7, "u": LATE + 30}
    assert reasons(blocks) == [(2 + LATE + 40, "number")]
    numbers = np.concatenate([b.numbers[:, 1] for b in blocks if len(b.schema.fields) > 1])
    assert numbers.tolist() == [i / 8 for i in range(LATE, 150) if i != LATE + 40]
    place = f"{path}, line {LATE + 2}"
    assert caplog.messages[0] == (
        f"{place}: column 'x' has its first value there, '7.5', so its kind is number"
    )
    assert len(caplog.messages) == 4


def test_kinds_that_are_found_late_depend_neither_on_cuts_nor_on_where_reading_resumes(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "late.csv", late_columns(110))

    def make(size: int = 1 << 20) -> Source:
        return open_files([path], columns=Columns(target="y", head=50), chunk_bytes=size)

    assert len(assert_cuts_agree(make, (1, 7, 100, 1000)).samples) == 109
    assert_resumes_everywhere(make, places(make))


def test_a_kind_that_is_given_need_not_wait_for_a_value(tmp_path: Path) -> None:
    columns = Columns(target="y", head=50, kinds={"x": Kind.CATEGORY, "never": Kind.NUMBER})
    schema, blocks = blocks_of(tmp_path, late_columns(), columns)
    assert schema.numbers == ("a", "never")
    assert schema.words == ("x",)
    assert blocks[0].words[0].tolist()[: LATE + 1] == [*[None] * LATE, "7.5"]


def test_a_later_file_has_the_columns_that_were_undecided(tmp_path: Path) -> None:
    first = write(tmp_path, "1.csv", "a,x,y\n1,,u\n2,,v\n")
    second = write(tmp_path, "2.csv", "x,y,a\n,u,3\n0.5,v,4\n")
    _, blocks = read(open_files([first, second], columns=Columns(target="y")))
    assert blocks[-1].schema.numbers == ("a", "x")
    assert blocks[-1].numbers.tolist() == [[4.0, 0.5]]
    lacking = write(tmp_path, "3.csv", "a,y\n1,u\n")
    with pytest.raises(SchemaError, match="no column 'x'"):
        read(open_files([first, lacking], columns=Columns(target="y")))


def test_the_first_value_among_decimal_commas_may_have_one(tmp_path: Path) -> None:
    text = "a;x;y\n" + "0,5;;u\n" * 60 + "0,5;1.234,5;v\n"
    _, blocks = blocks_of(tmp_path, text, Columns(target="y", head=50))
    assert blocks[-1].numbers.tolist() == [[0.5, 1234.5]]


@pytest.mark.parametrize("size", [1 << 20, 200])
def test_words_that_become_numbers_are_told_about_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    rows = 40_000
    words = ["unknown" if i < 8000 else f"{i / 8}" for i in range(rows)]
    mixed = [f"{i % 30}" if i % 3 else "A" for i in range(rows)]
    lines = (f"{x},{m},{x},u\n" for x, m in zip(words, mixed, strict=True))
    path = write(tmp_path, "f.csv", "x,m,given,y\n" + "".join(lines))
    columns = Columns(target="y", kinds={"given": Kind.CATEGORY})
    schema, _ = read(open_files([path], columns=columns, chunk_bytes=size * 16))
    assert schema.words == ("x", "m", "given")
    (line,) = caplog.messages
    assert line.startswith(f"{path}: column 'x' is taken as words, as its first values are, but by")
    assert line.endswith(": --kind x=number reads them")
