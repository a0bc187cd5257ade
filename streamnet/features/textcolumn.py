"""Text columns: which of several ways a column's texts become inputs, by name or by a rule."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from enum import StrEnum
from statistics import median
from typing import Any
from typing import final

from streamnet.errors import ModelFileError
from streamnet.features.categories import LONGEST
from streamnet.features.categories import Vocabulary
from streamnet.features.categories import printable
from streamnet.features.text import HashedText
from streamnet.features.text import TextHasher
from streamnet.features.text import tokens_of

__all__ = ("AUTO", "TextColumn", "TextMode", "mode_of")


class TextMode(StrEnum):
    """How a text becomes active inputs.

    ``WORDS``: hashed words and pairs of neighbours. ``TOKENS``: words and signs from a vocabulary
    that fills in order of appearance. ``NGRAMS``: hashed runs of three characters. ``DICTIONARY``:
    the whole text is one value of a vocabulary, as of a category.
    """

    WORDS = "words"
    TOKENS = "tokens"
    NGRAMS = "ngrams"
    DICTIONARY = "dictionary"


AUTO = "auto"
FIRST = 100  # texts by which the rule decides
REPEATED = 2.0  # times that a text came on average, from which on it is a value of a dictionary
SHORT = 2  # words of the median text up to which its characters tell more than they do
NEW = 0.01  # share of new tokens up to which the known ones are all there are
VOCABULARY = 1 << 33  # codes of a vocabulary, beyond all that are hashed


def mode_of(texts: Sequence[str]) -> TextMode:
    """The mode that suits a column by its first texts.

    A dictionary where each text came twice or more on average. Else n-grams where the median text
    has at most two words between blanks: names and codes, of which parts tell more than the whole.
    Else tokens where of those in the second half of the texts at most one in a hundred is new:
    lists of the same few words. Words and pairs for all else, which is free text.

    >>> str(mode_of(["on", "off", "on", "on"])), str(mode_of(["AX-1", "AX-2", "B-17"]))
    ('dictionary', 'ngrams')
    """
    if len(texts) >= REPEATED * len(set(texts)):
        return TextMode.DICTIONARY
    if median(len(text.split()) for text in texts) <= SHORT:
        return TextMode.NGRAMS
    half = len(texts) // 2
    known = {token for text in texts[:half] for token in tokens_of(text)}
    later = [token for text in texts[half:] for token in tokens_of(text)]
    new = sum(token not in known for token in later)
    return TextMode.TOKENS if new <= NEW * len(later) else TextMode.WORDS


@final
class TextColumn:
    """Turns the texts of one column into codes; of its modes only vocabularies learn.

    Args:
        mode: a `TextMode`, or "auto": words until 100 texts came, by which `mode_of` then decides
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
        self.vocabulary = Vocabulary(base=VOCABULARY, limit=limit)
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
        values = [text] if whole else list(dict.fromkeys(tokens_of(text)))
        found = self.vocabulary.learn(values) if learn else self.vocabulary.look_up(values)
        codes = dict.fromkeys(code for code in found if code >= 0)  # hashed ones may be the same
        return self._hasher.coded(text, list(codes), whole=whole)

    def _consider(self, text: str) -> None:
        self._first.append(printable(text[:LONGEST]))
        if len(self._first) == FIRST:
            self._decide()

    def _decide(self) -> None:
        self._mode = mode_of(self._first)
        self._auto = False
        self._first = []

    def export_state(self) -> dict[str, Any]:
        """All that was learned, as values that JSON can hold but for the vocabulary."""
        return {"mode": str(self._mode), "auto": self._auto, "first": list(self._first)}

    def restore_state(self, state: Mapping[str, Any], values: Sequence[str]) -> None:
        """Take over what `export_state` gave, and the values of the vocabulary."""
        self._mode, self._auto = TextMode(state["mode"]), bool(state["auto"])
        self._first = list(state["first"])
        if len(self._first) >= FIRST or not all(isinstance(text, str) for text in self._first):
            raise ModelFileError("the encoder's first texts of a column are damaged")
        self.vocabulary.restore_state(values)
