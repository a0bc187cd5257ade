"""Views of rows in the shapes that peers want: matrices and dictionaries."""

from __future__ import annotations

import re
from collections import Counter
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.peers.rows import Rows

__all__ = ("matrix", "numbered", "one_hot", "plain", "tokens", "word_counts", "words_of")

_WORD = re.compile(r"\w+")
_UNSAFE = re.compile(r"[^\w=]")  # means something in the format of Vowpal Wabbit


def words_of(text: str) -> list[str]:
    """The words of a text, in small letters.

    >>> words_of("Ok lar... OK?")
    ['ok', 'lar', 'ok']
    """
    return _WORD.findall(text.lower())


def word_counts(texts: list[str], width: int) -> NDArray[np.float64]:
    """How often each hashed word occurs; shape=(texts, width)."""
    counts = np.zeros((len(texts), width))
    for i, text in enumerate(texts):
        for word, count in Counter(words_of(text)).items():
            counts[i, crc32(word.encode()) % width] += count
    return counts


def matrix(rows: Rows, words: int) -> tuple[NDArray[np.float64], list[str]]:
    """Inputs as numbers, and the name of each: categories and codes one-hot, texts hashed.

    All categories are known from the start, which is more than a stream tells.
    """
    parts: list[NDArray[np.float64]] = []
    names: list[str] = []
    for name, values in rows.numbers.items():
        if name in rows.stream.codes:
            _one_hot(name, values, parts, names)
        else:
            parts.append(values[:, None])
            names.append(name)
    for name, column in rows.words.items():
        _one_hot(name, np.array(column), parts, names)
    for name, texts in rows.texts.items():
        parts.append(word_counts(texts, words))
        names += [f"{name}#{i}" for i in range(words)]
    return np.hstack(parts), names


def _one_hot(
    name: str, values: NDArray, parts: list[NDArray[np.float64]], names: list[str]
) -> None:
    found, codes = np.unique(values, return_inverse=True)
    parts.append(np.eye(len(found))[codes])
    names += [f"{name}={value}" for value in found]


def numbered(rows: Rows, words: int) -> tuple[NDArray[np.float64], list[int]]:
    """Inputs as numbers, shape=(n, inputs), and the indices of those that are categories.

    Categories are numbered by their first appearance, codes are as they are, texts are hashed.
    """
    parts = [values[:, None] for values in rows.numbers.values()]
    categories = [i for i, name in enumerate(rows.numbers) if name in rows.stream.codes]
    for column in rows.words.values():
        categories.append(len(parts))
        known: dict[str, float] = {}
        parts.append(np.array([[known.setdefault(word, float(len(known)))] for word in column]))
    parts += [word_counts(texts, words) for texts in rows.texts.values()]
    return np.hstack(parts), categories


def tokens(rows: Rows) -> tuple[NDArray[np.float64], list[list[str]]]:
    """Numbers as a matrix, shape=(n, numbers), and of each sample its categories and words.

    Nothing but what occurs is there, so that columns of many values take little room.
    """
    codes = rows.stream.codes
    found: list[list[str]] = [[] for _ in rows.target]
    columns: dict[str, list[str]] = {name: list(map(str, rows.numbers[name])) for name in codes}
    for name, column in (columns | rows.words).items():
        for sample, value in zip(found, column, strict=True):
            sample.append(_UNSAFE.sub("_", f"{name}={value}"))
    for texts in rows.texts.values():
        for sample, text in zip(found, texts, strict=True):
            sample += words_of(text)
    numbers = [column for name, column in rows.numbers.items() if name not in codes]
    return np.stack(numbers, axis=1) if numbers else np.empty((len(found), 0)), found


def plain(rows: Rows, words: int) -> list[dict[str, float | str]]:
    """A dictionary a sample, as trees take it: numbers as numbers, categories as words."""
    columns: dict[str, list[float] | list[str]] = {
        name: values.tolist() for name, values in rows.numbers.items()
    }
    columns |= rows.words
    for name, texts in rows.texts.items():
        counts = word_counts(texts, words)
        columns |= {f"{name}#{i}": counts[:, i].tolist() for i in range(words)}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def one_hot(rows: Rows, words: int) -> list[dict[str, float]]:
    """A dictionary a sample, as linear models take it; words that are absent are left out."""
    inputs, names = matrix(rows, words)
    if not rows.texts:
        return [dict(zip(names, row, strict=True)) for row in inputs.tolist()]
    return [{names[i]: float(row[i]) for i in np.flatnonzero(row)} for row in inputs]
