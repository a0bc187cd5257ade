"""Tables show the metrics of an evaluation by label; numbers, durations and curves as text."""

from __future__ import annotations

import io
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import RenderableType

from streamnet.cli.terminal import Terminal
from streamnet.cli.views.tables import (
    _ASCII_BARS,
    _BARS,
    METRICS_OF_CLASSES,
    class_tables,
    classes_table,
    confusion_table,
    estimate_remaining,
    format_count,
    format_duration,
    measures_table,
    regression_table,
    sparkline,
)
from streamnet.metrics import Evaluation, RegressionEvaluation
from streamnet.reporting.report import Scores

CONFUSION = np.array([[23.0, 8.0, 0.0], [0.0, 30.0, 0.0]])


def rows_of(table: RenderableType) -> list[list[str]]:
    """The words of each line, those of one cell joined by a single blank."""
    terminal = Terminal(io.StringIO(), pipe_width=400)
    terminal.print(table)
    lines = terminal.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def test_a_confusion_matrix_has_true_labels_as_rows() -> None:
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


def test_each_class_has_the_numbers_of_gophers_summary() -> None:
    (table,) = class_tables(("R", "M"), CONFUSION, 100)
    found = {name: cells for name, *cells in rows_of(table)}
    assert found["class"] == ["R", "M"]
    assert found["true positives"] == ["23", "30"]
    assert found["false negatives"] == ["8", "0"]
    assert found["recall"] == ["0.7419", "1.0000"]
    assert found["negative predictive value"] == ["0.7895", "1.0000"]
    assert found["f1"] == ["0.8519", "0.8824"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_classes_that_do_not_fit_go_into_another_table(width: int) -> None:
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


def test_a_regression_counts_correct_and_wrong_predictions_by_the_threshold() -> None:
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


def test_tables_of_a_classification_have_metrics_classes_and_counts() -> None:
    evaluation = Evaluation.of(["a", "b"], probabilities=[[0.75, 0.25], [0.75, 0.25]], labels="ab")
    measures = measures_table({"model": evaluation.measures()})
    (classes,) = class_tables(evaluation.labels, evaluation.confusion, 100)
    confusion = confusion_table(evaluation.labels, evaluation.confusion)
    names = [name for name, *_ in rows_of(measures)[1:]]
    assert names[:4] == ["accuracy", "balanced accuracy", "macro f1", "micro f1"]
    assert names[-3:] == ["gopher.f measure", "roc auc", "pr auc"]
    assert rows_of(classes)[0] == ["class", "a", "b"]
    assert rows_of(confusion)[1:] == [["a", "1", "0"], ["b", "1", "0"]]


def test_control_characters_in_a_label_are_escaped() -> None:
    (_, header), *_ = rows_of(confusion_table(("\x1b[31m",), np.zeros((1, 2))))
    assert header == "\\x1b[31m"


CURVES = st.lists(st.floats(-1e6, 1e6), max_size=40)


@given(CURVES)
def test_a_curve_has_a_bar_for_each_value_and_rises_where_they_do(values: list[float]) -> None:
    bars = [_BARS.index(bar) for bar in sparkline(values)]
    assert len(bars) == len(values)
    for one, bar in zip(values, bars, strict=True):
        for other, other_bar in zip(values, bars, strict=True):
            assert one <= other or bar >= other_bar
    if len(set(values)) > 1:
        assert bars[values.index(min(values))] == 0
        assert bars[values.index(max(values))] >= len(_BARS) - 2  # a rounding may cost one


def test_a_curve_shows_a_subnormal_difference() -> None:
    assert sparkline((0.0, 5e-324)) == _BARS[0] + _BARS[-1]


@given(CURVES)
def test_a_plain_curve_is_the_same_in_ascii(values: list[float]) -> None:
    plain = sparkline(values, plain=True)
    assert plain.isascii()
    assert plain == sparkline(values).translate(str.maketrans(_BARS, _ASCII_BARS))


def test_a_curve_leaves_gaps_where_there_is_no_number() -> None:
    assert sparkline((0.0, nan, 1.0, inf)) == "▁ █ "
    assert sparkline((nan, inf)) == ""
    assert sparkline(()) == ""
    assert sparkline((2.0, 2.0, 2.0)) == "▄▄▄"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7265, "2 h 01 min"),
        (3_600_000, "1,000 h 00 min"),
        (inf, "-"),
        (nan, "-"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_the_remaining_time_assumes_the_same_speed() -> None:
    assert estimate_remaining(10.0, 0.25) == pytest.approx(30.0)
    assert estimate_remaining(10.0, 1.0) == 0.0
    assert estimate_remaining(10.0, 0.0) == inf


def test_the_remaining_time_ignores_the_progress_of_earlier_runs() -> None:
    assert estimate_remaining(10.0, 0.75, 0.5) == pytest.approx(10.0)
    assert estimate_remaining(10.0, 0.5, 0.5) == inf
    assert estimate_remaining(10.0, 1.0, 1.0) == 0.0


def test_nouns_are_singular_or_plural() -> None:
    assert format_count(0, "record") == "0 records"
    assert format_count(1, "record") == "1 record"
    assert format_count(2, "switch") == "2 switches"


def test_classes_of_a_stream_are_shown_by_number_the_most_frequent_ones() -> None:
    names = ("positives", *METRICS_OF_CLASSES)
    values: dict[str, Scores] = {
        f"c{i}": dict(zip(names, (i, *5 * [i / 20]), strict=True)) for i in range(15)
    }
    head, *rows = rows_of(classes_table({"rare": {**values["c1"], "pr_auc": None}, **values}, 80))
    assert head == ["class", "support", "precision", "recall", "F1", "ROC AUC", "PR AUC"]
    assert [row[0] for row in rows[:-1]] == [f"c{i}" for i in range(3, 15)]
    assert rows[0] == ["c3", "3", *5 * ["0.1500"]]
    assert rows[-1] == ["and 4 more"]
    assert rows_of(classes_table(values, 36))[0] == ["class", "support", "precision", "recall"]
