"""Texts: hashed words, n-grams, tokens and the choice of a mode."""

from __future__ import annotations

import csv
import gzip
import math
import re
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet import OnlineClassifier
from streamnet.errors import ModelFileError
from streamnet.features import Encoder
from streamnet.features.columns.text import (
    AUTO_TEXTS,
    PAIR_WEIGHT,
    HashedText,
    TextColumn,
    TextHasher,
    choose_text_mode,
    write_text_keys,
)
from streamnet.samples import Kind, Task
from streamnet.settings.encoder import TextMode
from tests.features.blocks import active, block_of

ANY_TEXT = st.text(st.characters(), max_size=60)


def hasher(*, buckets: int = 4096, max_words: int = 256) -> TextHasher:
    return TextHasher(buckets=buckets, max_words=max_words)


@given(ANY_TEXT, st.integers(2, 64), st.integers(1, 20))
def test_codes_are_distinct_within_the_buckets_and_words_come_first(
    text: str, buckets: int, max_words: int
) -> None:
    hashed = hasher(buckets=buckets, max_words=max_words).hashed(text)
    assert len(set(hashed.codes)) == len(hashed.codes) <= max_words
    assert all(1 <= code <= buckets // 2 for code in hashed.codes[: hashed.words])
    assert all(buckets // 2 < code <= buckets for code in hashed.codes[hashed.words :])
    assert all(math.isfinite(measure) for measure in hashed.statistics)


@given(ANY_TEXT)
def test_every_text_has_norm_two(text: str) -> None:
    hashed = hasher().hashed(text)
    keys = np.empty((1, len(hashed.codes)), np.int64)
    weights = np.empty(keys.shape)
    write_text_keys([hashed], 1 << 40, keys, weights)
    assert keys[0].tolist() == [(1 << 40) + code for code in hashed.codes]
    assert np.linalg.norm(weights) == pytest.approx(2.0 if hashed.codes else 0.0)


def test_texts_of_a_block_are_padded_to_the_longest() -> None:
    texts = [hasher().hashed(text) for text in ("one two", None, "")]
    keys, weights = np.empty((3, 3), np.int64), np.empty((3, 3))
    write_text_keys(texts, 1 << 40, keys, weights)
    assert (keys >= 0).tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert keys[1, 0] == 1 << 40
    assert weights[0, 2] == pytest.approx(PAIR_WEIGHT * weights[0, 0])
    assert weights[1, 0] == 1.0


def test_hashes_are_the_same_in_every_process_and_release() -> None:
    codes = hasher().hashed("Win £1000 now!").codes
    words = ["win", "£", "<digits 4>", "now", "!"]
    assert codes[:5] == [1 + crc32(word.encode()) % 2048 for word in words]
    assert codes == [887, 1378, 1217, 1232, 2004, 2275, 3773, 2131, 3926]


def test_case_does_not_count_and_of_digits_only_their_number() -> None:
    assert hasher().hashed("CALL 555-1234") == hasher().hashed("call 987-0000")
    assert hasher().hashed("12").codes != hasher().hashed("123").codes
    assert hasher().hashed("1" * 9).codes == hasher().hashed("1" * 40).codes


def test_short_numbers_are_words_of_their_own_and_of_long_ones_the_length_counts() -> None:
    values = TextHasher(buckets=4096, max_words=256, digits=3)
    assert values.hashed("error 404").codes != values.hashed("error 500").codes
    assert values.hashed("error 4044") == values.hashed("error 5005")
    assert values.hashed("E404").codes[1] == 1 + crc32(b"404") % 2048


def test_short_numbers_of_codes_are_distinguished_by_default() -> None:
    rng = np.random.default_rng(0)
    code = rng.integers(100, 200, 3000)
    texts = [f"pump stopped with E{value}" for value in code]
    classifier = OnlineClassifier(seed=0)
    right = 0
    for text, value in zip(texts, code, strict=True):
        sample, label = {"message": text}, "odd" if value % 2 else "even"
        right += classifier.predict_one(sample) == label
        classifier.learn_one(sample, label)
    assert right > 2400


def test_the_order_of_words_shows_in_the_pairs_only() -> None:
    one, other = hasher().hashed("dog bites man"), hasher().hashed("man bites dog")
    assert sorted(one.codes[: one.words]) == sorted(other.codes[: other.words])
    assert set(one.codes[one.words :]).isdisjoint(other.codes[other.words :])


def test_scripts_without_spaces_are_read_character_by_character() -> None:
    text = hasher().hashed("東京タワー")
    assert text.words == 5


def test_truncated_codes_are_counted() -> None:
    hashed = hasher(max_words=3).hashed("a b c d")
    assert (len(hashed.codes), hashed.words, hashed.truncated) == (3, 3, 4)


def test_statistics_are_the_log_length_and_the_fraction_of_digits() -> None:
    assert hasher().hashed("ab 12 3x").statistics == (math.log1p(8), 3 / 8)
    assert hasher().hashed("").statistics == (0.0, 0.0)
    assert all(math.isnan(measure) for measure in hasher().hashed(None).statistics)


def test_the_cache_of_words_is_bounded() -> None:
    words = hasher()
    for start in range(0, 200_000, 100):
        words.hashed(" ".join(f"w{chr(97 + i % 26)}{'x' * (i % 7)}" for i in range(start, 99)))
        words.hashed(" ".join(map(str, range(start, start + 100))))
    assert len(words._hashes) <= 1 << 16
    assert words.hashed("call me").codes == hasher().hashed("call me").codes


def prequential_accuracy(
    dense: NDArray[np.float32],
    rows: list[tuple[NDArray[np.int32], NDArray[np.float32]]],
    positive: list[bool],
) -> float:
    """Accuracy of a logistic regression by AdaGrad that predicts each sample, then learns it."""
    w, g = np.zeros(8192), np.full(8192, 1e-8)
    v, h = np.zeros(dense.shape[1] + 1), np.full(dense.shape[1] + 1, 1e-8)
    right = 0
    for numbers, (row, value), truth in zip(dense, rows, positive, strict=True):
        x = np.append(numbers, 1.0)
        p = 1.0 / (1.0 + math.exp(-float(w[row] @ value + v @ x)))
        right += (p > 0.5) == truth
        slope, slopes = (p - truth) * value, (p - truth) * x
        g[row] += slope**2
        h += slopes**2
        w[row] -= 0.3 * slope / np.sqrt(g[row])
        v -= 0.3 * slopes / np.sqrt(h)
    return right / len(positive)


def test_a_linear_model_detects_spam_from_hashed_words(shared_data: Path) -> None:
    with gzip.open(shared_data / "sms_spam.csv.gz", "rt", encoding="utf-8") as file:
        samples = list(csv.DictReader(file))
    texts = [sample["text"] for sample in samples]
    inputs = Encoder(task=Task.CLASSIFICATION).encode(block_of({("text", Kind.TEXT): texts})).inputs
    rows = [
        (row[:count], value[:count])
        for row, value, count in zip(inputs.row, inputs.value, inputs.count, strict=True)
    ]
    spam = [sample["label"] == "spam" for sample in samples]
    assert prequential_accuracy(inputs.dense, rows, spam) >= 0.985


def test_long_words_are_not_cached() -> None:
    hasher = TextHasher(buckets=4096, max_words=256)
    for letter in "abc":
        hasher.hashed(f"short {letter * 100_000}")
    assert sum(map(len, hasher._hashes)) == len("short")


NOTE = ("note", Kind.TEXT)
FREE = [f"the man of {chr(97 + i % 26) * (1 + i // 26)} has been to see us" for i in range(99)]


def column(mode: Any, *, limit: int = 1000, max_words: int = 256) -> TextColumn:
    hasher = TextHasher(buckets=4096, max_words=max_words)
    return TextColumn(mode=mode, hasher=hasher, limit=limit)


def codes(texts: TextColumn, *values: str | None, learn: bool = True) -> list[list[int]]:
    return [hashed.codes for hashed in texts.hashed(values, learn=learn)]


@pytest.mark.parametrize(
    ("texts", "mode"),
    [
        (["in the house", "in the garden", "in the house", "in the garden"], "dictionary"),
        (["in the house", "in the garden", "in the house", "at sea, alone"], "words"),
        (["AX-100", "AX-101", "BX-100", "BX-7"], "ngrams"),
        (["Ada Lovelace", "Grace Hopper", "Ida Rhodes"], "ngrams"),
        (["東京タワーです", "京都のお寺です"], "ngrams"),
        ([f"{a} and {b} and {c}" for a in "uvw" for b in "uvw" for c in "vwu"], "tokens"),
        ([f"{a} and {b} and {i}" for i, a in enumerate("uvwx" * 9) for b in "uv"], "words"),
        (FREE, "words"),
        ([""], "ngrams"),
    ],
)
def test_the_first_texts_of_a_column_decide_its_mode(texts: list[str], mode: Any) -> None:
    assert choose_text_mode(texts) == mode


@pytest.mark.parametrize("mode", TextMode)
@given(ANY_TEXT, st.integers(1, 20), st.booleans())
def test_codes_are_distinct_and_bounded_and_weights_have_a_length(
    mode: TextMode, text: str, max_words: int, learn: bool
) -> None:
    (hashed,) = column(mode, limit=3, max_words=max_words).hashed([text], learn=learn)
    assert len(set(hashed.codes)) == len(hashed.codes) <= max_words
    assert all(0 < code < 1 << 40 for code in hashed.codes)
    length = 1.0 if mode is TextMode.DICTIONARY else 2.0
    if mode is not TextMode.WORDS and hashed.codes:
        assert hashed.weight * np.sqrt(len(hashed.codes)) == pytest.approx(length)


@pytest.mark.parametrize("mode", TextMode)
def test_modes_have_equal_statistics_and_distinct_codes(mode: TextMode) -> None:
    text = "2 Eggs, 1 Käse"
    words = column("words").hashed([text, None], learn=True)
    other = column(mode).hashed([text, None], learn=True)
    assert [hashed.statistics for hashed in other[:1]] == [
        hashed.statistics for hashed in words[:1]
    ]
    assert other[1].codes == words[1].codes == [0]
    if mode is not TextMode.WORDS:
        assert set(other[0].codes).isdisjoint(words[0].codes)


@given(st.text("aä€😀", max_size=12))
def test_ngrams_are_runs_of_three_characters_not_of_bytes(text: str) -> None:
    padded = f" {text} "
    grams = {padded[i : i + 3] for i in range(len(padded) - 2)}
    hashed = TextHasher(buckets=1 << 24, max_words=256).ngrams(text)
    assert len(hashed.codes) == len(grams)


def test_similar_codes_have_similar_ngrams() -> None:
    one, other, third = (set(found) for found in codes(column("ngrams"), "AX-100", "ax-107", "Q"))
    assert len(one & other) == 4
    assert not one & third


def test_truncated_ngrams_are_counted() -> None:
    (hashed,) = column("ngrams", max_words=2).hashed(["abcd"], learn=True)
    assert (len(hashed.codes), hashed.truncated) == (2, 2)


def test_tokens_are_numbered_in_order_and_new_ones_have_no_code_without_learning() -> None:
    tokens = column("tokens")
    first = 1 + (1 << 33)
    found = codes(tokens, "red, red", "blue red", None)
    assert found == [[first, first + 1], [first + 2, first], [0]]
    assert codes(tokens, "green RED", learn=False) == [[first]]
    assert tokens.vocabulary.names == ["red", ",", "blue"]


def test_a_dictionary_looks_up_whole_texts() -> None:
    # A key that was cleaned when it was stored must be cleaned alike when it is looked up.
    values = column("dictionary")
    learned = codes(values, " New York ", "new york", "Umläut, und mehr")
    assert codes(values, " New York ", "new york", "Umläut, und mehr", learn=False) == learned
    assert len({code for (code,) in learned}) == 3
    assert codes(values, "Boston", learn=False) == [[]]


def test_a_full_vocabulary_hashes_new_values() -> None:
    tokens = column("tokens", limit=2)
    codes(tokens, "a b c d e f")
    assert tokens.vocabulary.names == ["a", "b"]
    (asked,) = codes(tokens, "x a", learn=False)
    assert len(asked) == 2


def test_the_rule_decides_once_after_100_texts() -> None:
    texts = column("auto")
    modes = []
    for i in range(AUTO_TEXTS + 50):
        texts.hashed([f"AX-{i}", None], learn=True)
        texts.hashed(["asked for only"], learn=False)
        modes.append(texts.mode)
    assert modes == [TextMode.WORDS] * (AUTO_TEXTS - 1) + [TextMode.NGRAMS] * 51
    for text in FREE * 3:
        texts.hashed([text], learn=True)
    assert texts.mode is TextMode.NGRAMS
    assert texts.export_state() == {"mode": "ngrams", "auto": False, "first": []}


def test_fitting_chooses_the_mode_before_learning() -> None:
    values = [f"AX-{i % 20}" for i in range(30)]
    block = block_of({NOTE: values})
    encoder = Encoder(task=Task.CLASSIFICATION, text="auto").fit([block])
    named = Encoder(task=Task.CLASSIFICATION, text="ngrams").fit([block])
    assert active(encoder.transform(block)) == active(named.transform(block))


def test_fitting_without_texts_leaves_the_choice_open() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION, text="auto").fit([block_of({NOTE: [None]})])
    assert encoder.export_state()["texts"] == [{"mode": "words", "auto": True, "first": []}]


@pytest.mark.parametrize("mode", ["dictionary", "tokens"])
def test_texts_of_a_vocabulary_are_decoded(mode: Any) -> None:
    values = ["red, green", None, "blue", "green, blue, red"]
    block = block_of({NOTE: values})
    encoder = Encoder(task=Task.CLASSIFICATION, text=mode).fit([block])
    got = [sample.get("note") for sample in encoder.inverse(encoder.transform(block))]
    known = [None if v is None else set(re.findall(r"\w+|,", v)) for v in values]
    if mode == "dictionary":
        assert got == values
    else:
        assert [None if v is None else set(v.split()) for v in got] == known


@pytest.mark.parametrize("mode", ["words", "ngrams"])
def test_hashed_texts_are_not_decoded(mode: Any) -> None:
    block = block_of({NOTE: ["red, green", "blue"]})
    encoder = Encoder(task=Task.CLASSIFICATION, text=mode).fit([block])
    assert encoder.inverse(encoder.transform(block)) == [{}, {}]


@pytest.mark.parametrize(
    "damage", [{"mode": "sounds"}, {"first": ["a"] * AUTO_TEXTS}, {"first": [3]}, {"first": None}]
)
def test_a_damaged_state_of_a_column_is_refused(damage: dict[str, Any]) -> None:
    encoder = Encoder(task=Task.CLASSIFICATION, text="auto")
    encoder.encode(block_of({NOTE: ["a b"]}))
    state = encoder.export_state()
    state["texts"] = [state["texts"][0] | damage]
    with pytest.raises(ModelFileError, match="encoder"):
        Encoder.restore_state(state)


def test_a_missing_text_is_one_code_in_every_mode() -> None:
    missing = HashedText([0], 1, 1.0, (np.nan, np.nan), 0)
    for mode in TextMode:
        (hashed,) = column(mode).hashed([None], learn=True)
        assert hashed[:3] == missing[:3]
