"""Texts as codes: words and pairs, or runs of characters, hashed into a number of buckets."""

from __future__ import annotations

import re
from itertools import chain
from itertools import pairwise
from math import log1p
from math import nan
from math import sqrt
from typing import NamedTuple
from typing import final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

__all__ = ("HashedText", "TextHasher", "fill_texts", "tokens_of")

# A run of digits, one character of a script without spaces, a word, or a sign.
TOKEN = re.compile(r"\d+|[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
CACHED = 1 << 16  # words whose hash is remembered
WORD_LENGTH = 32  # characters of a word that count
DIGITS_LENGTH = 9  # longer runs of digits are all alike
MIX = 0x9E3779B1

# Tried on SMS spam: lengths from 1 to 4 and weights from 0 to 1, for several learning rates.
LENGTH = 2.0  # Euclidean length of a text's inputs
PAIR = 0.5  # weight of a pair next to a word's

GRAM = 3  # characters of an n-gram
GRAMS = 1 << 32  # codes of n-grams, beyond those of words and pairs


def tokens_of(text: str) -> list[str]:
    """Words, numbers and signs of a text, in small letters.

    >>> tokens_of("Call 555-1234!")
    ['call', '555', '-', '1234', '!']
    """
    return TOKEN.findall(text.lower())


class HashedText(NamedTuple):
    """A text as network inputs."""

    codes: list[int]  # distinct, from 1, words first; 0 stands for a missing text
    words: int  # how many of the codes are words; the others are pairs
    weight: float  # value of each word; that of a pair is `PAIR` times as much
    measures: tuple[float, float]  # logarithm of the length, share of digits; NaN if missing
    truncated: int  # codes beyond the cap, left out


@final
class TextHasher:
    """Turns texts into hashed words and pairs of neighbours; pure, it learns nothing.

    Case doesn't count, and of a long run of digits only the length: years and codes come again,
    numbers of telephones and orders hardly do. Half of the buckets are for words, half for pairs,
    since the many pairs would else drown the words.

    Args:
        buckets: codes of words and pairs.
        max_words: distinct words and pairs of a text.
        digits: up to how many digits a number is a word of its own.

    >>> hasher = TextHasher(buckets=4096, max_words=256)
    >>> text = hasher.hashed("Free entry, call 08452810075")
    >>> len(text.codes), text.words
    (9, 5)
    >>> text == hasher.hashed("FREE entry, call 08452810099")
    True
    """

    def __init__(self, *, buckets: int, max_words: int, digits: int = 0) -> None:
        self._half = buckets // 2
        self._digits = digits
        self._max_words = max_words
        self._hashes: dict[str, int] = {}

    def hashed(self, text: str | None) -> HashedText:
        """The distinct words and pairs of a text, at most ``max_words`` of them."""
        if text is None:
            return HashedText([0], 1, 1.0, (nan, nan), 0)
        tokens = tokens_of(text)
        hashes = [self._hashes.get(token) or self._hash(token) for token in tokens]
        half = self._half
        words = dict.fromkeys([1 + h % half for h in hashes])
        # The pair takes other bits of both hashes than their buckets do.
        pairs = [(a * MIX >> 16 ^ b >> 12) % half for a, b in pairwise(hashes)]
        codes = [*words, *dict.fromkeys([1 + half + pair for pair in pairs])]
        kept = codes[: self._max_words]
        known = min(len(words), len(kept))
        squares = known + PAIR * PAIR * (len(kept) - known)
        digits = sum(len(token) for token in tokens if token.isdigit())
        return HashedText(
            kept,
            known,
            LENGTH / sqrt(max(squares, 1.0)),
            (log1p(len(text)), digits / max(len(text), 1)),
            len(codes) - len(kept),
        )

    def ngrams(self, text: str) -> HashedText:
        """The distinct runs of three characters of a text, at most ``max_words`` of them.

        Case doesn't count. Characters are code points; a blank stands before and after the text.

        >>> [len(TextHasher(buckets=64, max_words=256).ngrams(t).codes) for t in ("Käse", "")]
        [4, 0]
        """
        whole = f" {text.lower()} "
        grams = dict.fromkeys([whole[i : i + GRAM] for i in range(len(whole) - GRAM + 1)])
        hashes = [crc32(gram.encode(errors="surrogatepass")) for gram in grams]
        codes = dict.fromkeys([GRAMS + 1 + number % (2 * self._half) for number in hashes])
        return self.coded(text, list(codes))

    def coded(self, text: str, codes: list[int], *, whole: bool = False) -> HashedText:
        """A text that stands for the given codes, of equal weight; for one that is ``whole`` 1."""
        kept = codes[: self._max_words]
        weight = 1.0 if whole else LENGTH / sqrt(max(len(kept), 1))
        measures = log1p(len(text)), sum(map(str.isdigit, text)) / max(len(text), 1)
        return HashedText(kept, len(kept), weight, measures, len(codes) - len(kept))

    def _hash(self, token: str) -> int:
        name = token[:WORD_LENGTH]
        if len(token) > self._digits and token.isdigit():
            name = f"<digits {min(len(token), DIGITS_LENGTH)}>"
        number = crc32(name.encode(errors="surrogatepass"))
        if len(token) > WORD_LENGTH:  # a text without blanks may be one word of a megabyte
            return number
        if len(self._hashes) == CACHED:
            self._hashes.clear()
        self._hashes[token] = number
        return number


def fill_texts(
    texts: list[HashedText],
    base: int,
    keys: NDArray[np.int64],
    weights: NDArray[np.float64],
) -> None:
    """Write the codes of texts as keys, padded with -1, and their weights."""
    used = np.array([len(text.codes) for text in texts], np.int64)[:, None]
    words = np.array([text.words for text in texts], np.int64)[:, None]
    weight = np.array([text.weight for text in texts], np.float64)[:, None]
    codes = np.fromiter(chain.from_iterable(text.codes for text in texts), np.int64, used.sum())
    column = np.arange(keys.shape[1])
    keys[:] = -1
    keys[column < used] = base + codes
    weights[:] = np.where(column < words, weight, PAIR * weight)
