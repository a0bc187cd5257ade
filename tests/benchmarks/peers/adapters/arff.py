"""ARFF: the file format of MOA, with categories as nominal attributes."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.peers.rows import Rows
from tests.benchmarks.peers.views import word_counts

__all__ = ("write_arff",)


def write_arff(rows: Rows, path: Path, words: int) -> None:
    """Write rows; the target comes last, as the index of its label or as a number.

    Args:
        rows: What to write.
        path: The file to make.
        words: Numeric attributes for a text.
    """
    columns: list[list[float] | list[int]] = []
    header = ["@relation stream"]
    for values in rows.numbers.values():
        header.append(f"@attribute a{len(columns)} numeric")
        columns.append(values.tolist())
    for texts in rows.texts.values():
        for counts in word_counts(texts, words).T:
            header.append(f"@attribute a{len(columns)} numeric")
            columns.append(counts.tolist())
    for category in rows.words.values():
        index = {word: i for i, word in enumerate(sorted(set(category)))}
        header.append(f"@attribute a{len(columns)} {_nominal(len(index))}")
        columns.append([index[word] for word in category])
    kind = _nominal(len(rows.labels)) if rows.classification else "numeric"
    header.append(f"@attribute target {kind}")
    columns.append(rows.target.tolist())
    with path.open("w", encoding="utf-8") as file:
        file.write("\n".join([*header, "@data", ""]))
        file.writelines(",".join(map(repr, row)) + "\n" for row in zip(*columns, strict=True))


def _nominal(values: int) -> str:
    return "{" + ",".join(map(str, range(values))) + "}"
