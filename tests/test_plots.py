"""Plots show the figures they are given, each under its own label, and are the same to the byte."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamnet import plots
from streamnet.errors import ConfigurationError, StreamnetError
from streamnet.plots import confusion_figure, residual_figure, save_figure

CONFUSION = [[23.0, 8.0, 0.0], [0.0, 30.0, 0.0]]


def axes_of(figure: Any) -> Any:
    return figure.axes


def ticks(labels: Any) -> list[str]:
    return [label.get_text() for label in labels]


def test_rows_are_true_labels_columns_predictions_and_cells_counts() -> None:
    axes = axes_of(confusion_figure(("R", "M"), CONFUSION))[0]
    assert ticks(axes.get_yticklabels()) == ticks(axes.get_xticklabels()) == ["R", "M"]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "23", (1, 0): "8", (0, 1): "0", (1, 1): "30"}
    assert axes.images[0].get_array().tolist() == [[23 / 31, 8 / 31], [0, 1]]
    top, bottom = axes.get_ylim()[::-1]
    assert top < bottom  # the first class stands at the top


def test_missing_predictions_have_their_own_column() -> None:
    axes = axes_of(confusion_figure(("R", "M"), [[1, 2, 3], [0, 0, 0]]))[0]
    assert ticks(axes.get_xticklabels()) == ["R", "M", "(none)"]
    assert axes.images[0].get_array().tolist() == [[1 / 6, 2 / 6, 3 / 6], [0, 0, 0]]


def test_many_classes_have_colors_only() -> None:
    labels = [f"class {i}" for i in range(31)]
    axes = axes_of(confusion_figure(labels, np.eye(31, 32)))[0]
    assert (len(axes.texts), len(axes.get_yticks())) == (0, 31)


def test_residuals_are_beside_the_diagonal_and_counted() -> None:
    figure = residual_figure([1.0, 2.0, 3.0, 4.0], [1.5, 2.0, np.nan, 3.0])
    beside, errors = axes_of(figure)
    assert beside.collections[0].get_offsets().tolist() == [[1, 1.5], [2, 2], [4, 3]]
    assert sum(bar.get_height() for bar in errors.patches) == 3


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_a_figure_is_saved_the_same_each_time(tmp_path: Path, suffix: str, start: bytes) -> None:
    for name in ("a", "b"):
        save_figure(confusion_figure(("R", "M"), CONFUSION), tmp_path / f"{name}{suffix}")
    data = (tmp_path / f"a{suffix}").read_bytes()
    assert data.startswith(start)
    assert data == (tmp_path / f"b{suffix}").read_bytes()


def test_labels_are_no_formulas_and_may_be_in_any_script(tmp_path: Path) -> None:
    labels = ["$x", r"$\frac{", "日本", "\x1b[31m", "x" * 99]
    save_figure(confusion_figure(labels, np.eye(5, 6)), tmp_path / "a.png")
    axes = axes_of(confusion_figure(labels, np.eye(5, 6)))[0]
    assert ticks(axes.get_yticklabels())[:3] == labels[:3]
    assert max(map(len, ticks(axes.get_yticklabels()))) == 16


def test_pyplot_which_opens_windows_is_never_imported() -> None:
    source = Path(plots.__file__).read_text(encoding="utf-8")
    assert "pyplot" not in source


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confusion_figure(("R",), CONFUSION), r"must have \(1, 2\)"),
        (lambda: confusion_figure((), np.zeros((0, 1))), "labels is empty"),
        (lambda: residual_figure([1.0], [1.0, 2.0]), "predictions has shape"),
        (lambda: residual_figure([1.0], [np.inf]), "no finite number"),
        (lambda: save_figure(residual_figure([1.0], [1.0]), "a.jpg"), r"must end in \.png or"),
    ],
)
def test_invalid_settings_are_rejected(call: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call()


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    figure = residual_figure([1.0], [1.0])
    with pytest.raises(StreamnetError, match="can't be written"):
        save_figure(figure, tmp_path / "nowhere" / "a.png")


def test_without_matplotlib_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hidden:
        """Finds no matplotlib."""

        @staticmethod
        def find_spec(name: str, *_: Any) -> None:
            assert name != "matplotlib.figure"

    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden])
    with pytest.raises(ConfigurationError, match=r"pip install 'streamnet-learn\[report\]'"):
        confusion_figure(("R", "M"), CONFUSION)


def test_labels_of_a_confusion_may_be_numbers() -> None:
    figure = confusion_figure([1, 2.5], [[3, 1, 0], [0, 2, 0]])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["1", "2.5"]


def test_errors_too_large_for_a_number_are_left_out(tmp_path: Path) -> None:
    figure = residual_figure([1e308, 1.0, 2.0], [-1e308, 1.5, 2.5])
    save_figure(figure, tmp_path / "errors.svg")
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == 2  # type: ignore[attr-defined]


def test_values_that_are_not_numbers_are_rejected() -> None:
    with pytest.raises(ConfigurationError, match=r"confusion is \[\[1\], \[2, 3\]\], but must be"):
        confusion_figure(["a", "b"], [[1], [2, 3]])
    with pytest.raises(ConfigurationError, match=r"predictions is \['a'\], but must be numbers"):
        residual_figure([1.0], ["a"])
