from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ModelFileError
from streamnet.features import Encoder
from streamnet.features.columns.text import (
    AUTO_TEXTS,
    HashedText,
    TextColumn,
    TextHasher,
    choose_text_mode,
)
from streamnet.samples import Kind, Task
from streamnet.settings.encoder import TextMode
from tests.features.blocks import active, block_of

NOTE = ("note", Kind.TEXT)
ANY_TEXT = st.text(st.characters(), max_size=60)
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
def test_the_first_texts_of_a_column_tell_its_mode(texts: list[str], mode: Any) -> None:
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
def test_modes_measure_texts_alike_and_share_no_codes(mode: TextMode) -> None:
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


def test_ngrams_of_like_codes_are_alike() -> None:
    one, other, third = (set(found) for found in codes(column("ngrams"), "AX-100", "ax-107", "Q"))
    assert len(one & other) == 4
    assert not one & third


def test_what_goes_beyond_the_cap_of_ngrams_is_counted() -> None:
    (hashed,) = column("ngrams", max_words=2).hashed(["abcd"], learn=True)
    assert (len(hashed.codes), hashed.truncated) == (2, 2)


def test_tokens_are_numbered_in_order_of_appearance_and_new_ones_are_not_asked_for() -> None:
    tokens = column("tokens")
    first = 1 + (1 << 33)
    found = codes(tokens, "red, red", "blue red", None)
    assert found == [[first, first + 1], [first + 2, first], [0]]
    assert codes(tokens, "green RED", learn=False) == [[first]]
    assert tokens.vocabulary.names == ["red", ",", "blue"]


def test_a_dictionary_looks_up_what_it_was_given() -> None:
    # A key that was cleaned when it was stored must be cleaned alike when it is looked up.
    values = column("dictionary")
    learned = codes(values, " New York ", "new york", "Umläut, und mehr")
    assert codes(values, " New York ", "new york", "Umläut, und mehr", learn=False) == learned
    assert len({code for (code,) in learned}) == 3
    assert codes(values, "Boston", learn=False) == [[]]


def test_a_full_vocabulary_hashes_what_is_new() -> None:
    tokens = column("tokens", limit=2)
    codes(tokens, "a b c d e f")
    assert tokens.vocabulary.names == ["a", "b"]
    (asked,) = codes(tokens, "x a", learn=False)
    assert len(asked) == 2


def test_the_rule_decides_after_so_many_texts_and_never_again() -> None:
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


def test_a_data_set_chooses_before_it_learns() -> None:
    values = [f"AX-{i % 20}" for i in range(30)]
    block = block_of({NOTE: values})
    encoder = Encoder(task=Task.CLASSIFICATION, text="auto").fit([block])
    named = Encoder(task=Task.CLASSIFICATION, text="ngrams").fit([block])
    assert active(encoder.transform(block)) == active(named.transform(block))


def test_a_data_set_without_texts_leaves_the_choice_open() -> None:
    encoder = Encoder(task=Task.CLASSIFICATION, text="auto").fit([block_of({NOTE: [None]})])
    assert encoder.export_state()["texts"] == [{"mode": "words", "auto": True, "first": []}]


@pytest.mark.parametrize("mode", ["dictionary", "tokens"])
def test_texts_of_a_vocabulary_come_back(mode: Any) -> None:
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
def test_hashed_texts_do_not_come_back(mode: Any) -> None:
    block = block_of({NOTE: ["red, green", "blue"]})
    encoder = Encoder(task=Task.CLASSIFICATION, text=mode).fit([block])
    assert encoder.inverse(encoder.transform(block)) == [{}, {}]


@pytest.mark.parametrize(
    "damage",
    [{"mode": "sounds"}, {"first": ["a"] * AUTO_TEXTS}, {"first": [3]}, {"first": None}],
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
