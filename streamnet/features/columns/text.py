"""Text columns: hashed words, word pairs or character n-grams, or a vocabulary of tokens.

The mode is set by name or chosen by a rule from the first texts of the column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from math import log1p, nan, sqrt
from statistics import median
from typing import Any, NamedTuple, final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from streamnet.errors import ModelFileError
from streamnet.features.columns.category import MAX_VALUE_LENGTH, Vocabulary, escape_surrogates
from streamnet.settings.encoder import AUTO, TextMode

__all__ = (
    "HashedText",
    "TextColumn",
    "TextHasher",
    "choose_text_mode",
    "tokenize",
    "write_text_keys",
)


# A run of digits, one character of a script without spaces, a word, or a sign.
TOKEN = re.compile(r"\d+|[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
CACHE_SIZE = 1 << 16  # words whose hash is remembered
WORD_LENGTH = 32  # characters of a word that count
DIGITS_LENGTH = 9  # longer runs of digits are all alike
MIX = 0x9E3779B1

# Tried on SMS spam: lengths from 1 to 4 and weights from 0 to 1, for several learning rates.
TEXT_NORM = 2.0  # Euclidean length of a text's inputs
PAIR_WEIGHT = 0.5  # weight of a pair next to a word's

NGRAM_LENGTH = 3  # characters of an n-gram
NGRAM_BASE = 1 << 32  # codes of n-grams, beyond those of words and pairs


def tokenize(text: str) -> list[str]:
    """Words, numbers and signs of a text, in small letters.

    >>> tokenize("Call 555-1234!")
    ['call', '555', '-', '1234', '!']
    """
    return TOKEN.findall(text.lower())


class HashedText(NamedTuple):
    """A text as network inputs."""

    codes: list[int]  # distinct, from 1, words first; 0 stands for a missing text
    words: int  # how many of the codes are words; the others are pairs
    weight: float  # value of each word; that of a pair is `PAIR_WEIGHT` times as much
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
        tokens = tokenize(text)
        hashes = [self._hashes.get(token) or self._hash(token) for token in tokens]
        half = self._half
        words = dict.fromkeys([1 + h % half for h in hashes])
        # The pair takes other bits of both hashes than their buckets do.
        pairs = [(a * MIX >> 16 ^ b >> 12) % half for a, b in pairwise(hashes)]
        codes = [*words, *dict.fromkeys([1 + half + pair for pair in pairs])]
        kept = codes[: self._max_words]
        known = min(len(words), len(kept))
        squares = known + PAIR_WEIGHT * PAIR_WEIGHT * (len(kept) - known)
        digits = sum(len(token) for token in tokens if token.isdigit())
        return HashedText(
            kept,
            known,
            TEXT_NORM / sqrt(max(squares, 1.0)),
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
        grams = dict.fromkeys(
            [whole[i : i + NGRAM_LENGTH] for i in range(len(whole) - NGRAM_LENGTH + 1)]
        )
        hashes = [crc32(gram.encode(errors="surrogatepass")) for gram in grams]
        codes = dict.fromkeys([NGRAM_BASE + 1 + number % (2 * self._half) for number in hashes])
        return self.coded(text, list(codes))

    def coded(self, text: str, codes: list[int], *, whole: bool = False) -> HashedText:
        """A text that stands for the given codes, of equal weight; for one that is ``whole`` 1."""
        kept = codes[: self._max_words]
        weight = 1.0 if whole else TEXT_NORM / sqrt(max(len(kept), 1))
        measures = log1p(len(text)), sum(map(str.isdigit, text)) / max(len(text), 1)
        return HashedText(kept, len(kept), weight, measures, len(codes) - len(kept))

    def _hash(self, token: str) -> int:
        name = token[:WORD_LENGTH]
        if len(token) > self._digits and token.isdigit():
            name = f"<digits {min(len(token), DIGITS_LENGTH)}>"
        number = crc32(name.encode(errors="surrogatepass"))
        if len(token) > WORD_LENGTH:  # a text without blanks may be one word of a megabyte
            return number
        if len(self._hashes) == CACHE_SIZE:
            self._hashes.clear()
        self._hashes[token] = number
        return number


def write_text_keys(
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
    weights[:] = np.where(column < words, weight, PAIR_WEIGHT * weight)


AUTO_TEXTS = 100  # texts by which the rule decides
MIN_REPETITIONS = (
    2.0  # times that a text came on average, from which on it is a value of a dictionary
)
MAX_NGRAM_WORDS = 2  # words of the median text up to which its characters tell more than they do
MAX_NEW_TOKENS = 0.01  # share of new tokens up to which the known ones are all there are
VOCABULARY_BASE = 1 << 33  # codes of a vocabulary, beyond all that are hashed


def choose_text_mode(texts: Sequence[str]) -> TextMode:
    """The mode that suits a column by its first texts.

    A dictionary where each text came twice or more on average. Else n-grams where the median text
    has at most two words between blanks: names and codes, of which parts tell more than the whole.
    Else tokens where of those in the second half of the texts at most one in a hundred is new:
    lists of the same few words. Words and pairs for all else, which is free text.

    >>> str(choose_text_mode(["on", "off", "on", "on"])), str(choose_text_mode(["AX-1", "AX-2", "B-17"]))
    ('dictionary', 'ngrams')
    """
    if len(texts) >= MIN_REPETITIONS * len(set(texts)):
        return TextMode.DICTIONARY
    if median(len(text.split()) for text in texts) <= MAX_NGRAM_WORDS:
        return TextMode.NGRAMS
    half = len(texts) // 2
    known = {token for text in texts[:half] for token in tokenize(text)}
    later = [token for text in texts[half:] for token in tokenize(text)]
    new = sum(token not in known for token in later)
    return TextMode.TOKENS if new <= MAX_NEW_TOKENS * len(later) else TextMode.WORDS


@final
class TextColumn:
    """Turns the texts of one column into codes; of its modes only vocabularies learn.

    Args:
        mode: a `TextMode`, or "auto": words until 100 texts came, by which `choose_text_mode` then decides
            once and for all.
        hasher: of words and n-grams, shared by all columns.
        limit: texts or tokens of a vocabulary; later ones share 256 hashed codes.

    >>> column = TextColumn(mode="tokens", hasher=TextHasher(buckets=64, max_words=8), limit=100)
    >>> [len(text.codes) for text in column.hashed(["red, green", "green, blue", None], learn=True)]
    [3, 3, 1]
    >>> column.vocabulary.values_seen
    ['red', ',', 'green', 'blue']
    """

    def __init__(self, *, mode: str, hasher: TextHasher, limit: int) -> None:
        self._auto = mode == AUTO
        self._mode = TextMode.WORDS if self._auto else TextMode(mode)
        self._hasher = hasher
        self.vocabulary = Vocabulary(base=VOCABULARY_BASE, limit=limit)
        self._first: list[str] = []  # the texts that the rule will look at

    @property
    def mode(self) -> TextMode:
        """How texts become inputs now."""
        return self._mode

    def hashed(self, texts: Sequence[str | None], *, learn: bool) -> list[HashedText]:
        """The codes of texts, in order; without ``learn`` what is new has none."""
        return [self._hashed(text, learn) for text in texts]

    def look(self, texts: Sequence[str | None]) -> None:
        """Let the rule look at texts, without learning any of them."""
        for text in texts:
            if self._auto and text is not None:
                self._consider(text)

    def settle(self) -> None:
        """Decide by the texts that the rule has looked at, if there are any."""
        if self._first:
            self._decide()

    def _hashed(self, text: str | None, learn: bool) -> HashedText:
        if text is None:
            return self._hasher.hashed(None)
        if self._auto and learn:
            self._consider(text)
        if self._mode is TextMode.WORDS:
            return self._hasher.hashed(text)
        if self._mode is TextMode.NGRAMS:
            return self._hasher.ngrams(text)
        whole = self._mode is TextMode.DICTIONARY
        values = [text] if whole else list(dict.fromkeys(tokenize(text)))
        found = self.vocabulary.learn(values) if learn else self.vocabulary.look_up(values)
        codes = dict.fromkeys(code for code in found if code >= 0)  # hashed ones may be the same
        return self._hasher.coded(text, list(codes), whole=whole)

    def _consider(self, text: str) -> None:
        self._first.append(escape_surrogates(text[:MAX_VALUE_LENGTH]))
        if len(self._first) == AUTO_TEXTS:
            self._decide()

    def _decide(self) -> None:
        self._mode = choose_text_mode(self._first)
        self._auto = False
        self._first = []

    def export_state(self) -> dict[str, Any]:
        """All that was learned, as values that JSON can hold but for the vocabulary."""
        return {"mode": str(self._mode), "auto": self._auto, "first": list(self._first)}

    def restore_state(self, state: Mapping[str, Any], values: Sequence[str]) -> None:
        """Take over what `export_state` gave, and the values of the vocabulary."""
        self._mode, self._auto = TextMode(state["mode"]), bool(state["auto"])
        self._first = list(state["first"])
        if len(self._first) >= AUTO_TEXTS or not all(isinstance(text, str) for text in self._first):
            raise ModelFileError("the encoder's first texts of a column are damaged")
        self.vocabulary.restore_state(values)
