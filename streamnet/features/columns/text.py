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
from streamnet.features.base import (
    FieldSlot,
    InputArrays,
    Prepared,
    WeightedTransformer,
    defer_copy,
)
from streamnet.features.columns.category import MAX_VALUE_LENGTH, Vocabulary, escape_surrogates
from streamnet.features.statistics import NumberStatistics
from streamnet.samples import Block, Kind
from streamnet.settings.encoder import AUTO, EncoderSettings, TextMode

# A run of digits, one character of a script without spaces, a word, or a sign.
TOKEN = re.compile(r"\d+|[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
CACHE_SIZE = 1 << 16  # words with cached hashes
WORD_LENGTH = 32  # characters of a word that are hashed
DIGITS_LENGTH = 9  # longer runs of digits are not distinguished
MIX = 0x9E3779B1

# Tried on SMS spam: lengths from 1 to 4 and weights from 0 to 1, for several learning rates.
TEXT_NORM = 2.0  # Euclidean length of a text's inputs
PAIR_WEIGHT = 0.5  # weight of a pair next to a word's

NGRAM_LENGTH = 3  # characters of an n-gram
NGRAM_BASE = 1 << 32  # codes of n-grams, beyond those of words and pairs


def tokenize(text: str) -> list[str]:
    """Split a text into lower-case words, numbers and punctuation.

    >>> tokenize("Call 555-1234!")
    ['call', '555', '-', '1234', '!']
    """
    return TOKEN.findall(text.lower())


class HashedText(NamedTuple):
    """A text as network inputs."""

    codes: list[int]  # distinct, from 1, words first; 0 stands for a missing text
    words: int  # how many of the codes are words; the others are pairs
    weight: float  # value of each word; that of a pair is `PAIR_WEIGHT` times as much
    statistics: tuple[float, float]  # log of the length, fraction of digits; NaN if missing
    truncated: int  # codes left out, beyond the limit


@final
class TextHasher:
    """Hashes texts into words and pairs of neighbors; it learns nothing.

    Case is ignored, and of long numbers only the length counts: years and codes recur, telephone
    and order numbers hardly do. Half of the buckets are for words, half for pairs, which otherwise
    would outnumber the words. Numbers of up to ``digits`` digits are words of their own.

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
        """Hash the distinct words and pairs of a text, at most ``max_words`` of them."""
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
        """Hash the distinct n-grams of three code points of a text between blanks, ignoring case.

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
        """Build a text with these codes of equal weight; of weight 1 for a ``whole`` value."""
        kept = codes[: self._max_words]
        weight = 1.0 if whole else TEXT_NORM / sqrt(max(len(kept), 1))
        statistics = log1p(len(text)), sum(map(str.isdigit, text)) / max(len(text), 1)
        return HashedText(kept, len(kept), weight, statistics, len(codes) - len(kept))

    def _hash(self, token: str) -> int:
        name = token[:WORD_LENGTH]
        if len(token) > self._digits and token.isdigit():
            name = f"<digits {min(len(token), DIGITS_LENGTH)}>"
        number = crc32(name.encode(errors="surrogatepass"))
        if len(token) > WORD_LENGTH:  # a text without blanks may be a word of a megabyte
            return number
        if len(self._hashes) == CACHE_SIZE:
            self._hashes.clear()
        self._hashes[token] = number
        return number


def write_text_keys(
    texts: list[HashedText], base: int, keys: NDArray[np.int64], weights: NDArray[np.float64]
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


AUTO_TEXTS = 100  # number of texts by which the rule decides
MIN_REPETITIONS = 2.0  # average occurrences of a text from which on texts are a dictionary
MAX_NGRAM_WORDS = 2  # words of the median text up to which n-grams tell more than words
MAX_NEW_TOKENS = 0.01  # fraction of new tokens up to which the vocabulary is considered complete
VOCABULARY_BASE = 1 << 33  # codes of a vocabulary, beyond all hashed ones


def choose_text_mode(texts: Sequence[str]) -> TextMode:
    """Choose the mode of a column by its first texts.

    A dictionary if texts occur at least twice on average. Otherwise n-grams if the median text has
    at most two words: names and codes, whose parts tell more than the whole. Otherwise tokens if at
    most one percent of those in the second half of the texts are new: lists of the same few words.
    Otherwise words and pairs, for free text.

    >>> [str(choose_text_mode(t)) for t in (["on", "off", "on", "on"], ["AX-1", "AX-2", "B-17"])]
    ['dictionary', 'ngrams']
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
    """Turns the texts of one column into codes; only modes with a vocabulary learn.

    In mode "auto" words are extracted until `choose_text_mode` decides by the first 100 texts.

    >>> column = TextColumn(mode="tokens", hasher=TextHasher(buckets=64, max_words=8), limit=100)
    >>> [len(text.codes) for text in column.hashed(["red, green", "green, blue", None], learn=True)]
    [3, 3, 1]
    >>> column.vocabulary.names
    ['red', ',', 'green', 'blue']
    """

    def __init__(self, *, mode: str, hasher: TextHasher, limit: int) -> None:
        self._auto = mode == AUTO
        self.mode: TextMode = TextMode.WORDS if self._auto else TextMode(mode)  # the current one
        self._hasher = hasher
        self.vocabulary: Vocabulary = Vocabulary(base=VOCABULARY_BASE, limit=limit)
        self._first: list[str] = []  # texts by which the rule will decide

    def hashed(self, texts: Sequence[str | None], *, learn: bool) -> list[HashedText]:
        """Encode texts in order; without ``learn`` new ones have no codes."""
        return [self._hashed(text, learn) for text in texts]

    def collect(self, texts: Sequence[str | None]) -> None:
        """Collect texts for the choice of the mode, without learning them."""
        for text in texts:
            if self._auto and text is not None:
                self._consider(text)

    def settle(self) -> None:
        """Choose the mode by the collected texts, if there are any."""
        if self._first:
            self.mode = choose_text_mode(self._first)
            self._auto = False
            self._first = []

    def _hashed(self, text: str | None, learn: bool) -> HashedText:
        if text is None:
            return self._hasher.hashed(None)
        if self._auto and learn:
            self._consider(text)
        if self.mode is TextMode.WORDS:
            return self._hasher.hashed(text)
        if self.mode is TextMode.NGRAMS:
            return self._hasher.ngrams(text)
        whole = self.mode is TextMode.DICTIONARY
        values = [text] if whole else list(dict.fromkeys(tokenize(text)))
        found = self.vocabulary.learn(values) if learn else self.vocabulary.look_up(values)
        codes = dict.fromkeys(code for code in found if code >= 0)  # hashed ones may be the same
        return self._hasher.coded(text, list(codes), whole=whole)

    def _consider(self, text: str) -> None:
        self._first.append(escape_surrogates(text[:MAX_VALUE_LENGTH]))
        if len(self._first) == AUTO_TEXTS:
            self.settle()

    def export_state(self) -> dict[str, Any]:
        """Export the mode and what it will be chosen by; the vocabulary is exported apart."""
        return {"mode": str(self.mode), "auto": self._auto, "first": list(self._first)}

    def restore_state(self, state: Mapping[str, Any], values: Sequence[str]) -> None:
        """Restore an exported state and the values of the vocabulary."""
        self.mode, self._auto = TextMode(state["mode"]), bool(state["auto"])
        self._first = list(state["first"])
        if len(self._first) >= AUTO_TEXTS or not all(isinstance(text, str) for text in self._first):
            raise ModelFileError("the encoder's first texts of a column are damaged")
        self.vocabulary.restore_state(values)


Texts = list[list[HashedText]]  # by column and sample


@final
class TextColumns(WeightedTransformer, kinds=[Kind.TEXT]):
    """Encodes texts as weighted rows, and their length and fraction of digits as numbers."""

    dense_inputs = 2
    standardized = 2
    overrides = "texts"
    joins_values = True

    def __init__(self, settings: EncoderSettings, statistics: NumberStatistics) -> None:
        super().__init__(settings, statistics)
        self._overrides: Mapping[str, str] = settings.texts or {}
        self._hasher = TextHasher(
            buckets=settings.text_buckets, max_words=settings.max_words, digits=settings.text_digits
        )
        self._columns: list[TextColumn] = []
        self._planned: list[tuple[int, TextColumn, int]] = []  # source, column, first key
        self._plan = np.empty((0, 5), np.int64)

    def append(self, slot: FieldSlot) -> None:
        """Add a text column."""
        for _ in range(self.standardized):
            self.statistics.append(category=False, origin=0.0)
        mode = self._overrides.get(slot.field.name, self.settings.text)
        limit = self.settings.max_categories
        self._columns.append(TextColumn(mode=mode, hasher=self._hasher, limit=limit))

    def plan(self, slots: Sequence[FieldSlot], sources: Mapping[str, int], first_key: int) -> int:
        """Plan the columns; their keys lie beyond all others."""
        own = [slot for slot in slots if slot.field.kind in self.kinds]
        self._planned = [
            (sources.get(slot.field.name, -1), self._columns[slot.nth], slot.base) for slot in own
        ]
        rows = [
            (2 * slot.nth + i, slot.statistic + i, slot.dense + i, -1, slot.base)
            for slot in own
            for i in range(2)
        ]
        self._plan = np.array(rows, np.int64).reshape(-1, 5)
        return 0

    def prepare(self, block: Block, *, learn: bool) -> Prepared:
        """Encode all texts of a block as codes."""
        texts = [
            column.hashed(block.words[source].tolist(), learn=learn)
            if source >= 0
            else [self._hasher.hashed(None)] * len(block)
            for source, column, _ in self._planned
        ]
        truncated = sum(text.truncated for text in chain(*texts)) if learn else 0
        return Prepared(texts, sum(map(_count_keys, texts)), truncated)

    def write(
        self,
        data: Texts,
        arrays: InputArrays,
        keys: NDArray[np.int64],
        weights: NDArray[np.float64],
        *,
        learn: bool,
    ) -> None:
        """Write standardized statistics of the texts, and their keys with weights."""
        rows = [
            tuple(chain(*(text.statistics for text in sample)))
            for sample in zip(*data, strict=True)
        ]
        values = np.array(rows, np.float64).reshape(len(rows), len(self._plan))
        self._standardize(values, self._plan, arrays, learn)
        first = 0
        for (_, _, base), texts in zip(self._planned, data, strict=True):
            own = slice(first, first := first + _count_keys(texts))
            write_text_keys(texts, base, keys[:, own], weights[:, own])

    def collect(self, block: Block) -> None:
        """Collect texts for the choice of modes, without learning them."""
        for source, column, _ in self._planned:
            if source >= 0:
                column.collect(block.words[source].tolist())

    def settle(self) -> None:
        """Choose modes by the collected texts."""
        for column in self._columns:
            column.settle()

    @property
    def shared(self) -> Sequence[Any]:
        """The vocabularies, and the cache of hashes."""
        return [self._hasher, *(column.vocabulary for column in self._columns)]

    def export_state(self) -> dict[str, Any]:
        """Export modes and vocabularies, if any column may have one."""
        if not (self._columns and self._is_stateful()):
            return {}
        return {
            "texts": [column.export_state() for column in self._columns],
            "text_vocabularies": [defer_copy(one.vocabulary.names) for one in self._columns],
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Restore modes and vocabularies."""
        if self._columns and self._is_stateful():
            saved = zip(self._columns, state["texts"], state["text_vocabularies"], strict=True)
            for column, known, values in saved:
                column.restore_state(known, values)

    def describe(self, slot: FieldSlot) -> dict[str, Any]:
        """Name the mode."""
        return {"texts": str(self._columns[slot.nth].mode)}

    def decode_code(self, slot: FieldSlot, code: int) -> str | None:
        """Return the value of a code of a vocabulary."""
        names = self._columns[slot.nth].vocabulary.names
        code -= VOCABULARY_BASE
        return names[code - 1] if 0 < code <= len(names) else None

    def _is_stateful(self) -> bool:
        return self.settings.text != "words" or bool(self._overrides)


def _count_keys(texts: list[HashedText]) -> int:
    """Number of key columns for the texts of a column."""
    return max((len(text.codes) for text in texts), default=0)
