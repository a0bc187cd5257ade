"""Labels of merged and retired classes: how they are read, and where their probability goes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.errors import ConfigurationError, ModelFileError
from streamnet.features.columns.label import (
    CLASS_CHANGE,
    RETIRED,
    RETIRED_CLASS,
    ClassRedirects,
    LabelEncoder,
    MovedClass,
)
from streamnet.samples import ClassChange

NAMES = ["a", "b", "c", "d", "e"]


def encoder_of(*labels: str, limit: int = 10, declared: tuple[str, ...] = ()) -> LabelEncoder:
    encoder = LabelEncoder(max_classes=limit, declared=declared)
    if labels:
        encoder.number(np.array(labels, object))
    return encoder


def numbers(encoder: LabelEncoder, *labels: str | None) -> list[int]:
    found: list[int] = encoder.number(np.array(labels, object)).label.tolist()
    return found


def test_a_merged_label_is_read_as_the_other_one_and_keeps_its_place() -> None:
    encoder = encoder_of("up", "down", "SIDEWAYS", "flat")
    assert encoder.change(ClassChange("SIDEWAYS", "flat")) == MovedClass(2, 3)
    assert numbers(encoder, "SIDEWAYS", "flat", "up", None, "new") == [3, 3, 0, -1, 4]
    assert encoder.look_up(np.array(["SIDEWAYS"], object)).tolist() == [3]
    assert encoder.names == ["up", "down", "SIDEWAYS", "flat", "new"]
    assert encoder.active == ["up", "down", "flat", "new"]
    assert encoder.changes == {"SIDEWAYS": "flat"}


def test_a_retired_label_is_refused_with_the_reason() -> None:
    encoder = encoder_of("up", "down")
    encoder.change(ClassChange("down"))
    assert encoder.refused(np.array(["up", "down", "new", "down"], object)) == [1, 3]
    numbered = encoder.number(np.array(["up", "down", "new"], object))
    assert (numbered.label.tolist(), numbered.refused) == ([0, -1, 2], (1,))
    letter = encoder.refuse_label("down", "f.csv", np.array([7, 3, 2]))
    assert (letter.reason, letter.line, letter.raw) == (RETIRED_CLASS, 2, "down")
    assert letter.detail == "label 'down' is that of a class that is retired"
    assert encoder.look_up(np.array(["down"], object)).tolist() == [-1]


def test_aliases_follow_when_their_class_is_merged_or_retired() -> None:
    encoder = encoder_of(*NAMES)
    encoder.change(ClassChange("a", "b"))
    encoder.change(ClassChange("b", "c"))
    assert numbers(encoder, "a", "b", "c") == [2, 2, 2]
    assert encoder.change(ClassChange("d", "a")) == MovedClass(3, 2)  # "a" is read as "c"
    encoder.change(ClassChange("c"))
    assert encoder.refused(np.array(NAMES, object)) == [0, 1, 2, 3]
    assert encoder.changes == dict.fromkeys("abcd", None)
    encoder.change(ClassChange("a", "e"))  # a retired class may still be merged
    assert numbers(encoder, "a", "e") == [4, 4]
    assert encoder.refused(np.array(NAMES, object)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("A", "b"), "label is 'A', but must be a class of the model: 'a', 'd'. Did you mean 'a'"),
        (("a", "x"), "into is 'x', but must be a class of the model: 'a', 'd'"),
        (("a", "a"), "into is 'a', but must be another class"),
        (("a", "b"), "into is 'b', but must be another class"),  # since "b" is "a"
        (("a", "c"), "into is 'c', but that class is retired"),
        (("b", "d"), "label is 'b', but that class is merged into 'a'"),
        (("b",), "label is 'b', but that class is merged into 'a'"),
        (("c",), "label is 'c', but that class is retired already"),
    ],
)
def test_impossible_changes_say_why(change: tuple[str, ...], problem: str) -> None:
    encoder = encoder_of("a", "b", "c", "d")
    encoder.change(ClassChange("b", "a"))
    encoder.change(ClassChange("c"))
    with pytest.raises(ConfigurationError, match=problem.replace("?", ".")):
        encoder.change(ClassChange(*change))
    letter = encoder.refuse_change(ClassChange("b"), problem, "journal", np.array([1, 2, 0]))
    assert (letter.reason, letter.raw) == (CLASS_CHANGE, "b")


def test_the_last_class_stays() -> None:
    encoder = encoder_of("a", "b")
    encoder.change(ClassChange("a"))
    with pytest.raises(ConfigurationError, match="'b', but that is the last class, which must"):
        encoder.change(ClassChange("b"))


def test_a_change_is_done_once() -> None:
    encoder = encoder_of(*NAMES)
    for change in (ClassChange("a", "b"), ClassChange("c")):
        assert not encoder.is_done(change)
        encoder.change(change)
        assert encoder.is_done(change)
    assert not encoder.is_done(ClassChange("a", "d"))
    assert not encoder.is_done(ClassChange("a"))
    encoder.change(ClassChange("b", "d"))
    assert encoder.is_done(ClassChange("a", "b"))


def test_declared_classes_can_be_merged_and_retired() -> None:
    encoder = encoder_of(declared=("up", "down", "flat"))
    encoder.change(ClassChange("flat", "up"))
    encoder.change(ClassChange("down"))
    assert encoder.refused(np.array(["flat", "down", "other"], object)) == [1, 2]
    assert encoder.refuse_label("down", "-", np.zeros(3, np.int64)).reason == RETIRED_CLASS
    letter = encoder.refuse_label("Up", "-", np.zeros(3, np.int64))
    assert letter.detail == ("label 'Up' is none of the declared classes 'up'. Did you mean 'up'?")


def test_other_spellings_of_an_inherited_stream_are_redirected_as_well() -> None:
    encoder = encoder_of("True", "false", "7", "8")
    encoder.change(ClassChange("false", "True"))
    encoder.change(ClassChange("7"))
    other = LabelEncoder(max_classes=10)
    other.restore_state(encoder.names, inherited=4)
    assert encoder.redirects is not None
    other.restore_redirects(encoder.redirects.targets)
    assert numbers(other, "FALSE", "true", "8.0") == [0, 0, 3]
    assert other.refused(np.array(["7.0", "7", "9"], object)) == [0, 1]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_restored_encoder_reads_all_labels_alike(data: st.DataObject) -> None:
    encoder = encoder_of(*NAMES)
    for _ in range(data.draw(st.integers(1, 6))):
        label = data.draw(st.sampled_from(NAMES))
        into = data.draw(st.sampled_from([None, *NAMES]))
        try:
            encoder.change(ClassChange(label, into))
        except ConfigurationError:
            continue
    other = LabelEncoder(max_classes=10)
    other.restore_state(encoder.names)
    if encoder.redirects is not None:
        other.restore_redirects(encoder.redirects.targets)
    labels = np.array([*NAMES, "new"], object)
    assert other.refused(labels) == encoder.refused(labels)
    assert (other.changes, other.active) == (encoder.changes, encoder.active)
    assert other.number(labels).label.tolist() == encoder.number(labels).label.tolist()


@pytest.mark.parametrize("targets", [[0, 1, 2, 3], [1, 0], [0, -2], [1, -1]])
def test_redirects_that_do_not_fit_are_refused(targets: list[int]) -> None:
    encoder = encoder_of("a", "b", "c")
    with pytest.raises(ModelFileError, match="merged and retired ones do not fit"):
        encoder.restore_redirects(np.array(targets))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_probabilities_are_those_of_a_plain_reference_however_wide_the_array(
    data: st.DataObject,
) -> None:
    classes = data.draw(st.integers(2, 9))
    targets = list(range(classes))
    for number in data.draw(st.lists(st.integers(1, classes - 1), unique=True, max_size=4)):
        targets[number] = data.draw(st.sampled_from([0, RETIRED]))
    given_rows = data.draw(
        st.lists(
            st.lists(st.integers(0, 4), min_size=classes, max_size=classes), min_size=1, max_size=5
        )
    )
    raw = np.array(given_rows, np.float64) + 1e-30
    raw /= raw.sum(axis=1, keepdims=True)
    redirects = ClassRedirects(np.array(targets))
    found = redirects.apply(raw, np.full(len(raw), classes))
    for row, out in zip(raw.tolist(), found.tolist(), strict=True):
        wanted: Any = [0.0] * classes
        for number, target in enumerate(targets):
            if target != RETIRED:
                wanted[target] += row[number]
        total = sum(wanted)
        assert out == pytest.approx([value / total for value in wanted], abs=1e-12)
        assert all(out[n] == 0.0 for n, target in enumerate(targets) if target != n)
    wide = np.zeros((2, len(raw), 16), np.float32)
    wide[:, :, :classes] = raw
    narrow = redirects.apply(wide[:, :, :classes], np.full(len(raw), classes))
    assert np.array_equal(redirects.apply(wide, np.full(len(raw), classes))[..., :classes], narrow)


def test_where_only_a_retired_class_was_probable_all_others_share() -> None:
    redirects = ClassRedirects(np.array([0, RETIRED, 2, 3]))
    row = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [np.nan] * 4])
    found = redirects.apply(row, np.array([4, 3, 4]))
    assert found[:2].tolist() == [[1 / 3, 0.0, 1 / 3, 1 / 3], [0.5, 0.0, 0.5, 0.0]]
    assert np.isnan(found[2, 0])
