"""A set keeps samples in order and never renumbers a class."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamnet.datasets import Sample, Set
from streamnet.errors import ConfigurationError, DataError, StreamnetError
from streamnet.features import Encoder
from streamnet.samples import Task

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
plain_words = st.text("abcxyz-_é", min_size=1, max_size=5)


def rocks() -> Set:
    made = Set("classification", columns=("hard", "heavy"))
    made.extend(
        [
            Sample([1, 0], label="rock"),
            Sample([0, 1], label="mine"),
            Sample([2, 0], label="rock"),
            Sample([0, 3], label="net"),
        ]
    )
    return made


def values() -> Set:
    made = Set("regression")
    made.extend([Sample([1.0], value=0.5), Sample([2.0], value=-3.0)])
    return made


@st.composite
def sets(draw: st.DrawFn, labels: st.SearchStrategy[str] = words) -> Set:
    task = draw(st.sampled_from(list(Task)))
    width = draw(st.integers(1, 3))
    vectors = draw(
        st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1, max_size=6)
    )
    made = Set(task)
    for vector in vectors:
        if task is Task.CLASSIFICATION:
            made.add(Sample(vector, label=draw(labels)))
        else:
            made.add(Sample(vector, value=draw(numbers)))
    return made


def test_outputs_are_one_hot_in_the_order_of_first_appearance() -> None:
    made = rocks()
    assert made.labels == ("rock", "mine", "net")
    assert made.class_numbers().tolist() == [0, 1, 0, 2]
    assert made.outputs().tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert made.targets().tolist() == ["rock", "mine", "rock", "net"]
    assert made.counts() == {"rock": 2, "mine": 1, "net": 1}
    assert [made.class_number(label) for label in made.labels] == [0, 1, 2]


def test_outputs_of_a_regression_are_its_values() -> None:
    made = values()
    assert made.outputs().tolist() == [[0.5], [-3.0]]
    assert made.targets().tolist() == [0.5, -3.0]
    assert (made.labels, made.counts(), made.columns) == ((), {}, ("f0",))


def test_more_samples_never_renumber_a_class() -> None:
    made = rocks()
    before = made.outputs()
    other = Set("classification")
    other.extend([Sample([5, 5], label="net"), Sample([6, 6], label="sand")])
    made.extend(other)
    assert made.labels == ("rock", "mine", "net", "sand")
    assert made.outputs()[:4, :3].tolist() == before.tolist()
    assert made.class_numbers().tolist() == [0, 1, 0, 2, 2, 3]


def test_a_set_may_be_extended_by_itself() -> None:
    made = values()
    made.extend(made)
    assert len(made) == 4


def test_a_slice_is_a_set_that_knows_all_labels() -> None:
    made = rocks()
    for part in (made[3:], made[[3]], made[np.array([3])]):
        assert (part.labels, part.columns) == (made.labels, made.columns)
        assert part.outputs().tolist() == [[0, 0, 1]]
    assert made[::-1].class_numbers().tolist() == [2, 0, 1, 0]
    assert made[-1] == made[np.int64(3)] == Sample([0, 3], label="net")
    part = made[:1]
    part.add(Sample([0, 0], label="new"))
    assert made.labels == ("rock", "mine", "net")


def test_a_mask_takes_the_samples_where_it_is_true() -> None:
    made = rocks()
    mask = [False, True, False, True]
    for given_mask in (mask, tuple(mask), np.array(mask)):
        assert list(made[given_mask]) == [made[1], made[3]]
    for wrong in ([True], np.array([True] * 5), np.array([mask])):
        with pytest.raises(ConfigurationError, match="index is a mask of shape"):
            made[wrong]


def test_membership_compares_vector_and_target() -> None:
    made = rocks()
    assert Sample([0, 1.0], label="mine") in made
    assert Sample([0, 1], label="rock") not in made
    assert Sample([0, 1.5], label="mine") not in made
    assert Sample([-0.0, 1], label="mine") in made
    assert "mine" not in made
    assert Sample([0, 1], label="mine") != "mine"


def test_membership_takes_no_longer_in_a_large_set() -> None:
    class Counted(str):
        """A label that counts how often it is compared."""

        __slots__ = ()
        compared = 0

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    made = Set("classification")
    made.extend(Sample([i, i], label=Counted("x")) for i in range(2000))
    Counted.compared = 0
    assert Sample([1999, 1999], label="x") in made
    assert Counted.compared < 10


def test_a_block_has_the_samples_of_the_set() -> None:
    made = rocks()
    block = made.block()
    assert block.schema.numbers == ("hard", "heavy")
    assert (block.schema.target, block.schema.task) == ("target", Task.CLASSIFICATION)
    assert block.numbers.tolist() == made.vectors().tolist()
    assert block.target is not None
    assert block.target.tolist() == made.targets().tolist()
    encoded = Encoder(task=made.task).encode(block)
    assert encoded.label.tolist() == made.class_numbers().tolist()
    assert [len(block.part(1, 3)), block.part(1, 3).end.record] == [2, 3]


def test_returned_arrays_do_not_share_memory_with_the_set() -> None:
    made = rocks()
    made.vectors()[:] = 7.0
    assert made.vectors()[0].tolist() == [1, 0]
    with pytest.raises(ValueError, match="read-only"):
        made[0].vector[0] = 7.0
    given_vector = np.array([1.0, 2.0])
    sample = Sample(given_vector, label="rock")
    given_vector[0] = 9.0
    assert sample.vector.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("copied", [copy, deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_copy_is_the_same_and_changes_alone(copied: Callable[[Any], Any]) -> None:
    made = Set("classification", columns=("x", "y"), labels=("sand",))
    made.extend(rocks())
    other = copied(made)
    assert other == made
    sample = Sample([7, 7], label="new")
    other.add(sample)
    assert (len(made), sample in made, "new" in made.labels) == (4, False, False)
    with pytest.raises(ValueError, match="read-only"):
        other[0].vector[0] = 7.0
    assert copied(made[0]) in made


def test_classes_can_be_added_without_a_sample() -> None:
    made = Set("classification", labels=("a", "b"))
    assert (made.add_class("c"), made.add_class("a"), made.labels) == (2, 0, ("a", "b", "c"))
    assert (made.outputs().shape, made.vectors().shape, len(made)) == ((0, 3), (0, 0), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: rocks().add(Sample([1], label="rock")), "length 1, but must have 2"),
        (lambda: rocks().add(Sample([1, 2], value=3.0)), "label is None"),
        (lambda: values().add(Sample([1], label="rock")), "value is None"),
        (lambda: values().add_class("rock"), "a regression has no classes"),
        (lambda: values().class_numbers(), "only a classification has classes"),
        (lambda: rocks().class_number("sand"), "'sand', but must be one of: 'rock', 'mine', 'net'"),
        (lambda: Set("classification").class_number("sand"), "must be one of: none"),
        (lambda: Set("clustering"), "task is 'clustering'"),
        (lambda: Set("regression", columns=("a", "a")), "have 'a' twice"),
        (lambda: Set("regression", columns=("a",), target="a"), "have 'a' twice"),
        (lambda: Sample([]), "shape"),
        (lambda: Sample([[1.0]]), "shape"),
        (lambda: Sample(["x"]), "must be numbers"),
        (lambda: Sample([1.0, float("inf")]), "has inf as number 1"),
        (lambda: Sample([1.0], value=float("nan")), "value is nan"),
        (lambda: Sample([1.0], value=cast("float", "a")), "value is 'a', but must be a number"),
        (lambda: Sample([1.0], value=10**400), "but must be a number"),
        (lambda: rocks().add(cast("Sample", {"x": 1.0})), "sample is {'x': 1.0}, but must be a"),
        (lambda: Sample([1.0], label="\ud800"), "must be valid Unicode"),
        (lambda: Set("classification", labels=["\ud800"]), "must be valid Unicode"),
        (lambda: Set("regression", columns=["\ud800"]), "column is .* must be valid Unicode"),
        (lambda: Sample([1.0], label=3), "label is 3"),  # type: ignore[arg-type]
    ],
)
def test_invalid_arguments_are_refused(change: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        change()


def test_a_refused_sample_leaves_the_set_unchanged() -> None:
    made = rocks()
    with pytest.raises(ConfigurationError):
        made.add(Sample([1], label="new"))
    assert made == rocks()
    assert made != values()
    assert made != "rocks"
    assert repr(made) == "<Set of 4 samples, classification, 2 inputs>"


@settings(deadline=None, max_examples=30)
@given(sets())
def test_a_set_survives_a_json_file(tmp_path_factory: pytest.TempPathFactory, made: Set) -> None:
    path = tmp_path_factory.mktemp("set") / "set.json"
    made.save(path)
    assert Set.load(path) == made
    part = made[:0]
    part.save(path)
    assert Set.load(path) == part


@settings(deadline=None, max_examples=30)
@given(sets())
def test_a_set_survives_a_csv_file_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, made: Set
) -> None:
    path = tmp_path_factory.mktemp("set") / "set.csv"
    try:
        made.save(path)
    except ConfigurationError:
        assert any(label.strip() != label for label in made.labels)
        assert not path.exists()
        return
    assert Set.load(path, task=made.task) == made


@pytest.mark.parametrize("names", [("1", "2"), ("NA", "2")])
def test_csv_refuses_names_that_would_be_read_as_a_sample(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    made = Set("classification", columns=names)
    made.extend([Sample([1, 2], label="a"), Sample([3, 4], label="b")])
    with pytest.raises(ConfigurationError, match="which CSV would take for a sample"):
        made.save(tmp_path / "set.csv")
    assert not (tmp_path / "set.csv").exists()


@pytest.mark.parametrize("labels", ["ab", "12"])
def test_csv_keeps_names_that_are_numbers_if_another_name_marks_the_header(
    tmp_path: Path, labels: str
) -> None:
    made = Set("classification", columns=("1", "width" if labels == "ab" else "2"))
    made.extend([Sample([1, 2], label=labels[0]), Sample([3, 4], label=labels[1])])
    made.save(tmp_path / "set.csv")
    assert Set.load(tmp_path / "set.csv", task="classification") == made


@settings(deadline=None, max_examples=30)
@given(sets(plain_words))
def test_a_set_survives_a_libsvm_file(tmp_path_factory: pytest.TempPathFactory, made: Set) -> None:
    path = tmp_path_factory.mktemp("set") / "set.libsvm"
    made.save(path)
    back = Set.load(path, task=made.task, inputs=len(made.columns), first_index=1)
    assert back.vectors().tolist() == made.vectors().tolist()
    assert back.targets().tolist() == made.targets().tolist()
    assert back.labels == made.labels


@pytest.mark.parametrize("label", ["two words", "a:b", "#1", "a,b"])
def test_libsvm_refuses_a_label_that_would_be_read_differently(tmp_path: Path, label: str) -> None:
    made = Set("classification")
    made.add(Sample([1.0], label=label))
    with pytest.raises(ConfigurationError, match="libSVM would not keep"):
        made.save(tmp_path / "set.svm")


def test_a_set_is_saved_only_with_a_known_suffix(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"must end in \.csv, \.json"):
        rocks().save(tmp_path / "set.txt")
    with pytest.raises(StreamnetError, match="can't be written"):
        rocks().save(tmp_path / "nowhere" / "set.csv")


def document(**changes: Any) -> str:
    columns = {"task": "regression", "target": "y", "columns": ["a"], "labels": []}
    samples = {"samples": [{"vector": [1.0], "value": 1.0}]}
    return json.dumps({"format": "streamnet set", **columns, **samples, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 5000,
        document(format="other"),
        document(version=2),
        document(samples=[{"vector": [1.0, 2.0], "value": 1.0}]),
        document(samples=[{"vector": ["x"], "value": 1.0}]),
        document(samples=[{"vector": [1.0], "label": "a"}]),
        document(labels=["b"]),
        document(more=1),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "set.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"set\.json"):
        Set.load(path)


def test_a_document_is_loaded_and_an_absent_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(document())
    assert Set.load(path).targets().tolist() == [1.0]
    with pytest.raises(DataError, match="can't be read"):
        Set.load(tmp_path / "none.json")
