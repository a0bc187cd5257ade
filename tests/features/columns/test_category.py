from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ModelFileError
from streamnet.features.columns.category import Vocabulary, escape_surrogates

ANY_TEXT = st.text(st.characters(), max_size=5)


@given(st.lists(st.none() | ANY_TEXT, max_size=50))
def test_values_are_numbered_in_order_of_appearance(values: list[str | None]) -> None:
    vocabulary = Vocabulary(base=100, limit=1000)
    numbers: dict[str, int] = {}
    expected = []
    for value in values:
        if value is not None:
            numbers.setdefault(escape_surrogates(value), len(numbers) + 1)
        expected.append(100 if value is None else 100 + numbers[escape_surrogates(value)])
    assert list(vocabulary.learn(values)) == expected
    assert vocabulary.names == list(numbers)


def test_values_beyond_the_limit_share_256_keys_for_good() -> None:
    vocabulary = Vocabulary(base=0, limit=3)
    values = [f"value {i}" for i in range(2000)]
    first = list(vocabulary.learn(values))
    assert first[:3] == [1, 2, 3]
    assert first[3:] == [4 + crc32(value.encode()) % 256 for value in values[3:]]
    assert list(vocabulary.learn(values)) == first == list(vocabulary.look_up(values))
    assert len(vocabulary) == 4
    assert len(vocabulary.names) == 3


def test_looking_up_appends_nothing() -> None:
    vocabulary = Vocabulary(base=0, limit=2)
    list(vocabulary.learn(["a"]))
    assert list(vocabulary.look_up(["b", None, "a", ""])) == [-1, 0, 1, -1]
    assert (len(vocabulary), vocabulary.names) == (2, ["a"])


def test_truth_values_are_known_in_each_spelling_unless_both_were_seen() -> None:
    vocabulary = Vocabulary(base=0, limit=9)
    list(vocabulary.learn(["False", "True", "yes"]))
    assert list(vocabulary.look_up(["true", "FALSE", "True", "YES", "tRUE"])) == [2, 1, 2, -1, -1]
    assert list(vocabulary.learn(["true"])) == [4]
    assert list(vocabulary.look_up(["true", "True", "false"])) == [4, 2, 1]


def test_integers_and_their_floats_are_the_same_unless_both_were_seen() -> None:
    vocabulary = Vocabulary(base=0, limit=9)
    list(vocabulary.learn(["12345.0", "7", "0", "-3.0", "1.50"]))
    known = {"12345": 1, "7.0": 2, "0.0": 3, "-3": 4}
    assert list(vocabulary.look_up(list(known))) == list(known.values())
    strange = ["012345", "7.00", "7.", "-7", "-0", "1.5", "+7", "7.0.0"]
    assert list(vocabulary.look_up(strange)) == [-1] * len(strange)
    assert list(vocabulary.learn(["7.0"])) == [6]
    assert list(vocabulary.look_up(["7", "7.0"])) == [2, 6]


def test_values_of_an_earlier_stream_are_learned_in_each_spelling() -> None:
    vocabulary = Vocabulary(base=0, limit=9)
    list(vocabulary.learn(["True", "7", "8", "8.0"]))
    vocabulary.inherit()
    assert list(vocabulary.learn(["true", "TRUE", "7.0", "8.0", "false", "False"])) == [
        *(1, 1, 2, 4, 5, 6)
    ]
    restored = Vocabulary(base=0, limit=9)
    restored.restore_state(vocabulary.names, vocabulary.inherited)
    assert restored == vocabulary
    assert restored.names == ["True", "7", "8", "8.0", "false", "False"]


def test_very_long_values_are_shortened_but_stay_distinct() -> None:
    vocabulary = Vocabulary(base=0, limit=10)
    values = ["x" * 1_000_000 + "a", "x" * 1_000_000 + "b", "x" * 256]
    assert list(vocabulary.learn([*values, *values])) == [1, 2, 3, 1, 2, 3]
    assert [len(value) for value in vocabulary.names] == [256, 256, 256]
    assert list(vocabulary.look_up(values)) == [1, 2, 3]


def test_lone_surrogates_are_escaped() -> None:
    vocabulary = Vocabulary(base=0, limit=10)
    assert list(vocabulary.learn(["a\ud800", "a\ud800", "b"])) == [1, 1, 2]
    assert vocabulary.names == ["a\\ud800", "b"]


def test_a_restored_vocabulary_gives_the_same_keys() -> None:
    vocabulary = Vocabulary(base=7, limit=2)
    values = ["b", None, "a", "c", "d"]
    keys = list(vocabulary.learn(values))
    restored = Vocabulary(base=7, limit=2)
    restored.restore_state(vocabulary.names)
    assert list(restored.look_up(values)) == keys


@pytest.mark.parametrize("values", [["a", "a"], ["a", "b", "c"], ["\ud800"]])
def test_an_inconsistent_vocabulary_is_refused(values: list[str]) -> None:
    with pytest.raises(ModelFileError, match="categories"):
        Vocabulary(base=0, limit=2).restore_state(values)
