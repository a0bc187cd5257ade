from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamnet.errors import ModelFileError
from streamnet.features.columns.target import LabelEncoder


@given(st.lists(st.none() | st.sampled_from("abcdefg"), max_size=40), st.integers(2, 9))
def test_classes_are_numbered_by_first_appearance_and_known_only_afterwards(
    target: list[str | None], most: int
) -> None:
    labels = LabelEncoder(max_classes=most)
    numbered = labels.number(np.array([*target, None], object)[:-1])
    label, known, refused = numbered.label, numbered.known, numbered.refused
    names: list[str] = []
    for i, name in enumerate(target):
        assert known[i] == len(names)
        if name is not None and name not in names and len(names) < most:
            names.append(name)
        assert label[i] == (names.index(name) if name in names else -1)
        assert (i in refused) == (name is not None and name not in names)
    assert labels.names == names


def test_labels_are_the_same_however_the_stream_is_cut() -> None:
    target = np.array(list("abracadabra"), object)
    whole = LabelEncoder(max_classes=4).number(target)
    single = LabelEncoder(max_classes=4)
    parts = [single.number(target[i : i + 1]) for i in range(len(target))]
    assert [p.label[0] for p in parts] == whole.label.tolist()
    assert [p.known[0] for p in parts] == whole.known.tolist()
    assert [i for i, p in enumerate(parts) if p.refused] == list(whole.refused) == [6]


@given(
    st.lists(st.none() | st.sampled_from(["a", "b", "c", "d", "\ud83d", "\\ud83d"]), max_size=20),
    st.lists(st.sampled_from(["a", "b", "\ud83d"]), max_size=4),
    st.integers(2, 6),
)
def test_labels_fit_up_to_the_first_that_would_be_refused(
    target: list[str | None], before: list[str], most: int
) -> None:
    labels = LabelEncoder(max_classes=most)
    labels.number(np.array([*before, None], object))
    block = np.array([*target, None], object)[:-1]
    names = labels.names.copy()
    fitting = labels.fitting(block)
    assert labels.names == names
    assert fitting == min(labels.number(block).refused, default=len(block))


def test_restored_labels_go_on_with_the_same_numbers() -> None:
    labels = LabelEncoder(max_classes=3)
    labels.restore_state(["spam", "ham"])
    numbered = labels.number(np.array(["ham", "eggs", "spam"], object))
    assert (numbered.label.tolist(), numbered.known.tolist()) == ([1, 2, 0], [2, 2, 3])


def test_labels_of_an_earlier_stream_are_learned_in_each_spelling_however_it_is_cut() -> None:
    target = np.array(["true", "7", "yes", "FALSE", "False", "0", "Yes", "true", "0.0"], object)
    expected = [0, 1, 2, 3, 4, 5, 6, 0, -1]
    for cut in range(len(target)):
        labels = LabelEncoder(max_classes=7)
        labels.restore_state(["True", "7.0", "yes"])
        assert labels.refused(np.array(["true", *"abcd"], object)) == [4]
        labels.inherit()
        assert labels.refused(np.array(["true", *"abcd"], object)) == []
        parts = [labels.number(part).label for part in (target[:cut], target[cut:])]
        assert np.concatenate(parts).tolist() == expected
        assert (labels.names[3:], labels.inherited) == (["FALSE", "False", "0", "Yes"], 3)
        restored = LabelEncoder(max_classes=7)
        restored.restore_state(labels.names, labels.inherited)
        assert restored.number(target).label.tolist() == expected


@pytest.mark.parametrize("names", [["a", "a"], ["a", "b", "c"]])
def test_labels_that_contradict_themselves_are_refused(names: list[str]) -> None:
    with pytest.raises(ModelFileError, match="class"):
        LabelEncoder(max_classes=2).restore_state(names)
