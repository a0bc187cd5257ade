from __future__ import annotations

from pathlib import Path

import pytest

from streamnet.errors import SchemaError
from streamnet.sources import Columns, open_files
from tests.sources.files.test_csv import blocks_of
from tests.sources.harness import read, write


@pytest.mark.parametrize("target", ["f2", "2", "-1", "last"])
def test_the_target_of_a_file_without_header_has_a_number(tmp_path: Path, target: str) -> None:
    schema, (block,) = blocks_of(tmp_path, "1,2,R\n3,4,M\n", Columns(target=target))
    assert (schema.numbers, schema.target) == (("f0", "f1"), "f2")
    assert block.target is not None
    assert block.target.tolist() == ["R", "M"]


def test_a_target_number_that_stands_in_the_first_record_makes_no_header(tmp_path: Path) -> None:
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


def test_a_target_that_is_taken_as_a_number_of_a_column_is_told(
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
def test_where_a_column_is_missing_the_header_is_looked_for(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SchemaError, match="has no column 'y'") as caught:
        blocks_of(tmp_path, text, Columns(target="y"))
    assert str(caught.value).endswith(message)


@pytest.mark.parametrize("line", ["sep=;\n", '"sep=^"\r\n'])
def test_a_line_that_tells_the_delimiter_is_no_record(tmp_path: Path, line: str) -> None:
    text = line + "a,y\n1,u\n2,v\n".replace(",", line.strip('"\r\n')[-1])
    schema, (block,) = blocks_of(tmp_path, text, Columns(target="y"))
    assert schema.numbers == ("a",)
    assert [tuple(mark) for mark in block.marks[:, 1:].tolist()] == [(0, 3), (1, 4), (2, 5)]
    assert block.marks[0, 0] == text.index("1")


def test_a_header_that_is_not_utf_8_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"f\.csv is not UTF-8: byte 5 is 0xe9"):
        blocks_of(tmp_path, "a,caf\xe9,y\n1,2,u\n".encode("latin-1"), Columns(target="y"))


def test_an_empty_name_becomes_one_that_is_free(tmp_path: Path) -> None:
    schema, _ = blocks_of(tmp_path, ",f0,c,y\n1,2,3,u\n", Columns(target="y"))
    assert schema.numbers == ("f1", "f0", "c")
    schema, _ = blocks_of(tmp_path, ",\n1,2\n", header=True)
    assert schema.numbers == ("f0", "f1")


def test_a_later_file_with_another_delimiter_is_refused_by_that(tmp_path: Path) -> None:
    first = write(tmp_path, "1.csv", "a,b,y\n1,2,u\n")
    second = write(tmp_path, "2.csv", "y;a;b\nu;0;0\nv;1;2\n")
    with pytest.raises(SchemaError, match=r"2\.csv is delimited by ';', but the first file by ','"):
        read(open_files([first, second], columns=Columns(target="y")))


def test_a_later_file_without_a_header_is_refused_by_that(tmp_path: Path) -> None:
    first = write(tmp_path, "1.csv", "a,b,y\n1,2,u\n")
    second = write(tmp_path, "2.csv", "0,0,u\n1,2,v\n")
    with pytest.raises(SchemaError, match=r"2\.csv has no header, but the first file has"):
        read(open_files([first, second], columns=Columns(target="y")))


@pytest.mark.parametrize(("drop", "header"), [(("q",), None), ((), True)])
def test_a_value_that_is_asked_for_as_a_column_is_no_header_where_there_is_one(
    tmp_path: Path, drop: tuple[str, ...], header: bool | None
) -> None:
    path = write(tmp_path, "f.csv", "x,y,t\n1,q,p\n2,p,q\n")
    columns = Columns(target="t" if drop else "q", drop=drop)
    with pytest.raises(SchemaError, match="has no column 'q'") as error:
        read(open_files([path], columns=columns, header=header))
    assert "above the header" not in str(error.value)


def test_a_title_above_the_header_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, "f.csv", "Report,of,May\nx,y,t\n1,q,p\n2,p,q\n")
    with pytest.raises(SchemaError, match="Line 2 has 't': nothing may precede the header"):
        read(open_files([path], columns=Columns(target="t", drop=("x",))))


@pytest.mark.timeout(30)  # it takes one second, and took a minute when names were looked for
def test_the_time_for_a_wide_table_does_not_grow_with_the_square_of_its_columns(
    tmp_path: Path,
) -> None:
    names = [f"column{number}" for number in range(40_000)]
    rows = (names, ["0.5"] * len(names), ["1.5"] * len(names))
    text = "".join(",".join(row) + "\n" for row in rows)
    schema, (block,) = blocks_of(tmp_path, text, Columns(target="column39999"))
    assert len(schema.numbers) == 39_999
    assert block.numbers[:, -1].tolist() == [0.5, 1.5]
