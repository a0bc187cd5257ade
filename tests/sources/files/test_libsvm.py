from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_svmlight_file

from streamnet.errors import SchemaError
from streamnet.samples import Block, Schema, Task
from streamnet.sources import Columns, open_files
from tests.sources.harness import content, read, reasons, write


def blocks_of(
    folder: Path, text: str, columns: Columns | None = None
) -> tuple[Schema, list[Block]]:
    return read(open_files([write(folder, "f.svm", text)], columns=columns))


rows = st.lists(
    st.tuples(
        st.sampled_from([-1, 1]),
        st.dictionaries(
            st.integers(0, 50), st.floats(allow_nan=False, allow_infinity=False), max_size=6
        ),
    ),
    min_size=1,
    max_size=12,
)


@given(rows)
def test_samples_are_those_of_scikit_learn(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, dict[int, float]]]
) -> None:
    lines = [
        " ".join([str(label), *(f"{at}:{value!r}" for at, value in sorted(pairs.items()))])
        for label, pairs in rows
    ]
    folder = tmp_path_factory.mktemp("any")
    schema, blocks = blocks_of(folder, "\n".join(lines))
    assert schema == Schema((), "label", Task.CLASSIFICATION)
    matrix, labels = load_svmlight_file(str(folder / "f.svm"), n_features=51, zero_based=True)
    found = np.zeros(matrix.shape)
    for row, sample in enumerate(content(blocks).samples):
        index, value = sample[6]
        found[row, list(index)] = value
        assert 0.0 not in value
        assert sample[5] == repr(str(int(labels[row])))
    assert (found == matrix.toarray()).all()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1 3:1 2:1", "index"),
        ("1 3:1 3:2", "index"),
        ("1 -3:1", "index"),
        ("1 1.5:1", "index"),
        ("1 a:1", "index"),
        ("1 5 6:1", "index"),
        ("1 99999999999999999999:1", "index"),
        ("1 9223372036854775808:1", "index"),
        ("1 3:x", "number"),
        ("1 3:", "number"),
        ("1 3:1_0", "number"),
        ("1 3:0x1", "number"),
        ("1 3:nan", "not-finite"),
        ("1 3:1e999", "not-finite"),
        ("1,2 3:1", "type"),
        ("3:1", "target-missing"),
        ("? 3:1", "target-missing"),
    ],
)
def test_each_fault_has_its_reason(tmp_path: Path, line: str, reason: str) -> None:
    columns = Columns(labels_required=True)
    _, blocks = blocks_of(tmp_path, f"1 1:1\n{line}\n0 2:1\n", columns)
    assert reasons(blocks) == [(2, reason)]
    assert sum(map(len, blocks)) == 2


def test_comments_query_ids_and_zeros_are_ignored(tmp_path: Path) -> None:
    text = "# all of it\n1 qid:3 1:0 4:2 # 9:9\n\n0\n"
    _, (block,) = blocks_of(tmp_path, text)
    assert block.sparse is not None
    assert block.sparse.count.tolist() == [1, 0]
    assert (block.sparse.index[0, 0], block.sparse.value[0, 0]) == (4, 2.0)
    assert block.marks.tolist() == [[12, 0, 2], [35, 1, 4], [37, 2, 5]]


def test_the_target_of_a_regression_is_a_number(tmp_path: Path) -> None:
    schema, blocks = blocks_of(tmp_path, "0.5 1:1\nhigh 1:1\n-1e3 2:1\n", Columns())
    assert schema.task is Task.CLASSIFICATION
    columns = Columns(task=Task.REGRESSION)
    _, blocks = blocks_of(tmp_path, "0.5 1:1\nhigh 1:1\n-1e3 2:1\n", columns)
    assert reasons(blocks) == [(2, "target-number")]
    assert blocks[0].target is not None
    assert blocks[0].target.tolist() == [0.5, -1000.0]


def test_labels_may_be_absent_where_none_are_needed(tmp_path: Path) -> None:
    columns = Columns(target_optional=True)
    _, (block,) = blocks_of(tmp_path, "1:1\n2:1\n", columns)
    assert block.target is None
    columns = Columns(target="label", task=Task.REGRESSION, target_optional=True)
    _, (block,) = blocks_of(tmp_path, "5 1:1\n2:1\n", columns)
    assert block.target is not None
    assert block.target[0] == 5.0
    assert math.isnan(block.target[1])


def test_one_wide_row_does_not_make_all_rows_wide(tmp_path: Path) -> None:
    wide = "1 " + " ".join(f"{n}:1" for n in range(60_000))
    text = "1 1:1\n" * 3000 + wide + "\n" + "1 1:1\n" * 3000
    _, blocks = blocks_of(tmp_path, text)
    assert sum(map(len, blocks)) == 6001
    cells = [block.sparse.index.size for block in blocks if block.sparse is not None]
    assert max(cells) <= 1 << 20


@pytest.mark.parametrize("columns", [Columns(target="y"), Columns(drop=("y",))])
def test_the_label_is_the_only_column(tmp_path: Path, columns: Columns) -> None:
    with pytest.raises(SchemaError, match=r"no column 'y' .* only 'label'"):
        blocks_of(tmp_path, "1 1:1\n", columns)


def test_the_label_is_the_last_column(tmp_path: Path) -> None:
    schema, blocks = blocks_of(tmp_path, "1 1:1\n-1 1:2\n", Columns(target="last"))
    assert schema.target == "label"
    assert [list(block.target) for block in blocks if block.target is not None] == [["1", "-1"]]
