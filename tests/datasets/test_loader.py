"""Files are loaded as users of gopher-neural expect, and no bad record becomes a sample."""

from __future__ import annotations

import gzip
import lzma
import os
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_svmlight_file

from streamnet.datasets import Set
from streamnet.errors import ConfigurationError, DataError, SchemaError
from streamnet.samples import Task

EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
GOOD = "0.5,1,R\n0.25,2,M\n0.75,0,R\n"


def write(folder: Path, text: str, name: str = "f.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_without_a_header_has_its_label_last(tmp_path: Path) -> None:
    made = Set.load(write(tmp_path, GOOD))
    assert (made.task, made.labels) == (Task.CLASSIFICATION, ("R", "M"))
    assert made.vectors().tolist() == [[0.5, 1], [0.25, 2], [0.75, 0]]
    assert (made.columns, made.target) == (("f0", "f1"), "f2")


def test_a_header_names_the_columns(tmp_path: Path) -> None:
    made = Set.load(write(tmp_path, "a;b;kind\n" + GOOD.replace(",", ";")))
    assert (made.columns, made.target, len(made)) == (("a", "b"), "kind", 3)
    with pytest.raises(DataError, match="line 1: column 'f0' has 'a'"):
        Set.load(tmp_path / "f.csv", header=False)


@pytest.mark.parametrize("target", ["0", "f0"])
def test_the_target_may_be_another_column_by_number_or_name(tmp_path: Path, target: str) -> None:
    made = Set.load(write(tmp_path, "R,1,5\nM,2,6\n"), target=target)
    assert (made.targets().tolist(), made.columns) == (["R", "M"], ("f1", "f2"))
    assert Set.load(write(tmp_path, "kind,a\nR,1\nM,2\n"), target="kind").labels == ("R", "M")


def test_values_are_the_target_of_a_regression(tmp_path: Path) -> None:
    path = write(tmp_path, "1,5\n2,6\n")
    assert Set.load(path).labels == ("5", "6")
    made = Set.load(path, task="regression")
    assert (made.task, made.targets().tolist()) == (Task.REGRESSION, [5.0, 6.0])
    assert Set.load(write(tmp_path, "1,0.5\n2,0.625\n")).targets().tolist() == [0.5, 0.625]


def test_sonar_is_read_as_it_is(tmp_path: Path) -> None:
    made = Set.load(EXAMPLES / "sonar.data")
    assert made.vectors().shape == (208, 60)
    assert made.counts() == {"R": 97, "M": 111}
    lines = (EXAMPLES / "sonar.data").read_text().split()
    assert made.vectors()[7].tolist() == [float(x) for x in lines[7].split(",")[:-1]]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_compressed_files_are_read(tmp_path: Path, pack: Any) -> None:
    path = tmp_path / "f.csv.packed"
    path.write_bytes(pack(GOOD.encode()))
    assert Set.load(path) == Set.load(write(tmp_path, GOOD))


def test_columnar_files_are_read(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [0.5, 0.25], "b": [1, 2], "kind": ["R", "M"]})
    frame.write_parquet(tmp_path / "f.parquet")
    made = Set.load(tmp_path / "f.parquet")
    assert (made.columns, made.labels) == (("a", "b"), ("R", "M"))
    frame.write_ndjson(tmp_path / "f.jsonl")
    assert Set.load(tmp_path / "f.jsonl") == made
    frame.with_columns(pl.Series("b", [None, 2])).write_parquet(tmp_path / "gap.parquet")
    with pytest.raises(DataError, match="record at 0: column 'b' has no value"):
        Set.load(tmp_path / "gap.parquet")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("0.5,R", "line 2: the record has 2 fields, but there are 3 columns"),
        ("0.5,1,2,R", "line 2: the record has 4 fields"),
        ('0.5,"1,R', "line 2: .*quote"),
        ("0.5,x,R", "line 2: column 'f1' has 'x', which is not a number"),
        ("0.5,,R", "line 2: column 'f1' has '', which is not a number"),
        ("0.5,?,R", "line 2: column 'f1' has '\\?', which is not a number"),
        ("0.5,NaN,R", "line 2: column 'f1' has 'NaN', which is not a finite number"),
        ("-inf,1,R", "line 2: column 'f0' has '-inf', which is not a finite number"),
        ("1e999,1,R", "line 2: column 'f0' has '1e999', which is not a finite number"),
        ("0.5,1,", "line 2: column 'f2' has no value"),
    ],
)
def test_a_bad_record_is_raised_with_its_place_or_collected(
    tmp_path: Path, record: str, message: str
) -> None:
    first, *rest = GOOD.splitlines()
    path = write(tmp_path, "\n".join((first, record, *rest)) + "\n")
    with pytest.raises(DataError, match=rf"f\.csv, {message}"):
        Set.load(path, header=False)
    made = Set.load(path, header=False, rejected="collect")
    assert made == Set.load(write(tmp_path, GOOD, "good.csv"))
    assert [letter.line for letter in made.rejected] == [2]


