"""Tables of HTML without scripts, as notebooks show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

MAX_LISTED = 20
MAX_CLASSES = 15  # of a confusion matrix with numbers


def list_some(values: str | Sequence[object]) -> str:
    """A text as it is, or values as a text, the first 20 of them."""
    if isinstance(values, str):
        return values
    more = f" and {len(values) - MAX_LISTED} more" if len(values) > MAX_LISTED else ""
    return ", ".join(map(str, values[:MAX_LISTED])) + more


def render_properties(caption: str, rows: Mapping[str, str]) -> str:
    """A table with a name and a value in each row."""
    body = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items()
    )
    return f"<table><caption><code>{escape(caption)}</code></caption>{body}</table>"


def render_table(caption: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table with a header."""
    cells = (f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return _frame(caption, header, cells)


def render_confusion(labels: Sequence[str], matrix: Sequence[Sequence[float]]) -> str:
    """A confusion matrix, truths in rows, shaded by the share of the truth; empty with many labels.

    A last column, for missing predictions, is shown if there are any.
    """
    if len(labels) > MAX_CLASSES:
        return ""
    missing = any(row[len(labels)] for row in matrix) if matrix and matrix[0][len(labels) :] else 0
    header = ("truth", *labels, *(["(none)"] if missing else []))
    rows = []
    for label, counts in zip(labels, matrix, strict=True):
        total = sum(counts)
        cells = [
            f'<td style="background:rgba(31,119,180,{0.6 * count / total if total else 0:.2f})">'
            f"{count:,.0f}</td>"
            for count in counts[: len(header) - 1]
        ]
        rows.append(f"<tr><td>{escape(label)}</td>{''.join(cells)}</tr>")
    return _frame("confusion: predictions in columns", header, rows)


def _frame(caption: str, header: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    caption = f"<caption>{escape(caption)}</caption>"
    return f"<table>{caption}<tr>{head}</tr>{''.join(rows)}</table>"
