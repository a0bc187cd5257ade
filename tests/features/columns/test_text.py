from __future__ import annotations

import csv
import gzip
import math
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamnet import OnlineClassifier
from streamnet.features import Encoder
from streamnet.features.columns.text import PAIR_WEIGHT, TextHasher, write_text_keys
from streamnet.samples import Kind, Task
from tests.features.blocks import block_of

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
def test_a_text_has_length_two_whatever_it_says(text: str) -> None:
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


def test_a_text_of_codes_tells_what_its_numbers_say_by_default() -> None:
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


def test_what_goes_beyond_the_cap_is_counted() -> None:
    hashed = hasher(max_words=3).hashed("a b c d")
    assert (len(hashed.codes), hashed.words, hashed.truncated) == (3, 3, 4)


def test_measures_are_the_logarithm_of_the_length_and_the_share_of_digits() -> None:
    assert hasher().hashed("ab 12 3x").statistics == (math.log1p(8), 3 / 8)
    assert hasher().hashed("").statistics == (0.0, 0.0)
    assert all(math.isnan(measure) for measure in hasher().hashed(None).statistics)


def test_the_memory_of_words_is_bounded() -> None:
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


def test_spam_is_told_from_the_hashed_words_by_a_linear_model(shared_data: Path) -> None:
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


def test_long_words_are_not_remembered() -> None:
    hasher = TextHasher(buckets=4096, max_words=256)
    for letter in "abc":
        hasher.hashed(f"short {letter * 100_000}")
    assert sum(map(len, hasher._hashes)) == len("short")