@pytest.mark.parametrize("target", ["abc", "", "inf"])
def test_an_invalid_target_number_is_never_zero(tmp_path: Path, target: str) -> None:
    path = write(tmp_path, f"1,0.5\n2,{target}\n3,0.25\n")
    with pytest.raises(DataError, match=r"line 2: column 'f1' has '.*as the target of a"):
        Set.load(path, task="regression")
    made = Set.load(path, task="regression", rejected="collect")
    assert made.targets().tolist() == [0.5, 0.25]


def test_letters_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "1,a\n2,\nx,a\n4,\n5,a\n")
    made = Set.load(path, rejected="collect")
    assert [letter.line for letter in made.rejected] == [2, 3, 4]
    with pytest.raises(DataError, match="line 2"):
        Set.load(path)


def test_surrounding_space_is_not_part_of_a_label(tmp_path: Path) -> None:
    assert Set.load(write(tmp_path, "1, x\n2,x\n")).labels == ("x",)


def test_a_label_may_look_like_a_missing_value(tmp_path: Path) -> None:
    assert Set.load(write(tmp_path, "1,NA\n2,ok\n")).labels == ("NA", "ok")


def test_a_second_file_changes_no_sample_of_the_first(tmp_path: Path) -> None:
    made = Set.load(write(tmp_path, "1,a\n2,b\n"))
    before = made.outputs().tolist()
    made.extend(Set.load(write(tmp_path, "3,b\n4,a\n")))
    assert made.outputs()[:2].tolist() == before
    assert made.class_numbers().tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no samples"),
        ("a,b\n", "holds no samples"),
        ("x,y\nz,w\n", "line 1: column 'f0' has 'x'|line 2: column 'x' has 'z'"),
        ("1\n2\n", "has only the column 'f0'"),
    ],
)
def test_a_file_without_vectors_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Set.load(write(tmp_path, text))


def test_a_file_of_bad_records_only_reports_the_first(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"all were rejected, the first at .*line"):
        Set.load(write(tmp_path, "x,1,a\ny,2,b\n"), header=False, rejected="collect")


def test_an_unknown_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no column 'king'"):
        Set.load(write(tmp_path, "a,kind\n1,x\n"), target="king")


