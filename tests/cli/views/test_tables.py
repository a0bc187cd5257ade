"""Tables hold the figures of the evaluation, and never under another label."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import RenderableType

from streamnet.cli.terminal import Terminal
from streamnet.cli.views.tables import (
    class_tables,
    confusion_table,
    evaluation_tables,
    regression_table,
)
from streamnet.metrics import Evaluation, RegressionEvaluation

CONFUSION = np.array([[23.0, 8.0, 0.0], [0.0, 30.0, 0.0]])


def rows_of(table: RenderableType) -> list[list[str]]:
    """The words of each line, those of one cell joined by a single blank."""
    terminal = Terminal(io.StringIO(), pipe_width=400)
    terminal.print(table)
    lines = terminal.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_a_confusion_has_its_truths_as_rows() -> None:
    assert rows_of(confusion_table(("R", "M"), CONFUSION)) == [
        ["true \\ predicted", "R", "M"],
        ["R", "23", "8"],
        ["M", "0", "30"],
    ]


@settings(deadline=None, max_examples=40)
@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 10**6))
def test_header_and_cells_of_a_confusion_always_agree(labels: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = rng.choice(labels, 50).tolist()
    answers = rng.choice([*labels, "(none)"], 50).tolist()
    given_answers = [None if answer == "(none)" else answer for answer in answers]
    evaluation = Evaluation.of(truths, given_answers, labels=labels)
    (_, *header), *rows = rows_of(confusion_table(labels, evaluation.confusion))
    for truth, *cells in rows:
        for answer, cell in zip(header, cells, strict=True):
            pairs = zip(truths, answers, strict=True)
            assert int(cell) == sum(pair == (truth, answer) for pair in pairs)


def test_each_class_has_the_figures_of_gophers_summary() -> None:
    (table,) = class_tables(("R", "M"), CONFUSION, 100)
    found = {name: cells for name, *cells in rows_of(table)}
    assert found["class"] == ["R", "M"]
    assert found["true positives"] == ["23", "30"]
    assert found["false negatives"] == ["8", "0"]
    assert found["recall"] == ["0.7419", "1.0000"]
    assert found["negative predictive value"] == ["0.7895", "1.0000"]
    assert found["f1"] == ["0.8519", "0.8824"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_classes_that_do_not_fit_go_into_further_tables(width: int) -> None:
    labels = [f"class {i}" for i in range(9)]
    confusion = np.diag(np.arange(9.0) + 1)
    confusion = np.hstack((confusion, np.zeros((9, 1))))
    tables = list(class_tables(labels, confusion, width))
    terminal = Terminal(io.StringIO())
    wide = terminal.options.update(max_width=1000)
    assert all(terminal.measure(table, options=wide).maximum <= width for table in tables)
    heads = [label for table in tables for label in rows_of(table)[0][1:]]
    counts = [count for table in tables for count in rows_of(table)[1][1:]]
    assert (heads, counts) == (labels, [str(i + 1) for i in range(9)])


def test_a_regression_tells_correct_and_wrong_within_the_threshold() -> None:
    evaluation = RegressionEvaluation.of([1.0, 2.0, 3.0], [1.0, 2.5, np.nan], threshold=0.25)
    rows = [row for row in rows_of(regression_table(evaluation)) if row]
    assert rows[:4] == [
        ["samples", "3"],
        ["not predicted", "1"],
        ["correct (within 0.25)", "1"],
        ["wrong", "2"],
    ]
    assert ["mae", "0.2500"] in rows
    plain = rows_of(regression_table(RegressionEvaluation.of([1.0], [1.0])))
    assert not any(row[:1] == ["wrong"] for row in plain)


def test_all_tables_of_a_classification_come_in_one_order() -> None:
    evaluation = Evaluation.of(["a", "b"], probabilities=[[0.75, 0.25], [0.75, 0.25]], labels="ab")
    measures, classes, confusion = evaluation_tables(evaluation, 100)
    names = [name for name, *_ in rows_of(measures)[1:]]
    assert names[:4] == ["accuracy", "balanced accuracy", "macro f1", "micro f1"]
    assert names[-1] == "gopher.f measure"
    assert rows_of(classes)[0] == ["class", "a", "b"]
    assert rows_of(confusion)[1:] == [["a", "1", "0"], ["b", "1", "0"]]


def test_a_label_can_not_command_the_terminal() -> None:
    (_, header), *_ = rows_of(confusion_table(("\x1b[31m",), np.zeros((1, 2))))
    assert header == "\\x1b[31m"