@pytest.mark.parametrize(
    ("settings_given", "message"),
    [
        ({"task": "clustering"}, "task is 'clustering'"),
        ({"header": "yes"}, "header is 'yes'"),
        ({"rejected": "ignore"}, "rejected is 'ignore'"),
        ({"format": "xls"}, "format is 'xls'"),
        ({"first_index": 2}, "first_index is 2"),
        ({"inputs": 0}, "inputs is 0"),
    ],
)
def test_an_invalid_setting_is_refused(
    tmp_path: Path, settings_given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Set.load(write(tmp_path, GOOD), **settings_given)


def test_a_pipe_is_refused_since_a_part_of_it_would_be_lost(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("-", tmp_path / "pipe"):
        with pytest.raises(ConfigurationError, match="must be a file: it is read twice"):
            Set.load(path)


def test_loading_works_where_an_event_loop_runs(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)

    async def main() -> int:
        return len(Set.load(path))

    assert anyio.run(main) == 3


libsvm_rows = st.lists(
    st.tuples(
        st.sampled_from([-1, 1]),
        st.dictionaries(
            st.integers(1, 20), st.floats(allow_nan=False, allow_infinity=False), max_size=5
        ),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None, max_examples=30)
@given(libsvm_rows, st.sampled_from([0, 1]))
def test_libsvm_files_are_read_as_scikit_learn_reads_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, dict[int, float]]], first: int
) -> None:
    lines = [
        f"{label} " + " ".join(f"{i - 1 + first}:{x!r}" for i, x in sorted(pairs.items()))
        for label, pairs in rows
    ]
    path = write(tmp_path_factory.mktemp("svm"), "\n".join(lines) + "\n", "f.svm")
    made = Set.load(path, inputs=20, first_index=first)
    X, y = load_svmlight_file(str(path), n_features=20, zero_based=not first)
    assert np.array_equal(made.vectors(), X.toarray())
    assert [float(label) for label in made.targets()] == y.tolist()


def test_the_highest_index_of_libsvm_is_kept_whether_the_first_is_0_or_1(tmp_path: Path) -> None:
    made = Set.load(write(tmp_path, "R 1:2 3:4\nM 2:5\n", "one.svm"))
    assert made.vectors().tolist() == [[2, 0, 4], [0, 5, 0]]
    assert made.outputs().tolist() == [[1, 0], [0, 1]]
    assert (made.columns, made.labels) == (("f1", "f2", "f3"), ("R", "M"))
    made = Set.load(write(tmp_path, "R 0:2 2:4\nM 1:5\n", "zero.svm"))
    assert made.vectors().tolist() == [[2, 0, 4], [0, 5, 0]]
    assert made.columns == ("f0", "f1", "f2")


def test_values_of_a_libsvm_regression_are_not_zero(tmp_path: Path) -> None:
    made = Set.load(write(tmp_path, "0.5 1:2\n-2.25 1:3\n", "f.svm"))
    assert made.targets().tolist() == [0.5, -2.25]


def test_a_line_of_libsvm_longer_than_64_kib_is_read(tmp_path: Path) -> None:
    line = "R " + " ".join(f"{i}:0.123456789" for i in range(1, 8001))
    made = Set.load(write(tmp_path, f"{line}\nM 8000:1\n", "f.svm"))
    assert made.vectors().shape == (2, 8000)


@pytest.mark.parametrize("bad", ["R foo", "R 1:x", "R x:1", "R 2:1 1:1", "R 1:nan"])
def test_a_bad_line_of_libsvm_is_reported(tmp_path: Path, bad: str) -> None:
    path = write(tmp_path, f"R 1:1\n{bad}\nM 2:1\n", "f.svm")
    with pytest.raises(DataError, match=r"f\.svm, line 2: "):
        Set.load(path)
    assert len(Set.load(path, rejected="collect")) == 2


@pytest.mark.parametrize(
    ("text", "given_settings", "message"),
    [
        ("R 0:1\n", {"first_index": 1}, "has the index 0, but first_index is 1"),
        ("R 9:1\n", {"inputs": 3}, "has the index 9, but may have 3 inputs only"),
        ("R 99999999:1\n", {}, "has the index 99999999, but may have 1048576 inputs only"),
    ],
)
def test_an_index_beyond_the_vector_is_refused(
    tmp_path: Path, text: str, given_settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Set.load(write(tmp_path, text, "f.svm"), **given_settings)
